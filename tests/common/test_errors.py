import pytest

from dreamerv2_transfer.common import errors


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("too\n  large"), "ValueError: too large"),
        (KeyError("name"), "KeyError: 'name'"),
        (MemoryError(), "MemoryError."),
    ],
)
def test_an_exception_is_described_on_one_line(error, text):
    assert errors.describe(error) == text


def test_environments_raise_errors_for_users():
    assert issubclass(errors.EnvError, errors.UserError)


def test_five_faults_are_listed_and_the_others_counted():
    assert errors.listed(["a", "b"]) == "a; b"
    assert errors.listed("abcdefg") == "a; b; c; d; e and 2 more"

import pytest

from dreamerv2_transfer.commands import options
from dreamerv2_transfer.commands.options import Option
from dreamerv2_transfer.common.config import ConfigError

OPTIONS = {
    "scale": Option("paper", "Size.", ("paper", "small")),
    "seeds": Option(3, "Number.", least=1),
    "leave_out": Option("", "Game."),
    "beyond": Option(False, "More."),
    "dry_run": Option(False, "Plan."),
}


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], (False, False, "")),
        (["--beyond"], (True, False, "")),
        (["--beyond", "--dry-run", "--leave-out", "a-b"], (True, True, "a-b")),
        (["--dry-run", "False", "--beyond=True"], (True, False, "")),
        (["--leave-out=a-b", "--dry_run", "True"], (False, True, "a-b")),
    ],
)
def test_a_bool_needs_no_value_and_hyphens_are_underscores(args, expected):
    parsed = options.parse(OPTIONS, args)
    assert (parsed.beyond, parsed.dry_run, parsed.leave_out) == expected


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--scale", "smal"], "one of paper, small. Received: smal. .*'small'"),
        (["--seeds", "0"], "seeds must be at least 1. Received: 0"),
        (["--seeds"], "'--seeds' needs a value"),
        (["--seed", "1"], "'--seed'.*Did you mean 'seeds'"),
        (["--seeds", "1", "2"], "takes one value"),
    ],
)
def test_a_wrong_option_is_named(args, message):
    with pytest.raises(ConfigError, match=message):
        options.parse(OPTIONS, args)


def test_other_flags_are_left_as_they_are():
    parsed, rest = options.parse_known(OPTIONS, ["x", "--a-b", "1", "--seeds", "2"])
    assert (parsed.seeds, rest) == (2, ["x", "--a-b", "1"])

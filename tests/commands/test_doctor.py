"""The doctor as a command; tests/test_doctor.py has what it finds."""

import pytest

from dreamerv2_transfer import commands, doctor
from dreamerv2_transfer.commands import doctor as command


@pytest.mark.parametrize("args", [["--quick"], ["--quick", "True"]])
def test_a_quick_look_leaves_tensorflow_out(args, capsys, tmp_path):
    assert commands.main(["doctor", *args, "--logdir", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    # Lines of 80 columns may break a long path anywhere.
    assert f"{tmp_path}canbewritten" in "".join(output.split())
    assert output.endswith("Training can run.\n") and "XLA" not in output


def test_each_of_its_options_is_described():
    defaults = {name: option.default for name, option in command.OPTIONS.items()}
    assert defaults == doctor.OPTIONS


def test_a_missing_package_is_a_finding(capsys, monkeypatch):
    missing = doctor.Finding(doctor.TROUBLE, "Packages", "Missing: keras", "Install.")
    monkeypatch.setattr(doctor, "check_packages", lambda: missing)
    assert commands.main(["doctor", "--quick"]) == 1
    assert "Missing: keras" in capsys.readouterr().out

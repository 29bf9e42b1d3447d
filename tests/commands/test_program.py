import subprocess
import sys

import pytest

from dreamerv2_transfer.commands import program
from tests import runs

LAUNCH = runs.ROOT / "launch"


def test_the_scripts_in_launch_are_commands():
    scripts = {program.canonical(path.stem) for path in LAUNCH.glob("*.py")}
    assert scripts == {*program.COMMANDS} - {"doctor", "completion"}
    assert scripts >= {"train", "train-dqn", "port"}


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("/usr/bin/dreamerv2-transfer", ["dreamerv2-transfer", "port"]),
        (
            "/x/dreamerv2_transfer/__main__.py",
            ["python", "-m", "dreamerv2_transfer", "port"],
        ),
        ("launch/train.py", ["python", "launch/port_checkpoint.py"]),
        ("./launch/train.py", ["python", "launch/port_checkpoint.py"]),
        (f"{LAUNCH}/train.py", ["python", f"{LAUNCH}/port_checkpoint.py"]),
        ("bench/train.py", ["dreamerv2-transfer", "port"]),
    ],
)
def test_a_command_is_typed_like_the_one_that_runs(monkeypatch, typed, words):
    monkeypatch.chdir(runs.ROOT)
    monkeypatch.setattr(sys, "argv", [typed])
    assert program.words("port") == words


def test_a_script_in_launch_belongs_to_its_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", [str(LAUNCH / "train.py")])
    assert program.checkout() == runs.ROOT
    (tmp_path / "launch").mkdir()  # That of some other project.
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "launch" / "train.py")])
    assert program.checkout() is None


def test_nothing_heavy_is_imported_before_a_command_needs_it():
    code = (
        "import sys; from dreamerv2_transfer.commands import main; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=runs.ROOT, capture_output=True, text=True
    )
    loaded = {*done.stdout.split()}
    heavy = {"tensorflow", "keras", "matplotlib", "gymnasium", "numpy", "ruamel"}
    assert "dreamerv2_transfer.commands.console" in loaded
    assert not loaded & heavy

import subprocess
import sys

from tests import runs


def test_the_package_runs_a_command_like_its_script_in_launch():
    done = subprocess.run(
        [sys.executable, "-m", "dreamerv2_transfer", "train_dqn", "--configs", "small"],
        cwd=runs.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "Error: Name the block dqn, as in --configs minatar dqn. Received: --configs "
        "small\n"
    )

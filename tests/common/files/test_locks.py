import subprocess
import sys

import pytest

from dreamerv2_transfer.common.files import locks

HOLD = (
    "import sys, pathlib; from dreamerv2_transfer.common.files import locks\n"
    "with locks.locked(pathlib.Path(sys.argv[1]), ValueError('used')):\n"
    "    print('held', flush=True); sys.stdin.read()"
)


def test_one_process_at_a_time_and_a_killed_one_lets_go(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"held\n"
    with (
        pytest.raises(ValueError, match="used"),
        locks.locked(tmp_path, ValueError("used")),
    ):
        pass
    process.kill()
    process.wait()
    with locks.locked(tmp_path, ValueError("used")):
        pass

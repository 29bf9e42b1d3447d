import errno
import os
import subprocess
import sys

import pytest

from dreamerv2_transfer.common.files import atomic, locks

HOLD = (
    "import sys, pathlib; from dreamerv2_transfer.common.files import locks\n"
    "with locks.locked(pathlib.Path(sys.argv[1]), ValueError('used')):\n"
    "    print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()


def is_free(folder):
    try:
        with locks.locked(folder, ValueError("used")):
            return True
    except ValueError as error:
        assert str(error) == "used"
        return False


def test_one_process_at_a_time_and_a_killed_one_lets_go(tmp_path, holder):
    assert not is_free(tmp_path)
    holder.kill()
    holder.wait()
    assert is_free(tmp_path)


def test_a_folder_is_locked_while_another_process_holds_it(tmp_path, holder):
    assert locks.is_locked(tmp_path)
    assert not locks.is_locked(tmp_path / "none")
    holder.kill()
    holder.wait()
    assert not locks.is_locked(tmp_path)
    assert not (tmp_path / "none").exists()


def test_without_an_error_it_waits_for_the_other_process(tmp_path, holder):
    holder.stdin.close()  # Ends it, after a moment.
    with locks.locked(tmp_path):
        assert holder.wait(10) == 0


def test_it_is_free_after_the_block_and_after_an_exception(tmp_path):
    with locks.locked(tmp_path):
        assert not is_free(tmp_path)
    with pytest.raises(KeyError), locks.locked(tmp_path):
        raise KeyError
    assert is_free(tmp_path)


def test_a_file_that_was_left_behind_blocks_nothing(tmp_path):
    (tmp_path / ".lock").write_text("12345")
    assert is_free(tmp_path)


def test_a_missing_folder_is_created(tmp_path):
    assert is_free(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(atomic.OutputError, match="file/a"):
        is_free(tmp_path / "file" / "a")


def test_processes_of_the_first_release_and_ours_respect_each_other(tmp_path):
    fcntl = pytest.importorskip("fcntl", reason="the first release needs fcntl")
    with open(tmp_path / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not is_free(tmp_path)
    with (
        locks.locked(tmp_path),
        open(tmp_path / ".lock", "w") as file,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("name", ["ENOLCK", "ENOSYS", "EOPNOTSUPP", "EINVAL"])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, name):
    fcntl = pytest.importorskip("fcntl")
    number = getattr(errno, name)

    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(atomic.OutputError) as error:
        is_free(tmp_path)
    assert str(error.value).startswith(
        f"Cannot lock {tmp_path}: {os.strerror(number)}. Its file system has no locks"
    )
    assert error.value.__cause__.errno == number  # The doctor says why.

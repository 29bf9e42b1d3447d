import os
import signal
import subprocess
import sys

from dreamerv2_transfer.common import quiet
from tests import runs

NOTES = (
    "WARNING: All log messages before absl::InitializeLog() is called are written\n"
    "I0000 00:00:17.2 100 port.cc:153] oneDNN custom operations are on.\n"
    "W0000 00:00:17.3 100 cudart_stub.cc:31] Could not find cuda drivers.\n"
)
ERROR = "E0000 00:00:17.4 100 driver.cc:9] The driver is too old.\n"


def import_tensorflow(folder, code):
    """What a process writes to the standard error that imports a module of ours."""
    (folder / "tensorflow.py").write_text(f"import os\n{code}")
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from dreamerv2_transfer.common import quiet; quiet.hush_tensorflow();"
            "import tensorflow, os; os.write(2, b'I0000 after\\n')",
        ],
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{runs.ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_notes_of_the_import_are_left_out_and_errors_are_shown(tmp_path):
    text = NOTES + ERROR
    done = import_tensorflow(tmp_path, f"os.write(2, {text.encode()!r})")
    assert (done.returncode, done.stderr) == (0, ERROR + "I0000 after\n")


def test_an_import_that_crashes_shows_its_last_words(tmp_path):
    words = "F0000 00:00:17.5 100 cpu.cc:9] It was compiled to use AVX.\n"
    code = f"os.write(2, {(NOTES + words).encode()!r})\nos.abort()"
    done = import_tensorflow(tmp_path, code)
    assert (done.returncode, done.stderr) == (-signal.SIGABRT, words)


def test_an_import_that_raises_keeps_its_traceback(tmp_path):
    done = import_tensorflow(tmp_path, "raise ImportError('No such symbol.')")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ImportError: No such symbol."


def test_asking_twice_filters_once(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(sys, "meta_path", [])
    quiet.hush_tensorflow()
    quiet.hush_tensorflow()
    assert len(sys.meta_path) == 1

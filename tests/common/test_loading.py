import os
import signal
import subprocess
import sys

import pytest

from dreamerv2_transfer.common import foreign, loading
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
            "import os; from dreamerv2_transfer.common import loading;"
            "loading.prepare_tensorflow();"
            "import tensorflow; os.write(2, b'I0000 after\\n')",
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
    loading.prepare_tensorflow()
    loading.prepare_tensorflow()
    assert len(sys.meta_path) == 2


def test_training_imports_none_of_what_keras_and_tfp_offer_beside():
    code = (
        "import sys; from dreamerv2_transfer.common import loading;"
        "loading.prepare_tensorflow();"
        "from dreamerv2_transfer import agent; import keras;"
        "beside = {'sklearn', 'matplotlib', 'pandas', 'tf_keras'} & {*sys.modules};"
        "print(sorted(beside), keras.wrappers.SKLearnClassifier.__name__,"
        "keras.visualization.plot_image_gallery.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=runs.ROOT, capture_output=True, text=True
    )
    assert done.stdout == "[] SKLearnClassifier plot_image_gallery\n", done.stderr


def test_a_collection_imports_a_name_when_it_is_used(tmp_path, monkeypatch):
    package = tmp_path / "collected"
    package.mkdir()
    lines = "from collected.one import ONE\nfrom collected.two import TWO as SECOND\n"
    (package / "__init__.py").write_text(lines)
    (package / "one.py").write_text("ONE = 1\n")
    (package / "two.py").write_text("TWO = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(foreign, "COLLECTIONS", ("collected",))
    monkeypatch.setattr(sys, "meta_path", [loading._Lazy(), *sys.meta_path])
    import collected

    assert "collected.one" not in sys.modules
    assert collected.SECOND == 2
    assert "collected.one" not in sys.modules
    assert collected.ONE == 1
    assert collected.__all__ == ["ONE", "SECOND"]
    with pytest.raises(AttributeError, match="'collected' has no attribute 'THREE'"):
        _ = collected.THREE


def test_a_module_that_nothing_uses_is_not_executed(tmp_path, monkeypatch):
    (tmp_path / "costly.py").write_text("import sys\nsys.paid = True\nVALUE = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(foreign, "UNUSED", ("costly",))
    monkeypatch.setattr(sys, "meta_path", [loading._Lazy(), *sys.meta_path])
    import costly

    assert not hasattr(sys, "paid")
    assert costly.VALUE == 3
    assert sys.paid
    del sys.paid

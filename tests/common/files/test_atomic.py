import os
import pathlib
import subprocess
import sys

import pytest

from dreamerv2_transfer.common.files import atomic


def test_replaces_the_file_and_makes_its_folder(tmp_path):
    path = tmp_path / "new" / "file.txt"
    for text in (b"old", b"new"):
        with atomic.atomic_write(path) as file:
            file.write(text)
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_text_is_written_in_utf_8(tmp_path):
    atomic.write_text(tmp_path / "a" / "x.txt", "é\n")
    assert (tmp_path / "a" / "x.txt").read_bytes() == b"\xc3\xa9\n"


def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic.atomic_write(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    path, gone = tmp_path / "w.h5", tmp_path / "gone"
    with monkeypatch.context() as patch:
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        for number in (process.pid, os.getppid()):
            patch.setattr(os, "getpid", lambda number=number: number)
            atomic.temporary_for(path).touch()
        running = atomic.temporary_for(path).name
        patch.setattr(os, "getpid", lambda: 999_999_999)
        atomic.temporary_for(gone).mkdir()
    elsewhere = [".w.h5.12.tmp", ".w.h5.0123abcd-12.tmp"]
    old = [".w.h5.13.tmp", ".w.h5.0123abcd-13.tmp"]
    mine = [".w.h5.tmp", ".w.h5.old.12.tmp", "w.h5.12.tmp", ".other.13.tmp", "w.h5~"]
    for name in (*elsewhere, *old, *mine):
        (tmp_path / name).write_text(name)
    for name in (*old, *mine, running):
        os.utime(tmp_path / name, (1e9, 1e9))
    with atomic.atomic_write(path) as file:
        file.write(b"new")
    atomic.remove_leftovers(gone)
    left = {"w.h5", running, *elsewhere, *mine}
    assert {x.name for x in tmp_path.iterdir()} == left


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "logdir").write_text("not a folder")
    path = tmp_path / "logdir" / "file.txt"
    error = pytest.raises(atomic.OutputError, match="logdir/file.txt")
    with error, atomic.atomic_write(path) as file:
        file.write(b"lost")


@pytest.mark.parametrize("path", ["s3://bucket/x.json", pathlib.Path("s3://x.json")])
def test_a_url_is_no_path_to_write_to(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(atomic.OutputError, match="Name a local path"),
        atomic.atomic_write(path),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_appears_when_all_of_it_is_written(tmp_path):
    out = tmp_path / "a" / "out"
    out.mkdir(parents=True)  # An empty one is replaced.
    with atomic.new_folder(out) as folder:
        (folder / "x").write_text("1")
        assert not any(out.iterdir())
    assert (out / "x").read_text() == "1"
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_of_a_folder_that_fails_nothing_is_left(tmp_path):
    refused = pytest.raises(atomic.OutputError, match="Cannot write .*out: full")
    with refused, atomic.new_folder(tmp_path / "out") as folder:
        (folder / "x").write_text("1")
        raise OSError("full")
    assert not any(tmp_path.iterdir())

import pathlib

import pytest

from dreamerv2_transfer.common.files import atomic


def test_replaces_the_file_and_makes_its_folder(tmp_path):
    path = tmp_path / "new" / "file.txt"
    for text in (b"old", b"new"):
        with atomic.atomic_write(path) as file:
            file.write(text)
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic.atomic_write(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


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

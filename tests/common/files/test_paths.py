import os
import pathlib

import pytest

from dreamerv2_transfer.common.files import atomic, paths
from dreamerv2_transfer.common.files.paths import PathError


@pytest.mark.parametrize(
    "path",
    [
        *("run", "/a/b", "~/a", "layers=[16,16]", "a b", "a::b", "run:/x", "C://x"),
        *("s3://bucket/run", "S3://bucket/run", "abfs+x://c@a/x", "memory://x"),
        *("file:///a", "FILE:///a", "file://~/a", "https://host/a::b", "ä/日本"),
        *("logdir/x::s3://b", "..", "*?", "-", "a\nb"),
    ],
)
def test_a_path_that_need_not_exist_passes(path):
    paths.check(path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "The path is empty.*Received: ''"),
        ("\udcff/a", r"not? UTF-8 text.*Received: '\\udcff/a'"),
        ("a\0b", r"Received: 'a\\x00b'"),
        ("file:///tmp/\udce9", r"Received: 'file:///tmp/\\udce9'"),
        ("simplecache::s3://b/run", r"chain of URLs.*as s3://\.\.\."),
        ("SimpleCache::FILE:///a", r"chain of URLs.*as FILE://\.\.\."),
        ("zip://a.zip::file:///b", "chain of URLs"),
        ("s3:/bucket/run", "lacks a slash: a URL begins with s3://. Received: s3:/b"),
        ("File:/a", "a URL begins with file:///."),
        ("file://", "names no folder"),
        ("FILE:///", "names no folder"),
        ("s3://", "names no folder"),
        ("file://a/b", "URL of a relative path.*file:///"),
        ("local://a", "URL of a relative path.*local:///"),
        ("~no-such-user/a", "~no-such-user, but there is no such user.*Received: ~no"),
    ],
)
def test_what_is_no_path_is_refused_in_a_sentence(path, message):
    with pytest.raises(PathError, match=message) as caught:
        paths.check(path)
    assert str(caught.value).encode() and "\n" not in str(caught.value)


def test_the_error_names_what_asked_for_the_path():
    with pytest.raises(PathError, match="^--logdir is empty"):
        paths.check("", "--logdir")


@pytest.mark.parametrize("path", ["x" * 256, "a/" * 2100, "~/" + "é" * 200])
def test_a_path_that_is_too_long_is_shown_in_part(path):
    with pytest.raises(PathError, match=r"longer than .*\.\.\. \([\d,]+ characters\)"):
        paths.check(path)


def test_a_url_may_be_longer_than_the_name_of_a_file():
    paths.check(f"s3://bucket/{'x' * 900}")


def test_a_folder_in_which_nobody_may_look_passes(tmp_path):
    paths.check(tmp_path / "file" / "below")
    (tmp_path / "file").touch()
    paths.check(tmp_path / "file" / "below")
    os.symlink("loop", tmp_path / "loop")
    paths.check(tmp_path / "loop" / "x")


def test_a_folder_that_begins_with_a_tilde_is_written_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ada")
    assert paths.local("~/run") == pathlib.Path("/home/ada/run")
    for path in ("./~no-such-user/a.json", pathlib.Path("./~no-such-user/b.json")):
        assert paths.local(paths.local(path)) == tmp_path / path
        with atomic.atomic_write(path) as file:
            file.write(b"{}")
    assert {x.name for x in (tmp_path / "~no-such-user").iterdir()} == {
        "a.json",
        "b.json",
    }

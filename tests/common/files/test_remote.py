import pytest

from dreamerv2_transfer.common import errors
from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.common.files.paths import PathError
from tests.stores import URL, put, read, there, write

INDEX = "checkpoints/ckpt-3.index"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://bucket/run", True),
        ("memory://x", True),
        ("file:///x", True),
        ("abfs+x://c@a/x", True),
        ("S3://bucket/run", True),
        ("FILE:///x", True),
        ("/home/run", False),
        ("run", False),
        ("C://run", False),
        ("~/a:b", False),
    ],
)
def test_a_url_is_told_from_a_path(path, expected):
    assert remote.is_remote(path) is expected


def test_a_mirror_is_in_the_cache_and_called_as_the_folder(tmp_path):
    one, two = (
        remote.local_folder("memory://a/b-c/run"),
        remote.local_folder("memory://a-b/c/run/"),
    )
    assert one.name == two.name == "run"
    assert one != two
    assert one == remote.local_folder("memory://a/b-c/run/")
    assert one.is_relative_to(tmp_path / "cache" / "dreamerv2_transfer" / "remote")
    assert "memory-a-b-c-run" in one.parent.name


def test_a_protocol_in_capitals_is_the_same_store(tmp_path):
    assert remote.local_folder("MEMORY://a/B") == remote.local_folder("memory://a/B")
    store = tmp_path / "store"
    with remote.opened(f"FILE://{store}") as folder:
        (folder.path / "config.yaml").write_text("seed: 0")
    assert (store / "config.yaml").read_text() == "seed: 0"
    fetched = remote.fetched(f"File://{store}")
    assert (fetched / "config.yaml").read_text() == "seed: 0"


@pytest.mark.parametrize("path", ["", "file://", "simplecache::s3://b/x", "\udcff"])
def test_what_is_no_path_is_neither_read_nor_written(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for use in (remote.fetched, lambda x: remote.followed(x, "worker1")):
        with pytest.raises(PathError):
            use(path)
    with pytest.raises(PathError), remote.opened(path):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_a_path_is_expanded_and_untouched(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert str(remote.fetched("~/run")) == "/home/ada/run"


def test_a_folder_that_begins_with_a_tilde_is_named_by_a_dot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("~", "~nobody"):
        path = remote.fetched(f"./{name}/run")
        assert path == tmp_path / name / "run" == path.expanduser()
    assert str(remote.fetched("./a/~b")) == "a/~b"


def test_patterns_choose_files(store):
    files = {"x.weights.h5": "1", "config.yaml": "2", "checkpoints/ckpt-3.index": "3"}
    put(store, **files, **{"d/e.npz": "4", "checkpoints/ckpt-3.data-0": "5"})
    folder = remote.fetched(URL, *remote.WEIGHTS)
    assert read(folder) == files


def test_the_url_of_a_file_is_that_file(store):
    put(store, **{"metrics.jsonl": "1", "other": "2"})
    path = remote.fetched(f"{URL}/metrics.jsonl")
    assert path.read_text() == "1"
    assert path == remote.local_folder(URL) / "metrics.jsonl"
    assert store.done("get") == ["metrics.jsonl"]


def test_nothing_at_a_url_is_named():
    with pytest.raises(remote.RemoteError, match=f"nothing at {URL}"):
        remote.fetched(URL)


def test_a_plain_folder_is_itself(tmp_path):
    with remote.opened(tmp_path / "run") as folder:
        assert folder.path == tmp_path / "run"
        folder.push()


def test_one_process_of_a_machine_writes_and_others_read_along(store, capsys):
    assert not remote.is_written(URL)
    with remote.opened(URL) as folder:
        assert remote.is_written(URL) and not remote.is_written(f"{URL}/2")
        refused = pytest.raises(remote.WriterError, match="of this machine")
        with refused, remote.opened(URL):
            pass
        put(store, a="1")
        write(folder.path, a="12")
        assert remote.fetched(URL) == folder.path
        assert read(folder.path) == {"a": "12"}
    assert not remote.is_written(URL)
    assert "Another process of this machine writes to" in capsys.readouterr().out


def test_a_lost_network_ends_no_run(store, capsys):
    with remote.opened(URL) as folder:
        write(folder.path, a="1")
        store.failing.add("")
        folder.push()
        assert there(store) == {}
        store.failing.clear()
        write(folder.path, b="2")
        folder.push()
        assert there(store) == {"a": "1", "b": "2"}
    out = capsys.readouterr().out
    assert out.count("Not uploaded yet") == 1 and "no network" in out


def test_what_cannot_be_uploaded_in_the_end_is_said_and_kept(store):
    told = pytest.raises(remote.RemoteError, match="the same command")
    with told as error, remote.opened(URL) as folder:
        write(folder.path, a="1")
        store.failing.add("")
    assert str(folder.path) in str(error.value)
    store.failing.clear()
    with remote.opened(URL) as folder:
        assert read(folder.path) == {"a": "1"}
    assert there(store) == {"a": "1"}


def test_a_run_that_fails_is_uploaded_and_fails_as_it_did(store):
    with pytest.raises(KeyError), remote.opened(URL) as folder:
        write(folder.path, a="1")
        raise KeyError("x")
    assert there(store) == {"a": "1"}


def test_a_refused_folder_leaves_the_store_as_it_is(store):
    def refuse(path):
        raise errors.UserError("no")

    put(store, a="1")
    with pytest.raises(errors.UserError, match="no"), remote.opened(URL, refuse):
        pass
    assert list(store.store) == ["/bucket/logdir/run/a"]


def test_a_follower_has_a_copy_of_its_own(store):
    with remote.opened(URL) as folder:
        assert read(remote.followed(URL, "worker1")) == {}
        write(folder.path, **{INDEX: "1", "dataset/a.npz": "2", "config.yaml": "3"})
        folder.push()
        path = remote.followed(URL, "worker1")
        assert path != folder.path
        assert read(path) == {INDEX: "1", "config.yaml": "3"}

"""Readers of episodes under hostile and damaged files.

Whatever the bytes are, the result is an episode or an error that names the file; and
`dataset.py verify` names exactly the files that training skips.
"""

import contextlib
import os
import pathlib
import tempfile
import zipfile

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import memory
from dreamerv2_transfer.common.replay import Replay, layout, packed, store
from dreamerv2_transfer.common.replay.folder import check
from dreamerv2_transfer.data import imports, inspect, pydreamer, verify
from tests import fakes

NAME = "20260101T000000-{}-{}.npz"
COMPRESSED = strategies.sampled_from([np.savez, np.savez_compressed])


def changed(steps=4, **values):
    """An episode in which some keys are others; None leaves a key out."""
    made = {**fakes.episode(steps), **values}
    return {k: v for k, v in made.items() if v is not None}


def placed(*at, length=5):
    return np.isin(np.arange(length), at)


ACTION = np.eye(6, dtype=np.float32)[[0, 1, 2, 3, 4]]
BROKEN = {
    "two-hot": changed(action=ACTION + np.eye(6, dtype=np.float32)[[0, 1, 2, 4, 4]]),
    "no action": changed(action=ACTION * [[1], [1], [0], [1], [1]]),
    "half an action": changed(action=ACTION / 2),
    "first twice": changed(is_first=placed(0, 2)),
    "first never": changed(is_first=placed()),
    "last never": changed(is_last=placed()),
    "last early": changed(is_last=placed(2)),
    "terminal early": changed(is_terminal=placed(1)),
    "no step": {k: v[:1] for k, v in fakes.episode(0).items()},
    "nothing": {k: v[:0] for k, v in fakes.episode(0).items()},
    "reward": changed(reward=np.float32([0, 0, np.nan, 0, 0])),
    "shape": changed(image=np.zeros((5, 10, 10, 4), bool)),
    "dtype": changed(image=np.zeros((5, 10, 10, 10), np.uint8)),
    "more": changed(ram=np.zeros((5, 128), np.uint8)),
    "less": changed(is_terminal=None),
    "no image": changed(image=None),
}


@pytest.mark.parametrize("memory", [0, 2**20])
@pytest.mark.parametrize("has_manifest", [True, False])
def test_training_skips_exactly_what_verify_names(tmp_path, has_manifest, memory):
    folder = tmp_path / "data" / "minatar_breakout"
    folder.mkdir(parents=True)
    intact = [
        *(fakes.episode(3 + i, i) for i in range(20)),
        changed(is_terminal=placed()),
    ]
    for number, episode in enumerate([*intact, *BROKEN.values()]):
        steps = len(episode["action"]) - 1
        np.savez(folder / NAME.format(f"{number:032}", max(steps, 0)), **episode)
    if has_manifest:
        store.write_manifest(folder, {"spaces": layout.describe(intact[0])})
    opened = packed.open_task(folder, tmp_path / "cache", memory)
    lines = verify.verify(tmp_path / "data", lambda line: None).damaged
    named = sorted(
        path.name for path in folder.glob("*.npz") if str(path) in " ".join(lines)
    )
    assert [*opened.damaged] == named
    assert (len(named), len(lines)) == (len(BROKEN), len(BROKEN))
    assert len(opened) == len(intact)
    assert opened.fields["action"].coding == "onehot"


def test_training_reads_what_verify_makes_a_note_of(tmp_path):
    acted = {"log_policy": np.array([-1, 7, 7, 7, 7])}
    store.save_episode(tmp_path, fakes.episode(4) | acted)
    np.savez(tmp_path / NAME.format("a" * 32, 30), **fakes.episode(3))
    np.savez(tmp_path / "mine.npz", **fakes.episode(5))
    found = verify.verify(tmp_path, lambda line: None)
    noted = [x for x in found.notes if "is trained on, but" in x]
    assert (found.episodes, found.damaged, len(noted)) == (3, [], 3)
    opened = packed.open_task(tmp_path)
    assert (len(opened), opened.damaged) == (3, ())


def test_episodes_of_the_original_load(tmp_path):
    # Recorded at an Atari game: float64 rewards, `ram`, and an action at the reset.
    episode = fakes.episode(5, image_shape=(64, 64, 1), dtype=np.uint8, actions=18)
    episode["ram"] = np.arange(6 * 128, dtype=np.uint8).reshape(6, 128)
    episode["reward"] = episode["reward"].astype(np.float64)
    episode["action"][0] = np.eye(18)[3]
    np.savez_compressed(tmp_path / NAME.format("a" * 32, 5), **episode)
    opened = packed.open_task(tmp_path)
    assert (len(opened), opened.damaged) == (1, ())
    assert opened.episode(0)["reward"].dtype == np.float32
    assert opened.fields["ram"].kind == ((128,), "uint8")


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """The bytes of an intact file, and its episode, by way of saving."""
    folder, made = tmp_path_factory.mktemp("intact"), {}
    for save in (np.savez, np.savez_compressed):
        path = folder / f"{save.__name__}.npz"
        save(path, **fakes.episode(20, 3), log_policy=np.arange(-1, 20))
        made[save] = path.read_bytes(), store.load_episode(path, logs=True)
    return made


def same(one, other):
    return one.keys() == other.keys() and all(
        v.dtype == other[k].dtype and v.tobytes() == other[k].tobytes()
        for k, v in one.items()
    )


def read_by_all(path):
    """Reads a file by each reader; returns the episode, or None if it is refused."""
    inspect.outline(path.parent)
    pydreamer.games([str(path)])
    list(pydreamer.pieces([str(path)], lambda line: None))
    layout.outline([str(path)])
    store.unpacked_bytes(path)
    with contextlib.suppress(store.DatasetError):
        imports.detect(path)
    try:
        return store.load_episode(path, logs=True)
    except store.EpisodeError as error:
        assert path.name in str(error)
        return None


@hypothesis.given(content=strategies.binary(max_size=400))
def test_arbitrary_bytes_are_refused(tmp_path, content):
    path = tmp_path / NAME.format("a", 3)
    path.write_bytes(content)
    assert read_by_all(path) is None


@hypothesis.given(save=COMPRESSED, data=strategies.data())
def test_a_flipped_bit_is_noticed_or_harmless(tmp_path, intact, save, data):
    content, episode = intact[save]
    flipped = bytearray(content)
    for _ in range(data.draw(strategies.integers(1, 3))):
        at = data.draw(strategies.integers(0, 8 * len(content) - 1))
        flipped[at // 8] ^= 1 << at % 8
    path = tmp_path / NAME.format("a", 20)
    path.write_bytes(flipped)
    found = read_by_all(path)
    # A flag that says how a member's name is encoded changes nothing else.
    assert found is None or same(found, episode)


@hypothesis.given(save=COMPRESSED, data=strategies.data())
def test_a_file_that_was_cut_or_overwritten_is_refused(tmp_path, intact, save, data):
    content, episode = intact[save]
    start = data.draw(strategies.integers(0, len(content) - 1))
    stop = data.draw(strategies.integers(start + 1, len(content)))
    filling = data.draw(strategies.binary(max_size=50))
    path = tmp_path / NAME.format("a", 20)
    path.write_bytes(content[:start] + filling + content[stop:])
    found = read_by_all(path)
    assert found is None or same(found, episode)


SHAPES = strategies.lists(strategies.integers(-1, 2**40), max_size=4).map(tuple)
DTYPES = strategies.sampled_from(
    ["<f4", ">f8", "|b1", "|u1", "<i8", "|O", "<U3", "<c8", "<M8[s]", "|V7", "<f2"]
)


@hypothesis.given(
    headers=strategies.dictionaries(
        strategies.sampled_from(
            [*store.REQUIRED, "image", "log_a", "image_t", "reset"]
        ),
        strategies.tuples(DTYPES, SHAPES, strategies.binary(max_size=64)),
    )
)
def test_headers_that_lie_are_refused(tmp_path, headers):
    path = tmp_path / NAME.format("a", 3)
    with zipfile.ZipFile(path, "w") as file:
        for key, (dtype, shape, values) in headers.items():
            header = {"descr": dtype, "fortran_order": False, "shape": shape}
            with file.open(f"{key}.npy", "w") as stream:
                np.lib.format.write_array_header_1_0(stream, header)
                stream.write(values)
    assert read_by_all(path) is None


ARRAYS = strategies.one_of(
    strategies.lists(strategies.booleans(), max_size=4).map(
        lambda x: np.array(x, bool)
    ),
    strategies.lists(strategies.floats(width=32), max_size=4).map(np.float32),
    strategies.lists(strategies.floats(), max_size=4).map(np.float64),
    strategies.lists(strategies.integers(-(2**31), 2**31 - 1), max_size=4).map(
        np.int64
    ),
    strategies.sampled_from([ACTION, np.zeros((0, 0)), np.array("a"), np.array(None)]),
)


@hypothesis.given(
    arrays=strategies.dictionaries(
        strategies.sampled_from([*store.REQUIRED, "image", "log_a", "a/b"]), ARRAYS
    )
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_any_arrays_are_an_episode_or_refused(tmp_path, arrays):
    path = tmp_path / NAME.format("a", 3)
    np.savez(path, allow_pickle=True, **arrays)
    found = read_by_all(path)
    if found is not None:
        assert store.fault({k: v for k, v in found.items() if k != "log_a"}) == ""


def bomb(path, **shapes):
    """Writes an episode whose arrays are zeros, of which it takes little space."""
    episode = {**fakes.episode(3), "log_policy": np.array([-1, 0, 0, 0])}
    np.savez_compressed(path, **{k: v for k, v in episode.items() if k not in shapes})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for key, shape in shapes.items():
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            with file.open(f"{key}.npy", "w") as stream:
                np.lib.format.write_array_header_1_0(stream, header)
                for _ in range(shape[0]):
                    stream.write(bytes(int(np.prod(shape[1:]))))
    return path


@pytest.mark.parametrize("key", ["image", "action", "reward", "log_policy", "env_id"])
def test_no_reader_unpacks_a_bomb(tmp_path, monkeypatch, capsys, key):
    store.save_episode(tmp_path, fakes.episode(4))
    path = bomb(tmp_path / NAME.format("a", 3), **{key: (70, 2**20)})
    assert path.stat().st_size < 2**20
    monkeypatch.setattr(memory, "free_and_total", lambda: (2**27, 2**33))
    unpack, largest = np.empty, []

    def watched(shape, *args, **kwargs):
        largest.append(np.prod(shape))
        return unpack(shape, *args, **kwargs)

    monkeypatch.setattr(np, "empty", watched)
    assert read_by_all(path) is None
    (line,) = [x for x in verify.verify(tmp_path, print).damaged if path.name in x]
    assert line.startswith(f"{path} cannot be read: it takes 0.0684 GiB unpacked, and")
    assert max(largest) < 2**20
    # Training does not read keys that are for logging alone.
    skipped = () if key == "log_policy" else (path.name,)
    if key != "env_id":
        assert packed.open_task(tmp_path).damaged == skipped
    assert max(largest) < 2**20


def test_a_bomb_is_named_under_a_memory_cap(tmp_path):
    path = bomb(tmp_path / NAME.format("a", 3), image=(20, 2**20))
    with pytest.raises(store.DatasetError, match=f"{path.name} takes 0.0195 GiB"):
        packed.write_index(tmp_path, memory=2**23)


def test_a_policy_with_a_huge_number_is_not_counted(tmp_path):
    acted = {"log_policy": np.array([-1, 0, 2**31 - 1, 0], np.int32)}
    store.save_episode(tmp_path, fakes.episode(3) | acted)
    good, (line,) = inspect.outline(tmp_path)
    assert good == [] and "log_policy holds 2147483647" in line


def test_a_pipe_in_an_index_is_not_waited_for(tmp_path, capsys):
    store.save_episode(tmp_path, fakes.episode(4))
    packed.write_index(tmp_path)
    path = next(tmp_path.glob(".packed/*/offsets.npy"))
    path.unlink()
    os.mkfifo(path)
    assert len(packed.open_task(tmp_path)) == 1
    assert "offsets.npy is no file" in capsys.readouterr().out


ODD = {
    "folder": "it is a folder, not a file",
    "pipe": "it is a pipe, not a file",
    "gone": "No such file or directory",
    "loop": "Too many levels of symbolic links",
    "chain": "Too many levels of symbolic links",
}


def odd_entries(folder):
    """Puts into a folder what is named like an episode and is none."""
    paths = {name: folder / NAME.format(name, 3) for name in ODD}
    paths["folder"].mkdir()
    os.mkfifo(paths["pipe"])
    paths["gone"].symlink_to(folder / "nowhere")
    paths["loop"].symlink_to(paths["loop"])
    paths["chain"].symlink_to(paths["loop"])
    return sorted(path.name for path in paths.values())


@pytest.mark.parametrize("memory", [0, 2**20])
def test_what_is_no_file_is_named_and_skipped(tmp_path, memory, capsys):
    folder = tmp_path / "data" / "minatar_breakout"
    folder.mkdir(parents=True)
    names = odd_entries(folder)
    for number in range(3):
        store.save_episode(folder, fakes.episode(4, number))
    for _ in range(2):  # Read, then from the index.
        opened = packed.open_task(folder, tmp_path / "cache", memory)
        assert (len(opened), [*opened.damaged]) == (3, names)
    found = verify.verify(tmp_path / "data", lambda line: None)
    assert (found.episodes, len(found.damaged)) == (3, len(names))
    for line, name in zip(sorted(found.damaged), names, strict=True):
        assert name in line and ODD[name.split("-")[1]] in line
    (info,) = inspect.info(tmp_path / "data")
    assert (len(info.returns), len(info.damaged)) == (3, len(names))
    assert store.count_episodes(folder) == (3, 12)
    result = imports.import_dreamerv2(tmp_path / "other", folder, "some_task")
    assert (result.added, len(result.damaged)) == (3, len(names))


def test_a_replay_names_and_skips_what_is_no_file(tmp_path, capsys):
    names = odd_entries(tmp_path)
    store.save_episode(tmp_path, fakes.episode(4))
    replay = Replay(tmp_path, expected=layout.describe(fakes.episode(4)))
    assert replay.stats["total_steps"] == replay.stats["loaded_steps"] == 4
    assert sorted(replay.damaged) == names
    printed = capsys.readouterr().out
    assert all(fault in printed for fault in ODD.values())
    check(tmp_path, layout.describe(fakes.episode(4)))


def test_a_link_that_leads_somewhere_again_changes_the_index(tmp_path):
    folder, other = tmp_path / "a", tmp_path / "b"
    folder.mkdir()
    store.save_episode(folder, fakes.episode(4))
    link = folder / NAME.format("link", 5)
    link.symlink_to(other / "episode.npz")
    assert len(packed.write_index(folder)) == 1
    other.mkdir()
    store.save_episode(other, fakes.episode(5)).rename(other / "episode.npz")
    assert len(packed.write_index(folder)) == 2


@pytest.fixture
def locked(tmp_path):
    """A task's folder that this process may not read."""
    folder = tmp_path / "data" / "minatar_breakout"
    folder.mkdir(parents=True)
    store.save_episode(folder, fakes.episode(4))
    tmp_path.chmod(0)
    user = os.geteuid()
    if user == 0:  # To whom everything is permitted.
        os.seteuid(65534)
    yield folder
    os.seteuid(user)
    tmp_path.chmod(0o700)


def test_a_folder_without_permission_is_named(locked):
    for read in (
        lambda: packed.open_task(locked),
        lambda: packed.open_dataset(locked.parent, ["minatar_breakout"]),
        lambda: verify.verify(locked, print),
        lambda: inspect.info(locked.parent),
        lambda: imports.npz_files(locked),
        lambda: imports.detect(locked),
        lambda: store.entries(locked),
        lambda: store.count_episodes(locked),
        lambda: check(locked, {}),
        lambda: Replay(locked),
    ):
        with pytest.raises(UserError, match="Permission denied"):
            read()


@hypothesis.given(
    stamp=strategies.lists(
        strategies.integers(-(2**63), 2**63 - 1), min_size=4, max_size=4
    )
)
def test_an_import_keeps_integers_or_refuses_them_by_name(tmp_path, stamp):
    root = pathlib.Path(tempfile.mkdtemp(dir=tmp_path))
    path = store.save_episode(root, fakes.episode(3) | {"stamp": np.array(stamp)})
    try:
        result = imports.import_dreamerv2(root / "data", path, "some_task")
    except store.DatasetError as error:
        assert f"{path} is no episode: stamp holds " in str(error)
        assert not all(-(2**31) <= x < 2**31 for x in stamp)
    else:
        assert (result.added, result.damaged) == (1, [])
        (added,) = (root / "data" / "some_task").glob("*.npz")
        assert store.load_episode(added)["stamp"].tolist() == stamp


def test_what_is_kept_for_logging_keeps_its_integers(tmp_path):
    stamp = 2**40 + np.arange(4)
    store.save_episode(tmp_path / "a", fakes.episode(3) | {"stamp": stamp})
    imports.import_dreamerv2(tmp_path / "data", tmp_path / "a", "minatar_breakout")
    (path,) = (tmp_path / "data" / "minatar_breakout").glob("*.npz")
    assert store.load_episode(path, logs=True)["log_stamp"].tolist() == stamp.tolist()
    assert not verify.verify(tmp_path / "data", print).damaged


def arrays_of(keys):
    """Some of the keys, each with an array of any type, mostly of four steps."""
    shapes = strategies.sampled_from([(4,), (4, 6), (4, 9, 9), (2, 2, 1, 4), ()])
    dtypes = strategies.sampled_from(["?", "u1", "i8", "f4", "f8", "U2", "c8", "M8[s]"])
    return strategies.dictionaries(
        strategies.sampled_from(keys),
        strategies.tuples(dtypes, shapes).flatmap(lambda kind: numpy.arrays(*kind)),
    )


PYDREAMER = [*pydreamer.KEYS, *pydreamer.IMAGES, "env_id"]


@hypothesis.given(arrays=arrays_of(PYDREAMER), plain=arrays_of(["reward", "terminal"]))
@pytest.mark.filterwarnings("ignore")
def test_any_arrays_are_imported_from_pydreamer_or_refused(tmp_path, arrays, plain):
    root = pathlib.Path(tempfile.mkdtemp(dir=tmp_path))
    intact = {
        "image": np.zeros((4, 10, 10, 1), np.uint8),
        "action": np.eye(6)[[0, 1, 2, 3]],
        "reward": np.zeros(4),
        "terminal": np.zeros(4),
        "reset": np.arange(4) == 0,
    }
    for number, made in enumerate([arrays, intact | plain, intact | arrays]):
        np.savez(root / f"{number}.npz", **made)
        with contextlib.suppress(UserError):
            path = root / f"{number}.npz"
            imports.import_pydreamer(root / "data", path, ["some_task"])
    if (root / "data").exists():
        with contextlib.suppress(store.DatasetError):  # No episode was added.
            assert not verify.verify(root / "data", print).damaged


@hypothesis.given(arrays=arrays_of([*store.REQUIRED, "image", "vector", "log_policy"]))
@pytest.mark.filterwarnings("ignore")
def test_any_arrays_are_imported_or_refused(tmp_path, arrays):
    root = pathlib.Path(tempfile.mkdtemp(dir=tmp_path))
    for number, made in enumerate([arrays, {**fakes.episode(3), **arrays}]):
        path = root / NAME.format(number, 3)
        np.savez(path, **made)
        with contextlib.suppress(UserError):
            imports.import_dreamerv2(root / "data", path, "some_task")
    if (root / "data").exists():
        with contextlib.suppress(store.DatasetError):  # No episode was added.
            assert not verify.verify(root / "data", print).damaged
            assert not packed.open_task(root / "data" / "some_task").damaged

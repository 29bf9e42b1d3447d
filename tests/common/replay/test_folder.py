import numpy as np
import pytest

from dreamerv2_transfer.common.files.atomic import OutputError
from dreamerv2_transfer.common.replay import folder, layout, store
from tests import fakes
from tests.replays import save, save_shard


def steps(episodes):
    return [x.packed.steps for x in episodes]


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        folder.Folder(tmp_path / "file", 0)


def test_leftovers_of_a_killed_writer_are_removed(tmp_path):
    (tmp_path / ".20240101T000000-a-5.npz.77.tmp").touch()
    folder.Folder(tmp_path, 0)
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_named_and_skipped(tmp_path, capsys):
    save(tmp_path, [8, 3, 9])
    damaged = sorted(tmp_path.iterdir())[1]
    damaged.write_bytes(damaged.read_bytes()[:-30])
    (tmp_path / "copy of something.npz").touch()
    opened = folder.Folder(tmp_path, 0)
    assert len(opened.files) == 3
    assert steps(opened.read_newest([*opened.files], 0)) == [8, 9]
    assert opened.damaged == ["copy of something.npz", damaged.name]
    assert [steps for _, steps in opened.files.values()] == [8, 9]
    assert len(opened.written) == 3
    printed = capsys.readouterr().out
    assert str(damaged) in printed
    assert "(2 so far)" in printed
    assert damaged.exists()


def test_lost_episodes_are_named(tmp_path, capsys):
    assert folder.Folder(tmp_path, 0).read("abc") is None
    assert f"Warning: {tmp_path} lacks episode abc. It is" in capsys.readouterr().out


def test_files_beyond_the_capacity_are_not_read(tmp_path):
    save(tmp_path, [8, 8, 8, 8])
    for path in sorted(tmp_path.iterdir())[:2]:
        path.write_bytes(b"damaged")
    opened = folder.Folder(tmp_path, 0)
    newest = opened.read_newest([*opened.files], 20)
    assert [x.packed.episode(0)["reward"][0] for x in newest] == [2000, 3000]
    assert opened.damaged == []


def test_the_newest_episode_is_read_whatever_the_capacity(tmp_path):
    save(tmp_path, [8, 90])
    opened = folder.Folder(tmp_path, 0)
    assert steps(opened.read_newest([*opened.files], 20)) == [90]


def test_a_bar_is_shown_where_files_are_many(tmp_path, capsys, monkeypatch):
    save(tmp_path, [3, 4, 5])
    opened = folder.Folder(tmp_path, 0)
    opened.read_newest([*opened.files], 0)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(folder, "BAR_FROM", 2)
    opened.read_newest([*opened.files], 0)
    assert "3/3" in capsys.readouterr().err


def test_the_clock_does_not_decide_the_order(tmp_path):
    # All in one second; and the first two in an earlier one.
    for name, seconds in (("a", "000"), ("b", "001")):
        written = []
        for number, second in enumerate(seconds):
            episode, identifier = fakes.episode(40, number), f"{9 - number:032}"
            (tmp_path / name).mkdir(exist_ok=True)
            path = store.save_episode(tmp_path / name, episode, identifier)
            path.rename(path.with_name(f"20240101T00000{second}-{identifier}-40.npz"))
            written.append(identifier)
        assert [*folder.Folder(tmp_path / name, 0).files] == written


def test_identifiers_depend_on_seed_number_and_attempt(tmp_path):
    opened, other = folder.Folder(tmp_path, 3), folder.Folder(tmp_path, 4)
    # As commit 00f3381 named the files.
    assert opened.identifier(0) == "0000287be8258a7cd0d3f0a5b99092c0"
    assert opened.identifier(3) == "5c78ee546b30774102f42f1600e82587"
    made = [opened.identifier(0), opened.identifier(0, 1), other.identifier(0)]
    assert len({*made}) == 3


def test_attempts_are_those_that_have_files(tmp_path):
    opened = folder.Folder(tmp_path, 0)
    assert opened.attempts(7) == []
    made = [opened.identifier(7), opened.identifier(7, 1)]
    for identifier in made:
        opened.save(fakes.episode(3), identifier)
    assert opened.attempts(7) == folder.Folder(tmp_path, 0).attempts(7) == made
    assert opened.attempts(8) == []
    assert opened.next_attempt(7) == opened.identifier(7, 2)
    assert opened.next_attempt(8) == opened.identifier(8)


EXPECTED = layout.describe(fakes.episode(3))


def test_keys_that_the_environment_lacks_are_left_out_and_named_once(tmp_path, capsys):
    save(tmp_path, [8])
    ram = {"ram": np.zeros((6, 128), np.uint8)}
    for number in range(2):
        store.save_episode(tmp_path, fakes.episode(5, number) | ram, f"{number}")
    opened = folder.Folder(tmp_path, 0, EXPECTED)
    newest = opened.read_newest([*opened.files], 0)
    assert steps(newest) == [8, 5, 5]
    assert all({*x.packed.fields} == {*EXPECTED} - {"is_first"} for x in newest)
    printed = capsys.readouterr().out
    assert printed.count("ram") == 1 and f"Note: {tmp_path} has" in printed
    folder.check(tmp_path, EXPECTED)


def test_episodes_that_do_not_fit_the_environment_are_skipped(tmp_path, capsys):
    save(tmp_path, [8, 9])
    path = store.save_episode(tmp_path, fakes.episode(5, image_shape=(10, 10, 4)))
    opened = folder.Folder(tmp_path, 0, EXPECTED)
    assert steps(opened.read_newest([*opened.files], 0)) == [8, 9]
    assert opened.damaged == [path.name]
    assert "image is bool (10, 10, 4), and bool (10, 10, 10) in the environment" in (
        capsys.readouterr().out
    )
    folder.check(tmp_path, EXPECTED)


def test_a_folder_of_another_environment_is_named_before_play(tmp_path):
    folder.check(tmp_path / "missing", EXPECTED)
    folder.check(tmp_path, EXPECTED)
    (tmp_path / "20240101T000000-a-5.npz").write_bytes(b"damaged")
    folder.check(tmp_path, EXPECTED)
    more = EXPECTED | {"vector": {"shape": [3], "dtype": "float32"}}
    path = store.save_episode(tmp_path, fakes.episode(5))
    with pytest.raises(store.DatasetError) as error:
        folder.check(tmp_path, more)
    assert str(error.value) == (
        f"{path} does not fit the environment: vector is missing, and float32 (3,) in "
        "the environment. Name another --logdir, or the settings with which these "
        "episodes were played."
    )


def test_log_keys_are_saved_but_not_read(tmp_path):
    opened = folder.Folder(tmp_path, 0)
    path = opened.save({**fakes.episode(5), "log_score": np.arange(6)}, "abc")
    assert "log_score" not in opened.read("abc").packed.fields
    with np.load(path) as file:
        assert file["log_score"].tolist() == [0, 1, 2, 3, 4, 5]


def test_episodes_of_a_shard_are_read_one_by_one(tmp_path, capsys):
    save(tmp_path, [8])
    broken = fakes.episode(4, 9) | {"reward": np.full(5, np.nan, np.float32)}
    path = save_shard(tmp_path, [fakes.episode(3), broken, fakes.episode(5)], "abc")
    lost = save_shard(tmp_path, [fakes.episode(3), fakes.episode(5)], "def")
    lost.write_bytes(lost.read_bytes()[:-30])
    opened = folder.Folder(tmp_path, 0)
    assert [steps for _, steps in opened.files.values()] == [8, 3, 4, 5]
    assert {"abcn0", "abcn1", "abcn2", "defn0"} < opened.written
    assert steps(opened.read_newest([*opened.files], 0)) == [8, 3, 5]
    assert opened.damaged == [lost.name, path.name]
    assert f"{path}, episode 1 is damaged" in capsys.readouterr().out
    folder.check(
        tmp_path, layout.describe(store.load_episode(next(tmp_path.glob("*-8.npz"))))
    )

import contextlib
import errno
import os
import pathlib
import re
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import checkpoint
from dreamerv2_transfer.common.files import atomic, checkpoints
from tests import names


class Run:
    """A run whose state is a variable and a number."""

    def __init__(self, directory, keep=2):
        self.weight = tf.Variable([0.0, 0.0])
        self.large = tf.Variable(tf.zeros(1000))
        self.count = 0
        self.checkpoint = checkpoint.Checkpoint(
            directory,
            {"weight": self.weight, "large": self.large},
            {"run": self},
            keep,
        )

    def state(self):
        return {"count": self.count, "precise": 0.1 + 0.2}

    def load_state(self, state):
        assert state["precise"] == 0.1 + 0.2
        self.count = state["count"]

    def save(self, step):
        self.weight.assign([step, -step])
        self.count = 10 * step
        self.checkpoint.save(step)


def steps(directory) -> list[int]:
    names = (re.fullmatch(r"ckpt-(\d+)\.index", p.name) for p in directory.iterdir())
    return sorted(int(name[1]) for name in names if name)


def test_nothing_to_restore(tmp_path):
    run = Run(tmp_path / "none")
    assert run.checkpoint.restore() is None


def test_restores_variables_and_python_state(tmp_path):
    Run(tmp_path).save(7)
    run = Run(tmp_path)
    assert run.checkpoint.restore() == 7
    np.testing.assert_array_equal(run.weight, [7, -7])
    assert run.count == 70


@pytest.mark.parametrize("name", [*names.ODD, os.fsdecode(b"latin-\xfc")])
def test_any_name_of_a_folder_works(tmp_path, name):
    directory = tmp_path / name / "checkpoints"
    run = Run(directory, keep=1)
    for step in (3, 4):
        run.save(step)
    assert steps(directory) == [4]
    run = Run(directory)
    assert run.checkpoint.restore() == 4
    np.testing.assert_array_equal(run.weight, [4, -4])
    assert run.count == 40
    run.save(5)
    assert Run(directory).checkpoint.restore() == 5
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_relative_path_with_brackets_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Run(pathlib.Path("[a]")).save(1)
    assert Run(pathlib.Path("[a]")).checkpoint.restore() == 1


class Recording:
    """Records in which order the states are restored."""

    def __init__(self, name, order):
        self.name, self.order = name, order

    def state(self):
        return self.name

    def load_state(self, state):
        assert state == self.name
        self.order.append(state)


def test_states_are_restored_in_the_given_order(tmp_path):
    order = []
    parts = {name: Recording(name, order) for name in ("replay", "driver", "averages")}
    made = checkpoint.Checkpoint(tmp_path, {}, parts)
    made.save(1)
    assert made.restore() == 1
    assert order == ["replay", "driver", "averages"]


def test_checkpoints_are_listed_newest_first(tmp_path):
    assert checkpoints.steps(tmp_path / "none") == []
    run = Run(tmp_path)
    for step in (2, 10):
        run.save(step)
    assert checkpoints.steps(tmp_path) == [10, 2]
    for name in ("ckpt-x.index", "ckpt-11.data-00000-of-00001", "ckpt-12.index.old"):
        (tmp_path / name).touch()
    assert checkpoints.steps(tmp_path) == [10, 2]


def test_keeps_the_last_few(tmp_path):
    run = Run(tmp_path, keep=2)
    for step in (9, 10, 11):
        run.save(step)
    assert steps(tmp_path) == [10, 11]
    assert Run(tmp_path).checkpoint.restore() == 11


def test_what_the_folder_holds_is_kept_whatever_the_state_file_says(tmp_path):
    run = Run(tmp_path, keep=3)
    run.save(0)
    told = (tmp_path / "checkpoint").read_bytes()
    run.save(2)
    # As after a kill before the state file was written.
    (tmp_path / "checkpoint").write_bytes(told)
    Run(tmp_path, keep=3).save(4)
    assert steps(tmp_path) == [0, 2, 4]
    latest = tf.train.latest_checkpoint(str(tmp_path))
    assert latest == str(tmp_path / "ckpt-4")
    for step in (4, 2, 0):
        assert Run(tmp_path).checkpoint.restore() == step
        (tmp_path / f"ckpt-{step}.index").unlink()


def test_a_finished_run_that_was_killed_names_its_last_checkpoint(tmp_path):
    """Nothing is saved after it any more, so resuming has to write the state file."""
    run = Run(tmp_path)
    for step in (1, 2):
        run.save(step)
    before = (tmp_path / "checkpoint").read_bytes()
    run.save(3)
    (tmp_path / "checkpoint").write_bytes(before)
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "ckpt-2")
    assert Run(tmp_path).checkpoint.restore() == 3
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "ckpt-3")


def test_no_file_but_a_checkpoint_of_this_folder_is_removed(tmp_path):
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    Run(theirs).save(1)
    Run(ours, keep=1).save(2)
    entries = [str(theirs / "ckpt-1"), "../theirs/ckpt-1", "notes", "ckpt-2"]
    listed = [f'all_model_checkpoint_paths: "{entry}"\n' for entry in entries]
    newest = 'model_checkpoint_path: "ckpt-2"\n'
    (ours / "checkpoint").write_text(newest + "".join(listed))
    others = ["notes.index", "notes.data-00000-of-00001", "ckpt-2.txt", "ckpt-x.index"]
    others += [".ckpt-x.tmp", "ckpt-3.index.bak"]
    for name in others:
        (ours / name).write_text("mine")
    Run(ours, keep=1).save(4)
    assert steps(ours) == [4]
    assert Run(theirs).checkpoint.restore() == 1
    assert [(ours / name).read_text() for name in others] == ["mine"] * 6


def test_later_checkpoints_that_were_passed_over_make_room(tmp_path):
    Run(tmp_path, keep=1).save(3)
    (tmp_path / "ckpt-9.index").write_bytes(b"garbage")
    run = Run(tmp_path, keep=1)
    assert run.checkpoint.restore() == 3
    run.save(4)
    assert steps(tmp_path) == [4]


def disk_full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_index(self, target):
    """Moves a file, but no index."""
    return disk_full() if self.suffix == ".index" else os.replace(self, target)


@contextlib.contextmanager
def limited(size):
    """Keeps this process from writing files of more bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


FULL = {
    "its folder": lambda: mock.patch.object(pathlib.Path, "mkdir", disk_full),
    "the data": lambda: limited(1000),
    "the disk": lambda: mock.patch.object(atomic, "sync", disk_full),
    "the name of the data": lambda: mock.patch.object(
        pathlib.Path, "replace", disk_full
    ),
    "the name of the index": lambda: mock.patch.object(
        pathlib.Path, "replace", no_index
    ),
}


@pytest.mark.parametrize("earlier", [[], [1, 2]], ids=["first", "later"])
@pytest.mark.parametrize("moment", FULL)
def test_a_full_disk_leaves_the_earlier_checkpoints_and_no_other(
    tmp_path, moment, earlier
):
    run = Run(tmp_path)
    for step in earlier:
        run.save(step)
    before = sorted(path.name for path in tmp_path.iterdir())
    with FULL[moment](), pytest.raises(checkpoint.CheckpointError, match="free some"):
        run.save(3)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    run = Run(tmp_path)
    assert run.checkpoint.restore() == (earlier[-1] if earlier else None)
    run.save(3)
    assert Run(tmp_path).checkpoint.restore() == 3


def test_parts_of_a_save_that_was_killed_are_removed(tmp_path):
    Run(tmp_path).save(1)
    for name in (".ckpt-2.tmp/ckpt-2_temp", "ckpt-3_temp"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "part").touch()
    names = (".ckpt-2.tmp/ckpt-2.index", "ckpt-2.data-00000-of-00001")
    for name in (*names, "ckpt-1.index.tempstate123"):
        (tmp_path / name).touch()
    assert Run(tmp_path).checkpoint.restore() == 1
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["checkpoint", "ckpt-1.data-00000-of-00001", "ckpt-1.index"]
    (tmp_path / "ckpt-3_temp").mkdir()
    Run(tmp_path).save(4)
    kept = [
        f"ckpt-{x}.{part}" for x in (1, 4) for part in ("data-00000-of-00001", "index")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", *kept]


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_a_kill_while_a_step_is_saved_again_leaves_it_whole(tmp_path, moves):
    run, move, left = Run(tmp_path, keep=1), pathlib.Path.replace, moves
    run.save(3)
    run.weight.assign([8, 9])
    run.count = 31  # More digits: the earlier index would not fit the data.

    def killed(self, target):
        nonlocal left
        if not left:
            raise KeyboardInterrupt  # Like a kill, it is not handled.
        left -= 1
        return move(self, target)

    with (
        mock.patch.object(pathlib.Path, "replace", killed),
        mock.patch.object(atomic, "sync_names", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        run.checkpoint.save(3)
    resumed = Run(tmp_path)
    assert resumed.checkpoint.restore() == 3
    weight, count = ([3, -3], 30) if moves == 0 else ([8, 9], 31)
    np.testing.assert_array_equal(resumed.weight, weight)
    assert resumed.count == count
    left_over = {path.name for path in tmp_path.iterdir()}
    assert left_over == {"checkpoint", "ckpt-3.data-00000-of-00001", "ckpt-3.index"}


def test_all_parts_are_on_the_disk_before_they_get_their_names(tmp_path, monkeypatch):
    done = []
    for name in ("sync", "sync_names"):
        act = getattr(atomic, name)

        def recorded(path, name=name, act=act):
            done.append((name, path.relative_to(tmp_path).as_posix()))
            act(path)

        monkeypatch.setattr(atomic, name, recorded)
    Run(tmp_path).save(1)
    data, index = "ckpt-1.data-00000-of-00001", "ckpt-1.index"
    synced = [("sync", f".ckpt-1.tmp/{part}") for part in (data, index)]
    assert done == [*synced, ("sync_names", ".")]


def test_what_checkpoint_manager_wrote_is_resumed_and_the_other_way_round(tmp_path):
    earlier = Run(tmp_path)
    variables = {"weight": earlier.weight, "large": earlier.large}
    python = checkpoint._PythonState({"run": earlier})
    whole = tf.train.Checkpoint(variables=variables, python=python)
    manager = tf.train.CheckpointManager(whole, str(tmp_path), 2)
    for step in (5, 6):
        earlier.weight.assign([step, -step])
        manager.save(checkpoint_number=step)
    run = Run(tmp_path)
    assert run.checkpoint.restore() == 6
    run.save(7)
    assert steps(tmp_path) == [6, 7]
    manager = tf.train.CheckpointManager(whole, str(tmp_path), 2)
    assert manager.checkpoints == [str(tmp_path / f"ckpt-{x}") for x in (6, 7)]
    whole.restore(manager.latest_checkpoint).assert_consumed()
    np.testing.assert_array_equal(earlier.weight, [7, -7])


def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path, capsys):
    run = Run(tmp_path)
    run.save(1)
    run.save(2)
    data = tmp_path / "ckpt-2.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-5])
    run = Run(tmp_path)
    assert run.checkpoint.restore() == 1
    np.testing.assert_array_equal(run.weight, [1, -1])
    assert run.count == 10
    assert "ckpt-2" in capsys.readouterr().out


def test_a_checkpoint_that_is_not_a_number_is_named_and_passed_over(tmp_path, capsys):
    run = Run(tmp_path)
    run.save(1)
    run.weight.assign([2.0, np.nan])
    run.count = 20
    run.checkpoint.save(2)
    again = Run(tmp_path)
    assert again.checkpoint.restore() == 1
    assert again.weight.numpy().tolist() == [1, -1] and again.count == 10
    assert "ckpt-2: weight is not a number." in capsys.readouterr().out


def test_a_missing_data_file_is_passed_over(tmp_path):
    run = Run(tmp_path)
    run.save(1)
    run.save(2)
    (tmp_path / "ckpt-2.data-00000-of-00001").unlink()
    assert Run(tmp_path).checkpoint.restore() == 1


def test_a_damaged_state_file_does_not_hide_checkpoints(tmp_path):
    Run(tmp_path).save(3)
    (tmp_path / "checkpoint").write_bytes(b"\x00garbage")
    assert Run(tmp_path).checkpoint.restore() == 3


def test_unreadable_checkpoints_are_an_error_not_a_fresh_start(tmp_path):
    Run(tmp_path).save(3)
    for path in tmp_path.glob("ckpt-3.*"):
        path.write_bytes(b"garbage")
    with pytest.raises(checkpoint.CheckpointError, match="ckpt-3"):
        Run(tmp_path).checkpoint.restore()


def test_a_checkpoint_of_other_variables_is_an_error(tmp_path):
    Run(tmp_path).save(3)
    wider = checkpoint.Checkpoint(tmp_path, {"other": tf.Variable(1.0)}, {})
    with pytest.raises(checkpoint.CheckpointError, match="ckpt-3"):
        wider.restore()


def test_a_folder_that_cannot_be_written(tmp_path):
    run = Run(tmp_path / "run")
    (tmp_path / "run").rmdir() if (tmp_path / "run").exists() else None
    (tmp_path / "run").write_text("a file in the way")
    with pytest.raises(checkpoint.CheckpointError, match="Cannot write a checkpoint"):
        run.save(1)


def test_names_are_unique():
    layer = keras.layers.Dense(3, name="encoder")
    layer.build((None, 2))
    named = checkpoint.named_variables("model", layer.variables)
    assert sorted(named) == ["model/encoder/bias", "model/encoder/kernel"]
    with pytest.raises(ValueError, match="share a path"):
        checkpoint.named_variables("model", layer.variables + layer.variables)


def test_the_first_line_of_an_error_names_it():
    assert checkpoint.first_line(OSError("no space\nat all")) == "no space"
    assert checkpoint.first_line(KeyboardInterrupt()) == "KeyboardInterrupt"

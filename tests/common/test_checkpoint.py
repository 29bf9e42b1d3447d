import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import checkpoint


class Run:
    """A run whose state is a variable and a number."""

    def __init__(self, directory, keep=2):
        self.weight = tf.Variable([0.0, 0.0])
        self.count = 0
        self.checkpoint = checkpoint.Checkpoint(
            directory, {"weight": self.weight}, {"run": self}, keep
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
    names = (p.name for p in directory.glob("ckpt-*.index"))
    return sorted(int(re.search(r"\d+", name)[0]) for name in names)


def test_nothing_to_restore(tmp_path):
    run = Run(tmp_path / "none")
    assert run.checkpoint.restore() is None


def test_restores_variables_and_python_state(tmp_path):
    Run(tmp_path).save(7)
    run = Run(tmp_path)
    assert run.checkpoint.restore() == 7
    np.testing.assert_array_equal(run.weight, [7, -7])
    assert run.count == 70


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


def test_written_checkpoints_are_listed_newest_first(tmp_path):
    assert checkpoint.written(tmp_path / "none") == []
    run = Run(tmp_path)
    for step in (2, 10):
        run.save(step)
    listed = [(10, str(tmp_path / "ckpt-10")), (2, str(tmp_path / "ckpt-2"))]
    assert checkpoint.written(tmp_path) == listed


def test_keeps_the_last_few(tmp_path):
    run = Run(tmp_path, keep=2)
    for step in (9, 10, 11):
        run.save(step)
    assert steps(tmp_path) == [10, 11]
    assert Run(tmp_path).checkpoint.restore() == 11


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


def test_leftovers_of_a_kill_are_removed(tmp_path):
    (tmp_path / "ckpt-5_temp").mkdir(parents=True)
    (tmp_path / "ckpt-5_temp" / "part").write_bytes(b"x")
    Run(tmp_path).save(6)
    assert not (tmp_path / "ckpt-5_temp").exists()


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

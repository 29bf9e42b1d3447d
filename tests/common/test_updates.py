import time

import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import progress, updates
from dreamerv2_transfer.common.config import Config

SETTINGS = {
    "strategy": "none",
    "jit": True,
    "log_every": 0,
    "eval_every": 0,
    "checkpoint_every": 0,
}


class Sums:
    """Adds batches to a state and to a variable, and remembers what it is told."""

    def __init__(self, folder, jit=True):
        self.total = tf.Variable(0.0)
        self.traced = 0
        self.told = []
        config = Config({**SETTINGS, "jit": jit})
        self.updates = updates.Updates(
            self.update, config, folder, lambda batch: "a game", self.tell
        )

    def update(self, batch, state):
        self.traced += 1
        total = self.total.assign_add(tf.reduce_sum(batch["x"]))
        metrics = {"sum_loss": total, "by_row": tf.cast(batch["x"], tf.bfloat16)}
        return {"x": state["x"] + batch["x"]}, metrics

    def tell(self, metrics, batch):
        self.told.append({k: v.tolist() for k, v in metrics.items()})

    def run(self, *numbers, step=0):
        batches = [{"x": np.array([n, 1], np.float32)} for n in numbers]
        state = self.updates.run(batches, {"x": tf.zeros(2)}, step)
        return state["x"].numpy().tolist()


def test_metrics_are_told_when_they_are_read(tmp_path):
    sums = Sums(tmp_path)
    assert sums.run(1) == [1, 1] and sums.run(2) == [2, 1]
    assert sums.told == []
    sums.updates.read()
    assert sums.told == [
        {"by_row": [1, 1], "sum_loss": 2},
        {"by_row": [2, 1], "sum_loss": 5},
    ]
    assert list(sums.told[0]) == ["by_row", "sum_loss"]
    sums.updates.read()
    assert len(sums.told) == 2


@pytest.mark.parametrize(("jit", "times"), [(True, 1), (False, 0)])
def test_only_the_first_update_of_a_graph_is_explained(
    tmp_path, monkeypatch, capsys, jit, times
):
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    sums = Sums(tmp_path, jit)
    update = sums.update

    def slow(batch, state):
        time.sleep(0.2)
        return update(batch, state)

    sums.updates._update = slow
    for _ in range(3):
        sums.run(1)
    said = capsys.readouterr().err.splitlines()
    assert said == ["Compiling the first update ..."] * times


def test_metrics_are_read_before_too_many_batches_are_kept(tmp_path):
    sums = Sums(tmp_path)
    for _ in range(updates.READ_EVERY - 1):
        sums.run(1)
    assert sums.told == []
    sums.run(1)
    assert [x["sum_loss"] for x in sums.told] == [2.0 * n for n in range(1, 17)]


@pytest.mark.parametrize("xla", [None, True])
def test_several_updates_are_made_in_turn_by_a_loop(tmp_path, monkeypatch, xla):

    def compiled(fn, config):
        return tf.function(fn, jit_compile=xla, autograph=False)

    monkeypatch.setattr(updates.tfutils, "compiled", compiled)
    sums = Sums(tmp_path)
    assert sums.run(1, 2, 3, 4, 5) == [15, 5]
    assert sums.traced == 1  # An unrolled loop would trace it five times.
    sums.updates.read()
    assert [x["sum_loss"] for x in sums.told] == [2, 5, 9, 14, 20]
    assert [x["by_row"] for x in sums.told] == [[n, 1] for n in range(1, 6)]


def test_without_graphs_it_is_the_same(tmp_path):
    sums = Sums(tmp_path, jit=False)
    assert sums.run(1, 2) == [3, 2] and sums.run(4) == [4, 1]
    sums.updates.read()
    assert [x["sum_loss"] for x in sums.told] == [2, 5, 10]


def test_each_graph_is_traced_once(tmp_path):
    sums = Sums(tmp_path)
    for n in range(4):
        sums.run(n)
        sums.run(n, n + 1)
    assert sums.traced == 2


def test_a_loss_that_is_not_finite_is_told_of_its_own_update(tmp_path):
    sums = Sums(tmp_path)
    sums.run(1, step=6)
    sums.run(2, np.inf, 3, step=7)
    named = r"update 9: sum_loss.*\(a game\)"
    with pytest.raises(updates.TrainingError, match=named):
        sums.updates.read()
    assert [x["sum_loss"] for x in sums.told] == [2, 5]
    with np.load(tmp_path / "bad_batch_8.npz") as batch:
        assert batch["x"].tolist() == [np.inf, 1]
    # Whoever saves after that must hear of it again.
    with pytest.raises(updates.TrainingError, match=named):
        sums.updates.read()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_told_though_its_loss_is(tmp_path, value):
    metrics = {"model_loss": 2.0, "model_grad_norm": value}
    with pytest.raises(updates.TrainingError, match="update 8: model_grad_norm"):
        updates.check_finite(metrics, {"x": np.zeros(2)}, tmp_path, 7, "a game")
    assert (tmp_path / "bad_batch_7.npz").exists()


def test_a_scaled_gradient_may_overflow_since_its_update_is_skipped(tmp_path):
    metrics = {"model_loss": 2.0, "model_grad_norm": np.inf, "model_loss_scale": 8.0}
    metrics |= {"actor_loss": 1.0, "actor_grad_norm": 3.0}
    updates.check_finite(metrics, {"x": np.zeros(2)}, tmp_path, 7, "a game")
    with pytest.raises(updates.TrainingError, match="update 8: actor_grad_norm. "):
        bad = {**metrics, "actor_grad_norm": np.nan}
        updates.check_finite(bad, {"x": np.zeros(2)}, tmp_path, 7, "a game")


def test_the_first_weight_that_is_not_finite_is_named():
    fine = {
        "a": tf.Variable([1.0, 2.0]),
        "b": tf.Variable([1, 2]),
        "c": tf.Variable(""),
    }
    updates.check_weights(fine, "update 7")
    bad = {**fine, "model/w": tf.Variable([1.0, np.inf])}
    bad["opt/w"] = tf.Variable([np.nan], dtype=tf.bfloat16)
    named = "after update 7: model/w and 1 more. They are not saved; the last"
    with pytest.raises(updates.TrainingError, match=named):
        updates.check_weights(bad, "update 7")


@pytest.mark.parametrize(
    ("step", "ends", "expected"),
    [
        (0, [1000], 4),
        (96, [1000], 4),
        (97, [1000], 1),  # The log is written after 100.
        (298, [1000], 1),  # As are evaluations after 300.
        (50, [53, 1000], 1),
        (50, [54, 1000], 4),
        (50, [50, 49, 1e8], 4),  # These ends are over.
    ],
)
def test_a_call_ends_where_something_is_due(step, ends, expected):
    every = {"log_every": 1e2, "eval_every": 300, "checkpoint_every": 0}
    config = Config({**every, "steps_per_call": 4})
    assert updates.in_next_call(config, step, *ends) == expected
    assert updates.in_next_call(config.update(steps_per_call=1), step, *ends) == 1

"""Errors of predictions, on images whose errors are known."""

import numpy as np

from dreamerv2_transfer.analysis import dream_errors
from dreamerv2_transfer.analysis.sequences import Sequences


def test_the_error_counts_wrong_cells():
    true = np.zeros((1, 2, 3, 3, 2), np.float32)
    true[0, 1, 0, 0, 0] = 1
    wrong = np.zeros_like(true)
    wrong[0, 1, 2, 2, 1] = 1
    assert dream_errors.error(true, wrong).tolist() == [[0, 2]]
    assert dream_errors.error(true, np.full_like(true, 0.5)).tolist() == [[4.5, 4.5]]


def test_a_wrong_category_is_one_wrong_cell():
    true, wrong = np.eye(11)[np.zeros((2, 1, 2, 3, 3), int)]
    wrong[0, 1, 0, 0] = np.eye(11)[4]  # Invented,
    true[0, 1, 2, 1] = np.eye(11)[2]  # missed,
    true[0, 1, 1, 1], wrong[0, 1, 1, 1] = np.eye(11)[[2, 4]]  # and of another kind.
    assert dream_errors.error(true, wrong).tolist() == [[0, 3]]
    assert dream_errors.error(true[0, 1], wrong[0, 1]) == 3


def test_baselines_are_the_last_frame_seen_and_the_mean():
    true = np.arange(12, dtype=np.float32).reshape(2, 6, 1, 1, 1)
    made = dream_errors.baselines(true, context=3)
    assert made["last frame repeated"].ravel().tolist() == [2, 8]
    assert made["mean of all frames"].ravel().tolist() == [5.5]


def test_a_curve_draws_episodes_not_sequences():
    errors = np.repeat([[0.0], [10.0]], 50, 0)  # Two episodes of 50 sequences.
    found = dream_errors.curve(errors, np.repeat([0, 1], 50), np.random.default_rng(0))
    assert found["mean"] == [5.0]
    assert found["low"] == [0.0] and found["high"] == [10.0]
    alone = dream_errors.curve(errors, np.arange(100), np.random.default_rng(0))
    assert 3.5 < alone["low"][0] < 4.5 and 5.5 < alone["high"][0] < 6.5


def test_the_steps_at_which_the_model_is_better_count_from_one():
    assert dream_errors.better({"mean": [1, 5, 2]}, {"mean": [2, 4, 3]}) == [1, 3]


def test_the_unit_is_cells_for_planes_alone():
    assert dream_errors.unit("minatar_breakout") == "wrong cells an image"
    assert dream_errors.unit("atari_pong") == "summed over an image"


def test_predictions_are_compared_after_the_context():
    pieces = Sequences(np.arange(8).reshape(2, 4), np.array([0, 3]), context=1)
    true = np.zeros((2, 4, 1, 1, 1))
    steps = np.array([9.0, 1.0, 2.0, 3.0]).reshape(1, 4, 1, 1, 1)
    predicted = {"model": steps.repeat(2, 0), "other": np.full_like(steps, 2)}
    rng = np.random.default_rng(0)
    found = dream_errors.compare(true, predicted, pieces, rng)
    assert found["error"]["model"]["mean"] == [1, 4, 9]
    assert found["better"] == {"other": [1]}
    assert found["error"]["other"]["low"] == [4, 4, 4]
    counts = {key: found[key] for key in ("context", "horizon", "sequences")}
    assert counts == {"context": 1, "horizon": 3, "sequences": 2}
    assert found["episodes"] == 2

import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.validation import diagnosis
from tests import replays

AHEAD = 3
CONFIG = blocks.load_config(["minatar", "debug", "pretrain"]).update(
    {"tasks": ["game"], "eval_dream": AHEAD, "eval_batches": 2, "dataset.batch": 4}
)


class Known(diagnosis.Diagnosis):
    """A diagnosis of given predictions.

    Attributes:
        guess: Maps the true rewards to the predicted ones.
    """

    guess = staticmethod(np.array)

    def predict_both(self, batch):
        true = {"reward": batch["reward"], "discount": 1 - batch["is_terminal"].numpy()}
        rows = {}
        for head, values in true.items():
            values = np.array(values)[:, AHEAD:]
            event = values != 0 if head == "reward" else values == 0
            guess = self.guess(values) if head == "reward" else values
            rows[head] = tf.constant(np.stack([event, values, guess, guess]))
        return rows


def make(rewards, lengths=(12,) * 20, rng=None, kind=Known, **changes):
    """Returns a diagnosis on every second episode, its dataset and its model.

    Args:
        rewards: Maps the steps' numbers, see `fakes.episode`, to rewards.
        lengths: Of the episodes.
        rng: The model's source of noise.
        kind: The class of the diagnosis.
        changes: Of the configuration.
    """
    config = CONFIG.update(changes)
    packed = replays.pack(lengths)
    packed.arrays["reward"][:] = rewards(packed.arrays["reward"])
    dataset = replays.dataset({"game": packed}, batch=4, length=10, holdout=2)
    wm = agent_lib.WorldModel(config, dataset.obs_space, dataset.act_space, rng)
    return kind(wm, config, dataset), dataset, wm


def sometimes(number):
    return np.where(number % 5 == 0, 0.5, 0.0)


def test_figures_of_predictions():
    figures = diagnosis.measure(
        events=np.array([0, 0, 1, 1]),
        true=np.array([0, 0, 0.5, 1.0]),
        posterior=np.array([0.1, 0.4, 0.35, 0.8]),
        dreamed=np.full(4, 0.2),
        weight=np.array([3.0, 3.0, 1.0, 1.0]),
    )
    assert figures == {
        "events": 2,
        "true": pytest.approx(1.5 / 8),
        "pred": pytest.approx((0.3 + 1.2 + 0.35 + 0.8) / 8),
        "auc": 0.75,
        "calibration_error": pytest.approx((0.3 + 1.2 + 0.15 + 0.2) / 8),
        "pred_dreamed": pytest.approx(0.2),
        "auc_dreamed": 0.5,
        "calibration_error_dreamed": pytest.approx(abs(1.5 - 0.2 * 8) / 8),
    }


@pytest.mark.parametrize(
    ("true", "predicted"),
    [
        ([1.0, 0.0, 2.0, 0.0], [0.3, 0.1, 0.2, -0.4]),
        ([-1.0, 0.0, -2.0, 0.0], [-0.3, 0.1, -0.2, 0.4]),  # Punishments alone.
        ([1.0, 0.0, -1.0, 0.0], [0.3, 0.1, -0.2, -0.1]),  # Rewards and punishments.
        ([0.0, 0.99, 0.0, 0.99], [0.5, 0.9, 0.8, 0.9]),  # Ends of episodes.
    ],
)
def test_events_may_lie_above_or_below_the_rest_or_on_both_sides(true, predicted):
    events, ones = np.array([1, 0, 1, 0]), np.ones(4)
    true, predicted = np.array(true), np.array(predicted)
    figures = diagnosis.measure(events, true, predicted, -predicted, ones)
    assert figures["auc"] == 1.0
    both = {-1.0, 1.0} <= set(true)
    assert figures["auc_dreamed"] == (1.0 if both else 0.0)


def test_both_predictions_are_those_of_the_same_steps():
    one, dataset, wm = make(sometimes, kind=diagnosis.Diagnosis)
    (batch, *_) = dataset.eval_windows("game", 8, 10, AHEAD)
    del batch["weight"]
    batch = {k: tf.constant(v) for k, v in batch.items()}
    reward, discount = (
        one.predict_both(batch)[k].numpy() for k in ("reward", "discount")
    )
    assert reward.shape == discount.shape == (4, 4, 7)
    data = wm.preprocess(batch)
    np.testing.assert_array_equal(reward[1], data["reward"][:, AHEAD:])
    np.testing.assert_array_equal(reward[0], batch["reward"][:, AHEAD:] != 0)
    np.testing.assert_array_equal(discount[0], batch["is_terminal"][:, AHEAD:])
    np.testing.assert_array_equal(discount[1], data["discount"][:, AHEAD:])
    _, _, outputs, _ = wm.loss(batch)
    observed = wm.heads["reward"](outputs["feat"]).mode()
    np.testing.assert_allclose(reward[2], observed[:, AHEAD:], rtol=1e-5)
    # The model sees steps 0 to 2 and dreams steps 3 to 5, with their actions.
    start = {k: v[:, 2] for k, v in outputs["post"].items()}
    prior = wm.rssm.imagine(data["action"][:, 3:6], start)
    feat = wm.rssm.get_feat({k: v[:, -1] for k, v in prior.items()})
    dreamed = wm.heads["reward"](feat).mode(), wm.heads["discount"](feat).mean()
    np.testing.assert_allclose(reward[3, :, 2], dreamed[0], rtol=1e-5)
    np.testing.assert_allclose(discount[3, :, 2], dreamed[1], rtol=1e-5)


def test_all_held_out_steps_with_enough_context_are_measured():
    one, dataset, _ = make(sometimes, [7, 12] * 10, eval_batches=20)
    metrics = one.metrics("game")
    steps = dataset.held_out("game")
    held = [dataset._packed[0].episode(i)["reward"] for i in range(0, 20, 2)]
    rewards = np.concatenate([x[AHEAD:] for x in held])
    assert steps == len(held) == 10
    assert metrics["reward_events"] == np.sum(rewards > 0)
    assert metrics["reward_true"] == pytest.approx(rewards.mean(), rel=1e-5)
    assert metrics["discount_events"] == 10
    ends = 10 / len(rewards)
    assert metrics["discount_true"] == pytest.approx(1 - ends, rel=1e-5)
    assert metrics["reward_auc"] == metrics["discount_auc_dreamed"] == 1.0


def test_a_part_of_the_windows_stands_for_all():
    # One reward in 1,300 held-out steps; and 8 of 130 windows.
    one, dataset, _ = make(lambda x: (x == x.min() + 8).astype(float), [12] * 200)
    rare = one.metrics("game")
    drawn = list(dataset.eval_windows("game", 8, 10, AHEAD))
    assert len(drawn) == 2
    weights = np.concatenate([x["weight"] for x in drawn])
    # Counted steps: 10 of each of 100 episodes.
    assert weights.sum() == pytest.approx(1000, rel=0.2)
    assert rare["reward_events"] in (0, 1)


def test_evaluation_is_the_same_twice_and_draws_no_noise_of_training():
    rng = tf.random.Generator.from_seed(7)
    one, _, _ = make(sometimes, rng=rng, kind=diagnosis.Diagnosis, eval_batches=1)
    before = rng.state.numpy()
    first = one.metrics("game")
    assert first["reward_auc"] != first["reward_auc_dreamed"]
    assert one.metrics("game") == first
    np.testing.assert_array_equal(rng.state, before)


@pytest.mark.parametrize(
    ("rewards", "line", "is_missing"),
    [
        (np.zeros_like, "no held-out steps with a reward, so there is no", True),
        (np.ones_like, "only held-out steps with a reward, so there is no", True),
        (sometimes, "only 17 held-out steps with a reward, so the reward", False),
    ],
)
def test_what_is_missing_or_rests_on_little_is_said_once(
    capsys, rewards, line, is_missing
):
    one, _, _ = make(rewards, eval_batches=4)
    metrics = one.metrics("game")
    assert one.metrics("game") == metrics
    (printed,) = capsys.readouterr().out.splitlines()
    assert printed.startswith(f"game: {line}")
    assert ("reward_auc" not in metrics) == is_missing
    assert np.isfinite(list(metrics.values())).all()


def test_predictions_that_are_not_numbers_are_named_and_left_out(capsys):
    one, _, _ = make(sometimes, [12] * 80, eval_batches=20)
    one.guess = lambda true: true * np.nan
    metrics = one.metrics("game")
    out = capsys.readouterr().out
    assert "reward predictions that are not numbers, so there is no reward AUC" in out
    assert metrics["reward_events"] > 30 and np.isfinite(list(metrics.values())).all()
    assert metrics["discount_auc"] == 1.0
    assert not {"reward_auc", "reward_pred", "reward_calibration_error"} & set(metrics)


def test_constant_predictions_have_an_auc_of_one_half():
    one, _, _ = make(sometimes)
    one.guess = np.zeros_like
    metrics = one.metrics("game")
    assert metrics["reward_auc"] == metrics["reward_auc_dreamed"] == 0.5
    assert metrics["reward_calibration_error"] == pytest.approx(metrics["reward_true"])


def test_episodes_that_are_too_short_leave_nothing_to_measure(capsys):
    one, _, _ = make(sometimes, [2] * 10)
    assert one.metrics("game") == {"reward_events": 0, "discount_events": 0}
    assert "no held-out steps with a reward" in capsys.readouterr().out


def test_a_terminal_head_is_judged_by_the_discount_it_amounts_to():
    heads = {"pred_discount": False, "pred_terminal": True}
    heads["grad_heads"] = ["decoder", "reward", "terminal"]
    one, dataset, _ = make(sometimes, kind=diagnosis.Diagnosis, **heads)
    batch = next(iter(dataset.eval_windows("game", 8, 10, AHEAD)))
    del batch["weight"]
    batch = {k: tf.constant(v) for k, v in batch.items()}
    judged = one.predict_both(batch)["discount"].numpy()
    np.testing.assert_array_equal(judged[0], batch["is_terminal"][:, AHEAD:])
    assert (judged[2:] < 0.99).all() and (judged[2:] > 0).all()


def test_a_model_without_a_discount_head_is_judged_by_its_rewards():
    heads = {"pred_discount": False, "grad_heads": ["decoder", "reward"]}
    one, _, _ = make(sometimes, kind=diagnosis.Diagnosis, eval_batches=1, **heads)
    metrics = one.metrics("game")
    assert "reward_auc" in metrics
    assert not [name for name in metrics if name.startswith("discount")]

"""Tells whether a world model predicts rewards and the ends of episodes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from dreamerv2_transfer.agent import WorldModel
from dreamerv2_transfer.common import evaluation, progress, tfutils, updates
from dreamerv2_transfer.common.replay import offline
from dreamerv2_transfer.validation import scores

# With fewer events, the standard error of an AUC of 0.5 exceeds 0.05 (Hanley and McNeil
# 1982).
ENOUGH = 30
EVENTS = {"reward": "with a reward", "discount": "that end an episode"}


class Diagnosis:
    """Compares predicted rewards and discounts with the true ones of held-out steps.

    Each is predicted twice: with the step's observation (from the posterior), and as
    in a dream, from the observations until `eval_dream` steps before it and the true
    actions since (from the prior). Both predictions are of the same steps: those with
    as many steps of their episode before them.

    Args:
        world_model: The world model to evaluate.
        config: The resolved configuration; `eval_batches` is the most batches per game.
        dataset: Holds out the episodes.
    """

    def __init__(
        self, world_model: WorldModel, config, dataset: offline.OfflineDataset
    ):
        self._wm = world_model
        self._ahead = config.eval_dream
        self._length = max(config.dataset.length, 2 * self._ahead)
        self._windows = config.eval_batches * config.dataset.batch
        self._dataset = dataset
        self._predict = tfutils.compiled(self.predict_both, config)
        self._told: set[str] = set()

    def metrics(self, task: str) -> dict[str, float]:
        """Returns the figures of a game by name, see `measure`; only those defined.

        Says once in a run what is undefined, or rests on few events.
        """
        found: dict[str, list[np.ndarray]] = {}
        size = self._windows, self._length, self._ahead
        with tfutils.reseeded(self._wm.rng, evaluation.SEED):
            for batch in self._dataset.eval_windows(task, *size):
                weight = batch.pop("weight")[:, self._ahead :]
                used = weight > 0
                found.setdefault("weight", []).append(weight[used])
                for name, values in self._predict(updates.tensors(batch)).items():
                    found.setdefault(name, []).append(values.numpy()[:, used])
        if not found:
            return {}
        values = {k: np.concatenate(v, -1) for k, v in found.items()}
        weight = values.pop("weight")
        measured = {name: measure(*(*x, weight)) for name, x in values.items()}
        self._explain(task, measured)
        return {
            f"{head}_{name}": value
            for head, figures in measured.items()
            for name, value in figures.items()
            if np.isfinite(value)
        }

    def predict_both(self, batch) -> dict[str, tf.Tensor]:
        """Returns true and predicted values by head, for all but the first steps.

        Args:
            batch: `(B, T, ...)` of each key.

        Returns:
            `(4, B, T - eval_dream)` float32: whether the step is an event, the true
            value, and its predictions from the posterior and from the prior.
        """
        wm, ahead = self._wm, self._ahead
        data = wm.preprocess(batch)
        post_seed, dream_seed = tfutils.make_seeds(wm.rng, 2)
        _, post, _ = wm.observe(data, seed=post_seed)
        dreamed = self._dream(post, data["action"], dream_seed)
        observed = self._heads({k: v[:, ahead:] for k, v in post.items()})
        true = {
            "reward": (data["reward"] != 0, data["reward"]),
            "discount": (data["is_terminal"], data["discount"]),
        }
        return {
            head: tf.stack(
                [tf.cast(x[:, ahead:], tf.float32) for x in true[head]]
                + [observed[head], self._heads(dreamed)[head]]
            )
            for head in observed
        }

    def _dream(self, post, action: tf.Tensor, seed: tf.Tensor | None):
        """Returns the prior states `eval_dream` steps after each posterior state."""
        rows, steps = action.shape[0], action.shape[1] - self._ahead

        def joined(x: tf.Tensor) -> tf.Tensor:
            return tf.reshape(x, [rows * steps, *x.shape[2:]])

        # An action leads to its own step, so the first is that of the next step.
        ahead = [action[:, i + 1 : i + 1 + steps] for i in range(self._ahead)]
        start = {k: joined(v[:, :steps]) for k, v in post.items()}
        prior = self._wm.rssm.imagine(joined(tf.stack(ahead, 2)), start, seed)
        return {
            k: tf.reshape(v[:, -1], [rows, steps, *v.shape[2:]])
            for k, v in prior.items()
        }

    def _heads(self, states) -> dict[str, tf.Tensor]:
        """Returns the predicted rewards and discounts of states, float32."""
        wm = self._wm
        feat = wm.rssm.get_feat(wm.rssm.indexed(states))
        predicted = {"reward": wm.heads["reward"](feat).mode()}
        if wm.predicts_ends:
            predicted["discount"] = wm.predicted_discount(feat)
        return {k: tf.cast(v, tf.float32) for k, v in predicted.items()}

    def _explain(self, task: str, measured: Mapping[str, Mapping[str, float]]) -> None:
        """Says once a game which figures are undefined or rest on few events."""
        faults = []
        for head, figures in measured.items():
            events, missing = int(figures["events"]), f"so there is no {head} AUC"
            if events == 0:
                faults.append(f"no held-out steps {EVENTS[head]}, {missing}")
            elif events < ENOUGH:
                faults.append(
                    f"only {events} held-out steps {EVENTS[head]}, so the {head} AUC "
                    f"is a rough figure ({ENOUGH} are enough)"
                )
            elif np.isnan(figures["pred"] + figures["pred_dreamed"]):
                faults.append(f"{head} predictions that are not numbers, {missing}")
            elif np.isnan(figures["auc"]):
                faults.append(f"only held-out steps {EVENTS[head]}, {missing}")
        if faults and task not in self._told:
            self._told.add(task)
            progress.write(
                f"{task}: {'; '.join(faults)}. Collect more episodes, hold out more of "
                "them (--dataset.holdout), or look at more (--eval_batches)."
            )


def measure(
    events: np.ndarray,
    true: np.ndarray,
    posterior: np.ndarray,
    dreamed: np.ndarray,
    weight: np.ndarray,
) -> dict[str, float]:
    """Returns what predictions are worth.

    Args:
        events: `(N,)`, 1 where a step is an event: a reward, or the end of an episode.
        true: `(N,)`, the true values.
        posterior: `(N,)`, the predictions from the posterior.
        dreamed: `(N,)`, those from the prior.
        weight: `(N,)`, how many held-out steps each step stands for.

    Returns:
        `events`, their number; `true`, the mean value; `pred`, the mean prediction;
        `auc` and `calibration_error`, see `scores`. All but the first two also with
        `_dreamed`. NaN where something is undefined.
    """
    happens = events > 0
    figures = {"events": float(happens.sum()), "true": _mean(true, weight)}
    for suffix, predicted in {"": posterior, "_dreamed": dreamed}.items():
        score = _likeness(predicted, true[happens], true[~happens])
        figures["pred" + suffix] = _mean(predicted, weight)
        figures["auc" + suffix] = scores.auc(score, happens, weight)
        error = scores.calibration_error(predicted, true, weight)
        figures["calibration_error" + suffix] = error
    return figures


def _mean(values: np.ndarray, weight: np.ndarray) -> float:
    return float(values @ weight / weight.sum()) if weight.any() else np.nan


def _likeness(
    predicted: np.ndarray, at_events: np.ndarray, elsewhere: np.ndarray
) -> np.ndarray:
    """Returns scores that are higher the more a prediction looks like an event's.

    Events lie above all other values or below them, as rewards of one sign and the
    discounts of ends do, or on both sides, as rewards of both signs.
    """
    usual = elsewhere.mean() if len(elsewhere) else 0.0
    sides = np.unique(np.sign(at_events - usual))
    return np.abs(predicted - usual) if len(sides) > 1 else predicted * sides.sum()

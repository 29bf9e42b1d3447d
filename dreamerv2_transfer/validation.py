"""Losses of a world model on episodes that it is not trained on."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from dreamerv2_transfer.agent import WorldModel
from dreamerv2_transfer.common import tfutils, updates
from dreamerv2_transfer.common.logger import Logger, video
from dreamerv2_transfer.common.logger.averages import Averages
from dreamerv2_transfer.common.replay import offline


class HeldOut:
    """Evaluates a world model, always on the same batches.

    Args:
        world_model: Predicts.
        config: The resolved configuration; `eval_batches` says how many a game.
        dataset: Whose held-out episodes count.
    """

    def __init__(
        self, world_model: WorldModel, config, dataset: offline.OfflineDataset
    ):
        self._wm = world_model
        self._config = config
        self._dataset = dataset
        self._losses = tfutils.compiled(self._losses_fn, config)

    def losses(self, task: str) -> dict[str, float]:
        """Losses and metrics of a game by name; none if nothing of it is held out.

        With them comes what the model says of rewards, which may be so rare that no
        loss shows whether it knows them: `rewarded`, the share of steps with a reward;
        there the means of what it is and of what the model predicts, `rewarded_true`
        and `rewarded_pred`; and of what it predicts elsewhere, `unrewarded_pred`.
        Rewards are as the model learns them, see `clip_rewards`.
        """
        averages = Averages()
        state = self._wm.rssm.initial(self._config.dataset.batch)
        for batch in self._dataset.eval_batches(task, self._config.eval_batches):
            state, metrics, *rewards = self._losses(updates.tensors(batch), state)
            averages.add(updates.numbers(metrics))
            add_rewards(averages, *(x.numpy() for x in rewards))
        return averages.result()

    def _losses_fn(self, batch, state):
        """The state, metrics, and `(B, T)` of the true and the predicted rewards."""
        _, state, outputs, metrics = self._wm.loss(batch, state)
        predicted = self._wm.heads["reward"](outputs["feat"]).mode()
        true = self._wm.preprocess(batch)["reward"]
        return state, metrics, *(tf.cast(x, tf.float32) for x in (true, predicted))


def add_rewards(averages: Averages, true: np.ndarray, predicted: np.ndarray) -> None:
    """Adds what is said of rewards where there is one, and where there is none."""
    where = true != 0
    averages.add({"rewarded": where.mean()})
    for name, values, rows in (
        ("rewarded_true", true, where),
        ("rewarded_pred", predicted, where),
        ("unrewarded_pred", predicted, ~where),
    ):
        count = int(rows.sum())
        averages.add({name: values[rows].sum() / max(count, 1)}, count)


def open_dataset(config, logdir: pathlib.Path) -> offline.OfflineDataset | None:
    """The episodes of `eval_dataset`, on which an online run is evaluated, if any.

    Raises:
        DatasetError: They cannot be read, or are of another kind than the run's.
    """
    if not config.eval_dataset:
        return None
    alone = config.update(task_weights=[1.0])
    folder = config.eval_dataset
    return offline.open_dataset(alone, folder, [config.task], logdir / "packed")


class Dreams:
    """Shows how a world model goes on after the first frames of given sequences.

    Args:
        world_model: Predicts.
        config: The resolved configuration; `video` holds numbers of frames and sizes.
        logger: Gets the videos, for TensorBoard.
        logdir: Gets them as GIFs, in `videos/`.
    """

    def __init__(self, world_model: WorldModel, config, logger: Logger, logdir):
        self._wm = world_model
        self._options = config.video
        self._logger = logger
        self._folder = pathlib.Path(logdir) / "videos"
        self._predict = tfutils.compiled(self._predict_fn, config)

    def log(
        self, batch: Mapping[str, np.ndarray], task: str, planes: int | None, name: str
    ) -> None:
        """Logs a video of each image key, the sequences side by side.

        Args:
            batch: `(B, T, ...)` of each key.
            task: The game, part of the videos' names.
            planes: How many planes its image really has, for its colours; None for
                images that have colours of their own.
            name: The beginning of the videos' names.
        """
        for key, (truth, model) in self._predict(updates.tensors(batch)).items():
            frames = video.open_loop(
                truth.numpy(),
                model.numpy(),
                self._options.context,
                **self._look(planes),
            )
            self._logger.video(f"{name}_{key}/{task}", frames)
            path = self._folder / f"{name}_{key}_{task}.gif"
            video.save_gif(path, frames, self._options.fps)

    def _predict_fn(self, batch) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
        keys = self._wm.heads["decoder"].cnn_keys
        context = self._options.context
        return {key: self._wm.video_pred(batch, key, context) for key in keys}

    def _look(self, planes: int | None) -> dict[str, int]:
        return (
            {} if planes is None else {"scale": self._options.scale, "colors": planes}
        )

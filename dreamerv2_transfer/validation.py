"""Validates a world model during training, by held-out losses and dreamed videos."""

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
    """Losses of a world model on held-out episodes, always on the same batches.

    Args:
        world_model: The world model to evaluate.
        config: The resolved configuration; `eval_batches` is the number of batches per
            game.
        dataset: Holds out the episodes.
    """

    def __init__(
        self, world_model: WorldModel, config, dataset: offline.OfflineDataset
    ):
        self._wm = world_model
        self._config = config
        self._dataset = dataset
        self._forward = tfutils.compiled(self.forward, config)

    def losses(self, task: str) -> dict[str, float]:
        """Returns losses and metrics of a game by name; none if nothing is held out.

        Rewards may be so rare that no loss shows whether the model predicts them.
        `rewarded` is the share of steps with a reward; `rewarded_true` and
        `rewarded_pred` are the means of the true and the predicted reward there, and
        `unrewarded_pred` is the mean prediction elsewhere. Rewards are as the model
        learns them, see `clip_rewards`.
        """
        averages = Averages()
        state = self._wm.rssm.initial(self._config.dataset.batch)
        for batch in self._dataset.eval_batches(task, self._config.eval_batches):
            state, metrics, *rewards = self._forward(updates.tensors(batch), state)
            averages.add(updates.numbers(metrics))
            add_rewards(averages, *(x.numpy() for x in rewards))
        return averages.result()

    def forward(self, batch, state):
        """Returns state, metrics, and true and predicted rewards, each `(B, T)`."""
        _, state, outputs, metrics = self._wm.loss(batch, state)
        predicted = self._wm.heads["reward"](outputs["feat"]).mode()
        true = self._wm.preprocess(batch)["reward"]
        return state, metrics, *(tf.cast(x, tf.float32) for x in (true, predicted))


def add_rewards(averages: Averages, true: np.ndarray, predicted: np.ndarray) -> None:
    """Adds the metrics of rewards that `HeldOut.losses` explains."""
    where = true != 0
    averages.add({"rewarded": where.mean()})
    for name, values, rows in (
        ("rewarded_true", true, where),
        ("rewarded_pred", predicted, where),
        ("unrewarded_pred", predicted, ~where),
    ):
        count = int(rows.sum())
        averages.add({name: values[rows].sum() / max(count, 1)}, count)


class Dreams:
    """Videos of what a world model predicts after the first frames of sequences.

    Args:
        world_model: The world model to show.
        config: The resolved configuration; `video` holds numbers of frames and sizes.
        logger: Receives the videos, for TensorBoard.
        logdir: The run's folder; `videos/` in it receives them as GIFs.
    """

    def __init__(
        self, world_model: WorldModel, config, logger: Logger, logdir: pathlib.Path
    ):
        self._wm = world_model
        self._options = config.video
        self._logger = logger
        self._logdir = logdir
        self._predict = tfutils.compiled(self.predict, config)

    def log(
        self, batch: Mapping[str, np.ndarray], task: str, planes: int | None, name: str
    ) -> None:
        """Logs a video for each image key, with the sequences side by side.

        Args:
            batch: `(B, T, ...)` of each key.
            task: The game, part of the videos' names.
            planes: The number of planes of its image, for the colours; None for images
                that have colours of their own.
            name: The beginning of the videos' names.
        """
        options = self._options
        look = {} if planes is None else {"scale": options.scale, "colors": planes}
        for key, (truth, model) in self._predict(updates.tensors(batch)).items():
            videos = truth.numpy(), model.numpy()
            if batch[key].dtype == np.uint8:
                videos = video.merged(videos[0]), video.merged(videos[1])
            frames = video.open_loop(*videos, options.context, **look)
            self._logger.video(f"{name}_{key}/{task}", frames)
            path = video.gif_path(self._logdir, f"{name}_{key}_{task}")
            video.save_gif(path, frames, options.fps)

    def predict(self, batch) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
        """Returns the true and the predicted video of each image key."""
        keys = self._wm.heads["decoder"].cnn_keys
        context = self._options.context
        return {key: self._wm.video_pred(batch, key, context) for key in keys}

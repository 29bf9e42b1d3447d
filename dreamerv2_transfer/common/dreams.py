"""Open-loop predictions of a world model, as videos in a run's folder and its log."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from dreamerv2_transfer.common import (
    tfutils,
    updates,
)
from dreamerv2_transfer.common.logger import Logger, video

if TYPE_CHECKING:
    from dreamerv2_transfer.agent import WorldModel


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

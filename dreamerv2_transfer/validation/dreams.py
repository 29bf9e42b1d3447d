"""Videos of what a world model dreams."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from dreamerv2_transfer.agent import WorldModel
from dreamerv2_transfer.common import tfutils, updates
from dreamerv2_transfer.common.logger import Logger, video


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

        There is none of sequences that end with what the model sees of them.

        Args:
            batch: `(B, T, ...)` of each key.
            task: The game, part of the videos' names.
            planes: The number of planes of its image, for the colours; None for images
                that have colours of their own.
            name: The beginning of the videos' names.
        """
        options = self._options
        if batch["is_first"].shape[1] <= options.context:
            return
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

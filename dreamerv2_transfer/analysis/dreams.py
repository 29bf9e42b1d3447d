"""Open-loop predictions: what a world model expects when it stops seeing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from dreamerv2_transfer.analysis.frames import Frames
from dreamerv2_transfer.analysis.sequences import Sequences
from dreamerv2_transfer.common import tfutils, updates
from dreamerv2_transfer.common.config import Config

if TYPE_CHECKING:
    from dreamerv2_transfer.agent import Agent, WorldModel

BATCH = 32  # Sequences per call.


def image_key(world_model: WorldModel) -> str | None:
    """Returns the first image that the model predicts; None if it predicts none."""
    keys = world_model.heads["decoder"].cnn_keys
    return keys[0] if keys else None


def truth(frames: Frames, pieces: Sequences, key: str) -> np.ndarray:
    """Returns what happened: float32 `(S, T, H, W, C)` in 0..1."""
    images = frames.data[key][pieces.index]
    scale = 255 if images.dtype == np.uint8 else 1
    return images.astype(np.float32) / scale


def predict(
    world_model: WorldModel,
    frames: Frames,
    pieces: Sequences,
    key: str,
    config: Config,
    seed: int,
    report: Callable[[int], Any] = lambda count: None,
) -> np.ndarray:
    """Predicts sequences with the recorded actions, see `WorldModel.video_pred`.

    Args:
        world_model: The model; one sample of its latents per sequence.
        frames: The frames that the sequences index.
        pieces: S sequences.
        key: An image key.
        config: The run's configuration, with `jit`.
        seed: Seed of the latents.
        report: Called with the number of further sequences.

    Returns:
        float32 `(S, T, H, W, C)` in 0..1; during the context, the reconstructions of
        what the model sees.
    """
    graph = tfutils.compiled(
        lambda batch: world_model.video_pred(batch, key, pieces.context)[1], config
    )
    made = []
    with tfutils.reseeded(world_model.rng, seed):
        for batch, count in _batches(world_model, frames, pieces):
            made.append(graph(batch).numpy()[:count])
            report(count)
    return np.clip(np.concatenate(made), 0, 1)


def act(
    agent: Agent, frames: Frames, pieces: Sequences, key: str, config: Config, seed: int
) -> np.ndarray:
    """Predicts sequences in which the actor chooses the actions, so without a truth.

    Args:
        agent: The agent that dreams.
        frames: The frames that the sequences index.
        pieces: S sequences.
        key: An image key.
        config: The run's configuration, with `jit`.
        seed: Seed of the latents and of the actions.

    Returns:
        See `predict`.
    """
    wm, actor = agent.wm, agent.task_behavior.actor

    def decode(feat):
        return wm.heads["decoder"](feat)[key].mean()

    def dream(batch):
        offset = 0.5 if batch[key].dtype == tf.uint8 else 0.0
        seen = {k: v[:, : pieces.context] for k, v in wm.preprocess(batch).items()}
        seed = tfutils.make_seeds(agent.rng, 1)[0]
        _, post, _ = wm.observe(seen, seed=seed)
        start = {k: v[:, -1:] for k, v in post.items()}
        dreamed = wm.imagine(actor, start, None, pieces.horizon, differentiable=False)
        future = tf.transpose(decode(dreamed["feat"][1:]), [1, 0, 2, 3, 4])
        return tf.concat([decode(wm.rssm.get_feat(post)), future], 1) + offset

    graph = tfutils.compiled(dream, config)
    with tfutils.reseeded(agent.rng, seed):
        made = [
            graph(batch).numpy()[:count]
            for batch, count in _batches(wm, frames, pieces)
        ]
    return np.clip(np.concatenate(made), 0, 1)


def _batches(
    world_model: WorldModel, frames: Frames, pieces: Sequences
) -> Iterator[tuple[dict[str, tf.Tensor], int]]:
    """Yields batches of one size, and how many of their sequences are no padding."""
    encoder = world_model.encoder
    keys = (*encoder.cnn_keys, *encoder.mlp_keys, "action", "is_first")
    for start in range(0, len(pieces), BATCH):
        index = pieces.index[start : start + BATCH]
        padded = np.resize(index, (BATCH, index.shape[1]))
        batch = {k: frames.data[k][padded] for k in keys}
        yield updates.tensors(batch), len(index)

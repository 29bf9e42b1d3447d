"""What a world model makes of frames: the features that its heads read."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from dreamerv2_transfer.analysis.frames import Frames
from dreamerv2_transfer.common import tfutils, updates
from dreamerv2_transfer.common.config import Config

if TYPE_CHECKING:
    from dreamerv2_transfer.agent import WorldModel

ROWS = 64  # Sequences that are observed together.
CHUNK = 32  # Steps per call: images want few, everything else wants many.


def posterior(
    world_model: WorldModel,
    frames: Frames,
    config: Config,
    seed: int,
    report: Callable[[int], Any] = lambda count: None,
) -> np.ndarray:
    """Computes the features of each frame, given all frames of its episode so far.

    These are `[stoch, deter]` of the posterior. Its latents are sampled, as they are
    when the agent acts and when the heads learn.

    Args:
        world_model: The model that observes the frames.
        frames: N frames.
        config: The run's configuration, with `jit`.
        seed: Seed of the latents.
        report: Called with the number of further frames.

    Returns:
        float32 `(N, features)`.
    """
    wm = world_model

    def observe(batch, state):
        data = wm.preprocess(batch)
        seed = tfutils.make_seeds(wm.rng, 1)[0]
        _, post, _ = wm.observe(data, state, seed)
        feat = tf.cast(tf.convert_to_tensor(wm.rssm.get_feat(post)), tf.float32)
        return feat, {k: v[:, -1] for k, v in post.items()}

    graph = tfutils.compiled(observe, config)
    keys = (*wm.encoder.cnn_keys, *wm.encoder.mlp_keys, "action", "is_first")
    index, real = layout(frames.episode, ROWS, CHUNK)
    result = np.empty((len(frames), wm.rssm.feat_size), np.float32)
    state = wm.rssm.initial(len(index))
    with tfutils.reseeded(wm.rng, seed):
        for start in range(0, index.shape[1], CHUNK):
            part = np.s_[:, start : start + CHUNK]
            batch = {k: frames.data[k][index[part]] for k in keys}
            feat, state = graph(updates.tensors(batch), state)
            result[index[part][real[part]]] = feat.numpy()[real[part]]
            report(int(real[part].sum()))
    return result


def layout(
    episode: np.ndarray, rows: int, multiple: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lays whole episodes one after the other in rows of about equal length.

    Args:
        episode: int `(N,)`, the number of each frame's episode; each is contiguous.
        rows: Most rows.
        multiple: The length of the rows is a multiple of this.

    Returns:
        The number of the frame at each place, int `(rows, T)`, and which places are
        real, bool `(rows, T)`; the others are padding.
    """
    starts = np.flatnonzero(np.diff(episode, prepend=-1))
    lengths = np.diff(np.append(starts, len(episode)))
    rows = min(rows, len(starts))
    filled = [(0, row) for row in range(rows)]
    places = []
    for number in np.argsort(-lengths, kind="stable"):
        used, row = heapq.heappop(filled)
        places.append((row, used, starts[number], lengths[number]))
        heapq.heappush(filled, (used + int(lengths[number]), row))
    steps = -(-max(used for used, _ in filled) // multiple) * multiple
    index, real = np.zeros((rows, steps), int), np.zeros((rows, steps), bool)
    for row, used, start, length in places:
        index[row, used : used + length] = np.arange(start, start + length)
        real[row, used : used + length] = True
    return index, real

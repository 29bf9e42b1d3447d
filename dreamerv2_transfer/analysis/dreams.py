"""How a world model goes on without seeing: open-loop predictions beside the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from dreamerv2_transfer.analysis.frames import Frames
from dreamerv2_transfer.common import tfutils, updates

if TYPE_CHECKING:
    from dreamerv2_transfer.agent import Agent, WorldModel

BATCH = 32  # Sequences of a call.
FEWEST = 32  # Sequences below which the horizon is shortened to have more of them.
RESAMPLES = 2000  # Of the bootstrap.
CONFIDENCE = 95  # Per cent.


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Pieces of episodes that are predicted.

    Attributes:
        index: int `(S, context + horizon)`, numbers of frames.
        episode: int `(S,)`, the episode that each is of.
        context: frames of each that the model sees.
    """

    index: np.ndarray
    episode: np.ndarray
    context: int

    @property
    def horizon(self) -> int:
        """Frames of each that the model does not see."""
        return self.index.shape[1] - self.context

    def __len__(self) -> int:
        return len(self.index)

    def some(self, which: np.ndarray) -> Sequences:
        """Those of the given numbers."""
        return Sequences(self.index[which], self.episode[which], self.context)


def sequences(
    episode: np.ndarray,
    context: int,
    horizon: int,
    most: int,
    rng: np.random.Generator,
) -> Sequences | None:
    """Draws pieces that do not overlap, all of the same length.

    Where hardly an episode is long enough, the pieces are shorter than wanted.

    Args:
        episode: int `(N,)`, the number of each frame's episode; these are in one piece.
        context: frames that are seen.
        horizon: frames that are predicted, at most.
        most: pieces at most.
        rng: draws which.

    Returns:
        None where no episode is longer than the context.
    """
    starts = np.flatnonzero(np.diff(episode, prepend=episode[0] - 1))
    lengths = np.diff(np.append(starts, len(episode)))
    wanted = range(horizon, 0, -1)
    enough = (h for h in wanted if np.sum(lengths // (context + h)) >= FEWEST)
    any_at_all = (h for h in wanted if lengths.max() >= context + h)
    horizon = next(enough, next(any_at_all, 0))
    if not horizon:
        return None
    size = context + horizon
    pieces = np.concatenate(
        [s + size * np.arange(n // size) for s, n in zip(starts, lengths, strict=True)]
    )
    drawn = np.sort(rng.permutation(pieces)[:most])
    return Sequences(drawn[:, None] + np.arange(size), episode[drawn], context)


def image_key(world_model: WorldModel) -> str | None:
    """The image that the model predicts, the first if there are several."""
    keys = world_model.heads["decoder"].cnn_keys
    return keys[0] if keys else None


def truth(frames: Frames, pieces: Sequences, key: str) -> np.ndarray:
    """What happened: float32 `(S, T, H, W, C)` in 0..1."""
    images = frames.data[key][pieces.index]
    scale = 255 if images.dtype == np.uint8 else 1
    return images.astype(np.float32) / scale


def predict(
    world_model: WorldModel,
    frames: Frames,
    pieces: Sequences,
    key: str,
    config,
    seed: int,
    report: Callable[[int], Any] = lambda count: None,
) -> np.ndarray:
    """Open-loop predictions with the recorded actions, see `WorldModel.video_pred`.

    Args:
        world_model: Predicts; one sample of its latents a sequence.
        frames: Of which the pieces are.
        pieces: S sequences.
        key: An image key.
        config: Of the run, with `jit`.
        seed: Of the latents.
        report: Called with the number of further sequences.

    Returns:
        float32 `(S, T, H, W, C)` in 0..1; in the context, what the model makes of what
        it sees.
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
    agent: Agent, frames: Frames, pieces: Sequences, key: str, config, seed: int
) -> np.ndarray:
    """Dreams in which the actor chooses what is done; there is no truth to them.

    Returns:
        As `predict`.
    """
    graph = tfutils.compiled(_acting(agent, pieces, key), config)
    with tfutils.reseeded(agent.rng, seed):
        made = [
            graph(batch).numpy()[:count]
            for batch, count in _batches(agent.wm, frames, pieces)
        ]
    return np.clip(np.concatenate(made), 0, 1)


def _acting(agent: Agent, pieces: Sequences, key: str):
    wm = agent.wm

    def dream(batch):
        offset = 0.5 if batch[key].dtype == tf.uint8 else 0.0
        seen = {k: v[:, : pieces.context] for k, v in wm.preprocess(batch).items()}
        seed = tfutils.make_seeds(agent.rng, 1)[0]
        first = batch["is_first"][:, : pieces.context]
        post, _ = wm.rssm.observe(wm.encoder(seen), seen["action"], first, seed=seed)
        start = {k: v[:, -1:] for k, v in post.items()}
        actor = agent.task_behavior.actor
        dreamed = wm.imagine(actor, start, None, pieces.horizon, differentiable=False)
        decode = lambda feat: wm.heads["decoder"](feat)[key].mean()  # noqa: E731
        future = decode(dreamed["feat"][1:])
        future = tf.transpose(future, [1, 0, 2, 3, 4])
        return tf.concat([decode(wm.rssm.get_feat(post)), future], 1) + offset

    return dream


def _batches(
    world_model: WorldModel, frames: Frames, pieces: Sequences
) -> Iterator[tuple[dict[str, tf.Tensor], int]]:
    """Batches of one size, and how many sequences of each are no padding."""
    encoder = world_model.encoder
    keys = (*encoder.cnn_keys, *encoder.mlp_keys, "action", "is_first")
    for start in range(0, len(pieces), BATCH):
        index = pieces.index[start : start + BATCH]
        padded = np.resize(index, (BATCH, index.shape[1]))
        batch = {k: frames.data[k][padded] for k in keys}
        yield updates.tensors(batch), len(index)


def error(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The squared error `(S, T)`, summed over an image.

    For planes of 0 and 1 against planes of 0 and 1 this is how many cells are wrong;
    for bytes it is twice the decoder's loss without its constant. It is a proper
    score of probabilities (Brier 1950): to be unsure pays where one cannot know.
    """
    return np.square(true - predicted).sum((2, 3, 4))


def baselines(true: np.ndarray, context: int) -> dict[str, np.ndarray]:
    """Predictions `(S or 1, T or 1, H, W, C)` that need no model, by name."""
    return {
        "last frame repeated": true[:, context - 1 : context],
        "mean of all frames": true.mean((0, 1), keepdims=True),
    }


def curve(
    errors: np.ndarray, episode: np.ndarray, rng: np.random.Generator
) -> dict[str, list[float]]:
    """Mean error of each step, with a 95% bootstrap interval over episodes.

    Args:
        errors: `(S, T)`.
        episode: `(S,)`; the sequences of an episode are drawn together.
        rng: draws.

    Returns:
        `mean`, `low` and `high`, each of T numbers.
    """
    _, number = np.unique(episode, return_inverse=True)
    counts = np.bincount(number)
    sums = np.stack([np.bincount(number, column) for column in errors.T], 1)
    drawn = rng.multinomial(len(counts), [1 / len(counts)] * len(counts), RESAMPLES)
    means = drawn @ sums / (drawn @ counts)[:, None]
    outside = (100 - CONFIDENCE) / 2
    low, high = np.percentile(means, [outside, 100 - outside], axis=0)
    mean = errors.mean(0)
    return {"mean": mean.tolist(), "low": low.tolist(), "high": high.tolist()}


def better(
    model: Mapping[str, list[float]], other: Mapping[str, list[float]]
) -> list[int]:
    """The steps, from 1 on, at which a mean error is below another."""
    return (np.flatnonzero(np.less(model["mean"], other["mean"])) + 1).tolist()

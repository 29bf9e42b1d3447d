"""Windows of held-out episodes: which steps an evaluation looks at, and their weights.

Few steps hold a reward or end an episode, so windows with one are chosen first. The
weights make up for it: weighted figures are those of all windows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def cut(
    starts: np.ndarray, lengths: np.ndarray, length: int, context: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts episodes into windows in which each of their steps counts once.

    The episodes are joined, and each window begins with the last `context` steps of the
    one before it. A step counts if `context` steps of its episode come before it in its
    window. So all count but the first `context` of each episode.

    Args:
        starts: First steps of the episodes, int [episodes].
        lengths: Their steps, int [episodes].
        length: Steps of a window.
        context: Steps that a model sees before one that counts; fewer than `length`.

    Returns:
        The step at each position, int [windows, length]; where the model starts anew;
        and which steps count, both bool [windows, length].
    """
    total, begins = int(lengths.sum()), np.cumsum(lengths) - lengths
    steps = np.repeat(starts - begins, lengths) + np.arange(total)
    is_first = np.isin(np.arange(total), begins)
    stride = length - context
    number = max(-(-(total - context) // stride), 1)
    at = stride * np.arange(number)[:, None] + np.arange(length)
    # The last window is filled up from the first episode, whose steps do not count.
    is_first = is_first[at % total]
    is_first[:, 0] = True
    position = np.arange(length)
    begun = np.maximum.accumulate(np.where(is_first, position, 0), axis=1)
    return steps[at % total], is_first, (at < total) & (position - begun >= context)


def choose(
    kinds: Sequence[np.ndarray], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Chooses windows, so that as many as possible are of the rare kinds.

    A window is of the first kind that it belongs to. Each kind in turn gets half of
    what is left of `count`, or more if the kinds after it have fewer windows than the
    other half; but each of those gets at least one. Windows of a kind are drawn without
    replacement.

    Args:
        kinds: Whether each window belongs to the kind, bool [windows], the rarest kind
            first; the rest is a kind of its own.
        count: Most windows to choose.
        rng: The generator to draw from.

    Returns:
        Numbers of the chosen windows in order, and how many windows each of them
        stands for (Horvitz and Thompson 1952): those of its kind over the chosen ones.
    """
    kind = np.argmax([*kinds, np.ones(len(kinds[0]), bool)], axis=0)
    sizes = np.bincount(kind, minlength=len(kinds) + 1)
    chosen, weights = [], []
    for number, size in enumerate(sizes):
        later = sizes[number + 1 :]
        share = min(max(-(-count // 2), count - later.sum()), count - (later > 0).sum())
        taken = max(min(int(size), int(share)), 0)
        count -= taken
        drawn = rng.choice(np.flatnonzero(kind == number), taken, replace=False)
        chosen.append(drawn)
        weights.append(np.full(taken, size / max(taken, 1)))
    numbers, weight = np.concatenate(chosen), np.concatenate(weights)
    order = np.argsort(numbers)
    return numbers[order], weight[order]

"""What the episodes of a folder have in common: keys, shapes, types, one-hot actions.

A layout is written as in a manifest's `spaces`: `shape` and `dtype` of a single step by
key, and `n` for the action where actions are one-hot, with `start` if the first one is
not number 0, or `parts` where they are joined (see `envs.Joined`).
"""

from __future__ import annotations

import collections
import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common.envs.actions import Joined
from dreamerv2_transfer.common.replay import npz, shards, store
from dreamerv2_transfer.common.replay.packed_episodes import Field
from dreamerv2_transfer.common.replay.store import Episode, EpisodeError

Layout = dict[str, dict[str, Any]]
# Keys with shape and dtype, and which numbers the actions consist of.
Outline = tuple[tuple[tuple[str, tuple[int, ...], str], ...], str]
MOST_BYTES = 2**26  # Of an episode's actions; they are read to compare episodes.
ONEHOT, BITS, REAL = "one-hot", "zeros and ones", "real"


def describe(episode: Episode) -> Layout:
    """Returns the layout of an episode; keys for logging are left out."""
    found: Layout = {
        key: {"shape": list(value.shape[1:]), "dtype": value.dtype.name}
        for key, value in episode.items()
        if store.is_trained_on(key)
    }
    if Field.of("action", episode["action"]).coding == "onehot":
        found["action"]["n"] = episode["action"].shape[1]
    return found


def misfit(
    episode: Episode, expected: Layout, owner: str = "its folder's other episodes"
) -> str:
    """Says why an episode does not fit into its folder; empty if it does.

    Args:
        episode: Arrays by key in which `store.fault` finds no fault.
        expected: The layout of the folder.
        owner: Whose layout that is.
    """
    found = describe(episode)
    for key in sorted({*found, *expected}):
        here, there = (
            f"{x[key]['dtype']} {tuple(x[key]['shape'])}" if key in x else "missing"
            for x in (found, expected)
        )
        if here != there:
            return f"{key} is {here}, and {there} in {owner}"
    if "n" in expected["action"]:
        at = np.flatnonzero(~_onehot(episode["action"])).tolist()
        return f"action is not one-hot at {store.shorten(at)}" if at else ""
    if "parts" in expected["action"]:
        fits = Joined(expected["action"]["parts"]).is_onehot(episode["action"])
        fits[:1] |= not episode["action"][:1].any()
        at = np.flatnonzero(~fits).tolist()
        return f"a choice of action is not one-hot at {store.shorten(at)}" if at else ""
    return ""


def of_space(space: spaces.Space) -> dict[str, Any]:
    """Returns the layout of the key of an environment's space."""
    if isinstance(space, spaces.Discrete):
        found = {"shape": [int(space.n)], "dtype": "float32", "n": int(space.n)}
        return found | ({"start": int(space.start)} if space.start else {})
    found = {"shape": list(space.shape), "dtype": _stored(space.dtype)}
    if isinstance(space, Joined):
        found["parts"] = [list(part) for part in space.parts]
    return found


def of_spaces(keys: Mapping[str, spaces.Space]) -> Layout:
    """Returns the layout of episodes of an environment, given its spaces by key."""
    kept = {key: space for key, space in keys.items() if store.is_trained_on(key)}
    found = {key: of_space(space) for key, space in kept.items()}
    if "action" in found:  # The driver makes floats of any actions.
        found["action"]["dtype"] = "float32"
    return found


def _stored(dtype: np.typing.DTypeLike) -> str:
    """Returns the name of the type as which an episode stores a type."""
    return store.convert(np.empty(0, dtype)).dtype.name


def _onehot(action: np.ndarray) -> np.ndarray:
    """Tells which actions are one-hot; no action led to the first observation."""
    ones, zeros = (action == 1).sum(1), (action == 0).sum(1)
    onehot = (ones == 1) & (ones + zeros == action.shape[1])
    onehot[:1] |= not action[:1].any()
    return onehot


def listed(manifest: Mapping[str, Any]) -> Layout:
    """Returns the layout that a manifest tells; empty if it tells none."""
    try:
        found = {
            key: {
                "shape": [int(x) for x in space["shape"]],
                "dtype": _stored(space["dtype"]),
                **{name: int(space[name]) for name in ("n", "start") if name in space},
                **_listed_parts(space),
            }
            for key, space in manifest["spaces"].items()
            if store.is_trained_on(key)
        }
    except (AttributeError, LookupError, TypeError, ValueError):
        return {}
    return found if {*store.REQUIRED} < {*found} else {}


def _listed_parts(space: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `parts` of an action, if a manifest lists them.

    Raises:
        ValueError: They make up another size than that of the action.
    """
    if "parts" not in space:
        return {}
    found = [[int(count), int(classes)] for count, classes in space["parts"]]
    if sum(n * (k or 1) for n, k in found) != math.prod(space["shape"]):
        raise ValueError(f"{found} are the parts of another action.")
    return {"parts": found}


def actions(folders: Mapping[str, str | os.PathLike]) -> Layout:
    """Returns what the manifests of some tasks' folders tell about actions, by task."""
    found: Layout = {}
    for task, folder in folders.items():
        told: Layout = {}
        with contextlib.suppress(store.DatasetError):
            told = listed(store.read_manifest(folder) or {})
        found[task] = told.get("action", {})
    return found


def common_parts(actions: Layout) -> list[list[int]]:
    """Returns `parts` of the actions of some tasks; empty if they have none.

    Raises:
        DatasetError: The tasks' actions have different parts.
    """
    found = {task: told.get("parts", []) for task, told in actions.items()}
    first, *others = found
    for task in others:
        if found[task] != found[first]:
            raise store.DatasetError(
                f"The actions of {first} and {task} differ: {found[first]} and "
                f"{found[task]}, choices and their classes. One model cannot learn "
                "both; name one of the two."
            )
    return found[first]


def common_start(actions: Layout) -> int:
    """Returns the number of the first action of some tasks; 0 if it differs."""
    starts = {told.get("start", 0) for told in actions.values()}
    return starts.pop() if len(starts) == 1 else 0


def is_discrete(actions: Layout) -> bool:
    """Returns whether the manifests of all of some tasks call their actions one-hot."""
    return all("n" in told for told in actions.values())


def outline(paths: Sequence[str]) -> collections.Counter[Outline]:
    """Counts what some files hold, by their headers and actions; skips damaged ones."""
    counts: collections.Counter[Outline] = collections.Counter()
    for path in paths:
        with contextlib.suppress(EpisodeError), store.reading(path):
            found = npz.kinds(path, store.is_trained_on)
            (episodes,), _ = found.pop(shards.OFFSETS, ((2,), None))
            if not {*store.REQUIRED} < {*found}:
                continue
            shape, dtype = found["action"]
            if math.prod(shape) * dtype.itemsize > MOST_BYTES:
                continue
            if any(found[x][0] != shape[:1] for x in ("reward", *store.FLAGS)):
                continue
            kinds = (
                (key, shape[1:], _stored(dtype))
                for key, (shape, dtype) in sorted(found.items())
            )
            action = npz.read(path, "action".__eq__)["action"]
            counts[tuple(kinds), _numbers(action)] += episodes - 1
    return counts


def _numbers(action: np.ndarray) -> str:
    if action.ndim != 2 or not np.isin(action, (0, 1)).all():
        return REAL
    return ONEHOT if _onehot(action).all() else BITS


def agreed(counts: collections.Counter[Outline]) -> Layout:
    """Returns the layout of most episodes, of the oldest ones if there is a tie.

    Their actions are one-hot if those of most are, unless a tenth of the episodes act
    by other numbers than zeros and ones: of continuous actions, those of short episodes
    may look one-hot by chance.
    """
    by_kinds: collections.Counter[tuple] = collections.Counter()
    for (kinds, _), count in counts.items():
        by_kinds[kinds] += count
    if not by_kinds:
        return {}
    ((most, _),) = by_kinds.most_common(1)
    told: Layout = {k: {"shape": [*shape], "dtype": name} for k, shape, name in most}
    onehot, bits, real = (counts[most, numbers] for numbers in (ONEHOT, BITS, REAL))
    if onehot > bits and onehot > 9 * real:
        told["action"]["n"] = told["action"]["shape"][0]
    return told

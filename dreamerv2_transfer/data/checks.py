"""Checks what an episode in a dataset has to be, beyond being readable."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.packed_episodes import Field
from dreamerv2_transfer.common.replay.store import Episode, EpisodeError
from dreamerv2_transfer.data import folders

Spaces = Mapping[str, Mapping[str, Any]]  # As in a manifest: shape, dtype and n by key.


def describe(episode: Episode) -> dict[str, dict[str, Any]]:
    """Describes the keys of an episode as a manifest's `spaces` does."""
    kept = folders.without_logs(episode)
    found = {
        key: {"shape": list(value.shape[1:]), "dtype": value.dtype.name}
        for key, value in kept.items()
    }
    if Field.of("action", episode["action"]).coding == "onehot":
        found["action"]["n"] = episode["action"].shape[1]
    return found


def describe_space(space: spaces.Space) -> dict[str, Any]:
    """Describes a key by its space as a manifest's `spaces` does."""
    if isinstance(space, spaces.Discrete):
        return {"shape": [int(space.n)], "dtype": "float32", "n": int(space.n)}
    return {"shape": list(space.shape), "dtype": space.dtype.name}


def spaces_of(paths: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Describes the first readable episode; used where no manifest has `spaces`."""
    for path in paths:
        try:
            described = describe(store.load_episode(path))
        except EpisodeError:
            continue
        described["action"].pop("n", None)  # One episode may look one-hot by chance.
        return described
    return {}


def episode_fault(episode: Episode, expected: Spaces) -> str:
    """Says why an episode does not fit into its folder; empty if it does.

    Args:
        episode: As `folders.load_all` reads it.
        expected: What the folder's episodes hold; `n` where actions are one-hot.
    """
    length, last = len(episode["action"]), store.eplen(episode)
    if (at := np.flatnonzero(episode["is_first"]).tolist()) != [0]:
        return f"is_first is set at {_shorten(at)}, not at 0 alone"
    if (at := np.flatnonzero(episode["is_last"]).tolist()) != [last]:
        return f"is_last is set at {_shorten(at)}, not at the end ({last}) alone"
    if set(at := np.flatnonzero(episode["is_terminal"]).tolist()) - {last}:
        return f"is_terminal is set at {_shorten(at)}, before the end ({last})"
    found = describe(episode)
    for key in sorted({*found, *expected}):
        here, there = (
            f"{x[key]['dtype']} {tuple(x[key]['shape'])}" if key in x else "missing"
            for x in (found, expected)
        )
        if here != there:
            return f"{key} is {here}, and {there} in its folder's other episodes"
    if "n" in expected["action"]:
        action = episode["action"]
        ones, zeros = (action == 1).sum(1), (action == 0).sum(1)
        onehot = (ones == 1) & (ones + zeros == action.shape[1])
        onehot[0] |= not action[0].any()  # No action led to the first observation.
        if not onehot.all():
            at = np.flatnonzero(~onehot).tolist()
            return f"action is not one-hot at {_shorten(at)}"
    for key, value in episode.items():
        if value.ndim == 0 or len(value) != length:
            return f"{key} has shape {value.shape} for {length} transitions"
    return ""


def _shorten(steps: list[int], most: int = 5) -> str:
    more = f" and {len(steps) - most} more" if len(steps) > most else ""
    return (", ".join(map(str, steps[:most])) or "no step") + more


def policy_fault(episode: Episode, policies: int) -> str:
    """Says what is wrong with an episode's `log_policy`; empty if nothing is.

    Args:
        episode: As `folders.load_all` reads it.
        policies: Number of policies that the folder's manifest lists.
    """
    acted = episode.get(folders.POLICY)
    if acted is None:
        return ""
    if acted.dtype.kind != "i" or acted.ndim != 1:
        return f"log_policy is {acted.dtype} of shape {acted.shape}"
    found = np.unique(acted).tolist()
    if acted[0] != -1 or found[-1] >= policies or found[0] < -1:
        return f"log_policy holds {found}, and there are {policies} policies"
    return ""


def file_faults(
    paths: Sequence[str], expected: Spaces, policies: int
) -> list[tuple[int, str]]:
    """Reads every byte of episode files.

    Args:
        paths: The files.
        expected: What the folder's episodes hold.
        policies: Number of policies that the folder's manifest lists.

    Returns:
        The steps of each episode, and what is wrong with it or an empty string.
    """
    results = []
    for path in paths:
        try:
            with zipfile.ZipFile(path) as file:
                if damaged := file.testzip():
                    fault = f"wrong checksum of {damaged}"
                    raise EpisodeError(f"{path} cannot be read: {fault}")
            episode = folders.load_all(path)
        except Exception as error:  # Damaged bytes raise nearly any error.
            is_told = isinstance(error, EpisodeError)
            fault = str(error) if is_told else f"{path} cannot be read: {error!r}"
            results.append((0, " ".join(fault.split())))
            continue
        steps, parsed = store.eplen(episode), store.parse_name(path)
        fault = episode_fault(episode, expected)
        if not fault and parsed is None:
            fault = "its name is not TIMESTAMP-UUID-LENGTH.npz, so it is not counted"
        elif not fault and parsed[1] != steps:
            fault = f"it has {steps} steps, and its name says {parsed[1]}"
        fault = fault or policy_fault(episode, policies)
        results.append((steps, f"{path} is damaged: {fault}." if fault else ""))
    return results

"""Checks what an episode in a dataset has to be, beyond being readable."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dreamerv2_transfer.common.replay import layout, shards, store
from dreamerv2_transfer.common.replay.layout import Layout, describe
from dreamerv2_transfer.common.replay.store import Episode
from dreamerv2_transfer.data import folders


def spaces_of(paths: Sequence[str]) -> Layout:
    """Describes the first readable episode; used where no manifest has `spaces`."""
    for episode in shards.intact(*paths):
        described = describe(episode)
        described["action"].pop("n", None)  # One episode may look one-hot by chance.
        return described
    return {}


def log_fault(episode: Episode, policies: int) -> str:
    """Says what is wrong with the keys that are only for logging; empty if nothing is.

    Args:
        episode: As `shards.parts` reads it, with `logs`.
        policies: Number of policies that the folder's manifest lists.
    """
    length = len(episode["action"])
    for key, value in episode.items():
        if value.ndim == 0 or len(value) != length:
            return f"{key} has shape {value.shape} for {length} transitions"
    return policy_fault(episode, policies)


def policy_fault(episode: Episode, policies: int) -> str:
    """Says what is wrong with an episode's `log_policy`; empty if nothing is.

    Args:
        episode: As `shards.parts` reads it, with `logs`.
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
    paths: Sequence[str], expected: Layout, policies: int
) -> list[tuple[int, str, str]]:
    """Reads every byte of episode files.

    Args:
        paths: The files.
        expected: What the folder's episodes hold.
        policies: Number of policies that the folder's manifest lists.

    Returns:
        The steps of each episode, why training skips it, and a note about what does no
        harm to training: a name or keys for logging that do not fit. Both may be empty.
    """
    results = []
    for path in paths:
        found = shards.parts(path, logs=True)
        wrong_name = "" if any(x.fault for x in found) else _name_fault(path, found)
        for part in found:
            if part.fault:
                results.append((0, " ".join(part.fault.split()), ""))
                continue
            episode, fault, note = part.episode, "", ""
            if wrong := layout.misfit(episode, expected):
                fault = f"{part.origin} is damaged: {wrong}."
            elif wrong := log_fault(episode, policies) or wrong_name:
                note = f"Note: {part.origin} is trained on, but {wrong}."
            results.append((store.eplen(episode), fault, note))
    return results


def _name_fault(path: str, found: Sequence[shards.Part]) -> str:
    """Says how a name does not fit the episodes of a file; empty if it does."""
    name = store.name_of(path)
    steps = sum(store.eplen(part.episode) for part in found)
    if name is None:
        return "its name is not TIMESTAMP-UUID-LENGTH.npz, so it is not counted"
    if name.steps != steps:
        return f"it has {steps} steps, and its name says {name.steps}"
    if name.episodes != len(found):
        return f"it has {len(found)} episodes, and its name says {name.episodes}"
    return ""

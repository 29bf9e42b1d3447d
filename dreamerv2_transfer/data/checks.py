"""Checks what an episode in a dataset has to be, beyond being readable."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dreamerv2_transfer.common.replay import layout, store
from dreamerv2_transfer.common.replay.layout import Layout, describe
from dreamerv2_transfer.common.replay.store import Episode, EpisodeError
from dreamerv2_transfer.data import folders


def spaces_of(paths: Sequence[str]) -> Layout:
    """Describes the first readable episode; used where no manifest has `spaces`."""
    for path in paths:
        try:
            described = describe(store.load_episode(path))
        except EpisodeError:
            continue
        described["action"].pop("n", None)  # One episode may look one-hot by chance.
        return described
    return {}


def log_fault(episode: Episode, policies: int) -> str:
    """Says what is wrong with the keys that are only for logging; empty if nothing is.

    Args:
        episode: As `folders.load_all` reads it.
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
        try:
            episode = folders.load_all(path)
        except EpisodeError as error:
            results.append((0, " ".join(str(error).split()), ""))
            continue
        steps, note = store.eplen(episode), ""
        if fault := layout.misfit(episode, expected):
            fault = f"{path} is damaged: {fault}."
        elif note := log_fault(episode, policies) or _name_fault(path, steps):
            note = f"Note: {path} is trained on, but {note}."
        results.append((steps, fault, note))
    return results


def _name_fault(path: str, steps: int) -> str:
    """Says how a name does not fit an episode of some steps; empty if it does."""
    parsed = store.parse_name(path)
    if parsed is None:
        return "its name is not TIMESTAMP-UUID-LENGTH.npz, so it is not counted"
    if parsed[1] != steps:
        return f"it has {steps} steps, and its name says {parsed[1]}"
    return ""

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
            episode = folders.load_all(path)
        except EpisodeError as error:
            results.append((0, " ".join(str(error).split())))
            continue
        steps, parsed = store.eplen(episode), store.parse_name(path)
        fault = layout.misfit(episode, expected) or log_fault(episode, policies)
        if not fault and parsed is None:
            fault = "its name is not TIMESTAMP-UUID-LENGTH.npz, so it is not counted"
        elif not fault and parsed[1] != steps:
            fault = f"it has {steps} steps, and its name says {parsed[1]}"
        results.append((steps, f"{path} is damaged: {fault}." if fault else ""))
    return results

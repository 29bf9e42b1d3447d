"""What an episode in a dataset has to be, beyond being readable."""

import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.packed_episodes import Field
from dreamerv2_transfer.common.replay.store import Episode, EpisodeError
from dreamerv2_transfer.data import folders

Spaces = Mapping[str, Mapping[str, Any]]


def describe(episode: Episode) -> dict[str, dict[str, Any]]:
    """What each key of an episode holds, in the words of a manifest's `spaces`."""
    kept = folders.without_logs(episode)
    found = {
        key: {"shape": list(value.shape[1:]), "dtype": value.dtype.name}
        for key, value in kept.items()
    }
    if Field.of("action", episode["action"]).coding == "onehot":
        found["action"]["n"] = episode["action"].shape[1]
    return found


def spaces_of(paths: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Those of the first readable episode, for want of a manifest that says them."""
    for path in paths:
        try:
            spaces = describe(store.load_episode(path))
        except EpisodeError:
            continue
        spaces["action"].pop("n", None)  # One episode may look one-hot by chance.
        return spaces
    return {}


def episode_fault(episode: Episode, spaces: Spaces) -> str:
    """Says what makes an episode unfit for its folder; empty if nothing does.

    Args:
        episode: as `folders.load_all` reads it.
        spaces: what the folder's episodes hold; `n` where actions are one-hot.
    """
    return (
        _fault_of_flags(episode)
        or _fault_of_kinds(episode, spaces)
        or _fault_of_actions(episode["action"], spaces["action"])
        or _fault_of_logs(episode)
    )


def file_fault(path: str, spaces: Spaces, policies: int) -> tuple[int, str]:
    """Reads every byte of an episode's file.

    Args:
        path: of the file.
        spaces: what the folder's episodes hold.
        policies: number of policies that the folder's manifest knows.

    Returns:
        The steps of the episode, and what is wrong with it or an empty string.
    """
    try:
        _check_archive(path)
        episode = folders.load_all(path)
    except EpisodeError as error:
        return 0, " ".join(str(error).split())
    steps = store.eplen(episode)
    fault = (
        episode_fault(episode, spaces)
        or _fault_of_name(path, steps)
        or policy_fault(episode, policies)
    )
    return steps, f"{path} is damaged: {fault}." if fault else ""


def _check_archive(path: str) -> None:
    """Compares every member of the archive with its checksum."""
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
    except Exception as error:  # Damaged bytes raise nearly anything.
        raise EpisodeError(f"{path} cannot be read: {error!r}") from error
    if damaged:
        raise EpisodeError(f"{path} cannot be read: wrong checksum of {damaged}")


def _fault_of_flags(episode: Episode) -> str:
    last = store.eplen(episode)
    if (at := np.flatnonzero(episode["is_first"]).tolist()) != [0]:
        return f"is_first is set at {_shorten(at)}, not at 0 alone"
    if (at := np.flatnonzero(episode["is_last"]).tolist()) != [last]:
        return f"is_last is set at {_shorten(at)}, not at the end ({last}) alone"
    if set(at := np.flatnonzero(episode["is_terminal"]).tolist()) - {last}:
        return f"is_terminal is set at {_shorten(at)}, before the end ({last})"
    return ""


def _shorten(steps: list[int], most: int = 5) -> str:
    more = f" and {len(steps) - most} more" if len(steps) > most else ""
    return (", ".join(map(str, steps[:most])) or "no step") + more


def _fault_of_kinds(episode: Episode, spaces: Spaces) -> str:
    found = describe(episode)
    for key in sorted({*found, *spaces}):
        there, wanted = _kind(found.get(key)), _kind(spaces.get(key))
        if there != wanted:
            return f"{key} is {there}, and {wanted} in its folder's other episodes"
    return ""


def _kind(space: Mapping[str, Any] | None) -> str:
    return f"{space['dtype']} {tuple(space['shape'])}" if space else "missing"


def _fault_of_actions(action: np.ndarray, space: Mapping[str, Any]) -> str:
    if "n" not in space:
        return ""
    ones, zeros = (action == 1).sum(1), (action == 0).sum(1)
    onehot = (ones == 1) & (ones + zeros == action.shape[1])
    onehot[0] |= not action[0].any()  # Nothing led to the first observation.
    if onehot.all():
        return ""
    return f"action is not one-hot at {_shorten(np.flatnonzero(~onehot).tolist())}"


def _fault_of_logs(episode: Episode) -> str:
    length = len(episode["action"])
    for key, value in episode.items():
        if value.ndim == 0 or len(value) != length:
            return f"{key} has shape {value.shape} for {length} transitions"
    return ""


def _fault_of_name(path: str, steps: int) -> str:
    parsed = store.parse_name(path)
    if parsed is None:
        return "its name is not TIMESTAMP-UUID-LENGTH.npz, so it is not counted"
    if parsed[1] != steps:
        return f"it has {steps} steps, and its name says {parsed[1]}"
    return ""


def policy_fault(episode: Episode, policies: int) -> str:
    """Says what is wrong with an episode's `log_policy`, given how many there are."""
    acted = episode.get(folders.POLICY)
    if acted is None:
        return ""
    if acted.dtype.kind != "i" or acted.ndim != 1:
        return f"log_policy is {acted.dtype} of shape {acted.shape}"
    found = np.unique(acted).tolist()
    if acted[0] != -1 or found[-1] >= policies or found[0] < -1:
        return f"log_policy holds {found}, and there are {policies} policies"
    return ""

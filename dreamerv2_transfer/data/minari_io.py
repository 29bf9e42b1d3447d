"""Writes a task's episodes as a Minari dataset, and reads Minari datasets.

A Minari episode has T + 1 observations and T actions: what our first transition holds
besides the observation is left out, and added again on reading. Keys for which Minari
has no place, such as `log_policy`, are stored as its infos. Therefore exported episodes
come back exactly.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

import dreamerv2_transfer
from dreamerv2_transfer.common import progress
from dreamerv2_transfer.common.envs import wrappers
from dreamerv2_transfer.common.errors import describe
from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.common.files import paths as paths_lib
from dreamerv2_transfer.common.replay import layout, shards, store
from dreamerv2_transfer.common.replay.layout import Layout
from dreamerv2_transfer.common.replay.manifest import SCHEMA
from dreamerv2_transfer.common.replay.store import DatasetError, Episode, EpisodeError
from dreamerv2_transfer.data import checks, folders, minari_foreign

OURS = "dreamerv2_transfer"  # Key of the metadata that only our datasets have.
SLASH = "%2F"  # What a key has for `/`, which HDF5 reads as a folder.
IDENTIFIER = "identifier"  # Key of an episode's metadata: the UUID of its file name.
_NAME = re.compile(r"[\w-]+(/[\w-]+)*-v\d+")


@dataclasses.dataclass
class Exported:
    """What became of a task's folder.

    Attributes:
        folder: Folder of the Minari dataset.
        name: Minari's name for it.
        episodes: Number of episodes that were written.
        damaged: A line for each file that was left out.
    """

    folder: pathlib.Path
    name: str
    episodes: int = 0
    damaged: list[str] = dataclasses.field(default_factory=list)

    def summary(self, task: str) -> str:
        """Returns the counts on one line."""
        return (
            f"Exported {self.episodes:,} episodes of {task} to {self.folder} "
            f"({self.name}); {len(self.damaged)} damaged ones are left out."
        )


def export(
    directory: str | os.PathLike, target: str, task: str = ""
) -> Iterator[tuple[str, Exported]]:
    """Writes a Minari dataset for each task of a dataset; yields each when it is done.

    Args:
        directory: A folder of task folders, or one of these.
        target: See `export_task`; several tasks share it.
        task: The only task to export; empty for all.

    Yields:
        The task, and what became of its folder.

    Raises:
        DatasetError: There is no such task; or as `export_task`.
        OutputError: The target cannot be written.
    """
    found = folders.task_folders(directory)
    if task and task not in found:
        raise DatasetError(
            f"The dataset has the tasks {', '.join(found)}. Received: task={task}"
        )
    names = [task] if task else list(found)
    for name in names:
        yield name, export_task(found[name], name, target, several=len(names) > 1)


def export_task(
    folder: pathlib.Path, task: str, target: str, several: bool = False
) -> Exported:
    """Writes the episodes of a task's folder as a lossless Minari dataset.

    Args:
        folder: Folder of the task.
        task: What is played.
        target: A name such as `minatar/breakout-v0` for Minari's own folder of datasets
            (`MINARI_DATASETS_PATH`); anything else is a folder.
        several: Whether several tasks share the target.

    Raises:
        DatasetError: The target exists, no episode can be read, or Minari is missing.
        OutputError: The target cannot be written.
    """
    _minari()
    if paths_lib.is_url(target):
        raise DatasetError(
            f"Minari datasets are folders. Received: --target {target}. Name a local "
            "path, and upload it."
        )
    if _NAME.fullmatch(target):
        base, _, version = target.rpartition("-v")
        name = f"{base}/{task}-v{version}" if several else target
        exported = Exported(_root() / name, name)
    else:
        path = paths_lib.local(target).resolve() / (task if several else "")
        name = re.sub(r"[^\w-]", "_", path.name)
        exported = Exported(path, name if _NAME.fullmatch(name) else f"{name}-v0")
    if exported.folder.exists():
        raise DatasetError(f"{exported.folder} exists. Name another --target.")
    with atomic.new_folder(exported.folder) as temporary:
        (temporary / "data").mkdir()
        _write(folder, task, temporary / "data", exported)
    return exported


@dataclasses.dataclass
class Source:
    """A Minari dataset to read.

    Attributes:
        path: Folder of its files.
        manifest: Manifest of the folder that was exported; empty if it was made by
            others.
        storage: Minari's own object.
        exclude: Pattern of the keys of observations that are left out.
    """

    path: pathlib.Path
    manifest: dict[str, Any]
    storage: Any
    exclude: str = wrappers.NEVER

    def __len__(self) -> int:
        return self.storage.total_episodes

    @property
    def actions(self) -> dict[str, Any]:
        """What `importing.Importer` is told of actions."""
        space = self.storage.action_space
        is_numbered = isinstance(space, spaces.Discrete) and space.start
        return {"start": int(space.start)} if is_numbered else {}

    def episodes(
        self, on_damaged: Callable[[str], None]
    ) -> Iterator[tuple[str, str, Episode]]:
        """Reads the episodes.

        Args:
            on_damaged: Called with a line for each that cannot be read, which names it.

        Yields:
            Origin for messages, identifier (empty if there is none) and episode.
        """
        space = self.storage.action_space
        for number in range(len(self)):
            origin = f"{self.path}, episode {number}"
            try:
                metadata = next(iter(self.storage.get_episode_metadata([number])))
                data = next(iter(self.storage.get_episodes([number])))
                infos = {}
                if self.manifest:
                    infos = _renamed(data["infos"] or {}, SLASH, "/")
                    seen = _renamed(data["observations"], SLASH, "/")
                    data = {**data, "observations": seen}
                else:
                    data = minari_foreign.converted(data, self.storage, self.exclude)
                episode = transitions(data, space) | infos
            except EpisodeError as error:
                on_damaged(f"{origin}: {error}")
                continue
            except DatasetError:
                raise
            except Exception as error:  # Damaged bytes raise nearly any error in HDF5.
                on_damaged(f"{origin}: cannot be read: {describe(error)}")
                continue
            identifier = str(metadata.get(IDENTIFIER, ""))
            # It becomes a part of a file's name.
            yield origin, identifier if identifier.isalnum() else "", episode


def find(source: str | os.PathLike) -> pathlib.Path | None:
    """Returns the folder of a Minari dataset's files by its path or name, or None."""
    given = paths_lib.local(source)
    places = [given, given / "data"]
    if not given.is_absolute():
        places.append(_root() / given / "data")
    return next((x for x in places if (x / "metadata.json").is_file()), None)


def _renamed(values: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    return {key.replace(old, new): value for key, value in values.items()}


def open_source(source: str | os.PathLike, exclude: str = wrappers.NEVER) -> Source:
    """Opens a Minari dataset by its path or name.

    Runs no code that its files name: a dataset without spaces is refused, because
    Minari would create an environment to get them.

    Args:
        source: The path or name.
        exclude: Pattern of the keys of others' observations that are left out.

    Raises:
        DatasetError: There is none, it cannot be read, or Minari is missing.
    """
    path = find(source)
    if path is None:
        raise DatasetError(
            f"{source} is no Minari dataset: no folder with data/metadata.json in it, "
            f"and no name of one in {_root()}."
        )
    storage_type = _minari()
    try:
        metadata = storage_type.read_raw_metadata(path)
        for key in ("observation_space", "action_space"):
            if not isinstance(metadata.get(key), str):
                raise DatasetError(f"{path} does not say its {key}.")
        storage = storage_type.read(path)
        manifest = metadata.get(OURS, {}).get("manifest", {})
        SCHEMA.check(manifest)
        return Source(path, manifest, storage, exclude)
    except DatasetError:
        raise
    except Exception as error:  # Damaged files raise nearly any error.
        raise DatasetError(f"{path} cannot be read: {describe(error)}") from error


def _minari():
    """Returns the class of Minari's storage; Minari is an optional package."""
    try:
        from minari.dataset.minari_storage import MinariStorage
    except ImportError as error:
        raise DatasetError(
            "Minari is not installed. Install it: pip install "
            f"'dreamerv2_transfer[minari]' ({describe(error)})"
        ) from error
    return MinariStorage


def _root() -> pathlib.Path:
    """Returns the folder in which Minari keeps its datasets."""
    return paths_lib.local(os.environ.get("MINARI_DATASETS_PATH", "~/.minari/datasets"))


def _write(
    folder: pathlib.Path, task: str, data: pathlib.Path, exported: Exported
) -> None:
    """Writes a dataset's files into the empty folder `data`."""
    from importlib.metadata import version

    storage_type = _minari()
    if "jpeg_encoding" not in inspect.signature(storage_type.new).parameters:
        raise DatasetError(
            f"Minari {version('minari')} stores images as JPEG, which loses detail. "
            "Install a later one: pip install 'minari>=0.5.4'"
        )
    paths, manifest = folders.episode_files(folder), store.read_manifest(folder) or {}
    kinds = manifest.get("spaces") or checks.spaces_of(paths)
    if not kinds:
        raise DatasetError(f"{folder} has no readable episode.")
    boxes = {k: _box(v) for k, v in kinds.items() if k not in store.REQUIRED}
    seen = spaces.Dict(_renamed(boxes, "/", SLASH))
    storage = storage_type.new(data, seen, _actions(kinds), jpeg_encoding=False)
    identifiers: list[dict[str, str]] = []
    with progress.Progress(len(paths), 0, f"export {task}", "file") as bar:
        storage.update_episodes(_buffers(paths, kinds, identifiers, exported, bar))
    storage.update_episode_metadata(identifiers)
    exported.episodes = len(identifiers)
    storage.update_metadata(
        {
            "dataset_id": exported.name,
            "minari_version": version("minari"),
            "description": f"Episodes of {task}, collected by dreamerv2_transfer.",
            OURS: {
                "version": dreamerv2_transfer.__version__,
                "manifest": {"task": task, **manifest},
            },
        }
    )


def _actions(kinds: Layout) -> spaces.Discrete | spaces.Box:
    kind = kinds["action"]
    if "n" in kind:
        return spaces.Discrete(kind["n"], start=kind.get("start", 0))
    return _box(kind)


def _box(kind: Mapping[str, Any]) -> spaces.Box:
    dtype = np.dtype(kind["dtype"])
    low, high = -np.inf, np.inf
    if dtype.kind == "b":
        low, high = 0, 1
    elif dtype.kind in "iu":
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return spaces.Box(low, high, tuple(kind["shape"]), dtype.type)


def _buffers(
    paths: Sequence[str],
    kinds: Layout,
    identifiers: list[dict[str, str]],
    exported: Exported,
    bar: progress.Progress,
) -> Iterator:
    """Yields each intact episode in Minari's form.

    Args:
        paths: The episodes' files.
        kinds: What the episodes hold.
        identifiers: Gets the metadata of each episode.
        exported: Gets a line for each damaged file.
        bar: Is updated after each file.
    """
    from minari.data_collector import EpisodeBuffer

    acts = _actions(kinds)
    for part in _each_part(paths, bar):
        episode, fault = part.episode, part.fault
        if not fault and (wrong := layout.misfit(episode, kinds)):
            fault = f"{part.origin} is left out: {wrong}."
        if fault:
            exported.damaged.append(" ".join(fault.split()))
            continue
        action = episode["action"][1:]
        data = {
            "observations": {k: episode[k] for k in kinds if k not in store.REQUIRED},
            "actions": action,
            "rewards": episode["reward"][1:],
            "terminations": episode["is_terminal"][1:],
            "truncations": (episode["is_last"] & ~episode["is_terminal"])[1:],
        }
        if isinstance(acts, spaces.Discrete):
            data["actions"] = action.argmax(1) + acts.start
        # What reading would not restore exactly is stored as infos.
        made = transitions(data, acts)
        infos = {
            k: v
            for k, v in episode.items()
            if k not in made or _content(made[k]) != _content(v)
        }
        identifiers.append({IDENTIFIER: part.identifier})
        data["observations"] = _renamed(data["observations"], "/", SLASH)
        yield EpisodeBuffer(**data, infos=_renamed(infos, "/", SLASH) or None)


def _each_part(paths: Sequence[str], bar: progress.Progress) -> Iterator[shards.Part]:
    for path in paths:
        yield from shards.parts(path, logs=True)
        bar.update()


def _content(value: np.ndarray) -> tuple:
    return value.dtype, value.shape, value.tobytes()


def transitions(data: Mapping[str, Any], space: Any) -> Episode:
    """Converts a Minari episode to our form, with a first transition for the reset.

    Args:
        data: Observations by key [steps + 1, ...]; actions, [steps] if discrete,
            otherwise [steps, size]; rewards, terminations and truncations [steps].
        space: The space of an action, `Discrete` or `Box`.
    """
    action, steps = np.asarray(data["actions"]), len(data["rewards"])
    if action.ndim == 1:
        action = store.onehot(action - space.start, int(space.n))
    no_action = np.zeros((1, action.shape[1]), np.float32)
    first, terminal = np.zeros(1, bool), np.asarray(data["terminations"], bool)
    last = terminal | np.asarray(data["truncations"], bool)
    return {
        **data["observations"],
        "action": np.concatenate([no_action, action]),
        "reward": np.concatenate([[0], data["rewards"]]).astype(np.float32),
        "is_first": np.arange(steps + 1) == 0,
        "is_last": np.concatenate([first, last]),
        "is_terminal": np.concatenate([first, terminal]),
    }

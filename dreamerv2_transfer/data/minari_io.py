"""Writes a task's episodes as a Minari dataset, and reads Minari datasets.

A Minari episode has T + 1 observations and T actions: what our first transition holds
beyond the observation is left out and made anew. Whatever else an episode holds that
Minari has no place for, such as `log_policy`, stands in its infos. So what is exported
comes back exactly.
"""

import dataclasses
import inspect
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

import dreamerv2_transfer
from dreamerv2_transfer.common import progress
from dreamerv2_transfer.common.errors import describe
from dreamerv2_transfer.common.files.atomic import writing
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.store import DatasetError, Episode, EpisodeError
from dreamerv2_transfer.data import checks, folders, minari_foreign

OURS = "dreamerv2_transfer"  # Key of the metadata that only our datasets have.
IDENTIFIER = "identifier"  # Of an episode's metadata: the UUID of its file name.
_NAME = re.compile(r"[\w-]+(/[\w-]+)*-v\d+")


@dataclasses.dataclass
class Exported:
    """What became of a task's folder.

    Attributes:
        folder: of the Minari dataset.
        name: by which Minari calls it.
        episodes: that were written.
        damaged: a line for each file that was left out.
    """

    folder: pathlib.Path
    name: str
    episodes: int = 0
    damaged: list[str] = dataclasses.field(default_factory=list)


def export_task(
    folder: pathlib.Path, task: str, target: str, several: bool = False
) -> Exported:
    """Writes the episodes of a task's folder as a Minari dataset, without any loss.

    Args:
        folder: of the task.
        task: what is played.
        target: a name such as `minatar/breakout-v0`, which is put where Minari keeps
            its datasets (`MINARI_DATASETS_PATH`); anything else is a folder.
        several: whether it is one of several, which have the target in common.

    Raises:
        DatasetError: the target exists, no episode can be read, or Minari is missing.
        OutputError: the target cannot be written.
    """
    _minari()
    exported = Exported(*_place(target, task if several else ""))
    if exported.folder.exists():
        raise DatasetError(f"{exported.folder} exists. Name another --target.")
    temporary = exported.folder.with_name(f".{exported.folder.name}.{os.getpid()}.tmp")
    with writing(exported.folder):
        (temporary / "data").mkdir(parents=True)
        try:
            _write(folder, task, temporary / "data", exported)
            os.replace(temporary, exported.folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return exported


@dataclasses.dataclass
class Source:
    """A Minari dataset to read.

    Attributes:
        path: the folder that its files are in.
        manifest: of the task's folder that it was exported from; empty if it was made
            by others.
        storage: Minari's own.
    """

    path: pathlib.Path
    manifest: dict[str, Any]
    storage: Any

    def __len__(self) -> int:
        return self.storage.total_episodes

    def episodes(self, on_damaged: Callable[[str], None]) -> Iterator[tuple]:
        """Reads (origin, identifier, episode) of each episode.

        Args:
            on_damaged: gets a line for each that cannot be read, which names it.
        """
        for number in range(len(self)):
            origin = f"{self.path}, episode {number}"
            try:
                yield origin, *self._read(number)
            except EpisodeError as error:
                on_damaged(f"{origin}: {error}")

    def _read(self, number: int) -> tuple[str, Episode]:
        read = _read_ours if self.manifest else _read_foreign
        try:
            told = next(iter(self.storage.get_episode_metadata([number])))
            data = next(iter(self.storage.get_episodes([number])))
            episode = read(data, self.storage)
        except DatasetError:
            raise
        except Exception as error:  # Damaged bytes raise nearly anything in HDF5.
            raise EpisodeError(f"cannot be read: {describe(error)}") from error
        identifier = str(told.get(IDENTIFIER, ""))
        # It becomes a part of a file's name.
        return identifier if identifier.isalnum() else "", episode


def find(source: str | os.PathLike) -> pathlib.Path | None:
    """The folder of a Minari dataset's files, by its path or name; None if none is."""
    given = pathlib.Path(source).expanduser()
    places = [given, given / "data"]
    if not given.is_absolute():
        places.append(_root() / given / "data")
    return next((x for x in places if (x / "metadata.json").is_file()), None)


def open_source(source: str | os.PathLike) -> Source:
    """Opens a Minari dataset, by its path or name.

    No code is run that its files name: where the spaces are missing, which Minari
    would then ask an environment for, it is refused.

    Raises:
        DatasetError: there is none, it cannot be read, or Minari is missing.
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
        return Source(path, dict(manifest), storage)
    except DatasetError:
        raise
    except Exception as error:  # Damaged files raise nearly anything.
        raise DatasetError(f"{path} cannot be read: {describe(error)}") from error


def _minari():
    """Minari's storage; imported here, as it is an optional package."""
    try:
        from minari.dataset.minari_storage import MinariStorage
    except ImportError as error:
        raise DatasetError(
            "Minari is not installed. Install it: pip install "
            f"'dreamerv2_transfer[minari]' ({describe(error)})"
        ) from error
    return MinariStorage


def _root() -> pathlib.Path:
    """Where Minari keeps its datasets, as it has it."""
    default = pathlib.Path("~", ".minari", "datasets")
    return pathlib.Path(os.environ.get("MINARI_DATASETS_PATH", default)).expanduser()


def _place(target: str, task: str) -> tuple[pathlib.Path, str]:
    """Folder and name of a dataset; those of several are put side by side."""
    if _NAME.fullmatch(target):
        base, _, version = target.rpartition("-v")
        name = f"{base}/{task}-v{version}" if task else target
        return _root() / name, name
    folder = pathlib.Path(target).expanduser().resolve() / task
    name = re.sub(r"[^\w-]", "_", folder.name)
    return folder, name if _NAME.fullmatch(name) else f"{name}-v0"


def _write(
    folder: pathlib.Path, task: str, data: pathlib.Path, exported: Exported
) -> None:
    """Writes a dataset's files into the folder `data`, which is empty."""
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
    storage = storage_type.new(data, *_spaces(kinds), jpeg_encoding=False)
    identifiers: list[dict[str, str]] = []
    with progress.Progress(len(paths), 0, f"export {task}", "file") as bar:
        storage.update_episodes(_buffers(paths, kinds, identifiers, exported, bar))
    storage.update_episode_metadata(identifiers)
    exported.episodes = len(identifiers)
    storage.update_metadata(
        {
            "dataset_id": exported.name,
            "minari_version": version("minari"),
            "description": f"Episodes of {task}, as dreamerv2_transfer keeps them.",
            OURS: {
                "version": dreamerv2_transfer.__version__,
                "manifest": {"task": task, **manifest},
            },
        }
    )


def _buffers(paths, kinds, identifiers: list, exported: Exported, bar) -> Iterator:
    """Minari's form of each intact episode, in turn; lists their identifiers."""
    for path in paths:
        try:
            episode = folders.load_all(path)
            buffer = _to_minari(episode, kinds, path)
        except EpisodeError as error:
            exported.damaged.append(" ".join(str(error).split()))
        else:
            named = store.parse_name(path)
            identifiers.append({IDENTIFIER: named[0] if named else ""})
            yield buffer
        bar.update()


def _spaces(kinds: checks.Spaces) -> tuple[spaces.Dict, spaces.Space]:
    """The spaces of observations and actions."""
    seen = {k: _box(v) for k, v in kinds.items() if k not in store.REQUIRED}
    action = kinds["action"]
    discrete = spaces.Discrete(action["n"]) if "n" in action else None
    return spaces.Dict(seen), discrete or _box(action)


def _box(kind: dict[str, Any]) -> spaces.Box:
    dtype = np.dtype(kind["dtype"])
    low, high = -np.inf, np.inf
    if dtype.kind == "b":
        low, high = 0, 1
    elif dtype.kind in "iu":
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return spaces.Box(low, high, tuple(kind["shape"]), dtype.type)


def _to_minari(episode: Episode, kinds: checks.Spaces, path: str):
    from minari.data_collector import EpisodeBuffer

    fault = checks.episode_fault(episode, kinds)
    if fault or not store.eplen(episode):
        raise EpisodeError(f"{path} is left out: {fault or 'it has no step'}.")
    action = episode["action"][1:]
    data = {
        "observations": {k: episode[k] for k in kinds if k not in store.REQUIRED},
        "actions": action.argmax(1) if "n" in kinds["action"] else action,
        "rewards": episode["reward"][1:],
        "terminations": episode["is_terminal"][1:],
        "truncations": (episode["is_last"] & ~episode["is_terminal"])[1:],
    }
    made = transitions(data, action.shape[1], store.eplen(episode))
    infos = {k: v for k, v in episode.items() if not _same(made.get(k), v)}
    return EpisodeBuffer(**data, infos=infos or None)


def transitions(data: dict[str, Any], actions: int, steps: int) -> Episode:
    """Our form of a Minari episode, with a first transition that nothing led to.

    Args:
        data: observations by key [steps + 1, ...]; actions, of discrete ones [steps],
            else [steps, actions]; rewards, terminations and truncations [steps].
        actions: size of an action's vector.
        steps: of the episode.
    """
    action = np.asarray(data["actions"])
    if action.ndim == 1:
        action = np.eye(actions, dtype=np.float32)[action]
    first, terminal = np.zeros(1, bool), np.asarray(data["terminations"], bool)
    last = terminal | np.asarray(data["truncations"], bool)
    return {
        **data["observations"],
        "action": np.concatenate([np.zeros((1, actions), np.float32), action]),
        "reward": np.concatenate([[0], data["rewards"]]).astype(np.float32),
        "is_first": np.arange(steps + 1) == 0,
        "is_last": np.concatenate([first, last]),
        "is_terminal": np.concatenate([first, terminal]),
    }


def _same(made: np.ndarray | None, value: np.ndarray) -> bool:
    return (
        made is not None
        and made.dtype == value.dtype
        and made.shape == value.shape
        and made.tobytes() == value.tobytes()
    )


def _read_ours(data: dict[str, Any], storage) -> Episode:
    space = storage.action_space
    actions = int(space.n) if isinstance(space, spaces.Discrete) else space.shape[0]
    made = transitions(data, actions, len(data["rewards"]))
    return made | (data["infos"] or {})


def _read_foreign(data: dict[str, Any], storage) -> Episode:
    made = minari_foreign.converted(data, storage)
    return transitions(made, made["actions"].shape[1], len(data["rewards"]))

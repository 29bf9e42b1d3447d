"""The named blocks of `configs.yaml`: found, merged, and old files translated."""

from __future__ import annotations

import dataclasses
import os
import re
import sysconfig
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from dreamerv2_transfer.common.config import (
    SUFFIXES,
    Config,
    ConfigError,
    format_value,
    locating,
    read_mapping,
    suggestion,
)
from dreamerv2_transfer.common.files import paths
from dreamerv2_transfer.common.flags import Flags

# Top-level keys that a stage sets from its section `stages.<stage>`.
STAGE_KEYS = (
    "steps",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "atari_all_actions",
    "wm_steps",
    "task",
    "tasks",
)
MIXING = ("pretrain", "offline")  # Stages whose runs may mix games.
ONLINE = ("finetune", "scratch")  # Those that play, several games with `multi_game`.
# Today's names of keys that the original's first release (1.0) called otherwise.
RENAMED = {
    "num_envs": "envs",
    "image_size": "render_size",
    "grayscale": "atari_grayscale",
    "replay_size": "replay.capacity",
    "dataset.oversample_ends": "replay.prioritize_ends",
    "encoder.depth": "encoder.cnn_depth",
    "encoder.kernels": "encoder.cnn_kernels",
    "encoder.keys": "encoder.cnn_keys",
    "decoder.depth": "decoder.cnn_depth",
    "decoder.kernels": "decoder.cnn_kernels",
}
# Keys whose values are paths or URLs.
PATHS = (
    "logdir",
    "init.path",
    "dataset.directory",
    "eval_dataset",
    "dqn.checkpoints",
    "known.directory",
)
# A task for which Gymnasium imports a module, `gym_MODULE:ID`.
IMPORTS = re.compile("gym_([^:]*):")
TASKS = ("task", "tasks", "known.tasks")
UNSET_LOGDIR = "/dev/null"
INSTALLED = Path("share", "dreamerv2_transfer", "configs.yaml")


def find_configs() -> Path:
    """Returns the path of `configs.yaml`: the checkout's, else the installed one.

    Raises:
        ConfigError: There is none; the message lists the places that were searched.
    """
    places = _places()
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ConfigError(
            "configs.yaml is missing; install the package again. Looked at: "
            f"{', '.join(map(str, places))}"
        )
    return found


def _places() -> list[Path]:
    top = Path(__file__).resolve().parents[2]
    if (top / "setup.cfg").is_file():
        return [top / "configs.yaml"]
    try:
        files = metadata.files("dreamerv2_transfer") or ()
    except metadata.PackageNotFoundError:
        files = ()
    recorded = [Path(x.locate()).resolve() for x in files if x.match(str(INSTALLED))]
    # `pip install --target` puts the data beside the package, not where it records it.
    return [*recorded, top / INSTALLED, Path(sysconfig.get_path("data")) / INSTALLED]


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A configuration, and where each value of it comes from.

    Attributes:
        config: The configuration.
        origins: By dotted key: the name of a block or the path of a file, `--` and the
            flag's key, `stages.STAGE`, or `the blocks' names` for a default logdir.
    """

    config: Config
    origins: dict[str, str]


def load_config(
    names: Sequence[str],
    argv: Sequence[str] = (),
    path: Path | None = None,
    trust: bool = False,
) -> Config:
    """Merges `defaults`, the named blocks in their order, and command-line flags.

    If this sets a `stage`, the top-level keys `STAGE_KEYS` are then filled from
    `stages.<stage>`, except those that a flag names or that come, with the stage, from
    a run's own file. So a stage's block sets `stage` alone and commutes with the blocks
    of sizes.

    Args:
        names: Names of blocks, such as `["minatar", "small", "pretrain"]`. A file such
            as a run's `config.yaml` is a block too.
        argv: Flags such as `["--rssm.deter", "64"]`; `--help` prints a table and exits.
        path: The file of blocks; by default `find_configs()`.
        trust: Whether a file among the names may name a task that imports a module.

    Raises:
        ConfigError: The file, a block, a key or a value is unknown or not allowed.
        PathError: The value of one of `PATHS` is no path.
    """
    return resolve(names, argv, path, trust).config


def resolve(
    names: Sequence[str],
    argv: Sequence[str] = (),
    path: Path | None = None,
    trust: bool = False,
) -> Resolved:
    """Does the same as `load_config`, and also returns where each value comes from."""
    merged = _merge(names, path or find_configs())
    flags = Flags(merged.config)
    # '' takes back what a block has set, but is a mistake where that was '' already.
    kept = [key for key in PATHS if merged.config.get(key) and key != "logdir"]
    flags.paths = [key for key in PATHS if key not in kept]
    config, given = flags.parse(argv), flags.given
    for key in PATHS:
        if key == "logdir" or config.get(key):
            paths.check(config.get(key, UNSET_LOGDIR), f"Key '{key}'")
    origins = merged.origins | {key: f"--{key}" for key in given}
    stage = f"stages.{config.get('stage')}"
    keys = _stage_keys(config, {*given, *_of_same_file(origins, stage, given)})
    for key in (*TASKS, *(f"{stage}.{key}" for key in keys if key in TASKS)):
        if not trust and Path(origins.get(key, "")).suffix in SUFFIXES:
            check_task(config[key], origins[key])
    config = _with_games(_set_stage(config, keys), given)
    origins |= dict.fromkeys(keys, stage)
    if config.get("logdir") == UNSET_LOGDIR and "logdir" not in given:
        config = config.update(logdir=_default_logdir(names, config))
        origins["logdir"] = "the blocks' names"
    return Resolved(config, origins)


def _with_games(config: Config, given: Collection[str]) -> Config:
    """Returns the configuration of a run on all of `tasks`, if a flag asks for it.

    Raises:
        ConfigError: Flags name one game and several.
    """
    if config.get("stage") not in ONLINE:
        return config
    if {"task", "tasks"} <= {*given} and {*config.tasks} != {config.task}:
        raise ConfigError(
            "Name one game by --task, or several by --tasks, not both. Received: "
            f"--task {config.task} --tasks {' '.join(config.tasks)}"
        )
    if "task" in given and not {"tasks", "multi_game"} & {*given}:
        # One game, whatever a run's file mixes.
        return config.update(multi_game=False)
    if not config.get("multi_game") and "tasks" not in given:
        return config
    games = tuple(dict.fromkeys(config.tasks))
    return config.update(task=games[0], tasks=games, multi_game=len(games) > 1)


def load_old(
    path: str | os.PathLike, configs: Path | None = None
) -> tuple[Config, list[str]]:
    """Loads a `config.yaml` or `config.json` of the original, adding missing keys.

    Args:
        path: The old file.
        configs: The file of blocks; by default `find_configs()`.

    Returns:
        The `defaults` block with the old values, and a note for each key of the old
        file that was renamed since, or is unknown (and so has no effect).

    Raises:
        ConfigError: The file cannot be read or has a bad value.
    """
    defaults = _merge([], configs or find_configs()).config
    known, notes = _read_old(Path(path), defaults)
    with locating(path):
        return defaults.update(known), notes


def _read_old(path: Path, defaults: Config) -> tuple[dict[str, Any], list[str]]:
    """Returns a file's values by today's keys, and notes about its other keys."""
    known, notes = {}, []
    for key, value in Config.load(path).flat.items():
        name = key if key in defaults.flat else RENAMED.get(key)
        if name is None:
            notes.append(
                f"{path}: key '{key}' is not known today and has no effect. "
                f"Received: {key}={format_value(value)}"
            )
            continue
        if name != key:
            notes.append(f"{path}: key '{key}' is called '{name}' today.")
        if name == "encoder.cnn_keys" and isinstance(value, tuple):
            value = "|".join(f"{key}$" for key in value)
        if name == "grad_heads" and isinstance(value, tuple):
            # The decoder was named after the images, which were all that it made.
            value = tuple("decoder" if head == "image" else head for head in value)
        known[name] = value
    return known, sorted(notes)


def learned_games(config: Config) -> tuple[str, ...]:
    """Returns the games that a run learns: those that it mixes, or the one it plays."""
    mixes = config.stage in MIXING or config.get("multi_game", False)
    return tuple(config.tasks) if mixes else (config.task,)


def games_of_batches(config: Config) -> tuple[str, ...]:
    """Returns the games whose episodes a run's batches hold."""
    known = config.known.tasks if config.replay.mix else ()
    return tuple(dict.fromkeys((*learned_games(config), *known)))


def game_indices(config: Config, games: Sequence[str]) -> list[int]:
    """Returns the numbers of games in `task_embed.games`; none if it is off.

    Raises:
        ConfigError: The model has no vector of a game.
    """
    if not config.task_embed.size:
        return []
    known = config.task_embed.games
    if missing := [game for game in games if game not in known]:
        raise ConfigError(
            f"The model has no vector of {missing[0]} (task_embed), only of "
            f"{', '.join(known)}. Name one of these, or fine-tune the model on "
            f"{missing[0]} first."
        )
    return [known.index(game) for game in games]


def check_task(task: str | Sequence[str], place: object) -> None:
    """Refuses a task that imports a module, as only the user may ask for that.

    Args:
        task: A task or several, as a file names them.
        place: The file.

    Raises:
        ConfigError: It does.
    """
    for name in [task] if isinstance(task, str) else task:
        if found := IMPORTS.match(name):
            raise ConfigError(
                f"{place} names task={name}, whose environment runs the code of the "
                f"Python module {found[1]!r}. If you trust it, name the task yourself "
                f"(--task {name}) or, where a command has it, add --trust."
            )


def with_stage(config: Config, stage: str) -> Config:
    """Returns the configuration for a stage, with what its section of `stages` sets."""
    config = config.update(stage=stage)
    return _set_stage(config, _stage_keys(config, frozenset()))


def _merge(names: Sequence[str], path: Path) -> Resolved:
    blocks = read_mapping(path)
    defaults = _block(blocks, "defaults", path)
    with locating(f"{path}, block 'defaults'"):
        config = Config(defaults)
    origins = dict.fromkeys(config.flat, "defaults")
    for name in _with_pairs(names, blocks):
        if Path(name).suffix in SUFFIXES:
            place = name
            block, notes = _read_old(Path(name), config)
            for note in notes:
                print(note)
            block.pop("logdir", None)  # That of the run which the file is from.
        else:
            place, block = f"{path}, block '{name}'", _block(blocks, name, path)
        with locating(place):
            found = dict.fromkeys(config.matches(block), name)
            is_same = block.get("stage") == config.get("stage")
            if is_same and Path(name).suffix not in SUFFIXES:
                found.pop("stage", None)  # The stage still comes from the run's file.
            origins |= found
            config = config.update(block)
    return Resolved(config, origins)


def _with_pairs(names: Sequence[str], blocks: dict) -> Iterator[str]:
    """Yields the names, and after a second one that of the block for both, `A B`."""
    for i, name in enumerate(names):
        yield name
        pairs = (f"{first} {name}" for first in names[:i])
        yield from (pair for pair in pairs if pair in blocks)


def _block(blocks: dict, name: str, path: Path) -> dict:
    if name not in blocks:
        raise ConfigError(
            f"Unknown block '{name}' in {path}.{suggestion(name, blocks)} "
            f"Known blocks: {', '.join(blocks)}."
        )
    if not isinstance(blocks[name], dict):
        raise ConfigError(
            f"{path}: block '{name}' has no keys. Received: {blocks[name]!r}"
        )
    return blocks[name]


def _of_same_file(
    origins: Mapping[str, str], stage: str, given: Collection[str]
) -> list[str]:
    """Returns the stage's keys whose values a run's file has beside its stage.

    They are what flags made of them; a later block or flag may change the section. What
    names games replaces both `task` and `tasks`.
    """
    file = origins.get("stage", "")
    if Path(file).suffix not in SUFFIXES:
        return []
    section = {key for key in STAGE_KEYS if f"{stage}.{key}" in origins}
    kept = {
        key
        for key in section - {*given}
        if origins[key] == origins[f"{stage}.{key}"] == file
    }
    games = section & {"task", "tasks"}
    return [*(kept if games <= kept else kept - games)]


def _stage_keys(config: Config, given: Collection[str]) -> list[str]:
    """Returns the top-level keys that the stage sets, as no flag does."""
    section = config.get(f"stages.{config.get('stage')}", {})
    return [key for key in STAGE_KEYS if key in section and key not in given]


def _set_stage(config: Config, keys: Iterable[str]) -> Config:
    stage = config.get("stage")
    return config.update({key: config[f"stages.{stage}.{key}"] for key in keys})


def _default_logdir(names: Sequence[str], config: Config) -> str:
    # Stages come last, so that blocks which commute share a folder.
    names = [Path(n).parent.name if Path(n).suffix in SUFFIXES else n for n in names]
    parts = sorted(names, key=lambda name: name in config.get("stages", {}))
    folder = f"logdir/{'_'.join(parts) or 'defaults'}"
    # A folder for each game's agent, so that `dqn.checkpoints` takes the parent folder.
    return f"{folder}/{config.task}" if config.get("stage") == "dqn" else folder

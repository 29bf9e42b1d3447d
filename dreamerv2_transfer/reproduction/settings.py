"""Keys that a study sets for its jobs: checked, shared out, remembered.

Each key goes to the jobs that read it: `dqn.*` to the players, `collect.*` to the
collection, those of how players take turns to the collection and to world models, whose
analysis plays in the same way, `init.*` and `freeze.*` to what starts from a model,
`reproduce.*` to the study itself, those of environments to all that play, and all
others to the training of models and agents.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common.config import (
    Config,
    ConfigError,
    check_conflicts,
    check_ranges,
    locating,
)
from dreamerv2_transfer.common.files import atomic, documents
from dreamerv2_transfer.common.files.documents import Schema
from dreamerv2_transfer.reproduction import ledger

FILE = "study.json"
TRAINING = ("pretrain", "finetune", "scratch")
# An analysis plays as the collection did, by the configuration of its world model.
TURNS = ("collect", "pretrain")
# By key or group of keys, the stages that read it; other keys are those of `TRAINING`.
READERS = {
    "dqn": ("dqn",),
    "dqn.interval": TURNS,
    "dqn.epsilon": TURNS,
    "policies": TURNS,
    "collect": ("collect",),
    "init": ("finetune",),
    "freeze": ("finetune",),
    "adapter": ("finetune",),
    "known": ("finetune",),
    "replay.mix": ("finetune",),
    "model_opt.wd_start": ("finetune",),
    "reproduce": (),
}
# What environments read, by the beginnings of keys.
PLAYED = ("atari_", "dmc_", "minatar_", "envs_", "obs.", "render_size", "time_limit")
PLAYED += ("action_repeat",)
# What the study sets itself.
TAKEN = ("logdir", "seed", "task", "tasks", "stage", "steps", "init.path")
TAKEN += ("dataset.directory", "eval_dataset", "dqn.checkpoints")
SETTINGS = {"type": "object", "additionalProperties": {"type": "string"}}
SCHEMA = Schema(
    {
        "type": "object",
        "required": ["settings"],
        "properties": {
            "settings": SETTINGS,
            "arms": {"type": "object", "additionalProperties": SETTINGS},
        },
    }
)

Settings = Mapping[str, str]  # By dotted key, the value as a flag takes it.


def read(texts: Sequence[str], blocks: Sequence[str]) -> dict[str, str]:
    """Returns the settings that `KEY=VALUE` texts name.

    A text without `=` belongs to the value of the text before it, a list or a schedule:
    `actor_ent=linear(1,0.1,1e5)` arrives in three texts.

    Args:
        texts: The texts; '' is none.
        blocks: The study's blocks.

    Raises:
        ConfigError: A text has no key, or as for `check`.
    """
    given: dict[str, str] = {}
    for text in filter(None, texts):
        key, equals, value = text.partition("=")
        if equals and key:
            given[key] = value
        elif given and not equals:
            given[[*given][-1]] += f",{text}"
        else:
            raise ConfigError(f"--set takes KEY=VALUE,KEY=VALUE. Received: {text}")
    with locating("--set"):
        return check(given, blocks)


def check(given: Mapping[str, str], blocks: Sequence[str]) -> dict[str, str]:
    """Returns settings by full keys, with values written in one way.

    Args:
        given: The settings; a key may be a regular expression for several.
        blocks: The study's blocks.

    Raises:
        ConfigError: A key is unknown or is the study's own, or a value is not allowed.
    """
    known = blocks_lib.load_config(blocks)
    found = {key: value for name, value in given.items() for key in known.match(name)}
    for key in found:
        if key in TAKEN or key.startswith("stages."):
            raise ConfigError(f"Key '{key}' is set by the study itself.")
    loaded = [blocks_lib.load_config(blocks, _written(found))]
    for stage in ("dqn", "collect", *TRAINING):
        if argv := flags(found, stage):
            loaded.append(blocks_lib.load_config((*blocks, stage), argv))
    for config in loaded:
        check_ranges(config)
        check_conflicts(config)
    return {key: text(loaded[0][key]) for key in found}


def flags(settings: Settings, stage: str) -> tuple[str, ...]:
    """Returns the flags for the jobs of a stage: the keys that it reads."""
    return _written({k: v for k, v in settings.items() if stage in readers(k)})


def numbers(settings: Settings) -> tuple[str, ...]:
    """Returns the flags for the study's own numbers, `reproduce.*`."""
    own = {k: v for k, v in settings.items() if k.startswith("reproduce.")}
    return _written(own)


def readers(key: str) -> tuple[str, ...]:
    """Returns the stages whose jobs read a key."""
    if key.startswith(PLAYED):
        return ("dqn", "collect", *TRAINING)
    return READERS.get(key) or READERS.get(key.partition(".")[0], TRAINING)


def remember(
    folder: pathlib.Path, settings: Settings, arms: Mapping[str, Settings]
) -> None:
    """Notes the settings of a study, or refuses others than those it began with.

    Arms may be added, as their jobs come with folders of their own.

    Args:
        folder: The study's folder.
        settings: Those of all jobs.
        arms: Those of each arm that is not one of the paper's.

    Raises:
        ConfigError: The study began with others.
        OutputError: The file cannot be written.
    """
    path = folder / FILE
    began = _began(folder)
    before = began or {"settings": dict(settings)}
    known = before.get("arms", {})
    _refuse_others(folder, "settings", before["settings"], settings)
    for name in known.keys() & arms.keys():
        _refuse_others(folder, f"arm {name}", known[name], arms[name])
    now = {"settings": dict(settings)}
    if known or arms:
        now["arms"] = known | {name: dict(arm) for name, arm in arms.items()}
    if now != began:
        with atomic.writing(path):
            folder.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, json.dumps(now, indent=1))


def _began(folder: pathlib.Path) -> dict[str, Any] | None:
    """Returns what a folder remembers; None if no study has begun there."""
    path = folder / FILE
    try:
        return SCHEMA.parse(documents.read(path, documents.JSON_BYTES))
    except FileNotFoundError:
        # Studies had no settings before there was this file.
        return {"settings": {}} if (folder / ledger.FILE).exists() else None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} is damaged, so the settings of the study are not known: {error}. "
            "Mend it, or choose another --logdir."
        ) from error


def _refuse_others(
    folder: pathlib.Path, what: str, before: Settings, now: Settings
) -> None:
    if dict(before) != dict(now):
        raise ConfigError(
            f"The study in {folder} began with other {what}: {_shown(before)}. "
            f"Received: {_shown(now)}. Repeat those, or choose another --logdir."
        )


def _shown(settings: Settings) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted(settings.items())) or "none"


def _written(settings: Settings) -> tuple[str, ...]:
    return tuple(x for key, value in settings.items() for x in (f"--{key}", value))


def text(value: Any) -> str:
    """Returns a value as a flag takes it, with all of its digits."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def of_study(blocks: Sequence[str], settings: Settings) -> Config:
    """Returns the configuration of a study, with its own numbers."""
    return blocks_lib.load_config(blocks, numbers(settings))

"""The file that describes a study's arms.

games: all                        # each is new in turn: pre-train on the others
seeds: 3
settings: {loss_scales.kl: 0.1}   # of all jobs
arms:
  scratch: {stage: scratch}
  frozen: {stage: finetune, presets: [freeze_rssm]}
  fixed_later:
    stage: finetune
    settings: {wm_steps: 5000}    # of this arm
    games: [seaquest]
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common.config import (
    Config,
    ConfigError,
    check_conflicts,
    check_names,
    check_ranges,
    locating,
    read_mapping,
)
from dreamerv2_transfer.reproduction import settings as settings_lib
from dreamerv2_transfer.reproduction.settings import Settings
from dreamerv2_transfer.reproduction.study import Arm, games_named

SECTIONS = ("games", "seeds", "settings", "arms")
FIELDS = ("stage", "presets", "settings", "games", "seeds", "pretrain")
STAGES = ("scratch", "finetune")
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")  # Of an arm, as of its folder.
MOST = 1000  # Seeds of an arm.


@dataclasses.dataclass(frozen=True)
class ArmsFile:
    """A file of arms, with keys and values that are checked.

    Attributes:
        path: The file.
        settings: Keys of all jobs.
    """

    path: pathlib.Path
    settings: Settings
    _mapping: Mapping[str, Any]
    _blocks: tuple[str, ...]

    def new_games(self, config: Config) -> tuple[str, ...]:
        """Returns the games that are new in turn; () leaves that to the study.

        Raises:
            ConfigError: One is not a game of the study.
        """
        with locating(self.path):
            return games_named(config, self._mapping.get("games", []))

    def arms(self, config: Config, settings: Settings, seeds: int) -> tuple[Arm, ...]:
        """Returns the arms.

        Args:
            config: The study's configuration.
            settings: Keys of all jobs, with those of the command line.
            seeds: Seeds of an arm where the file names none.

        Raises:
            ConfigError: A field, a key or a value is not allowed.
        """
        with locating(self.path):
            listed = self._mapping.get("arms")
            if not isinstance(listed, dict) or not listed:
                raise ConfigError(
                    "The section arms is empty. Name what to run, such as "
                    "scratch: {stage: scratch}."
                )
            shared = {"seeds": self._mapping.get("seeds", seeds)}
            made = []
            for name, fields in listed.items():
                with locating(f"arm '{name}'"):
                    _check_fields(name, fields)
                    made.append(self._arm(name, shared | fields, config, settings))
            return tuple(made)

    def _arm(
        self, name: str, fields: dict[str, Any], config: Config, settings: Settings
    ) -> Arm:
        stage, presets = fields["stage"], tuple(fields.get("presets", ()))
        own = _settings(fields.get("settings", {}), self._blocks)
        for key in own:
            if stage not in settings_lib.readers(key):
                raise ConfigError(f"Key '{key}' has no effect in the stage {stage}.")
        argv = settings_lib.flags({**settings, **own}, stage)
        loaded = blocks_lib.load_config((*self._blocks, stage, *presets), argv)
        if loaded.stage != stage:
            raise ConfigError(f"Its presets set the stage to {loaded.stage}.")
        check_ranges(loaded)
        check_conflicts(loaded)
        games = fields.get("games", "new")
        return Arm(
            name=name,
            stage=stage,
            presets=presets,
            settings=own,
            games=games if games in ("new", "learned") else games_named(config, games),
            seeds=_seeds(fields["seeds"]),
            pretrain=_count("pretrain", fields.get("pretrain", 0), 0, 10**9),
        )


def read(path: str | os.PathLike, blocks: Sequence[str]) -> ArmsFile:
    """Reads a file of arms.

    Args:
        path: The file.
        blocks: The study's blocks.

    Raises:
        ConfigError: The file cannot be read, has an unknown section, or its settings
            are not allowed.
    """
    path = pathlib.Path(path)
    mapping = read_mapping(path)
    with locating(path):
        hint = f"Sections: {', '.join(SECTIONS)}."
        check_names("section", mapping, SECTIONS, hint)
        settings = _settings(mapping.get("settings", {}), blocks)
    return ArmsFile(path, settings, mapping, tuple(blocks))


def _settings(mapping: Any, blocks: Sequence[str]) -> dict[str, str]:
    if not isinstance(mapping, dict):
        raise ConfigError(f"The settings are keys with values. Received: {mapping!r}")
    known = blocks_lib.load_config(blocks)
    changed = known.update(mapping)
    named = {key: settings_lib.text(changed[key]) for key in known.matches(mapping)}
    return settings_lib.check(named, blocks)


def _check_fields(name: Any, fields: Any) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(
            "Its name is that of a folder: letters, digits, _, - and dot."
        )
    if not isinstance(fields, dict):
        raise ConfigError(f"It needs a stage, {{stage: scratch}}. Received: {fields!r}")
    check_names("field", fields, FIELDS, f"Fields: {', '.join(FIELDS)}.")
    if fields.get("stage") not in STAGES:
        raise ConfigError(
            f"Its stage is one of {', '.join(STAGES)}. Received: {fields.get('stage')}"
        )
    presets = fields.get("presets", [])
    if not isinstance(presets, list) or not all(isinstance(x, str) for x in presets):
        raise ConfigError(f"Its presets are a list of blocks. Received: {presets!r}")
    if "pretrain" in fields and fields["stage"] == "scratch":
        raise ConfigError("From scratch there is no model to pre-train: no pretrain.")


def _seeds(given: Any) -> tuple[int, ...]:
    """Returns seeds: that many from 0 on, or those of a list."""
    if not isinstance(given, list):
        return tuple(range(_count("seeds", given, 1, MOST)))
    seeds = tuple(_count("seeds", seed, 0, 2**31 - 1) for seed in given)
    if not seeds or len({*seeds}) < len(seeds):
        raise ConfigError(f"The seeds are distinct numbers. Received: {given!r:.80}")
    return seeds


def _count(field: str, value: Any, least: int, most: int) -> int:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value <= most or value != int(value):
        raise ConfigError(
            f"The {field} are whole numbers from {least} to {most}. Received: "
            f"{value!r:.80}"
        )
    return int(value)

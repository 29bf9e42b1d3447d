"""The games that a model learned before fine-tuning, so that it does not forget them.

    batch = (1 - replay.mix) * rows of the new game + replay.mix * rows of known games

`known` of a configuration names their dataset. Batches are mixed from it, and the
model's error on its held-out episodes tells how much was forgotten.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import gymnasium

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.common.replay import layout, offline, online
from dreamerv2_transfer.common.replay.store import DatasetError
from dreamerv2_transfer.transfer import sources

MODEL = ("model",)  # `known.tasks` of the games of the loaded model.
Spaces = Mapping[str, gymnasium.Space]


def is_used(config: Config) -> bool:
    """Returns whether a run reads the known games."""
    return bool(config.replay.mix or config.known.evaluate)


def check(config: Config) -> None:
    """Checks what the configuration says about the known games.

    Raises:
        ConfigError: It is no fine-tuning, or a batch cannot be mixed.
    """
    mix, batch = config.replay.mix, config.dataset.batch
    if not is_used(config):
        return
    received = f"replay.mix={mix:g} and known.evaluate={config.known.evaluate}"
    if config.stage not in ("", "finetune") or not config.init.path:
        raise ConfigError(
            "Only fine-tuning, from a model of --init, can mix in or evaluate the "
            f"games that the model knows. Received: {received}."
        )
    if config.known.evaluate and not config.dataset.holdout:
        raise ConfigError(
            "Forgetting is measured on held-out episodes of the known games. Received: "
            "known.evaluate=True and dataset.holdout=0, which holds out none. Use the "
            "dataset.holdout of their model, or leave known.evaluate off."
        )
    if mix and not 0 < online.known_rows(mix, batch) < batch:
        raise ConfigError(
            f"replay.mix must leave a batch of dataset.batch={batch} sequences at "
            f"least one of the new game and one of known games. Received: {mix:g}."
        )
    if mix and config.multi_game:
        raise ConfigError(
            "Known games can be mixed into the batches of one new game alone. "
            f"Received: replay.mix={mix:g} and --tasks {' '.join(config.tasks)}."
        )
    if mix and config.strategy != "none":
        raise ConfigError(
            "Replicas would get unequal shares of known games: mix them on one device. "
            f"Received: replay.mix={mix:g} and strategy={config.strategy}."
        )


def resolved(config: Config) -> Config:
    """Returns a configuration that names the dataset and the games.

    They are those that it names, else those that the run's folder remembers, else those
    that the model of `init` was trained on.

    Raises:
        ConfigError: The model's dataset is not known, or a game imports a module.
        CheckpointError: There is no model.
    """
    known = config.known
    if not is_used(config) or (known.directory and known.tasks != MODEL):
        return config
    own = sources.remembered(config.logdir)
    found = blocks.load_old(own)[0].known if own else None
    if own and found and found.directory:
        directory, tasks, place = found.directory, found.tasks, own
    else:
        directory, tasks, place = _of_model(config)
    tasks = tasks if known.tasks == MODEL else known.tasks
    blocks.check_task(tasks, place)
    return config.update(
        {"known.directory": known.directory or directory, "known.tasks": tasks}
    )


def _of_model(config: Config) -> tuple[str, tuple[str, ...], pathlib.Path]:
    """Returns the dataset and the games of the model of `init`, and the file with them.

    Raises:
        ConfigError: They are not known.
        CheckpointError: There is no model.
    """
    if not config.init.path:
        return "", MODEL, pathlib.Path()
    folder = sources.find_weights(config.init.path).parent
    place, directory = folder / "config.yaml", config.known.directory
    theirs = blocks.load_old(place)[0] if place.is_file() else None
    if theirs and not directory:
        own = folder / "dataset"
        directory = theirs.dataset.directory or (str(own) if own.is_dir() else "")
    if not theirs or not directory:
        raise ConfigError(
            f"It is not known on which episodes {config.init.path} was trained. Name "
            "their dataset and its games: --known.directory DIRECTORY --known.tasks "
            f"GAME [GAME ...]. Received: known.directory={config.known.directory!r}"
        )
    held, ours = theirs.dataset.holdout, config.dataset.holdout
    # Every 20th episode is also a 10th one: then none of them was learned.
    if not config.known.directory and ours and (not held or ours % held):
        advice = f" Use --dataset.holdout {held:g}." if held else ""
        print(
            f"Warning: {place} held out {f'1 in {held:g}' if held else 'no'} episodes, "
            f"this run holds out 1 in {ours:g}, so forgetting is partly measured on "
            f"episodes that the model has learned.{advice}",
            flush=True,
        )
    return directory, blocks.learned_games(theirs), place


def open_dataset(
    config: Config, logdir: pathlib.Path, obs_space: Spaces, act_space: Spaces
) -> offline.OfflineDataset | None:
    """Opens the dataset of the known games; None if the run does not read it.

    Args:
        config: The resolved configuration, see `resolved`.
        logdir: The run's folder.
        obs_space: The spaces of the new game's observations.
        act_space: The space of its actions.

    Raises:
        DatasetError: It cannot be read, or is not played like the new game.
    """
    if not is_used(config):
        return None
    alone = config.update(task_weights=[1.0])
    directory, tasks = config.known.directory, config.known.tasks
    dataset = offline.open_dataset(alone, directory, tasks, logdir / "packed")
    ours, theirs = (
        layout.of_spaces({**x, **y})
        for x, y in (
            (obs_space, act_space),
            (dataset.obs_space, dataset.act_space),
        )
    )
    for key in ours:
        if ours[key] != theirs.get(key):
            there, here = (_described(x.get(key)) for x in (theirs, ours))
            raise DatasetError(
                f"The games in {directory} are not played like {config.task}: {key} is "
                f"{there} there and {here} here. Known games need the same "
                "observations and actions; leave replay.mix at 0 and known.evaluate "
                "off."
            )
    return dataset


def _described(kind: Mapping[str, Any] | None) -> str:
    if kind is None:
        return "missing"
    more = "".join(f", {x}={kind[x]}" for x in ("n", "start", "parts") if x in kind)
    return f"{kind['dtype']} of shape {tuple(kind['shape'])}{more}"

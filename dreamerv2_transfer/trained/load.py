"""Loads a trained model from a logdir, a file of weights, a URL or a published name."""

from __future__ import annotations

import fnmatch
import os
import pathlib
import re
import warnings
from typing import Any

import gymnasium
import tensorflow as tf

import dreamerv2_transfer
from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks, machine
from dreamerv2_transfer.common.config import Config, check_ranges
from dreamerv2_transfer.common.errors import ModelError
from dreamerv2_transfer.trained import games
from dreamerv2_transfer.trained.graphs import precision
from dreamerv2_transfer.trained.model import Model
from dreamerv2_transfer.trained.player import FILES, Player, newest
from dreamerv2_transfer.transfer import cards, sources, weights

UNKNOWN = "is not known today"  # As `blocks.load_old` notes it.
# What a model that is no longer trained needs: graphs in float32 on one device. What
# explored does not act, and nothing is added to what the actor chooses.
SETTINGS = {
    "precision": "32",
    "jit": True,
    "strategy": "none",
    "expl_behavior": "greedy",
    "expl_noise": 0.0,
    "eval_noise": 0.0,
}


def load(
    source: str | os.PathLike,
    env: gymnasium.Env | str | None = None,
    seed: int = 0,
) -> Model | Player:
    """Loads a trained model, or a DQN; `api.load` describes arguments and errors."""
    if player := _player(source):
        return player
    file = weights.find_weights(source)
    config = _config(file)
    obs_space, act_space = games.find(config, file, env)
    machine.keep_compiled()
    agent, network = _build(config, file, obs_space, act_space)
    name = sources.pinned(source, file)
    return Model(network, agent, act_space["action"], config, name, seed)


def _player(source: str | os.PathLike) -> Player | None:
    """Returns the DQN that a file or a folder holds; None if it holds another model."""
    path = sources.local(source)
    file = newest(path) if path.is_dir() else path
    is_player = file and any(fnmatch.fnmatch(file.name, x) for x in FILES)
    if not file or not is_player or (path / weights.WORLD_MODEL).is_file():
        return None
    cards.checked(file.parent)
    config = _config(file)
    task = str(weights.read_attributes(file).get("task", config.task))
    return Player(file, task, config, sources.pinned(source, file))


def _config(file: pathlib.Path) -> Config:
    beside = file.parent / "config.yaml"
    if not beside.is_file():
        raise ModelError(
            f"{file} has no config.yaml beside it, which says how its networks are "
            "built. Copy that of its run there."
        )
    config, notes = blocks.load_old(beside)
    version = str(weights.read_attributes(file).get("version", ""))
    unknown = [note for note in notes if UNKNOWN in note]
    if unknown and _release(version) > _release(dreamerv2_transfer.__version__):
        raise ModelError(
            f"{file.parent} is of version {version}, this is version "
            f"{dreamerv2_transfer.__version__}. Upgrade the package. {unknown[0]}"
        )
    for note in unknown:
        warnings.warn(note, stacklevel=4)
    check_ranges(config)
    return config


def _release(version: str) -> list[int]:
    return [int(x) for x in re.findall(r"\d+", version)[:3]]


def _build(config: Config, file: pathlib.Path, *spaces: Any):
    """Builds the networks and loads their weights."""
    actor_critic = sources.in_folder(file.parent, weights.ACTOR_CRITIC)
    settings = config.update(SETTINGS)
    rng = tf.random.Generator.from_seed(0)  # Unused, but without one no noise is drawn.
    with precision():
        try:
            if not actor_critic:
                agent, network = None, agent_lib.WorldModel(settings, *spaces, rng)
            else:
                agent = agent_lib.Agent(settings, *spaces, rng)
                network = agent.wm
        except ValueError as error:
            raise ModelError(
                f"The networks of {file.parent} cannot be built: {error}"
            ) from error
        weights.load_weights(file, network.components)
        if agent and actor_critic:
            behavior = agent.task_behavior.components
            weights.load_weights(actor_critic, behavior)
    return agent, network

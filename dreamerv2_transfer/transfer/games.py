"""The games of a model with `task_embed`: named in its weights, new ones added.

rssm/task_embed/GAME    the vector of a game, see `common/nets/task_embed.py`
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.common.errors import CheckpointError
from dreamerv2_transfer.common.files import hdf5, tensors
from dreamerv2_transfer.transfer import sources

OWN = ("own",)  # `task_embed.games` before it is resolved.
PREFIX = "rssm/task_embed/"


def resolved(config: Config) -> Config:
    """Returns a configuration whose `task_embed.games` are those of its model.

    They are those that it names, else those that the run's folder remembers, else those
    of the model of `init` and then the run's own.

    Raises:
        ConfigError: The vectors of the model of `init` are missing or of another size.
        CheckpointError: There is no such model.
    """
    embed = config.task_embed
    if not embed.size or embed.games != OWN:
        return config
    file = sources.remembered(config.logdir)
    games = blocks.load_old(file)[0].task_embed.games if file else OWN
    if games == OWN:
        loads = config.init.path and config.stage != "pretrain"
        known = _of_model(config) if loads and "rssm" in config.init.components else []
        games = tuple(dict.fromkeys((*known, *blocks.games_of_batches(config))))
    return config.update({"task_embed.games": games})


def check(config: Config) -> None:
    """Checks that `task_embed.games` names every game in a run's batches.

    Args:
        config: The configuration, see `resolved`.

    Raises:
        ConfigError: It lacks one.
    """
    named, learned = config.task_embed.games, blocks.games_of_batches(config)
    if config.task_embed.size and (missing := [x for x in learned if x not in named]):
        raise ConfigError(
            f"task_embed.games lacks {missing[0]}, which this run learns. Received: "
            f"{', '.join(named)}. Add it, or leave that key out."
        )


def _of_model(config: Config) -> list[str]:
    file = sources.find_weights(config.init.path)
    reader: Any = tensors if file.suffix == tensors.SUFFIX else hdf5
    try:
        with reader.opened(file) as content:
            sizes = {
                urllib.parse.unquote(name.removeprefix(PREFIX)): array.shape[0]
                for name, array in content.arrays.items()
                if name.startswith(PREFIX)
            }
    except hdf5.ArraysError as error:
        raise CheckpointError(f"Cannot read weights from {file}: {error}.") from error
    if {*sizes.values()} != {config.task_embed.size}:
        theirs = max(sizes.values(), default=0)
        raise ConfigError(
            f"The model in {config.init.path} was trained with task_embed.size="
            f"{theirs}. Received: task_embed.size={config.task_embed.size}. Use "
            f"--task_embed.size {theirs}, or leave rssm out of --init.components."
        )
    return list(sizes)


def new_vectors(rssm: Any, arrays: Mapping[str, Any]) -> list[str]:
    """Returns the paths of the vectors of an RSSM that a file of weights lacks."""
    paths = (variable.path for variable in rssm.variables)
    return [path for path in paths if path.startswith(PREFIX) and path not in arrays]


def start_new(rssm: Any, new: Collection[str]) -> str:
    """Starts the vectors of new games at the mean of the known ones.

    There, the networks read what they have learned to read: a fresh vector is near
    zero, and may be far from all that they know.

    Args:
        rssm: The RSSM, whose known vectors are loaded.
        new: The paths of the new vectors.

    Returns:
        A sentence about them; empty if there is none.
    """
    vectors = {v.path: v for v in rssm.variables if v.path.startswith(PREFIX)}
    known = [v.numpy() for path, v in vectors.items() if path not in new]
    started = [path for path in new if path in vectors]
    if not started or not known:
        return ""
    for path in started:
        vectors[path].assign(np.mean(known, 0))
    names = [urllib.parse.unquote(path.removeprefix(PREFIX)) for path in started]
    return f" The vector of {', '.join(names)} starts at the mean of the others."

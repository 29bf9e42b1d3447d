"""Finds and loads DQN players, ours and published ones.

They lie in `FOLDER/GAME/**/model_STEPS.EXT`, or below a folder of the algorithm:

    .pt          MinAtar, PyTorch: the paper authors'
    .weights.h5  MinAtar, HDF5: our own
    .gz          Atari, gzipped PyTorch: floringogianu/atari-agents
"""

from __future__ import annotations

import difflib
import functools
import os
import pathlib
import re
from collections.abc import Callable, Iterator

from dreamerv2_transfer.common import envs, foreign
from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.common.envs import atari
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.dqn import acting, agent_files

DqnError = agent_files.DqnError

_FILE = re.compile(r"model_[0-9]+\.(pt|gz|weights\.h5)")
_READERS: dict[str, dict[str, Callable[..., acting.QNetwork]]] = {
    "minatar": {
        "pt": agent_files.read_minatar_torch,
        "weights.h5": agent_files.read_minatar_h5,
    },
    "atari": {"gz": agent_files.read_atari_torch},
}


def find(directory: str | os.PathLike, task: str) -> list[pathlib.Path]:
    """Lists the players of a game below a folder, from few steps to many.

    A folder has the game's name, in any case, with or without underscores and the
    suite: `beam_rider`, `BeamRider`, `atari_beam_rider`.

    Raises:
        DqnError: The folder does not exist, or nothing in it is for the task; lists the
            games that it has players for, the most similar names first.
    """
    directory = pathlib.Path(directory)
    suite, game = _game(task)
    if not directory.is_dir():
        raise DqnError(
            f"There is no folder {directory} to take DQN players from. Name another "
            "one by --dqn.checkpoints."
        )
    files = list(_files(directory))
    found = [
        directory / file
        for file in files
        if _extension(file) in _READERS[suite]
        and _plain(game) in (_plain(part, suite) for part in file.parts[:-1])
    ]
    if not found:
        raise DqnError(_none_found(directory, task, files))

    def natural(path: pathlib.Path) -> list[list[str | int]]:
        """Orders numbers in names as numbers."""
        pieces = [re.split(r"([0-9]+)", part) for part in path.parts]
        return [[int(x) if i % 2 else x for i, x in enumerate(p)] for p in pieces]

    return sorted(found, key=natural)


def load(path: str | os.PathLike, task: str) -> acting.QNetwork:
    """Reads the network of a player. Runs no code from the file.

    Raises:
        DqnError: Names the file and what is wrong with it: missing, damaged, of
            another kind, architecture or game, or with numbers that are not finite.
    """
    path = pathlib.Path(path)
    suite, _ = _game(task)
    read = _READERS[suite].get(_extension(path))
    if read is None:
        raise DqnError(
            f"Received: {path} as a DQN player of {task}. Its name must be model_STEPS "
            f"with {' or '.join(f'.{x}' for x in _READERS[suite])}."
        )
    try:
        return read(path, task, minimal_actions(task))
    except UserError as error:
        raise DqnError(f"Cannot use a DQN player of {task}: {error}") from error


def check_view(config: Config, task: str, advice: str) -> None:
    """Checks that players see the planes of a game, as their networks expect.

    The first channels of categories would pass for planes, but mean something else.

    Args:
        config: The configuration of the environments.
        task: The game.
        advice: What to do instead, as a sentence.

    Raises:
        ConfigError: They would see categories.
    """
    view = config.get("minatar_view", "planes")
    if task.startswith("minatar_") and view != "planes":
        raise ConfigError(
            f"DQN players see MinAtar's planes. Received: minatar_view={view} for "
            f"{task}. {advice}"
        )


def minimal_actions(task: str) -> int:
    """Returns the number of actions that a player of the game chooses from.

    Raises:
        DqnError: There is no such game.
    """
    suite, game = _game(task)
    if suite == "atari":
        return len(_atari_actions(game))
    return foreign.import_minatar().Environment(game).num_actions()


def full_actions(task: str) -> tuple[int, ...]:
    """Returns, for each of an Atari game's minimal actions, its index among all 18.

    Raises:
        DqnError: There is no such game, or its ROM is missing.
    """
    suite, game = _game(task)
    if suite != "atari":
        raise DqnError(f"Received: task={task}. Only Atari has more actions.")
    return _atari_actions(game)


@functools.cache
def _atari_actions(game: str) -> tuple[int, ...]:
    from ale_py import ALEInterface, LoggerMode, roms

    try:
        rom = roms.get_rom_path(game)
    except OSError as error:
        raise DqnError(
            f"The ROM of atari_{game} cannot be used: {error} It belongs to the "
            "package ale-py: reinstall that."
        ) from error
    ALEInterface.setLoggerMode(LoggerMode.Error)
    ale = ALEInterface()
    ale.loadROM(rom)
    return tuple(action.value for action in ale.getMinimalActionSet())


def _game(task: str) -> tuple[str, str]:
    """Returns suite and game of a task that DQNs can play."""
    suite, _, name = task.partition("_")
    name = atari.spelled(name)
    if name not in _games().get(suite, ()):
        known = [
            f"{suite}_{game}" for suite, games in _games().items() for game in games
        ]
        near = difflib.get_close_matches(task, known, cutoff=0.5)
        guess = f" Did you mean {' or '.join(near)}?" if near else ""
        raise DqnError(
            f"Received: task={task}. DQNs play games of MinAtar and Atari.{guess}"
        )
    return suite, name


def _games() -> dict[str, tuple[str, ...]]:
    return {"minatar": envs.MINATAR_GAMES, "atari": atari.games()}


def _files(directory: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the players' files, relative to the folder; follows links to folders."""
    for root, folders, names in os.walk(directory, followlinks=True):
        here = pathlib.Path(root)
        above = {x.resolve() for x in (here, *here.absolute().parents)}
        # Not into a link back to where we came from.
        folders[:] = [x for x in folders if (here / x).resolve() not in above]
        for name in filter(_FILE.fullmatch, names):
            yield (here / name).relative_to(directory)


def _extension(path: pathlib.Path) -> str:
    found = _FILE.fullmatch(path.name)
    return found[1] if found else ""


def _plain(name: str, suite: str = "") -> str:
    """Returns a game's name in lower case, without underscores and the suite."""
    return name.lower().removeprefix(f"{suite}_").replace("_", "")


def _none_found(directory: pathlib.Path, task: str, files: list[pathlib.Path]) -> str:
    """Says which games the folder has players for, the most similar names first."""
    suite, game = _game(task)
    games = {_plain(game) for games in _games().values() for game in games}
    held = {}
    for file in files:
        folders = file.parts[:-1] or (".",)
        # The folder that is called like a game; else the first one.
        named = (x for x in folders for suite in _games() if _plain(x, suite) in games)
        held[next(named, folders[0])] = _extension(file)

    def difference(name: str) -> float:
        return -difflib.SequenceMatcher(None, _plain(name), _plain(game)).ratio()

    near = sorted(held, key=lambda name: (difference(name), name))
    names = ", ".join(f"{name} (.{held[name]})" for name in near) or "no players at all"
    extensions = " or ".join(f".{x}" for x in _READERS[suite])
    return (
        f"{directory} holds no DQN players of {task}, as {game}/**/model_STEPS with "
        f"{extensions}. It holds: {names}."
    )

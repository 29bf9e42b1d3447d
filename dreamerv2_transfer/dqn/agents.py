"""Finds and loads trained DQN agents, ours and published ones, to act as policies.

They lie in `FOLDER/GAME/**/model_STEPS.EXT`, or below a folder of the algorithm:

    .pt          MinAtar, PyTorch: the paper authors'
    .weights.h5  MinAtar, HDF5: our own
    .gz          Atari, gzipped PyTorch: floringogianu/atari-agents
"""

import difflib
import functools
import os
import pathlib
import re
from collections.abc import Callable, Iterator

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.envs import atari
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.dqn import acting, agent_files

Agent = acting.Agent
AgentError = agent_files.AgentError

_FILE = re.compile(r"model_[0-9]+\.(pt|gz|weights\.h5)")


def find(directory: str | os.PathLike, task: str) -> list[pathlib.Path]:
    """The agents for a task below a folder, from few steps to many.

    A folder's name is that of the game whatever its case and underscores, with or
    without the suite: `beam_rider`, `BeamRider`, `atari_beam_rider`.

    Raises:
        AgentError: there is no such folder, or none in it is for the task (names the
            games that it has agents for, the nearest first).
    """
    directory = pathlib.Path(directory)
    suite, game = _game(task)
    if not directory.is_dir():
        raise AgentError(f"There is no folder {directory} to take agents from.")
    files = list(_files(directory))
    found = [
        directory / file
        for file in files
        if _extension(file) in _READERS[suite]
        and _plain(game) in (_plain(part, suite) for part in file.parts[:-1])
    ]
    if not found:
        raise AgentError(_none_found(directory, task, files))
    return sorted(found, key=_natural)


def load(path: str | os.PathLike, task: str) -> Agent:
    """Reads an agent that plays a task; see `acting.Agent`. Runs no code from the file.

    Raises:
        AgentError: names the file and what is wrong with it: missing, damaged, of
            another kind, architecture or game, or with numbers that are not finite.
    """
    path = pathlib.Path(path)
    suite, _ = _game(task)
    read = _READERS[suite].get(_extension(path))
    if read is None:
        raise AgentError(
            f"Received: {path} as an agent for {task}. Its name must be model_STEPS "
            f"with {' or '.join(f'.{x}' for x in _READERS[suite])}."
        )
    try:
        return read(path, task, minimal_actions(task))
    except UserError as error:
        raise AgentError(f"No agent for {task}: {error}") from error


def minimal_actions(task: str) -> int:
    """Number of actions that an agent for the task chooses from.

    Raises:
        AgentError: there is no such game.
    """
    suite, game = _game(task)
    return len(_atari_actions(game)) if suite == "atari" else _minatar_actions(game)


def full_actions(task: str) -> tuple[int, ...]:
    """For each of an Atari game's minimal actions its index among all 18 of ALE.

    Raises:
        AgentError: there is no such game, or its ROM is missing.
    """
    suite, game = _game(task)
    if suite != "atari":
        raise AgentError(f"Received: task={task}. Only Atari has more actions.")
    return _atari_actions(game)


@functools.cache
def _atari_actions(game: str) -> tuple[int, ...]:
    from ale_py import ALEInterface, LoggerMode, roms

    try:
        rom = roms.get_rom_path(game)
    except OSError as error:
        raise AgentError(
            f"The ROM of atari_{game} cannot be used: {error} It belongs to the "
            "package ale-py: reinstall that."
        ) from error
    ALEInterface.setLoggerMode(LoggerMode.Error)
    ale = ALEInterface()
    ale.loadROM(rom)
    return tuple(action.value for action in ale.getMinimalActionSet())


@functools.cache
def _minatar_actions(game: str) -> int:
    return envs.load_minatar().Environment(game).num_actions()


def _game(task: str) -> tuple[str, str]:
    """Suite and game of a task that agents can play."""
    suite, _, name = task.partition("_")
    name = atari.spelled(name)
    if name not in _games().get(suite, ()):
        known = [
            f"{suite}_{game}" for suite, games in _games().items() for game in games
        ]
        near = difflib.get_close_matches(task, known, cutoff=0.5)
        guess = f" Did you mean {' or '.join(near)}?" if near else ""
        raise AgentError(
            f"Received: task={task}. Agents play games of MinAtar and Atari.{guess}"
        )
    return suite, name


def _games() -> dict[str, tuple[str, ...]]:
    return {"minatar": envs.MINATAR_GAMES, "atari": atari.games()}


def _files(directory: pathlib.Path) -> Iterator[pathlib.Path]:
    """Files of agents, relative to the folder; links to folders are followed."""
    for root, folders, names in os.walk(directory, followlinks=True):
        here = pathlib.Path(root)
        above = {x.resolve() for x in (here, *here.absolute().parents)}
        # Not into a link back to where we come from.
        folders[:] = [x for x in folders if (here / x).resolve() not in above]
        for name in filter(_FILE.fullmatch, names):
            yield (here / name).relative_to(directory)


def _extension(path: pathlib.Path) -> str:
    found = _FILE.fullmatch(path.name)
    return found[1] if found else ""


def _plain(name: str, suite: str = "") -> str:
    """A game's name without case, underscores and the suite."""
    return name.lower().removeprefix(f"{suite}_").replace("_", "")


def _natural(path: pathlib.Path) -> list[list[str | int]]:
    """Sorts numbers in names as numbers."""
    pieces = (re.split(r"([0-9]+)", part) for part in path.parts)
    return [[int(x) if i % 2 else x for i, x in enumerate(part)] for part in pieces]


def _none_found(directory: pathlib.Path, task: str, files: list[pathlib.Path]) -> str:
    suite, game = _game(task)
    held = {_folder(file): _extension(file) for file in files}
    near = sorted(held, key=lambda name: (-_likeness(name, game), name))
    names = ", ".join(f"{name} (.{held[name]})" for name in near) or "no agents at all"
    wanted = " or ".join(f".{x}" for x in _READERS[suite])
    return (
        f"{directory} holds no agents for {task}, as {game}/**/model_STEPS with "
        f"{wanted}. It holds: {names}."
    )


def _folder(file: pathlib.Path) -> str:
    """The folder that is called like a game; else the first of a file's folders."""
    folders = file.parts[:-1] or (".",)
    games = {_plain(game) for games in _games().values() for game in games}
    named = (x for x in folders for suite in _games() if _plain(x, suite) in games)
    return next(named, folders[0])


def _likeness(name: str, game: str) -> float:
    return difflib.SequenceMatcher(None, _plain(name), _plain(game)).ratio()


_READERS: dict[str, dict[str, Callable[..., Agent]]] = {
    "minatar": {
        "pt": agent_files.read_minatar_torch,
        "weights.h5": agent_files.read_minatar_h5,
    },
    "atari": {"gz": agent_files.read_atari_torch},
}

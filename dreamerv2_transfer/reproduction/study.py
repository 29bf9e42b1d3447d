"""What a study of "Adapting to the Unfamiliar" runs, and where."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from dreamerv2_transfer.common.config import Config, ConfigError

# Sublayers of the RSSM that can be frozen one by one.
SUBLAYERS = ("img_in", "cell", "img_out", "img_dist", "obs_out", "obs_dist")
SMOOTHED = 0.05  # Share of the updates over which figures take a running mean.


@dataclasses.dataclass(frozen=True)
class Arm:
    """An arm that a file describes.

    Attributes:
        name: What to call it, and its folder.
        stage: `scratch` or `finetune`.
        presets: Further blocks, such as `freeze_rssm`.
        settings: Keys of its runs, see `settings`.
        games: The games that it is run on, or `new` or `learned`: those to its models.
        seeds: Its seeds; each starts from the model of that seed.
        pretrain: Updates of these models; 0 is what the study has.
    """

    name: str
    stage: str
    presets: tuple[str, ...]
    settings: Mapping[str, str]
    games: str | tuple[str, ...]
    seeds: tuple[int, ...]
    pretrain: int = 0

    def games_of(self, study: Study, new: str) -> Sequence[str]:
        """Returns the games that it is run on where this game is new."""
        if isinstance(self.games, tuple):
            return self.games
        return [new] if self.games == "new" else study.learned(new)

    def definition(self) -> dict[str, str]:
        """Returns what makes its runs, so that others are not taken for them."""
        about = {"stage": self.stage, "presets": " ".join(self.presets)}
        return about | {"pretrain": str(self.pretrain), **self.settings}


@dataclasses.dataclass(frozen=True)
class Study:
    """A study to run.

    Attributes:
        blocks: Blocks of `configs.yaml`, such as `minatar small`.
        config: The resolved configuration; its section `reproduce` holds the numbers.
        logdir: The study's folder, for everything.
        seeds: Seeds of each arm.
        new: The games that are left out of pre-training, one at a time.
        beyond: Whether to also run what goes beyond the paper: single frozen
            sublayers, and other lengths of pre-training.
        best: The sublayers whose arms get all seeds.
        settings: Keys of all jobs with their values, see `settings`.
        arms: The arms that a file describes, in place of the paper's.
        runs: A URL in place of `logdir` for players, episodes, models and agents.
    """

    blocks: tuple[str, ...]
    config: Config
    logdir: pathlib.Path
    seeds: int
    new: tuple[str, ...]
    beyond: bool = False
    best: tuple[str, ...] = ()
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    arms: tuple[Arm, ...] = ()
    runs: str = ""

    def place(self, path: pathlib.Path) -> str:
        """Returns where jobs find a folder in `logdir`: there, or below `runs`."""
        if not self.runs:
            return str(path)
        return f"{self.runs.rstrip('/')}/{path.relative_to(self.logdir).as_posix()}"

    def store(self, path: pathlib.Path) -> str:
        """Returns the URL of such a folder; '' if it is in `logdir`."""
        return self.place(path) if self.runs else ""

    @property
    def numbers(self) -> Config:
        """The section `reproduce` of the configuration."""
        return self.config.reproduce

    @property
    def dataset(self) -> pathlib.Path:
        """The folder of the episodes of all games."""
        return self.logdir / "dataset"

    @property
    def players(self) -> pathlib.Path:
        """The folder of the DQN players of all games."""
        return self.logdir / "dqn"

    @property
    def smoothing(self) -> tuple[str, str]:
        """The flag of figures for the window of a running mean, in updates."""
        return "--smooth", str(int(self.numbers.train * SMOOTHED))

    def folder(self, new: str) -> pathlib.Path:
        """Returns the folder of the runs for which this game is new."""
        return self.logdir / short(new)

    def beyond_folder(self, new: str) -> pathlib.Path:
        """Returns the folder of those that go beyond the paper."""
        return self.logdir / f"{short(new)}_beyond"

    def learned(self, new: str) -> list[str]:
        """Returns the games of pre-training."""
        return [game for game in self.numbers.games if game != new]


def short(game: str) -> str:
    """Returns a game's name without its suite, such as `space_invaders`."""
    return game.partition("_")[2]


def new_games(config: Config, leave_out: str) -> tuple[str, ...]:
    """Returns the games to leave out.

    Args:
        config: The resolved configuration.
        leave_out: A game, maybe without its suite; `all`; or '' for the paper's.

    Raises:
        ConfigError: It is not a game of the study.
    """
    games = config.reproduce.games
    if leave_out == "all":
        return games
    name = leave_out or config.reproduce.new
    for game in games:
        if name in (game, short(game)):
            return (game,)
    raise ConfigError(
        f"--leave_out is all or one of {', '.join(map(short, games))}. "
        f"Received: {leave_out}"
    )


def games_named(config: Config, named: str | Sequence[str]) -> tuple[str, ...]:
    """Returns games of a study.

    Args:
        config: The resolved configuration.
        named: Their names, maybe without their suite, or `all`.

    Raises:
        ConfigError: One is not a game of the study.
    """
    games = config.reproduce.games
    if named == "all":
        return games
    names = {name: game for game in games for name in (game, short(game))}
    if isinstance(named, str) or not isinstance(named, Sequence):
        named = [named]
    for name in named:
        if not isinstance(name, str) or name not in names:
            raise ConfigError(
                f"The games are all, or of {', '.join(map(short, games))}. Received: "
                f"{name}"
            )
    return tuple(dict.fromkeys(names[name] for name in named))


def sublayers(best: Sequence[str]) -> tuple[str, ...]:
    """Returns the named sublayers, without ''.

    Raises:
        ConfigError: The RSSM has no such sublayer.
    """
    named = tuple(layer for layer in best if layer)
    for layer in named:
        if layer not in SUBLAYERS:
            raise ConfigError(
                f"--best names sublayers: {', '.join(SUBLAYERS)}. Received: {layer}"
            )
    return named

"""The jobs of a study, each made from what it depends on."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from dreamerv2_transfer.reproduction import settings
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.study import Study, short


def train_player(study: Study, game: str) -> Job:
    """Trains a DQN player on a game."""
    steps = int(study.numbers.dqn)
    logdir = study.players / short(game)
    return Job(
        name=f"dqn_{short(game)}",
        script="train_dqn",
        args=(
            *("--configs", *study.blocks, "dqn", "--task", game),
            *settings.flags(study.settings, "dqn"),
            *("--steps", str(steps), "--logdir", study.place(logdir)),
        ),
        needs=(),
        logdir=logdir,
        units=steps,
        unit="step of an agent",
        store=study.store(logdir),
    )


def collect(study: Study, players: Sequence[Job]) -> Job:
    """Collects episodes of all games, by the players if there are any."""
    steps, games = int(study.numbers.collect), study.numbers.games
    args = ("--configs", *study.blocks, "collect", "--tasks", *games)
    args += settings.flags(study.settings, "collect")
    dataset = study.place(study.dataset)
    args += ("--collect.steps", str(steps), "--dataset.directory", dataset)
    if players:
        args += ("--dqn.checkpoints", study.place(study.players))
    return Job(
        name="collect",
        script="collect",
        args=args,
        needs=tuple(player.name for player in players),
        logdir=study.dataset,
        units=steps * len(games),
        unit="step collected",
        store=study.store(study.dataset),
    )


def pretrain(
    study: Study, new: str, logdir: pathlib.Path, seed: int, updates: int
) -> Job:
    """Pre-trains a world model on all games but one."""
    return Job(
        name=_name(study, logdir),
        script="train",
        args=(
            *("--configs", *study.blocks, "pretrain", "--tasks", *study.learned(new)),
            *settings.flags(study.settings, "pretrain"),
            *("--dataset.directory", study.place(study.dataset)),
            *("--steps", str(updates), "--seed", str(seed)),
            *("--logdir", study.place(logdir)),
        ),
        needs=("collect",),
        logdir=logdir,
        units=updates,
        unit="update of a world model",
        store=study.store(logdir),
    )


def train_agent(
    study: Study,
    game: str,
    logdir: pathlib.Path,
    seed: int,
    model: Job | None = None,
    blocks: Sequence[str] = (),
    more: Sequence[str] = (),
) -> Job:
    """Trains an agent on a game.

    Args:
        study: The study.
        game: The game.
        logdir: The run's folder.
        seed: The run's seed.
        model: The world model to start from; None trains from scratch.
        blocks: Further blocks, such as `freeze_rssm`.
        more: Further flags.
    """
    updates = int(study.numbers.train)
    stage = ("finetune" if model else "scratch", *blocks)
    args = ("--configs", *study.blocks, *stage, "--task", game)
    args += ("--steps", str(updates), "--seed", str(seed), "--eval_at_start", "True")
    args += settings.flags(study.settings, stage[0])
    args += ("--logdir", study.place(logdir), *more)
    if study.numbers.held_out:
        args += ("--eval_dataset", study.place(study.dataset))
    if model:
        args += ("--init", study.place(model.logdir))
    return Job(
        name=_name(study, logdir),
        script="train",
        args=args,
        needs=(model.name if model else "collect",),
        logdir=logdir,
        units=updates,
        unit="update of an agent",
        store=study.store(logdir),
    )


def evaluate(study: Study, arm: Job) -> Job:
    """Evaluates the agent of an arm."""
    episodes = int(study.numbers.episodes)
    args = ("--logdir", study.place(arm.logdir), "--episodes", str(episodes))
    args += ("--json", str(arm.logdir / "evaluation.json"))
    if study.numbers.held_out:
        args += ("--dataset", study.place(study.dataset))
    return Job(
        name=f"{arm.name}/evaluate",
        script="evaluate",
        args=args,
        needs=(arm.name,),
        logdir=arm.logdir,
        units=episodes,
        unit="episode evaluated",
        here=True,
    )


def plot(
    study: Study,
    new: str,
    name: str,
    args: Sequence[str],
    arms: Sequence[Job],
    gains: bool = False,
    places: Sequence[str] = (),
) -> Job:
    """Draws a figure of the runs for which a game is new, and writes its numbers.

    Args:
        study: The study.
        new: The game.
        name: Name of the figure's files.
        args: Flags of `launch/plot.py` that say what to draw.
        arms: The runs that it needs.
        gains: Whether to draw the ratios of returns to scratch too.
        places: The flags that name the runs; by default all for which the game is new.
    """
    folder = study.folder(new)
    out = folder / "figures" / name
    return Job(
        name=f"{short(new)}/figure_{name}",
        script="plot",
        args=(
            *(places or ("--runs", study.place(folder))),
            *args,
            *("--out", f"{out}.png", "--json", f"{out}.json"),
            *(("--gains", f"{out}_gains.png") if gains else ()),
        ),
        needs=tuple(arm.name for arm in arms),
        logdir=out.parent,
        units=1,
        unit="report",
        here=True,
    )


def plot_games(study: Study, arms: Sequence[Job], places: Sequence[str] = ()) -> Job:
    """Draws what the arms gain on several new games together, and writes the numbers.

    Args:
        study: The study.
        arms: The runs on the games that are new to their models. Those on learned games
            would count seeds from scratch twice.
        places: The flags that name the runs; by default they are named one by one.
    """
    out = study.logdir / "figures" / "games"
    return Job(
        name="figure_games",
        script="plot",
        args=(
            *(places or ("--runs", *(study.place(arm.logdir) for arm in arms))),
            *("--yaxis", "train_return", *study.smoothing, "--out", f"{out}.png"),
            *("--gains", f"{out}_gains.png", "--json", f"{out}.json"),
        ),
        needs=tuple(arm.name for arm in arms),
        logdir=out.parent,
        units=1,
        unit="report",
        here=True,
    )


def analyze(study: Study, new: str, model: Job) -> Job:
    """Analyses a world model on the games that it has learned."""
    frames = int(study.numbers.frames)
    args = ("--logdir", study.place(model.logdir))
    args += ("--task", ",".join(study.learned(new)), "--frames", str(frames))
    if study.numbers.dqn:
        args += ("--policy", study.place(study.players))
    if study.runs:  # By default, the results of a run on a store stay here.
        args += ("--output", study.place(model.logdir / "analysis"))
    return Job(
        name=f"{short(new)}/analyze",
        script="analyze",
        args=args,
        needs=(model.name,),
        logdir=model.logdir,
        units=frames,
        unit="frame analysed",
    )


def report(
    study: Study, new: str, needs: Sequence[Job], places: Sequence[str] = ()
) -> Job:
    """Writes the page about runs: as for `plot`, all for which a game is new."""
    folder = study.folder(new)
    return Job(
        name=f"{short(new)}/report",
        script="report",
        args=(
            *(places or ("--runs", study.place(folder))),
            *("--out", str(folder / "report")),
            *("--paper", "True", "--title", f"{short(new)} as the new game"),
            *("--videos", "1"),
        ),
        needs=tuple(job.name for job in needs),
        logdir=folder / "report",
        units=1,
        unit="report",
        here=True,
    )


def _name(study: Study, logdir: pathlib.Path) -> str:
    return logdir.relative_to(study.logdir).as_posix()

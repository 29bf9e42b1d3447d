"""The study of "Adapting to the Unfamiliar" as a list of stages.

    DQN agents ──▶ episodes of all games ──▶ world model of all but one ──▶ arms
                                                   of each seed         on that one

The arms, with the paper's names: on the new game `scratch`, `finetune` and
`freeze_rssm`; on games that the model has learned, `scratch` and `freeze_world_model`.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.plotting import paper
from dreamerv2_transfer.reproduction.stages import Stage

NEW_ARMS = {"scratch": (), "finetune": (), "freeze_rssm": ("freeze_rssm",)}
LEARNED_ARMS = {"scratch": (), "freeze_world_model": ("freeze_world_model",)}
# Arms that figures show, by the names of `analysis.runs.arm`.
SHOWN = ("scratch", "^pretrained")
SMOOTHED = 0.05  # Share of the updates that a running mean is taken over in figures.
# Figures beyond the paper, and the arms on each.
BEYOND = {
    "single_freezes": (
        "^scratch$",
        "^pretrained$",
        "^pretrained_frozen_rssm$",
        "^froz",
    ),
    "pretraining": ("^scratch$", r"^pretrained(_\d+)?$"),
}
SUBLAYERS = ("img_in", "cell", "img_out", "img_dist", "obs_out", "obs_dist")


@dataclasses.dataclass(frozen=True)
class Study:
    """What is to be run.

    Attributes:
        blocks: Of `configs.yaml`, such as `minatar small`.
        config: The resolved configuration; its section `reproduce` holds the numbers.
        logdir: Where everything goes.
        seeds: Seeds of each arm.
        new: The games that are left out, each in its turn.
        beyond: Whether to run what goes beyond the paper too: single sublayers frozen,
            and other lengths of pre-training.
        best: The sublayers, of these, whose arms get all seeds.
    """

    blocks: tuple[str, ...]
    config: Config
    logdir: pathlib.Path
    seeds: int
    new: tuple[str, ...]
    beyond: bool = False
    best: tuple[str, ...] = ()

    @property
    def numbers(self) -> Config:
        return self.config.reproduce


def new_games(config: Config, leave_out: str) -> tuple[str, ...]:
    """The games to be left out: the paper's, a game by its short name, or `all`.

    Raises:
        ConfigError: It is no game of the study.
    """
    games = config.reproduce.games
    if leave_out == "all":
        return games
    wanted = leave_out or config.reproduce.new
    for game in games:
        if wanted in (game, _short(game)):
            return (game,)
    raise ConfigError(
        f"--leave_out is all or one of {', '.join(map(_short, games))}. "
        f"Received: {leave_out}"
    )


def sublayers(best: Sequence[str]) -> tuple[str, ...]:
    """Those that are named.

    Raises:
        ConfigError: There is no such sublayer of an RSSM.
    """
    named = tuple(layer for layer in best if layer)
    if unknown := [layer for layer in named if layer not in SUBLAYERS]:
        raise ConfigError(
            f"--best names sublayers: {', '.join(SUBLAYERS)}. Received: {unknown[0]}"
        )
    return named


def make(study: Study) -> list[Stage]:
    """All stages, each after those that it needs."""
    agents = list(_agents(study)) if study.numbers.dqn else []
    stages = [*agents, _collection(study, agents)]
    for game in study.new:
        stages += _without(study, game)
    return stages


def _agents(study: Study) -> Iterator[Stage]:
    steps = int(study.numbers.dqn)
    for game in study.numbers.games:
        logdir = study.logdir / "dqn" / _short(game)
        args = ("--task", game, "--steps", str(steps), *_at(logdir))
        yield _train(study, f"dqn_{_short(game)}", ("dqn",), args, logdir, steps)


def _collection(study: Study, agents: Sequence[Stage]) -> Stage:
    steps = int(study.numbers.collect)
    games = study.numbers.games
    args = ("--tasks", *games, "--collect.steps", str(steps))
    args += ("--dataset.directory", str(_dataset(study)))
    if agents:
        args += ("--dqn.checkpoints", str(study.logdir / "dqn"))
    return Stage(
        "collect",
        "collect",
        ("--configs", *study.blocks, "collect", *args),
        tuple(agent.name for agent in agents),
        _dataset(study),
        steps * len(games),
        "step collected",
    )


def _without(study: Study, new: str) -> list[Stage]:
    """The stages of one game that is left out."""
    models = [_pretraining(study, new, seed) for seed in range(study.seeds)]
    arms = list(_arms(study, new, models))
    evaluations = [_evaluation(study, arm) for arm in arms]
    figures = list(_figures(study, new, arms))
    before = [*evaluations, *figures]
    made = [*models, *arms, *before, *_results(study, new, models[0], before)]
    return [*made, *(_beyond(study, new, models, arms) if study.beyond else ())]


def _beyond(
    study: Study, new: str, models: Sequence[Stage], paper_arms: Sequence[Stage]
) -> list[Stage]:
    """What the paper did not do, in folders GAME/ARM/SEED of its own."""
    others = list(_other_models(study, new))
    arms = [*_other_arms(study, new, others), *_single_freezes(study, new, models)]
    evaluations = [_evaluation(study, arm) for arm in arms]
    known = [arm for arm in paper_arms if new in arm.args]
    figures = list(_beyond_figures(study, new, [*known, *arms]))
    return [*others, *arms, *evaluations, *figures]


def _pretraining(
    study: Study, new: str, seed: int, updates: int | None = None
) -> Stage:
    logdir = _folder(study, new) / f"pretrain_{seed}"
    if updates is not None:
        logdir = _beyond_folder(study, new) / f"pretrain_{updates}" / str(seed)
    updates = int(study.numbers.pretrain) if updates is None else updates
    learned = [game for game in study.numbers.games if game != new]
    args = ("--tasks", *learned, "--dataset.directory", str(_dataset(study)))
    args += ("--steps", str(updates), "--seed", str(seed), *_at(logdir))
    name = _named(study, logdir)
    return _train(study, name, ("pretrain",), args, logdir, updates, ("collect",))


def _arms(study: Study, new: str, models: Sequence[Stage]) -> Iterator[Stage]:
    learned = [game for game in study.numbers.games if game != new]
    games = {new: NEW_ARMS}
    games |= dict.fromkeys(learned[: int(study.numbers.fixed)], LEARNED_ARMS)
    for seed, model in enumerate(models):
        for game, arms in games.items():
            for arm, blocks in arms.items():
                logdir = _folder(study, new) / f"{_short(game)}_{arm}_{seed}"
                start = None if arm == "scratch" else model
                yield _arm(study, game, logdir, blocks, seed, start)


def _arm(
    study: Study, game: str, logdir: pathlib.Path, blocks, seed: int, model, *more
) -> Stage:
    """A run on a game, from scratch unless there is a model."""
    updates, name = int(study.numbers.train), _named(study, logdir)
    args = ("--task", game, "--steps", str(updates), "--seed", str(seed))
    args += ("--eval_at_start", "True", *_at(logdir), *more)
    if study.numbers.held_out:
        args += ("--eval_dataset", str(_dataset(study)))
    if model is None:
        return _train(study, name, ("scratch",), args, logdir, updates, ("collect",))
    args += ("--init", str(model.logdir))
    blocks = ("finetune", *blocks)
    return _train(study, name, blocks, args, logdir, updates, (model.name,))


def _single_freezes(study: Study, new: str, models: Sequence[Stage]) -> Iterator[Stage]:
    for layer in SUBLAYERS:
        folder = _beyond_folder(study, new) / new / f"frozen_{layer}"
        more = (f"--freeze.rssm.{layer}", "True")
        for seed, model in enumerate(models if layer in study.best else models[:1]):
            yield _arm(study, new, folder / str(seed), (), seed, model, *more)


def _other_models(study: Study, new: str) -> Iterator[Stage]:
    """Models of other lengths of pre-training, one seed each."""
    for updates in map(int, study.numbers.pretrain_others):
        if updates != study.numbers.pretrain:
            yield _pretraining(study, new, 0, updates)


def _other_arms(study: Study, new: str, models: Sequence[Stage]) -> Iterator[Stage]:
    for model in models:
        arm = model.logdir.parent.name.replace("pretrain", "pretrained")
        logdir = _beyond_folder(study, new) / new / arm / "0"
        yield _arm(study, new, logdir, (), 0, model)


def _evaluation(study: Study, arm: Stage) -> Stage:
    episodes = int(study.numbers.episodes)
    args = ("--logdir", str(arm.logdir), "--episodes", str(episodes))
    args += ("--json", str(arm.logdir / "evaluation.json"))
    if study.numbers.held_out:
        args += ("--dataset", str(_dataset(study)))
    name = f"{arm.name}/evaluate"
    return Stage(
        name, "evaluate", args, (arm.name,), arm.logdir, episodes, "episode evaluated"
    )


def _figures(study: Study, new: str, arms: Sequence[Stage]) -> Iterator[Stage]:
    """The paper's own figures, with its curves behind ours, and the held-out losses.

    First all of them as one; the curves are smoothed, as the paper's are.
    """
    games = {arm.args[arm.args.index("--task") + 1] for arm in arms}
    names = [name for name, (game, _) in paper.FIGURES.items() if game in games]
    window = ("--smooth", str(int(study.numbers.train * SMOOTHED)))
    for title, shown in {"paper": names, **{name: [name] for name in names}}.items():
        if shown:
            args = ("--figure", *shown, "--paper", "True", *window)
            yield _figure(study, new, title, args, arms)
    if study.numbers.held_out:
        yield _figure(study, new, "held_out", ("--yaxis", "eval_model_error"), arms)


def _beyond_figures(study: Study, new: str, arms: Sequence[Stage]) -> Iterator[Stage]:
    """Of the new game: the runs beyond the paper, and its own arms beside them."""
    for name, methods in BEYOND.items():
        at = ("--indir", str(_beyond_folder(study, new)), "--tasks", f"^{new}$")
        window = ("--smooth", str(int(study.numbers.train * SMOOTHED)))
        args = (*at, "--yaxis", "train_return", *window, "--methods", *methods)
        yield _figure(study, new, name, args, arms)


def _figure(study: Study, new: str, name: str, args, arms: Sequence[Stage]) -> Stage:
    folder = _folder(study, new)
    to = folder / "figures"
    out = ("--out", str(to / f"{name}.png"), "--json", str(to / f"{name}.json"))
    needs = tuple(arm.name for arm in arms)
    shown = () if "--methods" in args else ("--methods", *SHOWN)
    args = ("--runs", str(folder), *shown, *args, *out)
    return Stage(f"{_short(new)}/figure_{name}", "plot", args, needs, to, 1, "report")


def _results(study, new: str, model: Stage, before: Sequence[Stage]) -> list[Stage]:
    """The analysis of the first seed's model, and the report."""
    folder = _folder(study, new)
    frames = int(study.numbers.frames)
    learned = ",".join(game for game in study.numbers.games if game != new)
    args = ("--logdir", str(model.logdir), "--task", learned, "--frames", str(frames))
    if study.numbers.dqn:
        args += ("--policy", str(study.logdir / "dqn"))
    analysis = Stage(
        f"{_short(new)}/analyze",
        "analyze",
        args,
        (model.name,),
        model.logdir,
        frames,
        "frame analysed",
    )
    args = ("--runs", str(folder), "--out", str(folder / "report"), "--paper", "True")
    args += ("--title", f"{_short(new)} as the new game", "--videos", "1")
    needs = (analysis.name, *(stage.name for stage in before))
    report = Stage(
        f"{_short(new)}/report", "report", args, needs, folder / "report", 1, "report"
    )
    return [analysis, report]


def _train(study, name, blocks, args, logdir, units, needs=()) -> Stage:
    script = "train_dqn" if blocks == ("dqn",) else "train"
    unit = {"dqn": "step of an agent", "pretrain": "update of a world model"}
    unit = unit.get(blocks[0], "update of an agent")
    args = ("--configs", *study.blocks, *blocks, *args)
    return Stage(name, script, args, tuple(needs), logdir, units, unit)


def _at(logdir: pathlib.Path) -> tuple[str, ...]:
    return "--logdir", str(logdir)


def _dataset(study: Study) -> pathlib.Path:
    return study.logdir / "dataset"


def _folder(study: Study, new: str) -> pathlib.Path:
    return study.logdir / _short(new)


def _beyond_folder(study: Study, new: str) -> pathlib.Path:
    return study.logdir / f"{_short(new)}_beyond"


def _named(study: Study, logdir: pathlib.Path) -> str:
    return logdir.relative_to(study.logdir).as_posix()


def _short(game: str) -> str:
    return game.partition("_")[2]

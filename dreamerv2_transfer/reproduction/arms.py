"""The jobs of a study whose arms a file describes.

GAME/on_new/GAME/ARM/SEED          runs on the game that is new to the models
GAME/on_learned/OTHER/ARM/SEED     runs on games that they have learned
"""

from __future__ import annotations

from collections.abc import Sequence

from dreamerv2_transfer.reproduction import commands, settings
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.study import Arm, Study

NEW, LEARNED = "on_new", "on_learned"


def make(study: Study, new: str) -> list[Job]:
    """Returns the jobs for a new game, each after those that it needs."""
    models = _models(study, new)
    runs = [
        run
        for arm in study.arms
        for game in arm.games_of(study, new)
        for run in _runs(study, new, arm, game, models)
    ]
    evaluations = [commands.evaluate(study, run) for run in runs]
    places = indir(study, runs)
    figures = [
        commands.plot(
            study,
            new,
            metric.removeprefix("train_"),
            ("--yaxis", metric, *study.smoothing),
            runs,
            gains=metric == "train_return",
            places=places,
        )
        for metric in ("train_return", *("eval_model_error",) * study.numbers.held_out)
    ]
    analyses = [commands.analyze(study, new, x) for x in [*models.values()][:1]]
    needs = [*analyses, *evaluations, *figures]
    analysed = [study.place(job.logdir) for job in analyses]
    pages = (*places, *(("--runs", *analysed) if analysed else ()))
    report = commands.report(study, new, needs, pages)
    return [*models.values(), *runs, *evaluations, *figures, *analyses, report]


def on_new_games(study: Study, jobs: Sequence[Job]) -> list[Job]:
    """Returns the runs on games that are new to their models."""
    folders = [study.folder(new) / NEW for new in study.new]
    return [
        job
        for job in jobs
        if job.script == "train" and any(x in job.logdir.parents for x in folders)
    ]


def indir(study: Study, runs: Sequence[Job]) -> tuple[str, ...]:
    """Returns the flag that names the folders of runs, TASK/METHOD/SEED below each."""
    return "--indir", *sorted({study.place(run.logdir.parents[2]) for run in runs})


def _models(study: Study, new: str) -> dict[tuple[int, int], Job]:
    """Returns the world models that arms start from, by updates and seed."""
    models = {}
    for arm in study.arms:
        for seed in arm.seeds if arm.stage == "finetune" else ():
            updates = _updates(study, arm)
            is_usual = updates == int(study.numbers.pretrain)
            name = f"pretrain_{seed}" if is_usual else f"pretrain_{updates}_{seed}"
            logdir = study.folder(new) / name
            models[updates, seed] = commands.pretrain(study, new, logdir, seed, updates)
    return models


def _runs(
    study: Study, new: str, arm: Arm, game: str, models: dict[tuple[int, int], Job]
) -> list[Job]:
    """Returns the runs of an arm on a game, one per seed."""
    folder = study.folder(new) / (NEW if game == new else LEARNED) / game / arm.name
    return [
        commands.train_agent(
            study,
            game,
            folder / str(seed),
            seed,
            models[_updates(study, arm), seed] if arm.stage == "finetune" else None,
            arm.presets,
            more=settings.flags(arm.settings, arm.stage),
        )
        for seed in arm.seeds
    ]


def _updates(study: Study, arm: Arm) -> int:
    return arm.pretrain or int(study.numbers.pretrain)

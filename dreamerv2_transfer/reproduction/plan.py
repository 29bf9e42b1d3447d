"""The study of "Adapting to the Unfamiliar" as a list of jobs.

    DQN players ──▶ episodes of all games ──▶ world model of all but one ──▶ arms
                                                    of each seed         on that one

The arms, with the paper's names: on the new game `scratch`, `finetune` and
`freeze_rssm`; on games that the model has learned, `scratch` and `freeze_world_model`.
"""

from __future__ import annotations

from collections.abc import Sequence

from dreamerv2_transfer.plotting import paper
from dreamerv2_transfer.reproduction import arms as arms_lib
from dreamerv2_transfer.reproduction import beyond, commands
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.study import Study, short

# By arm, the blocks that it adds to `scratch` or `finetune`.
NEW_ARMS = {"scratch": (), "finetune": (), "freeze_rssm": ("freeze_rssm",)}
LEARNED_ARMS = {"scratch": (), "freeze_world_model": ("freeze_world_model",)}
# Arms that the figures show, by the names of `arms.arm_of`.
SHOWN = ("scratch", "^pretrained")


def make(study: Study) -> list[Job]:
    """Returns all jobs, each after those that it needs."""
    games = study.numbers.games if study.numbers.dqn else ()
    players = [commands.train_player(study, game) for game in games]
    jobs = [*players, commands.collect(study, players)]
    on_new_games: list[Job] = []
    if study.arms:
        jobs += [job for new in study.new for job in arms_lib.make(study, new)]
        fresh = arms_lib.on_new_games(study, jobs)
        together = commands.plot_games(study, fresh, arms_lib.indir(study, fresh))
        return [*jobs, together] if len(study.new) > 1 and fresh else jobs
    for new in study.new:
        models = [
            commands.pretrain(
                study,
                new,
                study.folder(new) / f"pretrain_{seed}",
                seed,
                int(study.numbers.pretrain),
            )
            for seed in range(study.seeds)
        ]
        arms = make_arms(study, new, models)
        evaluations = [commands.evaluate(study, arm) for arm in arms]
        figures = make_figures(study, new, arms)
        analysis = commands.analyze(study, new, models[0])
        report = commands.report(study, new, [analysis, *evaluations, *figures])
        jobs += [*models, *arms, *evaluations, *figures, analysis, report]
        if study.beyond:
            jobs += beyond.make(study, new, models, arms)
        on_new_games += [arm for arm in arms if new in arm.args]
    together = commands.plot_games(study, on_new_games)
    return [*jobs, together] if len(study.new) > 1 else jobs


def make_arms(study: Study, new: str, models: Sequence[Job]) -> list[Job]:
    """Returns the paper's arms, a run for each seed, from that seed's model."""
    learned = study.learned(new)[: int(study.numbers.fixed)]
    games = {new: NEW_ARMS, **dict.fromkeys(learned, LEARNED_ARMS)}
    return [
        commands.train_agent(
            study,
            game,
            study.folder(new) / f"{short(game)}_{arm}_{seed}",
            seed,
            None if arm == "scratch" else model,
            blocks,
        )
        for seed, model in enumerate(models)
        for game, arms in games.items()
        for arm, blocks in arms.items()
    ]


def make_figures(study: Study, new: str, arms: Sequence[Job]) -> list[Job]:
    """Returns the paper's figures of these games, together and one by one.

    They have the paper's curves behind ours and are smoothed as these are. Then the
    held-out losses, if these are measured.
    """
    games = {arm.args[arm.args.index("--task") + 1] for arm in arms}
    names = [name for name, (game, _) in paper.FIGURES.items() if game in games]
    methods = ("--methods", *SHOWN)
    figures = []
    for title, shown in {"paper": names, **{name: [name] for name in names}}.items():
        if shown:
            args = (*methods, "--figure", *shown, "--paper", "True", *study.smoothing)
            gains = title == "paper"
            figures.append(commands.plot(study, new, title, args, arms, gains))
    if study.numbers.held_out:
        args = (*methods, "--yaxis", "eval_model_error")
        figures.append(commands.plot(study, new, "held_out", args, arms))
    return figures

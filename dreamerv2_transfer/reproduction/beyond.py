"""What a study runs beyond the paper, in folders GAME/ARM/SEED of its own.

On the new game, with the paper's arms beside them in the figures: each sublayer of the
RSSM frozen by itself, and models of other lengths of pre-training.
"""

from __future__ import annotations

from collections.abc import Sequence

from dreamerv2_transfer.reproduction import commands
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.study import SUBLAYERS, Study

# The figures, and the arms on each.
FIGURES = {
    "single_freezes": (
        "^scratch$",
        "^pretrained$",
        "^pretrained_frozen_rssm$",
        "^froz",
    ),
    "pretraining": ("^scratch$", r"^pretrained(_\d+)?$"),
}


def make(
    study: Study, new: str, models: Sequence[Job], paper_arms: Sequence[Job]
) -> list[Job]:
    """Returns the jobs, each after those that it needs.

    Args:
        study: The study.
        new: The game that is new.
        models: The paper's world models, one per seed.
        paper_arms: The paper's arms, on this and on other games.
    """
    root = study.beyond_folder(new)
    lengths = [int(x) for x in study.numbers.pretrain_others]
    others = {
        updates: commands.pretrain(
            study, new, root / f"pretrain_{updates}" / "0", 0, updates
        )
        for updates in lengths
        if updates != study.numbers.pretrain
    }
    arms = [
        commands.train_agent(
            study, new, root / new / f"pretrained_{updates}" / "0", 0, model
        )
        for updates, model in others.items()
    ]
    arms += [
        commands.train_agent(
            study,
            new,
            root / new / f"frozen_{layer}" / str(seed),
            seed,
            model,
            more=(f"--freeze.rssm.{layer}", "True"),
        )
        for layer in SUBLAYERS
        for seed, model in enumerate(models if layer in study.best else models[:1])
    ]
    evaluations = [commands.evaluate(study, arm) for arm in arms]
    shown = [*(arm for arm in paper_arms if new in arm.args), *arms]
    figures = []
    for name, methods in FIGURES.items():
        args = (
            "--indir",
            study.place(root),
            "--tasks",
            f"^{new}$",
            "--yaxis",
            "train_return",
        )
        args += (*study.smoothing, "--methods", *methods)
        figures.append(commands.plot(study, new, name, args, shown, gains=True))
    return [*others.values(), *arms, *evaluations, *figures]

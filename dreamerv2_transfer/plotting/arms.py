"""Which game, arm and seed a run belongs to."""

from __future__ import annotations

import collections
import functools
import math
import pathlib
import re
from collections.abc import Iterable, Sequence

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common import config as config_lib
from dreamerv2_transfer.common.files.logdir import irrelevant
from dreamerv2_transfer.plotting.runs import Run

# The end of a name such as `asterix_seed0`; a mere number is a seed too.
SEED = re.compile(r"[_-]?seed[_-]?(\d+)$")
# Options of fine-tuning that make an arm of their own where they are set.
OPTIONS = re.compile(
    r"wm_steps|init\.(components|adapt|shrink)|adapter\.(rank|actions)|replay\.mix|"
    r"model_opt\.(wd_start|lr_by\..+)|task_embed\.(size|freeze)"
)
UPDATES, STEPS, FRAMES = "updates", "environment steps", "frames"
defaults = functools.cache(lambda: blocks.load_config([]).flat)


def task_of(run: Run) -> str:
    """Returns the game of a run, or how many games it mixes; '' if unknown."""
    if run.layout:
        return run.layout[0]
    if run.config is None:
        return ""
    games = blocks.learned_games(run.config)
    return games[0] if len(games) == 1 else f"{len(games)} games mixed"


def arm_of(run: Run) -> str:
    """Returns the arm of a run, by the paper's names where it has one.

    `scratch`, `pretrained` (all of it fine-tuned), `pretrained_frozen_rssm`,
    `pretrained_fixed_world_model`, or `pretrained_frozen_` and the frozen components;
    then the `OPTIONS` that are set, as in `pretrained, adapter.rank=8`. The name of any
    other stage, such as `pretrain`; of an agent for several games with their number, as
    in `scratch, 2 games`. Without a stage, as in the original's runs, the folder's name
    without the seed.
    """
    if run.layout:
        return run.layout[1]
    stage = run.config.stage if run.config else ""
    if not stage:
        name = SEED.sub("", pathlib.PurePath(run.name).name)
        # `METHOD/0` is seed 0 of METHOD.
        is_seed = not name or name.isdecimal()
        return run.folder.resolve().parent.name if is_seed else name
    arm = finetuned_arm(run.config) if stage == "finetune" else stage
    games = len(blocks.learned_games(run.config))
    return arm if games == 1 or stage == "pretrain" else f"{arm}, {games} games"


def finetuned_arm(config: config_lib.Config) -> str:
    """Returns the arm of a fine-tuned run: what is frozen, which options are set."""
    flags = config.freeze.flat
    frozen = [name for name, is_frozen in flags.items() if is_frozen]
    if not frozen:
        arm = "pretrained"
    elif len(frozen) == len(flags):
        arm = "pretrained_fixed_world_model"
    elif frozen == [name for name in flags if name.startswith("rssm.")]:
        arm = "pretrained_frozen_rssm"
    else:
        layers = [name.removeprefix("rssm.") for name in frozen]
        arm = "_".join(["pretrained_frozen", *layers])
    options = [
        f"{key}={config_lib.format_value(value).removesuffix('.0')}"
        for key, value in config.flat.items()
        if OPTIONS.fullmatch(key) and value != defaults()[key]
    ]
    return ", ".join([arm, *options])


def unit_of(run: Run) -> str:
    """Returns what a run's steps count, by its stage; '' without a configuration."""
    if run.config is None:
        return ""
    # The original's runs have no stage.
    return {"": FRAMES, "dqn": STEPS}.get(run.config.stage, UPDATES)


def model_of(run: Run) -> str:
    """Returns where a run's pre-trained weights come from; '' if it has none."""
    if run.config is None or run.config.stage not in ("finetune", "offline"):
        return ""
    return run.config.init.path


def seed_of(run: Run) -> str:
    """Returns the seed of a run; if it uses none, its name or the number in it."""
    if run.layout:
        return run.layout[2]
    if run.config and run.config.stage:
        return str(run.config.seed)
    match = SEED.search(run.name)
    return match[1] if match else pathlib.PurePath(run.name).name


def seed_order(run: Run) -> tuple[float, str]:
    """Orders runs by their seeds, so that no number depends on the folders' order."""
    seed = seed_of(run)
    return int(seed) if seed.isdecimal() else math.inf, seed


def doubts(found: Iterable[Run]) -> list[str]:
    """Warns about runs grouped as seeds of one arm that differ in more than the seed.

    Returns:
        A sentence about each two runs of an arm that have the same seed, and about each
        run whose configuration differs from that of the arm's first run.
    """
    groups = collections.defaultdict(list)
    for run in found:
        groups[task_of(run), arm_of(run)].append(run)
    notes = []
    for group in groups.values():
        by_seed: dict[str, Run] = {}
        for run in group:
            other = by_seed.setdefault(seed_of(run), run)
            if other is not run:
                notes.append(
                    f"{other.name} and {run.name} have the same seed, {seed_of(run)}, "
                    "and count as two."
                )
        configured = [run for run in group if run.config]
        places = origins(configured)
        for run, place in zip(configured[1:], places[1:], strict=True):
            first = configured[0]
            may_differ = ("seed", *irrelevant(run.config))
            changed = config_lib.difference(first.config, run.config, may_differ)
            if place == places[0]:
                changed.pop("init.path", None)
            if changed:
                notes.append(
                    f"{first.name} and {run.name} count as seeds of one arm, but "
                    f"differ in {', '.join(changed)}."
                )
    return notes


def origins(runs: Sequence[Run]) -> list[str]:
    """Returns where the weights of runs come from, with `SEED` in place of their seeds.

    Each seed of an arm may have its own model, whose path ends in the seed, or nearly.
    A path that several seeds share stays as it is.
    """
    seeds: dict[str, set[int]] = {}
    for run in runs:
        seeds.setdefault(run.config.init.path, set()).add(run.config.seed)
    return [
        path if len(seeds[path]) > 1 else _without_seed(path, run.config.seed)
        for run, path in ((run, run.config.init.path) for run in runs)
    ]


def _without_seed(path: str, seed: int) -> str:
    """Returns a path with `SEED` in place of the last number that is the seed."""
    found = [*re.finditer(rf"(?<!\d)(?<!\.h){seed}(?!\d)", path)]
    if not found:
        return path
    start, end = found[-1].span()
    return f"{path[:start]}SEED{path[end:]}"

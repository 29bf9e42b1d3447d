"""Computes the tables of this folder's README from the files beside it.

python results/minatar_small/readme_tables.py
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from dreamerv2_transfer.plotting import claims, gains, metrics_file, paper, statistics
from dreamerv2_transfer.plotting.claims import Claim
from dreamerv2_transfer.plotting.curves import Series
from dreamerv2_transfer.plotting.gains_table import interval_text
from dreamerv2_transfer.plotting.statistics import Estimate

HERE = pathlib.Path(__file__).parent
LOSSES = HERE.parent / "minatar_paper_losses" / "space_invaders"  # The authors'.
STUDY = HERE / "space_invaders"
BEYOND = HERE / "space_invaders_beyond" / "minatar_space_invaders"
INVADERS, SEAQUEST = "minatar_space_invaders", "minatar_seaquest"
FROZEN, FIXED = "pretrained_frozen_rssm", "pretrained_fixed_world_model"
# Folders of the study by the paper's names.
FOLDERS = {"scratch": "scratch", "pretrained": "finetune", FROZEN: "freeze_rssm"}
FOLDERS[FIXED] = "freeze_world_model"
NAMES = {"pretrained": "fine-tuned", FROZEN: "RSSM frozen", FIXED: "world model fixed"}
SEEDS = (0, 1, 2)
RETURN, ERROR = "train_return", "model_error"
WINDOWS = ((0, 5_000), (0, 10_000), (5_000, 10_000))
LAYERS = ("img_in", "img_out", "img_dist", "obs_dist", "obs_out", "cell")


@functools.cache
def metrics(path: pathlib.Path) -> dict[str, Series]:
    return metrics_file.read(path if path.suffix else path / "metrics.jsonl")[0]


def curve(path: pathlib.Path, metric: str) -> Series:
    """A metric of a run, given its folder or its file."""
    return metrics(path)[metric]


def evaluation(folder: pathlib.Path) -> dict:
    return json.loads((folder / "evaluation.json").read_text())


def folders(task: str, arm: str) -> list[pathlib.Path]:
    game = task.removeprefix("minatar_")
    return [STUDY / f"{game}_{FOLDERS[arm]}_{seed}" for seed in SEEDS]


def window(start: int, end: int, *sides: Sequence[Series]) -> tuple[float, float]:
    """The part of a window that all curves cover."""
    known = [line for side in sides for line in side]
    first = max([float(start), *(float(steps[0]) for steps, _ in known)])
    return first, min([float(end), *(float(steps[-1]) for steps, _ in known)])


def text(estimate: Estimate) -> str:
    return interval_text(dataclasses.asdict(estimate), ".2f")


def listed(values: Sequence[float], digits: str = ".2f") -> str:
    return ", ".join(f"{value:{digits}}" for value in values)


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def heading(*cells: str) -> Iterator[str]:
    yield row(*cells)
    yield "|---" * len(cells) + "|"


def against_paper() -> Iterator[str]:
    """Areas over those of scratch, the paper's and ours."""
    yield from heading("", "updates", "the paper", "ours", "", "by seed")
    comparisons = (
        (INVADERS, "pretrained", RETURN),
        (INVADERS, "pretrained", ERROR),
        (INVADERS, FROZEN, RETURN),
        (INVADERS, FROZEN, ERROR),
        (SEAQUEST, FIXED, RETURN),
    )
    for task, arm, metric in comparisons:
        theirs = paper.behind(task, metric)
        known = [theirs[arm]], [theirs["scratch"]]
        sides = [
            [curve(folder, metric) for folder in folders(task, name)]
            for name in (arm, "scratch")
        ]
        game = "Space Invaders" if task == INVADERS else "Seaquest"
        what = "return" if metric == RETURN else "model error"
        for start, end in WINDOWS:
            part = window(start, end, *known, *sides)
            ours, seeds = claims.ratio(*sides, *part), (len(SEEDS),) * 2
            value = claims.ratio(*known, *part).value
            claim = Claim(task, metric, arm, end, value, ours, seeds)
            areas = [np.array([gains.area(x, *part) for x in side]) for side in sides]
            yield row(
                f"{game}, {NAMES[arm]}, {what}" if (start, end) == WINDOWS[0] else "",
                f"{start:,} to {end:,}",
                f"{value:.2f}",
                text(ours),
                claim.verdict,
                listed(areas[0] / areas[1].mean()),
            )


def at_the_end() -> Iterator[str]:
    """Evaluations after the last update."""
    yield from heading("", "return", "against scratch", "held-out error", "the same")
    for task, arm in (
        (INVADERS, "scratch"),
        (INVADERS, "pretrained"),
        (INVADERS, FROZEN),
        (SEAQUEST, "scratch"),
        (SEAQUEST, FIXED),
    ):
        game = "Space Invaders" if task == INVADERS else "Seaquest"
        cells = [f"{game}, from scratch" if arm == "scratch" else NAMES[arm]]
        for digits, held in ((".2f", _return), (".1f", _error)):
            ours = [held(folder) for folder in folders(task, arm)]
            alone = [held(folder) for folder in folders(task, "scratch")]
            cells.append(f"{np.mean(ours):{digits}} ({listed(ours, digits)})")
            ratio = "" if arm == "scratch" else text(statistics.ratio(ours, alone))
            cells.append(ratio)
        yield row(*cells)


def _return(folder: pathlib.Path) -> float:
    return evaluation(folder)["return_mean"]


def _error(folder: pathlib.Path) -> float:
    return evaluation(folder)["held_out"]["model_error"]


def compared(name: str, arms: list[pathlib.Path], alone: list[pathlib.Path]) -> str:
    """A row of ratios of an arm of one or several seeds against scratch."""
    cells = [name, listed([int(folder.name[-1]) for folder in alone], "d")]
    for metric in (RETURN, ERROR):
        sides = [[curve(folder, metric) for folder in x] for x in (arms, alone)]
        # From where the paper's curves begin, as above.
        theirs = [paper.behind(INVADERS, metric)["scratch"]]
        for start, end in WINDOWS[:2]:
            part = window(start, end, *sides, theirs)
            reached = part[1] >= end * (1 - claims.SLACK)
            cells.append(text(claims.ratio(*sides, *part)) if reached else "-")
    at_end = [_return(x) for x in arms if (x / "evaluation.json").exists()]
    return row(*cells, listed(at_end, ".1f"))


def beyond() -> Iterator[str]:
    """Single sublayers frozen, and other lengths of pre-training."""
    metrics = ("return, to 5,000", "to 10,000", "error, to 5,000", "to 10,000")
    columns = ("seeds", *metrics, "return at the end")
    scratch = folders(INVADERS, "scratch")
    yield from heading("fine-tuned, and frozen", *columns)
    first = {"nothing": folders(INVADERS, "pretrained")[0]}
    first |= {f"`{layer}`": BEYOND / f"frozen_{layer}" / "0" for layer in LAYERS}
    first["all of the RSSM"] = folders(INVADERS, FROZEN)[0]
    yield from (compared(name, [x], scratch[:1]) for name, x in first.items())
    best = [BEYOND / "frozen_img_in" / str(seed) for seed in SEEDS]
    yield compared("`img_in`", best, scratch)
    yield compared("nothing", folders(INVADERS, "pretrained"), scratch)
    yield ""
    yield from heading("updates of pre-training", *columns)
    for updates in (2_500, 10_000, 40_000):
        folder = BEYOND / f"pretrained_{updates}" / "0"
        known = folder if folder.exists() else folders(INVADERS, "pretrained")[0]
        yield compared(f"{updates:,}", [known], scratch[:1])


def pairs() -> Iterator[str]:
    """Return of arms over that of nothing frozen, paired by their models."""
    yield from heading("frozen", "updates", "over nothing frozen", "by model")
    tuned = [curve(folder, RETURN) for folder in folders(INVADERS, "pretrained")]
    for name, arm in (
        ("`img_in`", [BEYOND / "frozen_img_in" / str(seed) for seed in SEEDS]),
        ("all of the RSSM", folders(INVADERS, FROZEN)),
    ):
        sides = [[curve(folder, RETURN) for folder in arm], tuned]
        for start, end in WINDOWS[:2]:
            part = window(start, end, *sides)
            ours, theirs = ([gains.area(x, *part) for x in side] for side in sides)
            each = [x / y for x, y in zip(ours, theirs, strict=True)]
            found = statistics.paired_ratio(ours, theirs)
            yield row(name, f"{start:,} to {end:,}", text(found), listed(each))


def controls() -> Iterator[str]:
    """Controls of seed 0, each against a run from scratch."""
    metrics = ("return, to 5,000", "to 10,000", "error, to 5,000", "to 10,000")
    yield from heading("control", "seed", *metrics, "")
    study = folders(INVADERS, "scratch")[:1]
    for name, arm, alone in (
        ("RSSM frozen, whole planes (study)", folders(INVADERS, FROZEN)[0], study),
        (
            "RSSM frozen, one plane a cell",
            HERE / "control_collapsed_planes" / "freeze_rssm_0",
            [HERE / "control_collapsed_planes" / "scratch_0"],
        ),
        (
            "RSSM frozen, 40,000 updates of pre-training",
            HERE / "control_frozen_40000",
            study,
        ),
        (
            "fine-tuned, gradients of biases fixed",
            HERE / "control_bias_gradients" / "finetune_0",
            [HERE / "control_bias_gradients" / "scratch_0"],
        ),
    ):
        yield compared(name, [arm], alone)


def returns() -> Iterator[str]:
    """Mean returns of training episodes over updates, the paper's and ours."""
    yield from heading("return of training episodes", "updates", "the paper", "ours")
    for task, arm in (
        (INVADERS, "scratch"),
        (INVADERS, "pretrained"),
        (SEAQUEST, "scratch"),
        (SEAQUEST, FIXED),
    ):
        theirs = [paper.behind(task, RETURN)[arm]]
        ours = [curve(folder, RETURN) for folder in folders(task, arm)]
        game = "Space Invaders" if task == INVADERS else "Seaquest"
        name = NAMES.get(arm, "from scratch")
        for start, end in (WINDOWS[0], WINDOWS[2]):
            part = window(start, end, theirs, ours)
            width = part[1] - part[0]
            levels = [gains.area(line, *part) / width for line in (*theirs, *ours)]
            mean, seeds = np.mean(levels[1:]), listed(levels[1:])
            label = f"{game}, {name}" if start == 0 else ""
            known = f"{levels[0]:.2f}"
            yield row(label, f"{start:,} to {end:,}", known, f"{mean:.2f} ({seeds})")


def own_model() -> Iterator[str]:
    """Seaquest in updates 4,000 to 5,000, seed 0."""
    yield from heading("Seaquest, return in updates 4,000 to 5,000", "seed 0")
    for name, folder in (
        ("from scratch", folders(SEAQUEST, "scratch")[0]),
        ("pre-trained model, fixed", folders(SEAQUEST, FIXED)[0]),
        ("model of the run from scratch, fixed", HERE / "control_seaquest_own_model"),
    ):
        steps, values = curve(folder, RETURN)
        inside = (steps > 4_000) & (steps <= 5_000)
        yield row(name, f"{values[inside].mean():.2f}")


def losses() -> Iterator[str]:
    """The authors' losses beside this study's, up to update 5,000."""
    yield from heading("", "the paper", "this study", "the authors' losses")
    for task, arm in ((INVADERS, FROZEN), (SEAQUEST, FIXED)):
        known = paper.behind(task, RETURN)
        sides = [([known[arm]], [known["scratch"]])]
        for runs in (folders, of_authors):
            one, base = (
                [curve(x, RETURN) for x in runs(task, y)] for y in (arm, "scratch")
            )
            sides.append((one, base))
        part = window(0, 5_000, *(x for pair in sides for x in pair))
        game = "Space Invaders" if task == INVADERS else "Seaquest"
        values = [text(claims.ratio(*pair, *part)) for pair in sides]
        yield row(f"{game}, {NAMES[arm]}, return over scratch", *values)
    for name, arm in (("RSSM frozen", FROZEN), ("from scratch", "scratch")):
        levels = []
        for runs in (folders, of_authors):
            lines = [curve(x, "model_kl") for x in runs(INVADERS, arm)]
            part = window(4_000, 5_000, lines)
            areas = [gains.area(line, *part) / (part[1] - part[0]) for line in lines]
            levels.append(f"{np.mean(areas):.1f}")
        yield row(f"Space Invaders, {name}, KL in updates 4,000 to 5,000", "", *levels)


def of_authors(task: str, arm: str) -> list[pathlib.Path]:
    """The runs with the authors' losses."""
    return sorted(LOSSES.glob(f"on_*/{task}/{arm}/?"))


TABLES: tuple[Callable[[], Iterator[str]], ...] = (
    against_paper,
    at_the_end,
    returns,
    beyond,
    pairs,
    controls,
    own_model,
    losses,
)


def main() -> int:
    for table in TABLES:
        print(f"{table.__doc__.splitlines()[0]}\n", *table(), "", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

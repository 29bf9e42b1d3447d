"""Draws `findings.png` and prints the table of this folder's README.

python results/findings.py
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

from matplotlib.figure import Figure

from dreamerv2_transfer.plotting import claims, gains_picture, metrics_file, paper
from dreamerv2_transfer.plotting.claims import Claim
from dreamerv2_transfer.plotting.gains_picture import Line
from dreamerv2_transfer.plotting.gains_table import interval_text
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.views import View

HERE = pathlib.Path(__file__).parent
SHOWN = 5_000  # Updates up to which the picture takes areas.
INVADERS, SEAQUEST = "minatar_space_invaders", "minatar_seaquest"
FROZEN, FIXED = "pretrained_frozen_rssm", "pretrained_fixed_world_model"
# The game, the paper's name of an arm, and our metric.
FINDINGS = {
    "Space Invaders, fine-tuned: return": (INVADERS, "pretrained", "train_return"),
    "Space Invaders, fine-tuned: model error": (INVADERS, "pretrained", "model_error"),
    "Space Invaders, RSSM frozen: return": (INVADERS, FROZEN, "train_return"),
    "Space Invaders, RSSM frozen: model error": (INVADERS, FROZEN, "model_error"),
    "Seaquest, world model fixed: return": (SEAQUEST, FIXED, "train_return"),
}


@dataclasses.dataclass(frozen=True)
class Study:
    """Where the runs of an arm are, and how they are drawn.

    Attributes:
        runs: Pattern of their folders, given `game` and `arm`.
        color: The colour of its rows.
        arms: Its own names of the paper's arms, where it has others.
        scratch: Patterns of further runs from scratch, given `game`.
    """

    runs: str
    color: str
    arms: dict[str, str] = dataclasses.field(default_factory=dict)
    scratch: tuple[str, ...] = ()

    def paths(self, game: str, arm: str) -> list[pathlib.Path]:
        places = [self.runs.format(game=game, arm=self.arms.get(arm, arm))]
        if arm == "scratch":
            places += [place.format(game=game) for place in self.scratch]
        return sorted(x for y in places for x in HERE.glob(f"{y}/metrics.jsonl"))


LOSSES = "minatar_paper_losses"
RETURNS = "minatar_small_returns/runs/{game}_*"
LEFT_OUT = "minatar_leave_one_out/{game}/on_new/minatar_{game}"
NEW = "space_invaders/on_new/minatar_space_invaders"
FOUR_SEEDS = (RETURNS, f"{LEFT_OUT}/scratch/?")  # From scratch, of today's small.
STUDIES = {
    "cross entropy, KL 1.0": Study(
        "minatar_small/space_invaders/{game}_{arm}_?",
        "#1f77b4",
        {"pretrained": "finetune", FROZEN: "freeze_rssm", FIXED: "freeze_world_model"},
    ),
    "squared error, KL 1.0": Study(
        f"{LOSSES}/squared_error_kl_1.0/space_invaders/on_new/minatar_{{game}}/{{arm}}/?",
        "#7570b3",
    ),
    "cross entropy, KL 0.1": Study(
        f"{LOSSES}/cross_entropy_kl_0.1/space_invaders/on_new/minatar_{{game}}/{{arm}}/?",
        "#1b9e77",
    ),
    "squared error, KL 0.1": Study(
        f"{LOSSES}/space_invaders/on_*/minatar_{{game}}/{{arm}}/?", "#d95f02"
    ),
    "the same, fixed from 5,000 on": Study(
        f"{LOSSES}/space_invaders/on_learned/minatar_{{game}}/{{arm}}/?",
        "#d95f02",
        {FIXED: "fixed_after_5000"},
    ),
    "today's small, 40,000 updates": Study(
        f"{LEFT_OUT}/{{arm}}/?", "#e7298a", scratch=(RETURNS,)
    ),
    "today's small, 2,500 updates": Study(
        "{arm}/?",
        "#e7298a",
        {
            "pretrained": f"minatar_pretraining_length/{NEW}/pretrained_2500",
            FROZEN: f"minatar_adapters/after_2500/{NEW}/frozen_rssm",
        },
        scratch=FOUR_SEEDS,
    ),
    "today's small, 400,000 steps a game": Study(
        "minatar_learned_games/space_invaders/on_learned/minatar_{game}/{arm}/?",
        "#e7298a",
        scratch=FOUR_SEEDS,
    ),
}


def compared(study: Study, task: str, arm: str, metric: str) -> dict[int, Claim]:
    """The ratio of an arm to scratch, the paper's and ours, by updates; {} without."""
    game = task.removeprefix("minatar_")
    arms = {}
    for name in ("scratch", arm):
        paths = study.paths(game, name)
        if not paths:
            return {}
        logged = [metrics_file.read(path)[0][metric] for path in paths]
        arms[name] = View(agg="none").arm([], logged)
    panel = Panel(task, metric, arms, paper.behind(task, metric))
    return {claim.until: claim for claim in claims.make([panel])}


def main() -> int:
    lines = []
    print("| | updates | the paper | study | ours | by seed | |")
    print("|---|---|---|---|---|---|---|")
    for finding, chosen in FINDINGS.items():
        lines.append(Line(finding))
        for name, study in STUDIES.items():
            claims_at = compared(study, *chosen)
            for until, claim in claims_at.items():
                seeds = ", ".join(f"{value:.2f}" for value in claim.by_seed)
                ours = interval_text(dataclasses.asdict(claim.ours), ".2f")
                print(
                    f"| {finding} | to {until:,} | {claim.paper:.2f} | {name}", end=""
                )
                print(f" | {ours} | {seeds} | {claim.verdict} |")
            if not claims_at:
                continue
            claim = claims_at[SHOWN]
            estimate = dataclasses.asdict(claim.ours)
            lines.append(Line(name, study.color, estimate, claim.by_seed, claim.paper))
    figure = Figure(figsize=(8, 1.1 + 0.34 * len(lines)), layout="constrained")
    axes = figure.subplots()
    gains_picture.draw_rows(axes, lines)
    axes.set_xlabel(
        f"area under the curve up to {SHOWN:,} updates, over that of scratch\n"
        "points: our seeds; strokes: means; bars: 95% intervals; diamonds: the paper"
    )
    figure.savefig(HERE / "findings.png", dpi=110)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What runs show, in words: a sentence for the top of the report, and its numbers."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.plotting import gains, gains_table, labels, tables
from dreamerv2_transfer.plotting.aggregates import Aggregate
from dreamerv2_transfer.plotting.claims import Claim
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.tables import Badge, Interval

BETTER, WORSE, OPEN, SINGLE, UNBOUNDED, NONE = (
    Badge("better", "good"),
    Badge("worse", "bad"),
    Badge("not settled"),
    Badge("too few seeds"),
    Badge("no interval"),
    Badge("cannot be compared"),
)
# What a sentence says of a lone comparison, and of one or several of many.
LONE = {
    BETTER: "is better than training from scratch",
    WORSE: "is worse than training from scratch",
    OPEN: "is not settled against training from scratch",
    SINGLE: "has too few seeds to be compared with training from scratch",
    UNBOUNDED: "has no interval against training from scratch",
    NONE: "cannot be compared with training from scratch",
}
MANY = {
    BETTER: ("is better", "are better"),
    WORSE: ("is worse", "are worse"),
    OPEN: ("is not settled", "are not settled"),
    SINGLE: ("has too few seeds to tell", "have too few seeds to tell"),
    UNBOUNDED: ("has no interval", "have no interval"),
    NONE: ("cannot be compared", "cannot be compared"),
}
TONES = {"agrees": "good", "same direction": "good", "disagrees": "bad"}


@dataclasses.dataclass(frozen=True)
class Card:
    """A number for the top of the page.

    Attributes:
        title: The game.
        arm: The arm.
        number: The number.
        unit: What the number is.
        seeds: How many seeds it comes from.
        badge: The verdict; None if nothing is compared.
        interval: The number's interval; None if nothing is compared.
    """

    title: str
    arm: str
    number: str
    unit: str
    seeds: str
    badge: Badge | None = None
    interval: Interval | None = None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the page says first.

    Attributes:
        metric: The metric of the main figure.
        sentence: The verdict.
        cards: Its numbers.
    """

    metric: str
    sentence: str
    cards: tuple[Card, ...]


def make(
    panels: Sequence[Panel],
    compared: Sequence[dict[str, Any]],
    together: Sequence[Aggregate] = (),
) -> Verdict:
    """Returns what some panels show.

    Args:
        panels: At least one.
        compared: What the arms gain, as of `gains_table.numbers`.
        together: The same over several games.
    """
    if not compared:
        metric = panels[0].metric
        cards = [
            card for panel in panels if panel.metric == metric for card in levels(panel)
        ]
        what = labels.metric_label(metric)
        return Verdict(
            metric,
            "Nothing is compared: no game has both runs from scratch and other runs "
            "with returns over steps of the same kind. The numbers are the last level "
            f"of the {what}.",
            tuple(cards),
        )
    metric = compared[0]["metric"]
    chosen = [one for one in compared if one["metric"] == metric]
    scale = tables.Scale.of(chosen)
    cards = []
    for one in chosen:
        ratio, seeds, badge = one["area_ratio"], one["seeds"], badge_of(one)
        game, _ = _names(one)
        cards.append(
            Card(
                title=game,
                arm=one["arm"],
                number="-" if badge == NONE else f"{ratio['value']:.2f}×",
                unit=f"{labels.metric_label(metric)} of training from scratch",
                seeds=f"{seeds['transfer']} against {seeds['scratch']} seeds",
                badge=badge,
                interval=scale.interval(
                    gains_table.interval_text(ratio, ".2f"),
                    ratio,
                    seeds=tables.seeds_of(one),
                ),
            )
        )
    said = [sentence(chosen), *(over(x) for x in together if x.metric == metric)]
    return Verdict(metric, " ".join(said), tuple(cards))


def badge_of(compared: dict[str, Any]) -> Badge:
    """Returns what a comparison shows, one of `gains_table.numbers`."""
    return judge(compared["area_ratio"], min(compared["seeds"].values()))


def judge(ratio: dict | None, seeds: int) -> Badge:
    """Returns what a ratio of areas says.

    Args:
        ratio: An `Estimate` in dict form.
        seeds: The fewest seeds of an arm; if there are several and still no interval,
            scratch may be 0, or all resamples are the same.
    """
    if ratio is None or ratio["value"] is None:
        return NONE
    if ratio["low"] is None:
        return SINGLE if seeds < 2 else UNBOUNDED
    return BETTER if ratio["low"] > 1 else WORSE if ratio["high"] < 1 else OPEN


def sentence(compared: Sequence[dict[str, Any]]) -> str:
    """Returns the verdict on comparisons of one metric with training from scratch."""
    badges = [badge_of(one) for one in compared]
    if len(compared) == 1:
        game, arm = _names(compared[0])
        return f"On {game}, {arm} {LONE[badges[0]]}{_told(compared[0])}."
    counts = collections.Counter(badges)
    parts = [f"{counts[x]} {MANY[x][counts[x] > 1]}" for x in MANY if counts[x]]
    joined = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    said = f"Of {len(compared)} comparisons with training from scratch, {joined}."
    known = [one for one in compared if badge_of(one) != NONE]
    if not known:
        return said
    # The ratio of a lone seed, or to what may be 0, may be the highest by chance.
    sure = [one for one in known if badge_of(one) not in (SINGLE, UNBOUNDED)]
    best = max(sure or known, key=lambda one: one["area_ratio"]["value"])
    game, arm = _names(best)
    return f"{said} The highest is {arm} on {game}{_told(best)}."


def over(together: Aggregate) -> str:
    """Returns what an arm shows on several games together, as a sentence."""
    middle = dataclasses.asdict(together.interquartile_mean)
    badge = judge(middle, together.seeds[0])
    return (
        f"Over {len(together.games)} games together, {labels.arm_label(together.arm)} "
        f"{LONE[badge]}: the interquartile mean of its runs' areas is "
        f"{gains_table.interval_text(middle, '.2f')} times scratch's, and it is better "
        f"in {together.better} of {len(together.games)} games."
    )


def levels(panel: Panel) -> list[Card]:
    """Returns the level that each arm of a panel ends with."""
    cards = []
    for name, arm in panel.arms.items():
        ends = []
        for steps, values in arm.curves:
            last = steps >= steps[-1] - gains.END * (steps[-1] - steps[0])
            ends.append(values[last].mean())
        seeds = f"{len(ends)} seed{'s' if len(ends) > 1 else ''}"
        cards.append(
            Card(
                title=labels.task_label(panel.task) or "unknown game",
                arm=name,
                number=f"{np.mean(ends):.3g}",
                unit=labels.metric_label(panel.metric),
                seeds=seeds,
            )
        )
    return cards


def claims_counted(claims: Sequence[Claim]) -> list[Badge]:
    """Returns how often our runs agree with the paper."""
    counts = collections.Counter(claim.verdict for claim in claims)
    return [
        Badge(f"{count} × {verdict}", TONES.get(verdict, "open"))
        for verdict, count in counts.most_common()
    ]


def claim_badge(claim: Claim) -> Badge:
    """Returns the verdict on a claim of the paper."""
    return Badge(claim.verdict, TONES.get(claim.verdict, "open"))


def _names(compared: dict[str, Any]) -> tuple[str, str]:
    game = labels.task_label(compared["task"]) or "unknown game"
    return game, labels.arm_label(compared["arm"])


def _told(compared: dict[str, Any]) -> str:
    """Returns the ratio for the end of a sentence; '' if it is unknown."""
    value, low, high = (compared["area_ratio"] or dict.fromkeys("vlh")).values()
    if value is None:
        return ""
    interval = "" if low is None else f" (95% interval {low:.2f} to {high:.2f})"
    what = labels.metric_label(compared["metric"])
    return f": {value:.2f} times the {what} over all steps{interval}"

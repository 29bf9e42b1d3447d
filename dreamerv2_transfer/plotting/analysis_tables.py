"""The numbers of an analysis as tables, see `launch/analyze.py`.

They are read from a file that may come from somebody else. `SCHEMA` says what these
functions look for; where the numbers do not fit each other, they raise one of `DAMAGE`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dreamerv2_transfer.common.files.documents import Schema
from dreamerv2_transfer.plotting import labels, tables
from dreamerv2_transfer.plotting.tables import Row, Table

NUMBER, GROUP = {"type": "number"}, {"type": "object"}
PROBE = {
    "type": "object",
    "required": ["r2", "low", "high"],
    "properties": dict.fromkeys(("low", "high"), {"type": ["number", "null"]}),
    "additionalProperties": NUMBER,
}
EVENT = {
    "type": "object",
    "required": ["share", "rate", "rates", "p_adjusted"],
    "properties": {
        **dict.fromkeys(("share", "rate", "p_adjusted"), NUMBER),
        "rates": {"type": "array", "minItems": 1},
    },
}
GAME = {
    "type": "object",
    "required": ["policy", "frames", "episodes", "variables", "named", "clusters"]
    + ["events", "probes", "dreams"],
    "properties": {
        **dict.fromkeys(("frames", "episodes", "variables", "clusters"), NUMBER),
        "policy": {"type": "string"},
        "named": {"type": "boolean"},
        "events": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["trained"],
                "properties": {"trained": EVENT, "untrained": EVENT},
            },
        },
        "probes": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["trained", "untrained"],
                "properties": {"trained": PROBE, "untrained": PROBE},
            },
        },
        "dreams": GROUP,
    },
}
SCHEMA = Schema(
    {
        "type": "object",
        "properties": {
            "tasks": {"type": "object", "additionalProperties": GAME},
            "transfer": {
                "type": ["object", "null"],
                "properties": {
                    kind: {"type": "object", "additionalProperties": GROUP}
                    for kind in ("trained", "untrained")
                },
            },
        },
    }
)
Numbers = Mapping[str, Any]

DAMAGE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
NO_INTERVAL = "no interval"
READABLE = 0.5  # Held-out R2 from which a variable counts as readable.
SIGNIFICANT = 0.05  # Largest p value of a finding.
KINDS = ("trained", "untrained", "random")  # The features that are compared.
LAST_FRAME = "last frame repeated"  # The baselines of dreams.
MEAN_FRAME = "mean of all frames"
SOON = 5  # Steps of a dream whose error is shown, beside the first and the last.


def overview(games: Mapping[str, Numbers]) -> Table:
    """Returns a row per game with what matters most."""
    rows = []
    for task, numbers in games.items():
        probes, dreams = numbers["probes"], numbers["dreams"]
        readable = [x for x in probes.values() if x["trained"]["r2"] >= READABLE]
        ends = [(x["trained"]["low"], x["untrained"]["high"]) for x in probes.values()]
        easier = [low > high for low, high in ends if None not in (low, high)]
        # Too few held-out episodes have no interval.
        is_known = easier or not probes
        compared = tables.of(sum(easier), len(easier)) if is_known else NO_INTERVAL
        found = [x["trained"]["p_adjusted"] for x in numbers["events"].values()]
        told = sum(p < SIGNIFICANT for p in found)
        ahead: list[tables.Cell] = ["-", "-"]
        if "skipped" not in dreams:
            better, horizon = dreams["better"], int(dreams["horizon"])
            ahead = [
                tables.of(len(better[name]), horizon)
                for name in (LAST_FRAME, MEAN_FRAME)
            ]
        rows.append(
            Row(
                (
                    labels.task_label(task),
                    tables.of(len(readable), len(probes)),
                    compared,
                    f"{told} of {len(found)}",
                    *ahead,
                )
            )
        )
    return Table(
        title="What the model knows",
        headings=(
            "game",
            "variables that can be read off",
            "easier to read than untrained",
            "events told by clusters",
            "steps dreamed better than the last frame",
            "than the mean of all frames",
        ),
        rows=tuple(rows),
        note=f"A variable can be read off if a linear probe of the model's features "
        f"has a held-out R² of at least {READABLE}. It is easier to read than from an "
        "untrained model if the 95% intervals do not overlap, of those that have "
        "intervals; what a weighted sum does not tell, the features may still contain. "
        "Clusters tell an event if they say more about it than chance, p < "
        f"{SIGNIFICANT} after adjustment.",
    )


def measured(numbers: Numbers) -> str:
    """Returns a sentence about what was played and measured."""
    named = (
        f"{int(numbers['variables'])} variables read from the game"
        if numbers["named"]
        else "no named variables of the game, so only reward, score and step"
    )
    return (
        f"{int(numbers['frames']):,} frames of {int(numbers['episodes']):,} episodes "
        f"of {numbers['policy']}; {named}. All numbers are of held-out episodes."
    )


def of_game(numbers: Numbers) -> Iterator[Table]:
    """Yields the tables of a game."""
    if numbers["probes"]:
        yield probes(numbers["probes"])
    if numbers["events"]:
        yield events(numbers["events"], int(numbers["clusters"]))
    if "best_feature" in numbers:
        yield single(numbers["best_feature"], numbers["canonical"])
    if "skipped" not in numbers["dreams"]:
        yield dreams(numbers["dreams"])


def probes(numbers: Numbers) -> Table:
    """Returns what linear probes read, best first."""
    ranked = sorted(
        numbers.items(), key=lambda item: item[1]["trained"]["r2"], reverse=True
    )
    rows = []
    for name, found in ranked:
        trained, untrained = found["trained"], found["untrained"]
        ends = trained["low"], trained["high"]
        rows.append(
            Row(
                (
                    _words(name),
                    tables.share(trained["r2"], mark=untrained["r2"]),
                    NO_INTERVAL if None in ends else "{:.2f} to {:.2f}".format(*ends),
                    f"{untrained['r2']:.2f}",
                )
            )
        )
    return Table(
        title="What a linear probe reads",
        headings=("variable", "R²", "95% interval", "untrained"),
        rows=tuple(rows),
        note="1 is perfect, 0 as good as the mean. The mark is the untrained model.",
    )


def events(numbers: Numbers, clusters: int) -> Table:
    """Returns how much clusters of features tell about events, most first."""
    ranked = sorted(
        numbers.items(), key=lambda item: item[1]["trained"]["share"], reverse=True
    )
    rows = []
    for name, found in ranked:
        trained = found["trained"]
        rates = np.array(trained["rates"], float)
        most = int(np.nanargmax(rates))
        untrained = found.get("untrained", {}).get("share")
        rows.append(
            Row(
                (
                    _words(name),
                    tables.share(trained["share"], ".0%", untrained),
                    f"{rates[most]:.0%} in no. {most}",
                    f"{trained['rate']:.1%}",
                    f"{trained['p_adjusted']:.3f}",
                )
            )
        )
    return Table(
        title=f"What {clusters} clusters of features tell",
        headings=("event", "share of entropy", "most frequent", "overall", "p"),
        rows=tuple(rows),
        note="Frequencies are shares of frames, in the cluster with most of the event "
        "and in all. The mark is the untrained model; p is adjusted for the number of "
        "events.",
    )


def single(best: Numbers, canonical: Numbers) -> Table:
    """Returns the single feature closest to a variable, and canonical correlations."""
    rows = []
    for kind in KINDS:
        found = best[kind]
        rows.append(
            Row(
                (
                    kind,
                    f"{found['test_r']:.2f}",
                    f"{found['test_p']:.3f}",
                    f"{found['train_r']:.2f}",
                    f"{found['null_max']:.2f}",
                    *(f"{x:.2f}" for x in canonical[kind]),
                )
            )
        )
    variable = _words(best["variable"])
    together = [f"canonical {i + 1}" for i in range(len(canonical[KINDS[0]]))]
    return Table(
        title=f"The feature closest to {variable}",
        headings=(
            "features",
            "r",
            "p",
            "r in training",
            "largest |r| by chance",
            *together,
        ),
        rows=tuple(rows),
        note=f"The feature of {int(best['features']):,} that correlates most with "
        f"{variable} on training episodes, against the best of {int(best['shuffles'])} "
        "shuffles of whole episodes. An r of the sign opposite to training confirms "
        "nothing. Beside it, canonical correlations of all features with "
        f"{', '.join(map(_words, canonical['variables']))}.",
    )


def dreams(numbers: Numbers) -> Table:
    """Returns the errors of dreams and of what they are compared with."""
    horizon = int(numbers["horizon"])
    steps = sorted({1, min(SOON, horizon), horizon})
    rows = []
    for name, error in numbers["error"].items():
        better = numbers["better"].get(name)
        ahead = "" if better is None else tables.of(len(better), horizon)
        means = [f"{error['mean'][step - 1]:.2f}" for step in steps]
        rows.append(Row((name, *means, ahead)))
    unit = numbers.get("unit", "summed over an image")
    return Table(
        title="How far dreams come true",
        headings=("prediction", *(f"step {step}" for step in steps), "model is better"),
        rows=tuple(rows),
        note=f"Squared error, {unit}, of {int(numbers['sequences'])} sequences dreamed "
        f"over {horizon} steps; and at how many steps the model is better.",
    )


def across_games(numbers: Mapping[str, Numbers] | None) -> Table | None:
    """Returns how probes of one game do in others; None if there is one game."""
    if not numbers or not numbers["trained"]:
        return None
    rows = []
    for name, found in numbers["trained"].items():
        base = numbers["untrained"].get(name)
        own, away = np.diag(found["r"]), _off_diagonal(found["r"])
        joint, alone = np.mean(found["joint_r2"]), np.mean(np.diag(found["r2"]))
        rows.append(
            Row(
                (
                    _words(name),
                    str(len(found["games"])),
                    f"{np.mean(own):.2f}",
                    tables.share(float(np.mean(away))),
                    f"{min(away):.2f} to {max(away):.2f}",
                    f"{np.mean(_off_diagonal(base['r'])):.2f}" if base else "-",
                    f"{np.mean(found['others_r']):.2f}",
                    f"{joint:.2f}",
                    f"{alone:.2f}",
                    f"{np.mean(_off_diagonal(found['cosine'])):.2f}",
                )
            )
        )
    return Table(
        title="Probes carried from game to game",
        headings=(
            "variable",
            "games",
            "r in its own game",
            "r in another game",
            "from to",
            "untrained",
            "r of all others' probe",
            "R² of one probe for all",
            "R² of own probes",
            "cosine",
        ),
        rows=tuple(rows),
        note="Means over games of the correlation r of a probe's predictions with the "
        "truth, and of R². Where one probe for all games is good and a probe of other "
        "games is not, the games use directions that differ and do not collide; the "
        "cosine says how similar the directions are.",
    )


def _off_diagonal(matrix: list[list[float]]) -> np.ndarray:
    array = np.array(matrix, float)
    return array[~np.eye(len(array), dtype=bool)]


def _words(name: str) -> str:
    return name.replace("_", " ")

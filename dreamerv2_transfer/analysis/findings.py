"""What the numbers of an analysis show and do not show, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.analysis.dream_errors import LAST_FRAME, MEAN_FRAME

SIGNIFICANT = 0.05
READABLE = 0.5  # R2 from which a variable counts as readable,
HARDLY = 0.1  # and below which it does not.
BANDS = (
    (READABLE, 2.0, "readable"),
    (HARDLY, READABLE, "partly"),
    (-np.inf, HARDLY, f"not (below {HARDLY})"),
)
RANGES = 3  # More ranges of steps than these are counted, not listed.
SHARED = ("player_x", "player_y", "enemies", "enemy_x", "enemy_y", "enemy_distance")

Numbers = Mapping[str, Any]


def of_game(task: str, numbers: Numbers) -> list[str]:
    """Returns sentences about one game, given its part of `analysis.json`."""
    lines = [of_data(numbers), *of_probes(numbers["probes"])]
    lines += of_events(numbers["events"], numbers["clusters"])
    if "best_feature" in numbers:
        lines += of_best_feature(numbers["best_feature"])
        lines.append(of_canonical(numbers["canonical"]))
    else:
        lines.append("no variable changes enough to be sought in single features.")
    lines += of_dreams(numbers["dreams"])
    return [f"{task}: {line}" for line in lines]


def of_data(numbers: Numbers) -> str:
    """Returns a sentence about what was played and measured."""
    named = (
        f"{numbers['variables']} variables read from the game"
        if numbers["named"]
        else "no named variables of the game, so only reward, score and step"
    )
    return (
        f"{numbers['frames']:,} frames of {numbers['episodes']:,} episodes of "
        f"{numbers['policy']}, {named}; a fifth of the frames, in whole episodes, is "
        "held out for the measurements."
    )


def of_probes(probes: Numbers) -> Iterator[str]:
    """Yields sentences about the variables that probes can read."""
    if not probes:
        yield "no variable changes enough to be probed."
        return
    groups = []
    for low, high, word in BANDS:
        told = [
            f"{name} {x['trained']['r2']:.2f} ({x['untrained']['r2']:.2f})"
            for name, x in probes.items()
            if low <= x["trained"]["r2"] < high
        ]
        groups += [f"{word}: {', '.join(told)}"] if told else []
    yield (
        "held-out R2 of linear probes, in brackets for an untrained model: "
        f"{'; '.join(groups)}."
    )
    ends = [(x["trained"]["low"], x["untrained"]["high"]) for x in probes.values()]
    better = [low > high for low, high in ends if np.isfinite([low, high]).all()]
    short = len(probes) - len(better)
    more = f"; {short} more without, for too few held-out episodes"
    yield (
        f"training makes {sum(better)} of {len(better)} variables easier to read (the "
        f"95% intervals do not overlap{more if short else ''}). If a weighted sum "
        "cannot read a variable, the features may still contain it."
        if better
        else "whether training makes variables easier to read is not known: there are "
        "no intervals, for too few held-out episodes."
    )


def of_events(events: Numbers, clusters: int) -> Iterator[str]:
    """Yields sentences about the events on which clusters are informative."""
    if not events:
        yield "no event is frequent enough to be looked for in clusters."
        return
    told, silent = {}, []
    for name, x in events.items():
        trained = x["trained"]
        if trained["p_adjusted"] >= SIGNIFICANT:
            silent.append(name)
            continue
        rates = np.array(trained["rates"], float)
        most = int(np.nanargmax(rates))
        share = f"{x['untrained']['share']:.0%}" if "untrained" in x else "not known"
        told[name] = (
            f"{name} ({trained['share']:.0%} of its entropy, untrained {share}; "
            f"{rates[most]:.0%} of the frames of cluster {most}, {trained['rate']:.1%} "
            "of all)"
        )
    share_of = {name: events[name]["trained"]["share"] for name in told}
    ranked = [told[name] for name in sorted(told, key=share_of.get, reverse=True)]
    about = join(ranked) if ranked else "no event"
    yield f"the {clusters} clusters say more than chance would about {about}."
    if silent:
        yield f"nothing was found in the clusters about {join(silent)}."


def of_best_feature(best: Numbers) -> Iterator[str]:
    """Yields sentences about the single feature closest to a variable."""
    trained, untrained, random = (best[k] for k in ("trained", "untrained", "random"))
    verdict = (
        "so this is more than chance"
        if max(trained["train_p"], trained["test_p"]) < SIGNIFICANT
        else "so this may be chance"
    )
    yield (
        f"the feature most correlated with {best['variable']} (number "
        f"{trained['feature']} of {best['features']:,}) has r {trained['train_r']:.2f} "
        f"on training episodes, p {trained['train_p']:.3f} corrected for "
        f"{best['features']:,} tries, and r {trained['test_r']:.2f} on held-out "
        f"episodes, p {trained['test_p']:.3f}: {verdict}."
    )
    yield (
        f"that |r| is {best['ratio_to_random']:.1f} times the largest of as many "
        f"random features ({abs(random['train_r']):.3f}), "
        f"{best['ratio_to_untrained']:.1f} times that of an untrained model "
        f"(r {untrained['train_r']:.2f}, held out {untrained['test_r']:.2f}), "
        f"and the largest of {best['shuffles']:,} shuffles of the episodes is "
        f"{trained['null_max']:.2f}. The paper found 6 times the random one. That "
        "ratio grows with the number of frames, as chance correlations of random "
        "features shrink; features and positions that change slowly correlate by "
        "chance, so the other two measures are fairer."
    )


def of_canonical(canonical: Numbers) -> str:
    """Returns a sentence about canonical correlations."""
    values = "; ".join(
        f"{kind} {join([f'{x:.2f}' for x in canonical[kind]])}"
        for kind in ("trained", "untrained", "random")
    )
    return (
        "canonical correlation of the features with "
        f"{join(canonical['variables'])} on held-out episodes: {values}."
    )


def of_dreams(dreams: Numbers) -> Iterator[str]:
    """Yields sentences about the errors of dreams."""
    if "skipped" in dreams:
        yield dreams["skipped"]
        return
    horizon, means = dreams["horizon"], dreams["error"]["model"]["mean"]
    steps = sorted({1, min(5, horizon), horizon})
    at = ", ".join(f"{means[k - 1]:.2f} at step {k}" for k in steps)
    short = dreams["wanted_horizon"] > horizon
    why = " (too few episodes are long enough for more)" if short else ""
    repeated = dreams["error"][LAST_FRAME]["mean"]
    yield (
        f"dreams of {dreams['sequences']} sequences over {horizon} steps{why} have a "
        f"squared error of {at}; repeating the last frame has {repeated[0]:.2f} at "
        f"step 1 and {repeated[-1]:.2f} at step {horizon}."
    )
    for name, what in (
        (LAST_FRAME, "repeating the last frame"),
        (MEAN_FRAME, "always showing the mean of all frames"),
    ):
        at = step_ranges(dreams["better"][name], horizon)
        yield f"the dreams are better than {what} {at}."


def step_ranges(steps: Sequence[int], horizon: int) -> str:
    """Returns in words which of the steps from 1 to the horizon these are."""
    if len(steps) in (0, horizon):
        return f"at all {horizon} steps" if steps else "at no step"
    ranges = np.split(steps, np.flatnonzero(np.diff(steps) > 1) + 1)
    if len(ranges) > RANGES:
        return f"at {len(steps)} of {horizon} steps"
    words = [str(x[0]) if len(x) == 1 else f"{x[0]} to {x[-1]}" for x in ranges]
    return f"at step{'s' if len(steps) > 1 else ''} {join(words)} of {horizon}"


def of_games(found: Mapping[str, Numbers]) -> list[str]:
    """Returns sentences about all games together.

    Args:
        found: Results of `across_games.compare` for `trained` and `untrained`.
    """
    names = [name for name in SHARED if name in found["trained"]]
    if not names:
        return ["The games have no variable in common that changes in two of them."]
    trained = {name: found["trained"][name] for name in names}
    lines = [of_shared(k, x, found["untrained"].get(k)) for k, x in trained.items()]
    return [*lines, of_directions([*trained.values()])]


def of_shared(name: str, trained: Numbers, untrained: Numbers | None) -> str:
    """Returns a sentence about a variable that games share."""
    own, away = np.diag(trained["r"]), off_diagonal(trained["r"])
    base = f"{np.mean(off_diagonal(untrained['r'])):.2f}" if untrained else "not known"
    beyond = np.sum(off_diagonal(trained["p"]) < SIGNIFICANT)
    return (
        f"{name} in {join(trained['games'])}: a probe predicts its own game with a "
        f"mean r of {np.mean(own):.2f}, another game with {np.mean(away):.2f} "
        f"({min(away):.2f} to {max(away):.2f}, {beyond} of {len(away)} beyond chance; "
        f"untrained {base}); a probe for all other games together with "
        f"{np.mean(trained['others_r']):.2f}; one probe for all games has a mean R2 of "
        f"{np.mean(trained['joint_r2']):.2f}, their own "
        f"{np.mean(np.diag(trained['r2'])):.2f}; mean cosine of their directions "
        f"{np.mean(off_diagonal(trained['cosine'])):.2f}."
    )


def of_directions(found: Sequence[Numbers]) -> str:
    """Returns a sentence about how far games share directions, over all variables."""
    own = np.mean([np.mean(np.diag(x["r"])) for x in found])
    away = np.mean([np.mean(off_diagonal(x["r"])) for x in found])
    joint = np.mean([np.mean(x["joint_r2"]) for x in found])
    alone = np.mean([np.mean(np.diag(x["r2"])) for x in found])
    kept = away / own if own > 0 else 0.0
    verdict = (
        "mostly along the same directions"
        if kept > 2 / 3
        else "partly along the same directions"
        if kept > 1 / 3
        else "mostly along different directions"
    )
    return (
        f"Over these variables a probe keeps {kept:.0%} of its correlation in another "
        f"game ({away:.2f} of {own:.2f}), so this model encodes what the games share "
        f"{verdict}. One probe for all games reaches a mean R2 of {joint:.2f}, and "
        f"{alone:.2f} is that of the games' own probes: as there are many features, "
        "directions can differ without colliding. This is one model with one seed."
    )


def off_diagonal(matrix: Sequence[Sequence[float]]) -> np.ndarray:
    """Returns the entries of a square matrix that are not on its diagonal."""
    matrix = np.array(matrix)
    return matrix[~np.eye(len(matrix), dtype=bool)]


def join(words: Sequence[str]) -> str:
    """Joins words by commas and an `and`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last

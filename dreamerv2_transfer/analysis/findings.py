"""What the numbers of an analysis show and do not show, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

SIGNIFICANT = 0.05
READABLE = 0.5  # R2 from which a variable counts as readable,
HARDLY = 0.1  # and below which it does not.
PIECES = 3  # More pieces of the horizon than these are counted, not listed.
SHARED = ("player_x", "player_y", "enemies", "enemy_x", "enemy_y", "enemy_distance")


def of_task(task: str, numbers: dict) -> list[str]:
    """About one game; see `analyze` for the numbers."""
    lines = [_data(numbers)]
    lines += _probes(numbers["probes"])
    lines += _events(numbers["events"], numbers["clusters"])
    if "best_feature" in numbers:
        lines += _best_feature(numbers["best_feature"])
        lines.append(_canonical(numbers["canonical"]))
    else:
        lines.append("Nothing that could be sought in single features changes.")
    lines += _dreams(numbers["dreams"])
    return [f"{task}: {line}" for line in lines]


def of_transfer(transfer: dict[str, dict[str, dict]]) -> list[str]:
    """About all games together: `transfer.transfer` of `trained` and `untrained`."""
    trained, untrained = transfer["trained"], transfer["untrained"]
    lines = [
        _shared(name, trained[name], untrained.get(name))
        for name in SHARED
        if name in trained
    ]
    if not lines:
        return ["The games have no variable in common that changes in two of them."]
    return [*lines, _directions([trained[name] for name in SHARED if name in trained])]


def _data(numbers: dict) -> str:
    named = (
        f"{numbers['variables']} variables read from the game"
        if numbers["named"]
        else "no named variables of the game, so only reward, score and step"
    )
    return (
        f"{numbers['frames']:,} frames of {numbers['episodes']:,} episodes of "
        f"{numbers['policy']}, {named}; a fifth of the frames, whole episodes, is held "
        "out and measured on."
    )


def _probes(probes: dict) -> Iterator[str]:
    if not probes:
        yield "no variable changes enough to be probed."
        return
    yield (
        "held-out R2 of linear probes, in brackets of an untrained model: "
        + "; ".join(_by_size(probes))
        + "."
    )
    better = [
        name
        for name, x in probes.items()
        if x["trained"]["low"] > x["untrained"]["high"]
    ]
    yield (
        f"training makes {len(better)} of {len(probes)} variables easier to read (the "
        "95% intervals do not overlap). That a weighted sum does not tell a variable "
        "does not show that the features lack it."
    )


def _by_size(probes: dict) -> Iterator[str]:
    bounds = ((READABLE, 2.0, "readable"), (HARDLY, READABLE, "partly"))
    for low, high, word in (*bounds, (-np.inf, HARDLY, f"not (below {HARDLY})")):
        names = [k for k, x in probes.items() if low <= x["trained"]["r2"] < high]
        told = [
            f"{k} {probes[k]['trained']['r2']:.2f} ({probes[k]['untrained']['r2']:.2f})"
            for k in names
        ]
        if told:
            yield f"{word}: {', '.join(told)}"


def _events(events: dict, clusters: int) -> Iterator[str]:
    if not events:
        yield "no event is frequent enough to be looked for in clusters."
        return
    tell = {k: x for k, x in events.items() if x["trained"]["p_adjusted"] < SIGNIFICANT}
    shares = {k: x["trained"]["share"] for k, x in tell.items()}
    ranked = sorted(shares, key=shares.get, reverse=True)
    words = [
        f"{k} ({shares[k]:.0%} of its entropy, untrained {_share(events[k])}; "
        f"{_where(events[k]['trained'])})"
        for k in ranked
    ]
    yield (
        f"the {clusters} clusters tell about {_join(words)} more than chance does."
        if ranked
        else f"the {clusters} clusters tell about no event more than chance does."
    )
    if silent := [k for k in events if k not in tell]:
        yield f"nothing was found in the clusters about {_join(silent)}."


def _where(event: dict) -> str:
    rates = np.array(event["rates"], float)
    most = int(np.nanargmax(rates))
    return (
        f"{rates[most]:.0%} of the frames of cluster {most}, {event['rate']:.1%} of all"
    )


def _share(event: dict) -> str:
    return f"{event['untrained']['share']:.0%}" if "untrained" in event else "not known"


def _best_feature(best: dict) -> Iterator[str]:
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
        f"({abs(untrained['train_r']):.2f}, held out {abs(untrained['test_r']):.2f}), "
        f"and the largest of {best['shuffles']:,} shuffles of the episodes is "
        f"{trained['null_max']:.2f}. The paper found 6 times the random one; that "
        "ratio grows with the number of frames, as chance correlations of random "
        "features shrink, while features and positions that change slowly correlate by "
        "chance, so the other two are the fairer measures."
    )


def _canonical(canonical: dict) -> str:
    values = "; ".join(
        f"{kind} {_join([f'{x:.2f}' for x in canonical[kind]])}"
        for kind in ("trained", "untrained", "random")
    )
    return (
        "canonical correlation of the features with "
        f"{_join(canonical['variables'])} on held-out episodes: {values}."
    )


def _dreams(dreams: dict) -> Iterator[str]:
    if "skipped" in dreams:
        yield dreams["skipped"]
        return
    error, horizon = dreams["error"], dreams["horizon"]
    model = error["model"]["mean"]
    steps = sorted({1, min(5, horizon), horizon})
    at = ", ".join(f"{model[k - 1]:.2f} at step {k}" for k in steps)
    short = dreams["wanted_horizon"] > horizon
    why = " (hardly an episode is long enough for more)" if short else ""
    yield (
        f"dreams of {dreams['sequences']} sequences over {horizon} steps{why} have a "
        f"squared error of {at}; repeating the last frame "
        f"{error['last frame repeated']['mean'][0]:.2f} at step 1 and "
        f"{error['last frame repeated']['mean'][-1]:.2f} at step {horizon}."
    )
    for name, what in (
        ("last frame repeated", "repeating the last frame"),
        ("mean of all frames", "always showing the mean of all frames"),
    ):
        at = _steps(dreams["better"][name], horizon)
        yield f"the dreams are better than {what} {at}."


def _steps(steps: list[int], horizon: int) -> str:
    """In words, at which of the steps from 1 to the horizon."""
    if len(steps) in (0, horizon):
        return f"at all {horizon} steps" if steps else "at no step"
    pieces = np.split(steps, np.flatnonzero(np.diff(steps) > 1) + 1)
    if len(pieces) > PIECES:
        return f"at {len(steps)} of {horizon} steps"
    words = [str(x[0]) if len(x) == 1 else f"{x[0]} to {x[-1]}" for x in pieces]
    return f"at step{'s' if len(steps) > 1 else ''} {_join(words)} of {horizon}"


def _shared(name: str, trained: dict, untrained: dict | None) -> str:
    own, away = _diagonal(trained["r"]), _off_diagonal(trained["r"])
    base = f"{np.mean(_off_diagonal(untrained['r'])):.2f}" if untrained else "not known"
    beyond = np.sum(_off_diagonal(trained["p"]) < SIGNIFICANT)
    return (
        f"{name} in {_join(trained['games'])}: a probe predicts its own game with a "
        f"mean r of {np.mean(own):.2f}, another game with {np.mean(away):.2f} "
        f"({min(away):.2f} to {max(away):.2f}, {beyond} of {len(away)} beyond chance; "
        f"untrained {base}); a probe for all other games together with "
        f"{np.mean(trained['others_r']):.2f}; one probe for all games has a mean R2 of "
        f"{np.mean(trained['joint_r2']):.2f}, their own "
        f"{np.mean(_diagonal(trained['r2'])):.2f}; mean cosine of their directions "
        f"{np.mean(_off_diagonal(trained['cosine'])):.2f}."
    )


def _directions(found: list[dict]) -> str:
    own = np.mean([np.mean(_diagonal(x["r"])) for x in found])
    away = np.mean([np.mean(_off_diagonal(x["r"])) for x in found])
    joint = np.mean([np.mean(x["joint_r2"]) for x in found])
    alone = np.mean([np.mean(_diagonal(x["r2"])) for x in found])
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
        f"{verdict}. One probe for all games reaches a mean R2 of {joint:.2f} against "
        f"{alone:.2f} of the games' own: the directions can differ and still not "
        "collide, as there are many features. This is one model with one seed."
    )


def _diagonal(matrix: list[list[float]]) -> np.ndarray:
    return np.diag(np.array(matrix))


def _off_diagonal(matrix: list[list[float]]) -> np.ndarray:
    matrix = np.array(matrix)
    return matrix[~np.eye(len(matrix), dtype=bool)]


def _join(words) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last

"""The results of a sweep as files: tables, and the best configuration.

`best.yaml` holds the keys that were searched, with the values of the best trial, so
`--configs ... best.yaml` takes it after the blocks that the sweep began with.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from typing import TYPE_CHECKING, Any

from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.common.files import atomic, documents
from dreamerv2_transfer.sweeps import trials
from dreamerv2_transfer.sweeps.plan import Plan
from dreamerv2_transfer.sweeps.space import as_text

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from dreamerv2_transfer.sweeps.search import Search

BEST = "best.yaml"
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


def write(plan: Plan, search: Search) -> None:
    """Writes `results.csv`, `results.json` and, once there is one, the best trial.

    Raises:
        OutputError: A file cannot be written.
    """
    rows = [row(plan, trial) for trial in search.ended]
    best = search.best
    content = {
        "best": best.number if best else None,
        "sweep": plan.definition(),
        "trials": rows,
    }
    atomic.write_text(plan.logdir / "results.json", json.dumps(content, indent=1))
    atomic.write_text(plan.logdir / "results.csv", as_csv(plan, rows))
    if best:
        atomic.write_text(plan.logdir / BEST, best_yaml(plan, search, best))


def row(plan: Plan, trial: FrozenTrial) -> dict[str, Any]:
    """Returns what there is to say about a trial that has ended, as values for JSON."""
    known, value = trial.user_attrs, trial.value
    return {
        "trial": trial.number,
        "state": STATES[trial.state.name],
        "value": value,
        "levels": known.get(trials.LEVELS, {}),
        "share": known.get(trials.SHARE, 0.0),
        "minutes": known.get(trials.SECONDS, 0.0) / 60,
        "parameters": parameters(plan, trial),
        "error": known.get(trials.ERROR, ""),
    }


def parameters(plan: Plan, trial: FrozenTrial) -> dict[str, Any]:
    """Returns what a trial tried, by key or expression; lists for what are tuples."""
    drawn = trial.params
    values = {
        parameter.name: parameter.value(drawn[parameter.name])
        for parameter in plan.space.parameters
        if parameter.name in drawn
    }
    return {k: [*v] if isinstance(v, tuple) else v for k, v in values.items()}


def as_csv(plan: Plan, rows: list[dict[str, Any]]) -> str:
    """Returns a line for each trial; an empty cell is unknown."""
    games = [game for game in plan.games if game]
    names = [parameter.name for parameter in plan.space.parameters]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    metric = plan.objective.metric
    writer.writerow(
        ["trial", "state", "value", *(f"{metric}/{game}" for game in games)]
        + ["share", "minutes", *names, "error"]
    )
    for one in rows:
        tried = [one["parameters"].get(name, "") for name in names]
        writer.writerow(
            [one["trial"], one["state"], "" if one["value"] is None else one["value"]]
            + [one["levels"].get(game, "") for game in games]
            + [f"{one['share']:.4g}", f"{one['minutes']:.4g}"]
            + [as_text(x) for x in tried]
            + [one["error"]]
        )
    return text.getvalue()


def best_yaml(plan: Plan, search: Search, best: FrozenTrial) -> str:
    """Returns a configuration file with what the best trial tried."""
    drawn = _tried(plan, best)
    text = io.StringIO()
    plain = {k: [*v] if isinstance(v, tuple) else v for k, v in drawn.items()}
    documents.safe_yaml().dump(plain, text)
    trial = f"trial {best.number} of {len(search.ended)}"
    head = f"# {plan.objective.name} {best.value:.6g}, {trial}. Use it by\n"
    return f"{head}#   {' '.join(usage(plan, best))}\n{text.getvalue()}"


def usage(plan: Plan, best: FrozenTrial) -> list[str]:
    """Returns the arguments of `train` that use the best trial, on the first game.

    Flags outdo the file, so those of searched keys are followed by what was tried.
    """
    task = ["--task", plan.games[0]] if plan.games[0] else []
    tried = _tried(plan, best)
    known, set_by_flags = Config(tried), set()
    for text in plan.flags:
        with contextlib.suppress(ConfigError):
            set_by_flags |= {*known.match(text.partition("=")[0].removeprefix("--"))}
    again = [
        text
        for key, value in tried.items()
        if key in set_by_flags
        for text in (f"--{key}", as_text(value))
    ]
    file = str(plan.logdir / BEST)
    return ["--configs", *plan.blocks, file, *task, *plan.flags, *again]


def _tried(plan: Plan, trial: FrozenTrial) -> dict[str, Any]:
    """Returns the value of each searched key in a trial."""
    return {
        key: parameter.value(trial.params[parameter.name])
        for parameter in plan.space.parameters
        for key in parameter.keys
    }

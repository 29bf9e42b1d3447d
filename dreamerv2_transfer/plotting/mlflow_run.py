"""Reads what a run of pydreamer logged: the folder of an MLflow run.

It holds a file for each metric, such as `metrics/agent/return`, with a line `TIME VALUE
STEP` for each value, and one for each parameter, such as `params/env_id`. Its steps are
updates, as in our stages.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Collection

from dreamerv2_transfer.common.files import documents, paths
from dreamerv2_transfer.plotting import metrics_file
from dreamerv2_transfer.plotting.curves import Series

BYTES = 2**30  # Of a metric.
TEXT_BYTES = 2**16  # Of a parameter or a tag.
METHOD = "pydreamer"
EPISODES = "artifacts/episodes"
STEPS = ("agent/steps", "train/data_steps")
# Its names of metrics, and ours for the same; others keep theirs.
NAMES = {
    "agent/return": "train_return",
    "agent/episode_length": "train_length",
    "agent/env_steps": "train_total_steps",
    "agent_eval/return": "eval_return_mean",
    "agent_eval/episode_length": "eval_length_mean",
    "train/loss_model": "model_error",
    "train/loss_kl": "model_kl",
    "train/entropy_prior": "prior_ent",
    "train/entropy_post": "post_ent",
    "train/loss_actor": "actor_loss",
    "train/loss_critic": "critic_loss",
    "train/policy_entropy": "actor_ent",
    "train/grad_norm": "model_grad_norm",
    "train/grad_norm_actor": "actor_grad_norm",
    "train/grad_norm_critic": "critic_grad_norm",
}


def is_run(names: Collection[str]) -> bool:
    """Whether a folder that holds these names is that of an MLflow run."""
    return {"meta.yaml", "metrics", "params"} <= {*names}


def read(folder: pathlib.Path) -> tuple[dict[str, Series], list[str]]:
    """Reads the metrics of a run.

    Args:
        folder: The run's folder.

    Returns:
        As `metrics_file.read` does.

    Raises:
        OSError: A file cannot be read.
        PathError: A file is a link to somewhere outside of the folder.
    """
    root, metrics = folder / "metrics", {}
    damaged: dict[str, int] = {}
    for file in sorted(x for x in root.rglob("*") if x.is_file()):
        paths.check_within(file, folder)
        name = file.relative_to(root).as_posix()
        points, damaged[name] = _points(file)
        if points:
            ours = NAMES.get(name, name.replace("/", "_"))
            metrics[ours] = metrics_file.series(points)
    return metrics, [
        f"{n} damaged lines of {x} were left out." for x, n in damaged.items() if n
    ]


def _points(file: pathlib.Path) -> tuple[dict[float, float], int]:
    """Returns a metric's values by step, and how many lines are damaged."""
    points, damaged = {}, 0
    for line in documents.read(file, BYTES).splitlines():
        try:
            value, step = (float(x) for x in line.split()[1:])
        except ValueError:
            damaged += 1
            continue
        if metrics_file.is_number(value) and metrics_file.is_number(step):
            points[step] = value
    return points, damaged


def steps(folder: pathlib.Path) -> int:
    """Returns how many steps the agent of a run had played; 0 if it logged none.

    A generator counts those since it was started, the learner those on disk, at times.
    """
    files = [folder / "metrics" / name for name in STEPS]
    for file in files:
        paths.check_within(file, folder)
    logged = [_points(file)[0] for file in files if file.is_file()]
    return int(max((value for x in logged for value in x.values()), default=0))


def layout(folder: pathlib.Path) -> tuple[str, str, str]:
    """Returns the game of a run, `pydreamer`, and the run's name in place of a seed.

    Raises:
        OSError: A file cannot be read.
        PathError: A file is a link to somewhere outside of the folder.
    """
    game, name = (text(folder, x) for x in ("params/env_id", "tags/mlflow.runName"))
    return task_of(game) if game else "", METHOD, name or folder.name


def text(folder: pathlib.Path, name: str) -> str:
    """Returns a parameter or a tag, '' if the run has none; errors as for `layout`."""
    file = folder / name
    paths.check_within(file, folder)
    if not file.is_file():
        return ""
    return documents.read(file, TEXT_BYTES).decode("utf-8", "replace").strip()


def task_of(env_id: str) -> str:
    """Returns our name of a game of pydreamer."""
    for start, suite in (("MinAtar/", "minatar"), ("Atari-", "atari"), ("DMC-", "dmc")):
        if env_id.startswith(start):
            name = re.sub(r"-v\d+$", "", env_id.removeprefix(start))
            name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
            return f"{suite}_{name.lower()}"
    return f"gym_{env_id}"

"""A run's folder: made for one configuration, used by one process at a time."""

from __future__ import annotations

import contextlib
import functools
import pathlib
from collections.abc import Iterator

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common import config as config_lib
from dreamerv2_transfer.common.distributed import cluster
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic, locks, remote

# What may change between the first start of a run and a later one: how long it goes
# and what it shows, not what it computes.
MAY_CHANGE = (
    "logdir",
    "steps_per_call",
    "strategy",
    "reproduce",
    "steps",
    "stages",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "checkpoints_kept",
    "eval_at_start",
    "eval_batches",
    "eval_eps",
    "eval_envs",
    "eval_dataset",
    "envs_parallel",
    "envs_restart",
    "video",
    "outputs",
    "dataset.directory",
    "dataset.prefetch",
    "dataset.memory",
    "collect.disk",
    "collect.processes",
)


def irrelevant(config: config_lib.Config) -> tuple[str, ...]:
    """Keys, or groups of keys, on which nothing depends that a run computes."""
    # Who plays is a matter of the dataset, which has a recipe of its own.
    acting = ("dqn.checkpoints", "dqn.interval", "dqn.epsilon", "policies")
    others = acting if config.get("stage") == "dqn" else ("dqn", "policies")
    # A run on one game has `task`; the games that are mixed are nothing to it.
    if config.get("stage") in ("scratch", "finetune"):
        others = (*others, "tasks", "task_weights", "collect")
    return (*MAY_CHANGE, *others)


class LogdirError(UserError):
    """A logdir that belongs to another run."""


@contextlib.contextmanager
def opened(config: config_lib.Config) -> Iterator[remote.Folder]:
    """Makes the logdir of a run, or takes it up again, and saves `config.yaml` there.

    Of several processes that work on a run together, only the chief writes there. Where
    the logdir is a URL, `push` uploads what is new; it is called in the end too.

    Raises:
        LogdirError: If it belongs to another configuration, naming what differs, or if
            another process is using it.
        RemoteError: If it is a URL that cannot be reached.
    """
    check = functools.partial(_check_same_run, config)
    if not cluster.is_chief(config):
        path = remote.followed(config.logdir, f"worker{cluster.task()[1]}")
        check(path)
        yield remote.Folder(_made(path))
        return
    with remote.opened(config.logdir, check) as folder:
        path = _made(folder.path)
        used = LogdirError(
            f"Another process is using {path}. Wait for it, or choose another --logdir."
        )
        with locks.locked(path, used):
            config.save(path / "config.yaml")
            folder.push()
            yield folder


def _made(path: pathlib.Path) -> pathlib.Path:
    with atomic.writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def _check_same_run(config: config_lib.Config, path: pathlib.Path) -> None:
    saved = path / "config.yaml"
    if not saved.exists():
        return
    # Keys that are younger than the run had the value that is their default today.
    before, _ = blocks.load_old(saved)
    changed = config_lib.difference(before, config, irrelevant(config))
    if changed:
        listed = "; ".join(
            f"{key} was {old} and is {new} now" for key, (old, new) in changed.items()
        )
        raise LogdirError(
            f"{path} belongs to a run with another configuration: {listed}. To go on "
            "with that run use its values, for a new run choose another --logdir."
        )

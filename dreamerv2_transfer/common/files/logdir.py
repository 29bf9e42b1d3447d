"""A run's folder: for one configuration, and used by one process at a time."""

from __future__ import annotations

import contextlib
import functools
import pathlib
from collections.abc import Iterator

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common import config as config_lib
from dreamerv2_transfer.common.distributed import cluster
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic, locks, paths, remote

# Keys that may change between the starts of a run: how long it is and what it shows,
# but not what it computes.
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
    "eval_dream",
    "phantom",
    "eval_eps",
    "eval_envs",
    "eval_dataset",
    "known.directory",
    "known.evaluate",
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
    """Returns the keys, or groups of keys, that do not affect what a run computes."""
    # The dataset has its own record of who plays.
    acting = ("dqn.checkpoints", "dqn.interval", "dqn.epsilon", "policies")
    others = acting if config.get("stage") == "dqn" else ("dqn", "policies")
    # A run on one game reads `task`, not the games that are mixed.
    if config.get("stage") in ("scratch", "finetune"):
        mixed = () if config.get("multi_game") else ("tasks", "task_weights")
        others = (*others, *mixed, "collect")
    if not config.get("replay.mix"):
        others = (*others, "known.tasks")  # They are evaluated, but not learned.
    if config.get("stage") == "offline":
        others = (*others, "collect", "prefill", "replay.capacity", "replay.ongoing")
    return (*MAY_CHANGE, *others)


class LogdirError(UserError):
    """A logdir that belongs to another run."""


@contextlib.contextmanager
def opened(config: config_lib.Config) -> Iterator[remote.Folder]:
    """Creates or reopens the logdir of a run, and saves `config.yaml` there.

    If several processes work on a run together, only the chief writes there. If the
    logdir is a URL, `push` uploads new files; this also happens at the end. A start
    that fails before the run has written anything leaves the folder without a
    configuration, so that a mistyped flag can be corrected.

    Raises:
        PathError: It is not a path, see `paths.check`.
        LogdirError: It belongs to another configuration (the message lists the
            differences), or another process is using it.
        RemoteError: It is a URL that cannot be reached.
    """
    paths.check(config.logdir, "logdir")
    check = functools.partial(_check_same_run, config)
    if not cluster.is_chief(config):
        path = remote.followed(config.logdir, f"worker{cluster.task()[1]}")
        check(path)
        with atomic.writing(path):
            path.mkdir(parents=True, exist_ok=True)
        yield remote.Folder(path)
        return
    with remote.opened(config.logdir, check) as folder:
        used = LogdirError(
            f"Another process is using {folder.path}. Wait for it, or choose another "
            "--logdir."
        )
        with locks.locked(folder.path, used):
            saved = folder.path / "config.yaml"
            is_new = not saved.exists()
            config.save(saved)
            folder.push()
            try:
                yield folder
            except BaseException:
                names = {path.name for path in folder.path.iterdir()}
                if is_new and names <= {saved.name, ".lock"}:
                    saved.unlink()
                raise


def _check_same_run(config: config_lib.Config, path: pathlib.Path) -> None:
    saved = path / "config.yaml"
    if not saved.exists():
        return
    # Keys that did not exist when the run began had what is their default today.
    before, _ = blocks.load_old(saved)
    changed = config_lib.difference(before, config, irrelevant(config))
    if changed:
        listed = "; ".join(
            f"{key} was {old} and is {new} now" for key, (old, new) in changed.items()
        )
        raise LogdirError(
            f"{path} belongs to a run with another configuration: {listed}. Use its "
            "values to resume that run, or choose another --logdir for a new one."
        )

"""Environments by task name, and the spaces of their transitions.

Every environment ends up in one form: a dictionary of images `(H, W, C)`, uint8 or
bool, and of float32 vectors `(N,)`; actions are a number or a vector.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import re
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from dreamerv2_transfer.common.choices import PARALLEL
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.envs import (
    actions,
    atari,
    crafter,
    dmc,
    dummy,
    gym,
    minatar,
)
from dreamerv2_transfer.common.envs.in_place import InPlaceVectorEnv
from dreamerv2_transfer.common.envs.native import NativeVectorEnv
from dreamerv2_transfer.common.envs.processes import ProcessVectorEnv
from dreamerv2_transfer.common.envs.wrappers import NEVER, Make, Resized, Restarting
from dreamerv2_transfer.common.errors import EnvError

# A suite is a module with three functions: `tasks()` names its tasks, `make(name,
# **settings)` makes one, and `settings(config)` reads its settings in a configuration.
SUITES = {
    "minatar": minatar,
    "atari": atari,
    "dmc": dmc,
    "crafter": crafter,
    "dummy": dummy,
    "gym": gym,
}
REPEATING = ("atari", "dmc")  # Suites whose environments repeat actions.
IN_PLACE = ("atari", "minatar")  # Suites whose environments are `in_place.Game`s.


class Fit(NamedTuple):
    """How observations of `gym_` tasks and of functions are fitted to the networks.

    Attributes:
        keys: Pattern of the images that are resized, see `Resized`.
        size: Height and width that they get.
        exclude: Pattern of the keys that are left out.
        mask: Whether to observe which actions are allowed, see `masks.Masked`.
    """

    keys: str
    size: tuple[int, int]
    exclude: str = NEVER
    mask: bool = False


def make_env(
    task: str | Make,
    *,
    time_limit: int = 0,
    restart: bool = False,
    fit: Fit | None = None,
    **settings: Any,
) -> gymnasium.Env:
    """Makes an environment whose observations are a dictionary.

    Args:
        task: Suite and name, such as `minatar_breakout` or `atari_pong`, or `gym_` and
            an id that Gymnasium knows, such as `gym_CartPole-v1`; or a function that
            makes an environment.
        time_limit: Steps after which an episode is truncated; 0 for no limit.
        restart: Whether a fresh environment replaces one that fails, see `Restarting`.
        fit: See `Fit`; other suites render what is asked for. None fits nothing.
        **settings: Settings of the suite: see `MinAtar`, `atari.Atari`, `dmc.DMC` and
            `crafter.Crafter`.

    Raises:
        EnvError: There is no such suite or no such task in it (the message suggests
            similar ones), it could not be made, or its spaces cannot be used.
    """
    make = functools.partial(_make, task, time_limit=time_limit, fit=fit, **settings)
    return Restarting(make) if restart else make()


def _make(
    task: str | Make, *, time_limit: int, fit: Fit | None, **settings: Any
) -> gymnasium.Env:
    seen: dict[str, Any] = {}
    if fit:
        seen = {"exclude": fit.exclude, "mask": fit.mask}
    if callable(task):
        made = gym.wrap(task, **seen)
    else:
        suite, _, name = task.partition("_")
        # Only Gymnasium can tell whether an id is known: it may name a module.
        if suite not in SUITES or suite != "gym" and name not in SUITES[suite].tasks():
            raise EnvError(_unknown(task))
        if suite == "gym":
            settings = {**settings, **seen}
        try:
            made = SUITES[suite].make(name, **settings)
        except gymnasium.error.UnregisteredEnv as error:
            raise EnvError(_unknown(task)) from error
    if fit and _any_size(task):
        made = Resized(made, fit.keys, fit.size)
    return gymnasium.wrappers.TimeLimit(made, time_limit) if time_limit else made


def _any_size(task: str | Make) -> bool:
    """Whether images may have any size; other suites render what is asked for."""
    return callable(task) or task.startswith("gym_")


def _is_in_place(task: str | Make) -> bool:
    return not callable(task) and task.partition("_")[0] in IN_PLACE


def _unknown(task: str) -> str:
    known = []
    for suite, module in SUITES.items():
        with contextlib.suppress(EnvError):  # Its package may not be installed.
            known += [f"{suite}_{name}" for name in module.tasks()]
    near = difflib.get_close_matches(task, known, cutoff=0.5)
    guess = f"Did you mean {' or '.join(near)}? " if near else ""
    listed = [x for x in known if x.startswith(("minatar_", "crafter_", "dummy_"))]
    return (
        f"Unknown task. Received: task={task}. {guess}Known: {', '.join(listed)}, "
        f"atari_GAME for the {len(atari.games())} games of ale-py, dmc_DOMAIN_TASK for "
        "the tasks of dm_control's suite, and gym_ID for each ID that Gymnasium knows."
    )


def make_vector_env(
    task: str | Make,
    num: int,
    parallel: str = "none",
    backend: str = "python",
    **settings: Any,
) -> VectorEnv:
    """Creates a vector environment with `num` copies.

    It does not reset copies whose episode ended, so that the last observation is not
    lost: pass `options={"reset_mask": mask}` to `reset` for those.

    Args:
        task: As for `make_env`.
        num: Number of copies.
        parallel: `none` steps one copy after the other (an `InPlaceVectorEnv` where the
            suite has those). `process` steps each in a process of its own, which is
            faster if a step takes more than about 0.2 ms.
        backend: `python`, or for Atari `native`, a `NativeVectorEnv`.
        **settings: As for `make_env`.

    Raises:
        EnvError: As for `make_env`, or `parallel` has another value.
    """
    if backend == "native":
        return _make_native(task, num, **settings)
    make = functools.partial(make_env, task, **settings)
    if parallel == "none" and _is_in_place(task) and not settings.get("restart"):
        one = functools.partial(make, time_limit=0)
        return InPlaceVectorEnv(one, num, settings.get("time_limit", 0))
    if parallel == "none":
        return SyncVectorEnv([make] * num, autoreset_mode=AutoresetMode.DISABLED)
    if parallel == "process":
        return ProcessVectorEnv(make, num, settings.get("restart", False))
    raise EnvError(
        f"Received: envs_parallel={parallel}. It must be {' or '.join(PARALLEL)}; "
        "threads are not offered, as Python runs one of them at a time."
    )


def _make_native(
    task: str | Make, num: int, fit: Fit | None = None, **settings: Any
) -> VectorEnv:
    if callable(task) or task not in [f"atari_{name}" for name in atari.tasks()]:
        raise EnvError(
            "collect.backend=native steps Atari games alone. Received: "
            f"{task if isinstance(task, str) else 'a function'}. Use "
            "collect.backend=python."
        )
    game = atari.spelled(task.removeprefix("atari_"))
    return NativeVectorEnv(game, num, **settings)


# What a configuration says about a task.


def options(config, task: str | Make) -> dict[str, Any]:
    """Returns the options of `make_env` that a manifest lists as settings of a task."""
    suite = "" if callable(task) else task.partition("_")[0]
    of_suite = SUITES[suite].settings(config) if suite in SUITES else {}
    return {"time_limit": config.time_limit, **of_suite}


def fit(config) -> Fit:
    """Returns how a configuration fits observations: images to the decoder.

    Raises:
        ConfigError: `obs.exclude` is no regular expression.
    """
    exclude = config.get("obs.exclude", NEVER)
    try:
        re.compile(exclude)
    except re.error as error:
        raise ConfigError(
            f"obs.exclude must be a regular expression: {error}. Received: {exclude}"
        ) from error
    size = 1
    stack = zip(config.decoder.cnn_kernels, config.decoder.cnn_strides, strict=False)
    for kernel, stride in stack:
        size = (size - 1) * stride + max(kernel, stride)
    mask = bool(config.get("obs.action_mask", False))
    return Fit(config.decoder.cnn_keys, (size, size), exclude, mask)


def run_options(config, task: str | Make) -> dict[str, Any]:
    """Returns the options of `make_vector_env` that a configuration holds."""
    fitted = {"fit": fit(config)} if _any_size(task) else {}
    return dict(
        **options(config, task),
        **fitted,
        restart=config.get("envs_restart", False),
        parallel=config.envs_parallel,
    )


def check_action_repeat(config, task: str) -> None:
    """Refuses to repeat actions in a suite whose environments do not.

    Raises:
        ConfigError: The task belongs neither to Atari nor to dm_control.
    """
    if config.action_repeat != 1 and task.partition("_")[0] not in REPEATING:
        raise ConfigError(
            f"action_repeat must be 1, as {task} does not repeat actions; the tasks "
            f"atari_... and dmc_... do. Received: {config.action_repeat}"
        )


# Spaces.


def obs_space(env: gymnasium.Env | VectorEnv) -> dict[str, spaces.Space]:
    """Returns the spaces of one environment's transitions, except for the action."""
    flag = spaces.Box(0, 1, (), bool)  # type: ignore[arg-type]
    return {
        **_single(env, "observation_space").spaces,
        "reward": spaces.Box(-np.inf, np.inf, (), np.float32),
        "is_first": flag,
        "is_last": flag,
        "is_terminal": flag,
    }


def act_space(env: gymnasium.Env | VectorEnv) -> dict[str, spaces.Space]:
    """Returns the space of one environment's actions, as `{"action": space}`."""
    return {"action": _single(env, "action_space")}


def _single(env: gymnasium.Env | VectorEnv, name: str) -> Any:
    return getattr(env, f"single_{name}" if isinstance(env, VectorEnv) else name)


def act_size(space: spaces.Space) -> int:
    """Returns the length of an action vector, which is one-hot for discrete actions."""
    return sum(part.size for part in actions.parts(space))


def kinds(task: str, **settings: Any) -> dict[str, tuple[tuple[int, ...], str]] | None:
    """Returns the shape and dtype of a task's observations and actions by key.

    `log_` keys are left out, as nothing is trained on them.

    Args:
        task: As for `make_env`.
        **settings: As for `make_env`.

    Returns:
        None if there is no such task, or if it cannot be made on this machine.
    """
    try:
        made = make_env(task, **settings)
    except EnvError:
        return None
    with contextlib.closing(made) as env:
        seen = _single(env, "observation_space").spaces.items()
        action = (act_size(env.action_space),), "float32"
        kept = [(k, v) for k, v in seen if not k.startswith("log_")]
        return {**{k: (v.shape, v.dtype.name) for k, v in kept}, "action": action}

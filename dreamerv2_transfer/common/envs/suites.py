"""Environments by task name, and what a transition of them looks like.

Every environment ends up in one form: a dictionary of images `(H, W, C)`, uint8 or
bool, and of float32 vectors `(N,)`; actions are a number or a vector.
"""

import contextlib
import difflib
import functools
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.envs import atari, crafter, dmc
from dreamerv2_transfer.common.envs.dummy import _DUMMY_ACTIONS, Dummy
from dreamerv2_transfer.common.envs.minatar import MINATAR_GAMES, MinAtar
from dreamerv2_transfer.common.envs.processes import ProcessVectorEnv
from dreamerv2_transfer.common.envs.wrappers import Checked, Make, Restarting, adapt
from dreamerv2_transfer.common.errors import EnvError, describe

CRAFTER = {"reward": True, "noreward": False}  # Whether there are rewards.


def make_env(
    task: str | Make,
    *,
    time_limit: int = 0,
    restart: bool = False,
    **options: Any,
) -> gymnasium.Env:
    """Makes an environment whose observations are a dictionary.

    Args:
        task: suite and name, such as `minatar_breakout` or `atari_pong`, or `gym_` and
            an id that Gymnasium knows, such as `gym_CartPole-v1`; or a function that
            makes an environment.
        time_limit: steps after which an episode is truncated; 0 for no limit.
        restart: whether a fresh environment replaces one that fails, see `Restarting`.
        **options: of the suite: see `MinAtar`, `atari.Atari`, `dmc.DMC` and
            `crafter.Crafter`.

    Raises:
        EnvError: there is no such suite or no such name in it (says which are near),
            it could not be made, or its spaces cannot be used.
    """
    make = functools.partial(_make, task, time_limit=time_limit, **options)
    return Restarting(make) if restart else make()


def make_vector_env(
    task: str | Make, num: int, parallel: str = "none", **options: Any
) -> VectorEnv:
    """Makes several environments that are stepped together.

    They are not reset by themselves, lest episodes lose their last observation: pass
    `options={"reset_mask": mask}` to `reset` for those that ended.

    Args:
        task: as for `make_env`.
        num: number of environments.
        parallel: `none` steps one after the other; `process` steps each in a process
            of its own, which pays where a step takes longer than about 0.2 ms.
        **options: as for `make_env`.

    Raises:
        EnvError: as `make_env`; or `parallel` is none of these.
    """
    make = functools.partial(make_env, task, **options)
    if parallel == "none":
        return SyncVectorEnv([make] * num, autoreset_mode=AutoresetMode.DISABLED)
    if parallel == "process":
        return ProcessVectorEnv(make, num)
    raise EnvError(
        f"Received: envs_parallel={parallel}. It must be none or process; threads are "
        "not offered, as Python runs one of them at a time."
    )


def obs_space(env: gymnasium.Env | VectorEnv) -> dict[str, spaces.Space]:
    """Spaces of a transition's keys other than the action, of one environment."""
    flag = spaces.Box(0, 1, (), bool)
    return {
        **_single(env, "observation_space").spaces,
        "reward": spaces.Box(-np.inf, np.inf, (), np.float32),
        "is_first": flag,
        "is_last": flag,
        "is_terminal": flag,
    }


def act_space(env: gymnasium.Env | VectorEnv) -> dict[str, spaces.Space]:
    """Space of the actions of one environment, as `{"action": space}`."""
    return {"action": _single(env, "action_space")}


def options(config, task: str | Make) -> dict[str, Any]:
    """The options of `make_env` that a configuration holds for a task."""
    suite = "" if callable(task) else task.partition("_")[0]
    of_suite = _OPTIONS.get(suite, lambda config: {})(config)
    return {"time_limit": config.time_limit, **of_suite}


def check_action_repeat(config, task: str) -> None:
    """Refuses to repeat actions where no environment does.

    Raises:
        ConfigError: the task is none of Atari's and none of dm_control's.
    """
    if config.action_repeat != 1 and not task.startswith(("atari_", "dmc_")):
        raise ConfigError(
            f"action_repeat must be 1, as {task} does not repeat actions; the tasks "
            f"atari_... and dmc_... do. Received: {config.action_repeat}"
        )


def run_options(config, task: str | Make) -> dict[str, Any]:
    """The options of `make_vector_env`: `options`, and those that change no episode."""
    return dict(
        **options(config, task),
        restart=config.get("envs_restart", False),
        parallel=config.envs_parallel,
    )


def kinds(task: str, **options: Any) -> dict[str, tuple[tuple[int, ...], str]] | None:
    """Shape and dtype of a task's observations and actions, given `make_env`'s options.

    Without `log_` keys, which nothing is trained on. None if they are not known: no
    such task, or one that this machine cannot make.
    """
    try:
        made = make_env(task, **options)
    except EnvError:
        return None
    with contextlib.closing(made) as env:
        seen = env.observation_space.spaces.items()
        action = (act_size(env.action_space),), "float32"
        kept = [(k, v) for k, v in seen if not k.startswith("log_")]
        return {**{k: (v.shape, v.dtype.name) for k, v in kept}, "action": action}


def act_size(space: spaces.Space) -> int:
    """Length of an action vector: that of the one-hot vector if it is discrete."""
    return int(space.n) if isinstance(space, spaces.Discrete) else space.shape[0]


def _single(env: gymnasium.Env | VectorEnv, name: str) -> spaces.Space:
    return getattr(env, f"single_{name}" if isinstance(env, VectorEnv) else name)


def _make(task: str | Make, *, time_limit: int, **options: Any) -> gymnasium.Env:
    made = _make_foreign(task) if callable(task) else _make_task(task, **options)
    return gymnasium.wrappers.TimeLimit(made, time_limit) if time_limit else made


def _make_task(task: str, **options: Any) -> gymnasium.Env:
    suite, _, name = task.partition("_")
    if suite != "gym" and not _is_known(suite, name):
        raise EnvError(_unknown(task))
    return _SUITES[suite](name, **options)


def _is_known(suite: str, name: str) -> bool:
    if suite == "atari":
        return atari.spelled(name) in atari.games()
    if suite == "dmc":
        return name in dmc.tasks()
    return f"{suite}_{name}" in _TASKS


def _make_atari(name: str, **options: Any) -> gymnasium.Env:
    return atari.Atari(atari.spelled(name), **options)


def _make_crafter(name: str, **options: Any) -> gymnasium.Env:
    return crafter.Crafter(CRAFTER[name], **options)


def _make_dummy(name: str) -> gymnasium.Env:
    return Dummy(_DUMMY_ACTIONS[name])


def _make_gym(name: str) -> gymnasium.Env:
    # `Checked` does more than Gymnasium's checker, which only warns.
    make = functools.partial(gymnasium.make, name, disable_env_checker=True)
    return _make_foreign(make, f"gym_{name}")


def _make_foreign(make: Make, task: str = "") -> gymnasium.Env:
    try:
        env = make()
    except Exception as error:
        if task and isinstance(error, gymnasium.error.UnregisteredEnv):
            raise EnvError(_unknown(task)) from error
        name = task or getattr(make, "__name__", repr(make))
        raise EnvError(f"{name} could not be made: {describe(error)}") from error
    if not isinstance(env, gymnasium.Env):
        raise EnvError(f"Received: {type(env)}. It must be a gymnasium.Env.")
    return adapt(Checked(env, task))


def _unknown(task: str) -> str:
    roms = [f"atari_{name}" for name in atari.games()]
    ids = [f"gym_{name}" for name in gymnasium.registry]
    known = (*_TASKS, *roms, *_dmc_tasks(), *ids)
    near = difflib.get_close_matches(task, known, cutoff=0.5)
    guess = f"Did you mean {' or '.join(near)}? " if near else ""
    return (
        f"Unknown task. Received: task={task}. {guess}Known: {', '.join(_TASKS)}, "
        f"atari_GAME for the {len(atari.games())} games of ale-py, dmc_DOMAIN_TASK for "
        "the tasks of dm_control's suite, and gym_ID for each ID that Gymnasium knows."
    )


def _dmc_tasks() -> list[str]:
    """Tasks of dm_control, which may not be installed."""
    with contextlib.suppress(EnvError):
        return [f"dmc_{name}" for name in dmc.tasks()]
    return []


_SUITES: dict[str, Callable[..., gymnasium.Env]] = {
    "minatar": MinAtar,
    "atari": _make_atari,
    "dmc": dmc.make,
    "crafter": _make_crafter,
    "dummy": _make_dummy,
    "gym": _make_gym,
}
_OPTIONS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "minatar": lambda config: dict(
        sticky=config.minatar_sticky, ramping=config.minatar_ramping
    ),
    "atari": atari.options,
    "dmc": dmc.options,
    "crafter": crafter.options,
}
_TASKS = (
    *(f"minatar_{game}" for game in MINATAR_GAMES),
    *(f"crafter_{name}" for name in CRAFTER),
    *(f"dummy_{name}" for name in _DUMMY_ACTIONS),
)

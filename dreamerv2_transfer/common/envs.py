"""Environments by task name, and what a transition of them looks like.

Every environment ends up in one form: a dictionary of images `(H, W, C)`, uint8 or
bool, and of float32 vectors `(N,)`; actions are a number or a vector.
"""

import atexit
import contextlib
import difflib
import functools
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from dreamerv2_transfer.common.errors import UserError

MINATAR_GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
MINATAR_CHANNELS = 10  # The most that a game has (Seaquest); one network for all.
RESERVED = ("reward", "is_first", "is_last", "is_terminal", "action")
RESET_ATTEMPTS = 3
CLOSE_PATIENCE = 5.0  # Seconds that a process has to end by itself.

Make = Callable[[], gymnasium.Env]


class EnvError(UserError):
    """An environment that does not exist, cannot be used, or did what it must not."""


def make_env(
    task: str | Make,
    *,
    time_limit: int = 0,
    sticky: float = 0.1,
    ramping: bool = True,
    restart: bool = False,
) -> gymnasium.Env:
    """Makes an environment whose observations are a dictionary.

    Args:
        task: suite and name, such as `minatar_breakout`, or `gym_` and an id that
            Gymnasium knows, such as `gym_CartPole-v1`; or a function that makes an
            environment.
        time_limit: steps after which an episode is truncated; 0 for no limit.
        sticky: probability that MinAtar repeats the last action instead.
        ramping: whether MinAtar's games become harder with time.
        restart: whether a fresh environment replaces one that fails, see `Restarting`.

    Raises:
        EnvError: there is no such suite or no such name in it (says which are near),
            it could not be made, or its spaces cannot be used.
    """
    make = functools.partial(
        _make, task, time_limit=time_limit, sticky=sticky, ramping=ramping
    )
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


def options(config) -> dict[str, Any]:
    """The options of `make_env` that a configuration holds."""
    return dict(
        time_limit=config.time_limit,
        sticky=config.minatar_sticky,
        ramping=config.minatar_ramping,
    )


def run_options(config) -> dict[str, Any]:
    """The options of `make_vector_env`: `options`, and those that change no episode."""
    return dict(
        **options(config),
        restart=config.get("envs_restart", False),
        parallel=config.envs_parallel,
    )


def kinds(task: str) -> dict[str, tuple[tuple[int, ...], str]] | None:
    """Shape and dtype of a task's observations and actions.

    None if they are not known: no such task, or one that this machine cannot make.
    """
    try:
        made = make_env(task)
    except EnvError:
        return None
    with contextlib.closing(made) as env:
        seen = env.observation_space.spaces.items()
        action = (act_size(env.action_space),), "float32"
        return {**{k: (v.shape, v.dtype.name) for k, v in seen}, "action": action}


def native_planes(task: str) -> int | None:
    """How many planes a MinAtar game has before padding; None for other suites."""
    suite, _, name = task.partition("_")
    if suite != "minatar":
        return None
    import minatar

    return minatar.Environment(name).n_channels


def act_size(space: spaces.Space) -> int:
    """Length of an action vector: that of the one-hot vector if it is discrete."""
    return int(space.n) if isinstance(space, spaces.Discrete) else space.shape[0]


def _single(env: gymnasium.Env | VectorEnv, name: str) -> spaces.Space:
    return getattr(env, f"single_{name}" if isinstance(env, VectorEnv) else name)


class GymEnv(gymnasium.Wrapper):
    """Any environment in the form that the driver and the agent take.

    Observations: a dictionary keeps its keys, those of dictionaries within are joined
    with dots; what is no dictionary gets the key `image` or `vector`. Boxes of uint8
    or bool with two or three dimensions are images and get a channel axis if they have
    none; all else is flattened to float32, discrete values to one-hot vectors. Keys
    that start with `log_` stay as they are.

    Actions: discrete ones stay. In a vector, components with finite bounds are
    rescaled to [-1, 1] and clipped; those without stay.

    Raises:
        EnvError: a key is reserved or used twice, or a space is not made of numbers;
            names the key and the space.
    """

    def __init__(self, env: gymnasium.Env):
        """Takes the environment; it must keep to its spaces, as `Checked` sees to."""
        super().__init__(env)
        found = self._by_key(env.observation_space)
        self._converters = {key: _converter(key, space) for key, space in found.items()}
        self.observation_space = spaces.Dict(
            {key: _converted(key, space) for key, space in found.items()}
        )
        self.action_space, self._native = _native_actions(env.action_space)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._convert(obs), info

    def step(self, action: Any):
        """Does an action; see `gymnasium.Env.step`."""
        obs, *rest = self.env.step(self._native(action))
        return self._convert(obs), *rest

    def _convert(self, obs: Any) -> dict[str, np.ndarray]:
        found = self._by_key(obs)
        return {key: convert(found[key]) for key, convert in self._converters.items()}

    def _by_key(self, nested: Any) -> dict[str, Any]:
        """Spaces or values by the keys that they get."""
        space = self.env.observation_space
        if not isinstance(space, spaces.Dict):
            return {"image" if _is_image(space) else "vector": nested}
        found: dict[str, Any] = {}
        for key, value in _leaves(nested):
            if key in found:
                raise EnvError(
                    f"Two observations get the key {key!r}. Received: {space}."
                )
            found[key] = value
        return found


def adapt(env: gymnasium.Env) -> gymnasium.Env:
    """Wraps an environment by `GymEnv`, unless that would change nothing."""
    adapted = GymEnv(env)
    same = (
        adapted.observation_space == env.observation_space
        and adapted.action_space == env.action_space
    )
    return env if same else adapted


def _leaves(nested: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _is_image(space: spaces.Space) -> bool:
    return (
        isinstance(space, spaces.Box)
        and space.dtype in (np.uint8, np.bool_)
        and len(space.shape) in (2, 3)
    )


def _is_numeric(space: spaces.Space) -> bool:
    """Whether it flattens to a vector of one length (Gymnasium flattens text too)."""
    if isinstance(space, spaces.Tuple):
        return all(_is_numeric(part) for part in space)
    if isinstance(space, spaces.Dict):
        return all(_is_numeric(part) for part in space.values())
    return isinstance(space, _ARRAYS)


def _converted(key: str, space: spaces.Space) -> spaces.Space:
    """What the space becomes for which `_converter` converts values."""
    if _is_logged(key, space):
        return space
    if _is_image(space):
        shape = (*space.shape, 1)[:3]
        low, high = space.low.reshape(shape), space.high.reshape(shape)
        return spaces.Box(low, high, shape, space.dtype.type)
    flat = spaces.flatten_space(space)
    with np.errstate(over="ignore"):  # What float32 cannot hold has no bound.
        low, high = flat.low.astype(np.float32), flat.high.astype(np.float32)
    return spaces.Box(low, high, flat.shape, np.float32)


def _converter(key: str, space: spaces.Space) -> Callable[[Any], np.ndarray]:
    if key in RESERVED:
        raise EnvError(
            f"Received: an observation with the key {key!r}, of {space}. Rename it; "
            f"{', '.join(RESERVED)} are keys of every transition."
        )
    if _is_logged(key, space):
        return np.asarray
    if not _is_numeric(space):
        raise EnvError(
            f"Received: an observation {key!r} of {space}, which cannot be made a "
            "vector of numbers. Leave it out, or turn it into a Box."
        )
    if _is_image(space):
        shape = (*space.shape, 1)[:3]
        return lambda value: np.reshape(value, shape)
    if isinstance(space, spaces.Box):
        return lambda value: np.asarray(value, np.float32).reshape(-1)
    return lambda value: np.asarray(spaces.flatten(space, value), np.float32)


def _is_logged(key: str, space: spaces.Space) -> bool:
    return key.startswith("log_") and isinstance(space, _ARRAYS)


def _native_actions(space: spaces.Space) -> tuple[spaces.Space, Callable]:
    """The space that an agent sees, and what turns its actions into the native ones."""
    if isinstance(space, spaces.Discrete):
        return space, lambda action: action
    if not (
        isinstance(space, spaces.Box)
        and space.dtype.kind == "f"
        and len(space.shape) == 1
    ):
        raise EnvError(
            f"Received: actions of {space}. They must be Discrete, or a Box of floats "
            "with one dimension; wrap the environment, as by gymnasium.wrappers."
        )
    bounded = np.isfinite(space.low) & np.isfinite(space.high)
    low = np.where(bounded, space.low, -1).astype(float)
    high = np.where(bounded, space.high, 1).astype(float)
    scale, offset = high / 2 - low / 2, high / 2 + low / 2

    def native(action: np.ndarray) -> np.ndarray:
        action = np.asarray(action) * scale + offset
        return action.clip(space.low, space.high).astype(space.dtype)

    low = np.where(bounded, -1, space.low).astype(np.float32)
    high = np.where(bounded, 1, space.high).astype(np.float32)
    return spaces.Box(low, high, space.shape, np.float32), native


class Checked(gymnasium.Wrapper):
    """Lets nothing through that the spaces of the environment do not allow.

    Floats and integers that an observation's float type can hold are cast to it; infos
    are dropped, as nothing reads them and a vector environment would have to stack
    them. Whatever else departs from the spaces, is not finite, or is raised, becomes an
    `EnvError` that names the task, the step of the episode, and what was received.
    """

    def __init__(self, env: gymnasium.Env, task: str = ""):
        """Takes the environment, and its name for messages."""
        super().__init__(env)
        self._task = task or _title(env)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        self._steps = 0
        result = self._call("reset", seed=seed, options=options)
        obs, _ = self._unpack(result, "reset", 2)
        return self._observe(self.observation_space, obs, ""), {}

    def step(self, action: Any):
        """Does an action; see `gymnasium.Env.step`."""
        self._steps += 1
        result = self._call("step", action)
        obs, reward, terminated, truncated, _ = self._unpack(result, "step", 5)
        self._check_flag(terminated, "terminated")
        self._check_flag(truncated, "truncated")
        reward = float(self._array(_REWARD, reward, "reward"))
        obs = self._observe(self.observation_space, obs, "")
        return obs, reward, bool(terminated), bool(truncated), {}

    def close(self) -> None:
        """Closes it; see `gymnasium.Env.close`."""
        self._call("close")

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(self.env, method)(*args, **kwargs)
        except (KeyboardInterrupt, SystemExit, EnvError):
            raise
        except BaseException as error:  # Extensions in Rust panic with one.
            raise self._fault(f"{method} raised {_describe(error)}") from error

    def _fault(self, text: str) -> EnvError:
        return EnvError(f"{self._task}, step {self._steps} of the episode: {text}")

    def _unpack(self, result: Any, method: str, length: int) -> tuple:
        if isinstance(result, tuple) and len(result) == length:
            return result
        size = f" of {len(result)}" if isinstance(result, tuple) else ""
        raise self._fault(
            f"{method} must return a tuple of {length}, as of Gymnasium 1. "
            f"Received: {type(result).__name__}{size}."
        )

    def _check_flag(self, value: Any, name: str) -> None:
        if not isinstance(value, (bool, np.bool_)):
            raise self._fault(f"{name} must be a bool. Received: {value!r}.")

    def _observe(self, space: spaces.Space, value: Any, key: str) -> Any:
        """The observation as its space says; the key is that of dictionaries around."""
        if isinstance(space, spaces.Dict):
            return self._observe_dict(space, value, key)
        name = f"observation {key!r}" if key else "observation"
        if isinstance(space, spaces.Tuple):
            if not isinstance(value, tuple) or len(value) != len(space.spaces):
                raise self._wrong(name, space, repr(value))
            parts = enumerate(zip(space.spaces, value, strict=True))
            return tuple(self._observe(*pair, _dotted(key, i)) for i, pair in parts)
        if isinstance(space, _ARRAYS):
            value = self._array(space, value, name)
        if not isinstance(space, spaces.Box) and not space.contains(value):
            raise self._wrong(name, space, repr(value))
        return value

    def _observe_dict(self, space: spaces.Dict, value: Any, key: str) -> dict:
        if not isinstance(value, Mapping) or value.keys() != space.spaces.keys():
            keys = list(value) if isinstance(value, Mapping) else type(value).__name__
            name = f"keys of observation {key!r}" if key else "keys of the observation"
            raise self._wrong(name, list(space.spaces), keys)
        parts = space.spaces.items()
        return {k: self._observe(part, value[k], _dotted(key, k)) for k, part in parts}

    def _array(self, space: spaces.Space, value: Any, name: str) -> np.ndarray:
        try:
            array = np.asarray(value)
        except Exception as error:  # As of lists of several lengths.
            raise self._wrong(name, space, _describe(error)) from error
        if array.shape != space.shape or array.dtype != space.dtype:
            array = self._cast(space, array, name)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = array[~np.isfinite(array)]
            raise self._fault(
                f"{name} is not finite. Received: {bad.flat[0]} ({bad.size} of "
                f"{array.size} values)."
            )
        return array

    def _cast(self, space: spaces.Space, array: np.ndarray, name: str) -> np.ndarray:
        safe = np.can_cast(array.dtype, space.dtype, "same_kind")
        if array.shape == space.shape and safe:
            with np.errstate(over="ignore"):  # It is then found not to be finite.
                cast = array.astype(space.dtype)
            if space.dtype.kind == "f" or np.array_equal(cast, array):
                return cast
        received = f"{array.dtype} of shape {array.shape}"
        raise self._wrong(name, f"{space.dtype} of shape {space.shape}", received)

    def _wrong(self, name: str, wanted: Any, received: Any) -> EnvError:
        return self._fault(f"{name} must be {wanted}. Received: {received}.")


class Restarting(gymnasium.Wrapper):
    """Goes on with a fresh environment where one fails with an `EnvError`.

    A step that fails ends the episode: it returns the last observation again, a reward
    of 0, and `truncated`. A reset that fails is tried 3 times.
    """

    def __init__(self, make: Make):
        """Takes the function that makes the environments."""
        super().__init__(make())
        self._make = make
        self._obs: dict[str, np.ndarray] | None = None

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        for _ in range(RESET_ATTEMPTS - 1):
            try:
                return self._reset(seed, options)
            except EnvError as error:
                self._restart(error)
        return self._reset(seed, options)

    def step(self, action: Any):
        """Does an action; see `gymnasium.Env.step`."""
        try:
            obs, *rest = self.env.step(action)
        except EnvError as error:
            if self._obs is None:
                raise
            self._restart(error)
            return self._obs, 0.0, False, True, {}
        self._keep(obs)
        return obs, *rest

    def _reset(self, seed: int | None, options: dict | None):
        obs, info = self.env.reset(seed=seed, options=options)
        self._keep(obs)
        return obs, info

    def _keep(self, obs: dict[str, np.ndarray]) -> None:
        # Copies, as an environment may return the same array in every step.
        self._obs = {key: np.array(value) for key, value in obs.items()}

    def _restart(self, error: EnvError) -> None:
        print(f"{error} A fresh environment goes on.", flush=True)
        with contextlib.suppress(Exception):
            self.env.close()
        self.env = self._make()


class ProcessVectorEnv(AsyncVectorEnv):
    """Environments that are stepped together, each in a process of its own.

    As Gymnasium's, but failures come up as one `EnvError` each, signals from the
    keyboard stay with the parent, and processes that do not answer are ended too.
    """

    def __init__(self, make: Make, num: int):
        """Takes what makes an environment, and the number of environments."""
        make = functools.partial(_make_in_child, make, os.getpid())
        try:
            with self._deaths():
                super().__init__([make] * num, autoreset_mode=AutoresetMode.DISABLED)
        except BaseException:
            self.close_extras(terminate=True)
            self.closed = True
            raise
        self._at_exit = functools.partial(_kill, self.processes)
        atexit.register(self._at_exit)  # Before multiprocessing waits for them.

    def reset(self, *, seed=None, options: dict[str, Any] | None = None):
        """Resets those that `options["reset_mask"]` tells, or all of them."""
        with _quiet(), self._deaths():
            return super().reset(seed=seed, options=options)

    def step(self, actions: np.ndarray):
        """Steps all environments; see `gymnasium.vector.VectorEnv.step`."""
        with _quiet(), self._deaths():
            return super().step(actions)

    def close_extras(
        self, timeout: float | None = CLOSE_PATIENCE, terminate: bool = False
    ) -> None:
        """Ends the processes, by force those that have not ended after the timeout."""
        pipes = [pipe for pipe in getattr(self, "parent_pipes", []) if pipe]
        processes = getattr(self, "processes", [])
        if not terminate:
            for pipe in pipes:
                with contextlib.suppress(OSError):  # It may have died.
                    pipe.send(("close", None))
            for process in processes:
                process.join(timeout)
        _kill(processes)
        for pipe in pipes:
            pipe.close()
        atexit.unregister(getattr(self, "_at_exit", None))

    @contextlib.contextmanager
    def _deaths(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError) as error:
            dead = [i for i, p in enumerate(self.processes) if not _is_alive(p)]
            codes = [self.processes[i].exitcode for i in dead]
            raise EnvError(
                f"The process of an environment ended without a message. Received: "
                f"exit status {codes} of environments {dead}. Negative is a signal: "
                "-9 is often for want of memory, -11 a fault of native code. "
                "envs_parallel=none runs without processes."
            ) from error


def _make_in_child(make: Make, parent: int) -> gymnasium.Env:
    """Makes an environment; in a child process, leaves stopping to the parent."""
    if os.getpid() != parent:
        # Ctrl-C and schedulers signal all processes, yet the parent may want to finish.
        # A child ends when it is told to, and when its pipe to the parent closes.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return make()


def _is_alive(process) -> bool:
    process.join(0.1)  # Its pipe may close a little before it ends.
    return process.is_alive()


def _kill(processes: list) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Gymnasium from logging errors of processes, which are raised anyway.

    It also takes the tracebacks for format strings, and fails on a `%` in them.
    """
    level = gymnasium.logger.min_level
    gymnasium.logger.min_level = gymnasium.logger.ERROR + 1
    try:
        yield
    finally:
        gymnasium.logger.min_level = level


class MinAtar(gymnasium.Env):
    """A MinAtar game: its own boolean planes, padded with zeros to 10 channels.

    All six actions, whether the game knows them or not, as in `MinAtar/Breakout-v0`.
    After `reset(seed=...)` an episode depends on the seed and the actions alone.
    """

    def __init__(self, game: str, sticky: float = 0.1, ramping: bool = True):
        """Takes MinAtar's name of the game and its two options."""
        import minatar  # Here, as it imports seaborn, which takes seconds.

        self._game = minatar.Environment(
            game, sticky_action_prob=sticky, difficulty_ramping=ramping
        )
        # One generator for the game and its sticky actions, as MinAtar's own seed() has
        # it; to seed it in place takes a tenth of the time of making another.
        self._game.env.random = self._game.random
        shape = (10, 10, MINATAR_CHANNELS)
        self.observation_space = spaces.Dict({"image": spaces.Box(0, 1, shape, bool)})
        self.action_space = spaces.Discrete(self._game.num_actions())

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        if seed is not None:
            self._game.random.seed(seed)
        self._game.last_action = 0  # MinAtar keeps it; a sticky action would repeat it.
        self._game.reset()
        return self._obs(), {}

    def step(self, action: int):
        """Does an action; see `gymnasium.Env.step`."""
        reward, terminated = self._game.act(action)
        return self._obs(), float(reward), bool(terminated), False, {}

    def _obs(self) -> dict[str, np.ndarray]:
        planes = self._game.state()
        image = np.zeros((10, 10, MINATAR_CHANNELS), bool)
        image[..., : planes.shape[-1]] = planes
        return {"image": image}


class Dummy(gymnasium.Env):
    """Counts its steps, to test what carries them: whatever it returns is the count.

    `image` is filled with the step count, `vector` too, and the reward equals it.
    """

    def __init__(self, actions: spaces.Space, length: int = 10):
        """Takes the space of valid actions and the steps of an episode."""
        self._length = length
        self._count = 0
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (64, 64, 3), np.uint8),
                "vector": spaces.Box(-np.inf, np.inf, (3,), np.float32),
            }
        )
        self.action_space = actions

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts to count from zero; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        self._count = 0
        return self._obs(), {}

    def step(self, action: Any):
        """Counts one step; see `gymnasium.Env.step`."""
        if not self.action_space.contains(action):
            raise ValueError(
                f"Received: action={action!r}, not in {self.action_space}."
            )
        self._count += 1
        terminated = self._count >= self._length
        return self._obs(), float(self._count), terminated, False, {}

    def _obs(self) -> dict[str, np.ndarray]:
        return {
            "image": np.full((64, 64, 3), self._count % 256, np.uint8),
            "vector": np.full(3, self._count, np.float32),
        }


def _make(task: str | Make, *, time_limit: int, **options: Any) -> gymnasium.Env:
    env = _make_foreign(task) if callable(task) else _make_task(task, **options)
    return gymnasium.wrappers.TimeLimit(env, time_limit) if time_limit else env


def _make_task(task: str, **options: Any) -> gymnasium.Env:
    suite, _, name = task.partition("_")
    if task not in _TASKS and suite != "gym":
        raise EnvError(_unknown(task))
    return _SUITES[suite](name, **options)


def _make_minatar(name: str, *, sticky: float, ramping: bool) -> gymnasium.Env:
    return MinAtar(name, sticky, ramping)


def _make_dummy(name: str, **_: Any) -> gymnasium.Env:
    return Dummy(_DUMMY_ACTIONS[name])


def _make_gym(name: str, **_: Any) -> gymnasium.Env:
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
        raise EnvError(f"{name} could not be made: {_describe(error)}") from error
    if not isinstance(env, gymnasium.Env):
        raise EnvError(f"Received: {type(env)}. It must be a gymnasium.Env.")
    return adapt(Checked(env, task))


_DUMMY_ACTIONS = {
    "discrete": spaces.Discrete(6),
    "continuous": spaces.Box(-1, 1, (6,), np.float32),
}
_SUITES: dict[str, Callable[..., gymnasium.Env]] = {
    "minatar": _make_minatar,
    "dummy": _make_dummy,
    "gym": _make_gym,
}
_TASKS = (
    *(f"minatar_{game}" for game in MINATAR_GAMES),
    *(f"dummy_{name}" for name in _DUMMY_ACTIONS),
)


_REWARD = spaces.Box(-np.inf, np.inf, (), np.float32)
_ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def _unknown(task: str) -> str:
    ids = (f"gym_{name}" for name in gymnasium.registry)
    near = difflib.get_close_matches(task, (*_TASKS, *ids), cutoff=0.5)
    guess = f"Did you mean {' or '.join(near)}? " if near else ""
    return (
        f"Unknown task. Received: task={task}. {guess}Known: {', '.join(_TASKS)}, "
        "and gym_ID for each ID that Gymnasium knows."
    )


def _title(env: gymnasium.Env) -> str:
    spec = env.unwrapped.spec
    return spec.id if spec else type(env.unwrapped).__name__


def _dotted(prefix: str, key: Any) -> str:
    return f"{prefix}.{key}" if prefix else str(key)


def _describe(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else f"{type(error).__name__}."

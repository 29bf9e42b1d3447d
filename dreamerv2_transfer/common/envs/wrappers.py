"""Wrappers between an environment and the agent: its form, checks, restarts."""

from __future__ import annotations

import contextlib
import functools
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard, cast

import gymnasium
import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common.envs import vectors
from dreamerv2_transfer.common.envs.actions import native_actions
from dreamerv2_transfer.common.errors import EnvError, describe

RESERVED = ("reward", "is_first", "is_last", "is_terminal", "action")
# What an observation cannot be called: names of a batch's other values, of losses, and
# of what numpy's writer of episodes takes besides arrays.
TAKEN = (
    "",
    "task",
    "game_index",
    "terminal",
    "discount",
    "kl",
    "dyn",
    "rep",
    "post_ent",
    "model",
    "actor",
    "critic",
    "file",
    "allow_pickle",
    "shard_offsets",
)
NEVER = "^$"
RESET_ATTEMPTS = 3
# A first axis this short, before two this long, counts channels or stacked frames.
MOST_CHANNELS = 12
LEAST_SIDE = 16

Make = Callable[[], gymnasium.Env]

_REWARD = spaces.Box(-np.inf, np.inf, (), np.float32)
_ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


class GymEnv(gymnasium.Wrapper):
    """Any environment in the form that the driver and the agent take.

    Observations: a dictionary keeps its keys, a tuple with images has the keys `0`, `1`
    and so on, and the keys of nested ones are joined with dots. Another observation
    gets the key `image` or `vector`. Boxes of uint8 or bool with two or
    three dimensions are images `(H, W, C)`: they get a channel axis if they have none,
    and channels or stacked frames that come first become the last axis. A vector of
    bytes, 0 to 255, stays one. Everything else is flattened to float32, discrete values
    to one-hot vectors. Keys that start with `log_` stay as they are.

    Actions: discrete ones stay. In a vector, components with finite bounds are
    rescaled to [-1, 1]; those without stay. All are clipped to their bounds. Others,
    such as those of `MultiDiscrete`, `Tuple` and `Dict`, become one vector, see
    `actions.Joined`.

    Args:
        env: The environment; its values must match its spaces, as `Checked` ensures.
        exclude: Pattern of the keys of observations that are left out.

    Raises:
        EnvError: A key is reserved or used twice, a space is not made of numbers, or
            no observation is left; the message names the key and the space. While
            playing: float32 cannot hold a number.
    """

    def __init__(self, env: gymnasium.Env, exclude: str = NEVER):
        super().__init__(env)
        self._paths = _paths(env.observation_space, re.compile(exclude))
        found = self._by_key(env.observation_space)
        if not found:
            raise EnvError(
                f"obs.exclude leaves no observation. Received: obs.exclude={exclude} "
                f"and {env.observation_space}."
            )
        self._converters = {key: _converter(key, space) for key, space in found.items()}
        self.observation_space = spaces.Dict(
            {key: _converted(key, space) for key, space in found.items()}
        )
        self.action_space, self._native = native_actions(env.action_space)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        obs, info = self.env.reset(seed=seed, options=options)
        return self._convert(obs), info

    def step(self, action: Any):
        """Takes an action; see `gymnasium.Env.step`."""
        obs, *rest = self.env.step(self._native(action))
        return self._convert(obs), *rest

    def _convert(self, obs: Any) -> dict[str, np.ndarray]:
        found = self._by_key(obs)
        return {key: convert(found[key]) for key, convert in self._converters.items()}

    def _by_key(self, nested: Any) -> dict[str, Any]:
        """Returns spaces or values by the keys that they get in our form."""
        paths = self._paths.items()
        return {key: functools.reduce(operator.getitem, x, nested) for key, x in paths}


def adapt(env: gymnasium.Env, exclude: str = NEVER) -> gymnasium.Env:
    """Wraps an environment in `GymEnv`, unless that would change nothing."""
    adapted = GymEnv(env, exclude)
    same = (
        adapted.observation_space == env.observation_space
        and adapted.action_space == env.action_space
    )
    return env if same else adapted


class Checked(gymnasium.Wrapper):
    """Checks that an environment returns what its spaces allow.

    Floats and integers are cast to an observation's float type. Infos are dropped:
    nothing reads them, and a vector environment would have to stack them. Values that
    do not match the spaces or are not finite, and exceptions, become an `EnvError` that
    names the task, the step of the episode, and what was received.

    Args:
        env: The environment.
        task: Its name for error messages; by default its `title`.
    """

    def __init__(self, env: gymnasium.Env, task: str = ""):
        super().__init__(env)
        self._task = task or title(env)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        self._steps = 0
        result = self._call("reset", seed=seed, options=options)
        obs, _ = self._unpack(result, "reset", 2)
        return self._observe(self.observation_space, obs, ""), {}

    def step(self, action: Any):
        """Takes an action; see `gymnasium.Env.step`."""
        self._steps += 1
        result = self._call("step", action)
        obs, reward, terminated, truncated, _ = self._unpack(result, "step", 5)
        self._check_flag(terminated, "terminated")
        self._check_flag(truncated, "truncated")
        reward = float(self._array(_REWARD, reward, "reward"))
        obs = self._observe(self.observation_space, obs, "")
        return obs, reward, bool(terminated), bool(truncated), {}

    def close(self) -> None:
        """Closes the environment; see `gymnasium.Env.close`."""
        self._call("close")

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(self.env, method)(*args, **kwargs)
        except (KeyboardInterrupt, SystemExit, EnvError):
            raise
        except BaseException as error:  # A panic of an extension in Rust is one.
            raise self._fault(f"{method} raised {describe(error)}") from error

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
        """Returns an observation cast to its space.

        Args:
            space: The space.
            value: What the environment returned.
            key: Dotted keys of the dictionaries around it.
        """
        name = f"observation {key!r}" if key else "observation"
        if isinstance(space, spaces.Dict):
            if not isinstance(value, Mapping) or value.keys() != space.spaces.keys():
                is_dict = isinstance(value, Mapping)
                received = list(value) if is_dict else type(value).__name__
                keys = f"keys of {name}" if key else "keys of the observation"
                raise self._wrong(keys, list(space.spaces), received)
            parts = space.spaces.items()
            return {k: self._observe(p, value[k], _dotted(key, k)) for k, p in parts}
        if isinstance(space, spaces.Tuple):
            if not isinstance(value, tuple) or len(value) != len(space.spaces):
                raise self._wrong(name, space, repr(value))
            pairs = enumerate(zip(space.spaces, value, strict=True))
            return tuple(self._observe(p, x, _dotted(key, i)) for i, (p, x) in pairs)
        if isinstance(space, _ARRAYS):
            value = self._array(space, value, name)
        if not isinstance(space, spaces.Box) and not space.contains(value):
            raise self._wrong(name, space, repr(value))
        return value

    def _array(self, space: spaces.Space, value: Any, name: str) -> np.ndarray:
        try:
            array = np.asarray(value)
        except Exception as error:  # For example, lists of different lengths.
            raise self._wrong(name, space, describe(error)) from error
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
        dtype = np.dtype(space.dtype)
        safe = np.can_cast(array.dtype, dtype, "same_kind")
        if array.shape == space.shape and safe:
            with np.errstate(over="ignore"):  # The caller finds that it is not finite.
                cast = array.astype(dtype)
            if dtype.kind == "f" or np.array_equal(cast, array):
                return cast
        received = f"{array.dtype} of shape {array.shape}"
        raise self._wrong(name, f"{dtype} of shape {space.shape}", received)

    def _wrong(self, name: str, wanted: Any, received: Any) -> EnvError:
        return self._fault(f"{name} must be {wanted}. Received: {received}.")


class Resized(gymnasium.ObservationWrapper):
    """Resizes images of bytes; planes of zeros and ones keep their size.

    Args:
        env: An environment in our form, as `adapt` returns it.
        keys: Pattern of the images' keys.
        size: Height and width that they get.
    """

    def __init__(self, env: gymnasium.Env, keys: str, size: tuple[int, int]):
        super().__init__(env)
        seen = cast(spaces.Dict, env.observation_space).spaces
        self._shapes = {
            key: (*size, space.shape[2])
            for key, space in seen.items()
            if re.match(keys, key)
            and not key.startswith("log_")
            and is_image(space)
            and space.dtype == np.uint8
            and space.shape[:2] != size
        }
        resized = {k: spaces.Box(0, 255, x, np.uint8) for k, x in self._shapes.items()}
        self.observation_space = spaces.Dict({**seen, **resized})

    def observation(self, observation: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns an observation with its images resized."""
        sizes = self._shapes.items()
        return {**observation, **{k: resize(observation[k], x[:2]) for k, x in sizes}}


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns an image `(H, W, C)` of bytes in another height and width."""
    import cv2

    # OpenCV shrinks four channels at a time, and drops the axis of a single one.
    parts = [
        cv2.resize(image[..., i : i + 4], size[::-1], interpolation=cv2.INTER_AREA)
        for i in range(0, image.shape[-1], 4)
    ]
    return np.concatenate([part.reshape(*size, -1) for part in parts], -1)


class Restarting(gymnasium.Wrapper):
    """Replaces an environment that fails with an `EnvError` by a fresh one.

    A step that fails ends the episode: it returns the last observation again, a reward
    of 0, and `truncated`. A reset is tried 3 times.

    Args:
        make: Makes the environments.
    """

    def __init__(self, make: Make):
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
        """Takes an action; see `gymnasium.Env.step`."""
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
        # A copy, as an environment may return the same array at each step.
        self._obs = {key: np.array(value) for key, value in obs.items()}

    def _restart(self, error: EnvError) -> None:
        print(f"{error} A fresh environment replaces it.", flush=True)
        with contextlib.suppress(Exception):
            self.env.close()
        self.env = self._make()


def title(env: gymnasium.Env) -> str:
    """Returns the id of an environment, or the name of its class if it has none."""
    spec = env.unwrapped.spec
    return spec.id if spec else type(env.unwrapped).__name__


def has_parts(space: spaces.Space) -> bool:
    """Whether observations have several keys, rather than `image` or `vector`."""
    is_tuple = isinstance(space, spaces.Tuple)
    return isinstance(space, spaces.Dict) or is_tuple and _has_images(space)


def _has_images(space: spaces.Space) -> bool:
    """Whether a space is one of images, or contains one at any depth."""
    if isinstance(space, spaces.Dict):
        return any(map(_has_images, space.values()))
    if isinstance(space, spaces.Tuple):
        return any(map(_has_images, space))
    return is_image(space)


def named(space: spaces.Space, nested: Any) -> dict[str, Any]:
    """Returns an observation, or its space, by the keys of its outermost parts."""
    if not has_parts(space):
        return {"image" if is_image(space) else "vector": nested}
    if isinstance(space, spaces.Dict):
        return dict(nested)
    return {str(i): x for i, x in enumerate(nested)}


def _paths(space: spaces.Space, excluded: re.Pattern) -> dict[str, tuple]:
    """Returns where the observations of our form are, as keys and indices by name."""
    if not has_parts(space):
        return {key: () for key in named(space, space)}
    found: dict[str, tuple] = {}
    for path in _leaves(space):
        key = ".".join(map(str, path))
        if key != "" and excluded.match(key):
            continue
        if key in found:
            raise EnvError(f"Two observations have the key {key!r}. Received: {space}.")
        found[key] = path
    return found


def _leaves(space: Any) -> Iterator[tuple]:
    """Yields the keys and indices that lead to each part of an observation."""
    keys = space.spaces if isinstance(space, spaces.Dict) else range(len(space))
    for key in keys:
        inside = _leaves(space[key]) if has_parts(space[key]) else ((),)
        yield from ((key, *path) for path in inside)


def is_image(space: spaces.Space) -> TypeGuard[spaces.Box]:
    """Whether values are images of bytes or planes, which `as_image` takes."""
    if not isinstance(space, spaces.Box) or space.dtype not in (np.uint8, np.bool_):
        return False
    return (
        len(space.shape) in (2, 3) or len(space.shape) == 4 and _is_stack(space.shape)
    )


def _is_stack(shape: tuple[int, ...]) -> bool:
    """Whether an image's first axis holds its channels, or frames `(H, W, C)`."""
    frames, *sides = shape[:3]
    short = all(number <= MOST_CHANNELS for number in (frames, *shape[3:]))
    return short and min(sides) >= LEAST_SIDE


def as_image(value: np.ndarray) -> np.ndarray:
    """Returns an image of two to four dimensions as `(H, W, C)`."""
    if value.ndim > 2 and _is_stack(value.shape):
        value = np.moveaxis(value, 0, 2)
    return np.ascontiguousarray(value).reshape(*value.shape[:2], -1)


def is_bytes(space: spaces.Space) -> TypeGuard[spaces.Box]:
    """Whether values are vectors of bytes, such as a console's memory."""
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8:
        return False
    whole = (space.low == 0).all() and (space.high == 255).all()
    return len(space.shape) == 1 and bool(whole)


def _is_numeric(space: spaces.Space) -> bool:
    """Whether values flatten to vectors of one length.

    Gymnasium flattens text too, but nothing in which a tuple or a dictionary is empty.
    """
    if isinstance(space, spaces.Tuple):
        return len(space) > 0 and all(_is_numeric(part) for part in space)
    if isinstance(space, spaces.Dict):
        return len(space) > 0 and all(_is_numeric(part) for part in space.values())
    return isinstance(space, _ARRAYS)


def _converted(key: str, space: spaces.Space) -> spaces.Space:
    """Returns the space of the values that `_converter` returns."""
    if _is_logged(key, space):
        return space
    if is_image(space):
        low, high = as_image(space.low), as_image(space.high)
        return spaces.Box(low, high, low.shape, space.dtype.type)
    if is_bytes(space):
        return space
    flat = cast(spaces.Box, spaces.flatten_space(space))
    with np.errstate(over="ignore"):  # Bounds beyond float32's range become infinite.
        low, high = flat.low.astype(np.float32), flat.high.astype(np.float32)
    return spaces.Box(low, high, flat.shape, np.float32)


def _converter(key: str, space: spaces.Space) -> Callable[[Any], np.ndarray]:
    """Returns the function that converts values of a space to our form."""
    if fault := name_fault(key):
        raise EnvError(
            f"Received: an observation with the key {key!r}, of {space}. Rename it, or "
            f"leave it out by --obs.exclude; {fault}."
        )
    if _is_logged(key, space):
        return np.asarray
    if not _is_numeric(space):
        raise EnvError(
            f"Received: an observation {key!r} of {space}, which cannot be made a "
            "vector of numbers. Leave it out by --obs.exclude, or turn it into a Box."
        )
    if not spaces.flatdim(space):
        raise EnvError(
            f"Received: an observation {key!r} of {space}, which holds no numbers. "
            "Leave it out."
        )
    if is_image(space):
        return lambda value: as_image(np.asarray(value))
    if is_bytes(space):
        return np.asarray
    return lambda value: vectors.flatten(key, space, value)


def name_fault(key: str) -> str:
    """Returns why an observation cannot have a name; empty if it can."""
    if key in RESERVED:
        return f"{', '.join(RESERVED)} are keys of every transition"
    if key in TAKEN:
        return f"these names mean something else: {', '.join(filter(None, TAKEN))}"
    return ""


def _is_logged(key: str, space: spaces.Space) -> bool:
    return key.startswith("log_") and isinstance(space, _ARRAYS)


def _dotted(prefix: str, key: Any) -> str:
    return f"{prefix}.{key}" if prefix else str(key)

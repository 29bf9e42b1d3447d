"""The DeepMind Control suite, prepared as the original DreamerV2 prepares it."""

from __future__ import annotations

import functools
import importlib
import math
import os
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import RescaleAction

from dreamerv2_transfer.common import foreign
from dreamerv2_transfer.common.envs.wrappers import Checked
from dreamerv2_transfer.common.errors import EnvError, describe

DOMAINS = {"ball_in_cup": "cup"}  # The original's shorter name of a domain.
INSTALL = "pip install 'dreamerv2_transfer[dmc]'"
OFFSCREEN = ("egl", "osmesa")  # May be Mesa, which renders with LLVM.
RENDERERS = (
    "MUJOCO_GL=egl renders on a GPU or with Mesa, MUJOCO_GL=osmesa with OSMesa, "
    "MUJOCO_GL=glfw on a screen; set it in the environment of the command."
)

if os.environ.get("MUJOCO_GL") in OFFSCREEN:
    foreign.hide_tensorflow_symbols()


class DMC(gymnasium.Env):
    """A task of the suite: an RGB image, and dm_control's own observations in order.

    Rewards of repeated actions are added. A discount of 0 terminates an episode,
    dm_control's time limit truncates it. After `reset(seed=...)` an episode depends
    only on the seed and the actions.

    Args:
        name: One of `tasks()`, such as `walker_walk` or `cup_catch`.
        action_repeat: dm_control's steps a step.
        size: Height and width of the image in pixels.
        camera: Index of the task's camera; -1 chooses as the original does.
        image: Whether there is an image; without it nothing is rendered.
        flatten: Whether to turn numbers and matrices into vectors. Networks take only
            vectors: the original does not flatten, and so ignores the rest.

    Raises:
        EnvError: dm_control cannot load or render the task.
    """

    def __init__(
        self,
        name: str,
        *,
        action_repeat: int = 1,
        size: tuple[int, int] = (64, 64),
        camera: int = -1,
        image: bool = True,
        flatten: bool = True,
    ):
        self._name = name
        self._env = _load(name)
        self._action_repeat = action_repeat
        self._size = size
        self._camera = camera
        if camera == -1:
            self._camera = 2 if name.startswith("quadruped_") else 0
        self._image = image
        specs = self._env.observation_spec()
        self._shapes = {
            key: (math.prod(spec.shape),) if flatten else spec.shape
            for key, spec in specs.items()
            if spec.shape != (0,)
        }
        seen: list[tuple[str, spaces.Space]] = [
            (key, spaces.Box(-np.inf, np.inf, shape, np.float32))
            for key, shape in self._shapes.items()
        ]
        if image:
            seen.insert(0, ("image", spaces.Box(0, 255, (*size, 3), np.uint8)))
        # A list, as a mapping would be sorted: networks read the keys in this order.
        self.observation_space = spaces.Dict(seen)
        actions = self._env.action_spec()
        self.action_space = spaces.Box(
            actions.minimum.astype(np.float32),
            actions.maximum.astype(np.float32),
            dtype=np.float32,
        )

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """Starts an episode; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        # The task draws from this generator, which it keeps between episodes.
        self._env.task.random.seed(int(self.np_random.integers(2**32)))
        return self._obs(self._env.reset()), {}

    def step(self, action: np.ndarray):
        """Takes an action for some steps; see `gymnasium.Env.step`."""
        total = 0.0
        for _ in range(self._action_repeat):
            now = self._env.step(action)
            total += now.reward or 0.0
            if now.last():
                break
        terminated = now.last() and now.discount == 0
        return self._obs(now), total, terminated, now.last() and not terminated, {}

    def close(self) -> None:
        """Frees what MuJoCo holds; see `gymnasium.Env.close`."""
        self._env.close()

    def _obs(self, now: Any) -> dict[str, np.ndarray]:
        image = {"image": self._render()} if self._image else {}
        vectors = {
            key: np.asarray(now.observation[key], np.float32).reshape(shape)
            for key, shape in self._shapes.items()
        }
        return {**image, **vectors}

    def _render(self) -> np.ndarray:
        # Not before the first reset: after a fork, a process whose parent has rendered
        # may wait forever for the threads of OpenGL.
        try:
            return self._env.physics.render(*self._size, camera_id=self._camera)
        except Exception as error:
            raise EnvError(
                f"dmc_{self._name} could not be rendered. Received: "
                f"dmc_camera={self._camera}, {_advice(error)}"
            ) from error


def _load(name: str) -> Any:
    domain, task = tasks()[name]
    try:
        # Some models are drawn while they are loaded; a seed makes them the same.
        return _suite().load(domain, task, task_kwargs={"random": 0})
    except Exception as error:
        raise EnvError(
            f"dmc_{name} could not be made. {INSTALL} installs versions of dm_control "
            f"and mujoco that work together. {describe(error)}"
        ) from error


def _suite() -> Any:
    if os.environ.get("MUJOCO_GL") in OFFSCREEN:
        # Before Mesa, see `foreign.hide_tensorflow_symbols`.
        importlib.import_module("tensorflow")
    try:
        from dm_control import suite
    except ModuleNotFoundError as error:
        if error.name != "dm_control":
            raise _broken(error) from error
        raise EnvError(f"dm_control is not installed. Install it: {INSTALL}") from error
    except Exception as error:  # As of an OpenGL library that is not there.
        raise _broken(error) from error
    return suite


def _broken(error: Exception) -> EnvError:
    return EnvError(f"dm_control could not be imported. Received: {_advice(error)}")


def _advice(error: Exception) -> str:
    renderer = os.environ.get("MUJOCO_GL", "")
    return f"MUJOCO_GL={renderer}. {RENDERERS} {describe(error)}"


# The suite.


@functools.cache
def tasks() -> dict[str, tuple[str, str]]:
    """Returns dm_control's domain and task by the name of each task of its suite.

    Raises:
        EnvError: dm_control is not installed, or cannot be imported.
    """
    names = _suite().ALL_TASKS
    return {f"{DOMAINS.get(d, d)}_{task}": (d, task) for d, task in names}


def make(name: str, **options: Any) -> gymnasium.Env:
    """Makes a task whose actions lie in [-1, 1] and whose steps are checked.

    Args:
        name: One of `tasks()`.
        **options: See `DMC`.
    """
    env = RescaleAction(DMC(name, **options), np.float32(-1), np.float32(1))
    return Checked(env, f"dmc_{name}")


def settings(config: Any) -> dict[str, Any]:
    """Returns the options of `DMC` that a configuration sets."""
    return dict(
        action_repeat=config.action_repeat,
        size=tuple(config.render_size),
        camera=config.dmc_camera,
        image=config.dmc_image,
        flatten=config.dmc_flatten,
    )

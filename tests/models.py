"""Tiny agents, and batches for them: MinAtar's planes; six actions, or vectors."""

import gymnasium
import numpy as np
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks

BATCH, LENGTH = 3, 4


def make_config(**changes):
    config = blocks.load_config(["minatar", "debug", "pretrain"])
    return config.update({"imag_horizon": 3, "jit": False, **changes})


def obs_space() -> dict:
    box = gymnasium.spaces.Box
    flags = {k: box(0, 1, (), bool) for k in ("is_first", "is_last", "is_terminal")}
    image, reward = box(0, 1, (10, 10, 10), bool), box(-np.inf, np.inf, ())
    return {"image": image, "reward": reward, **flags}


def act_space(discrete: bool = True) -> dict:
    if discrete:
        return {"action": gymnasium.spaces.Discrete(6)}
    return {"action": gymnasium.spaces.Box(-1, 1, (2,))}


def make_agent(config=None, discrete=True, seed=0) -> agent_lib.Agent:
    """An agent whose noise is drawn from a seed, or that has none."""
    rng = None if seed is None else tf.random.Generator.from_seed(seed)
    spaces = obs_space(), act_space(discrete)
    return agent_lib.Agent(config or make_config(), *spaces, rng)


def make_batch(discrete: bool = True) -> dict[str, tf.Tensor]:
    """Two rows of game 0, one of game 2."""
    rng = np.random.default_rng(0)
    lead = (BATCH, LENGTH)
    index = rng.integers(6, size=lead)
    action = np.eye(6)[index] if discrete else rng.uniform(-1, 1, (*lead, 2))
    is_first = np.zeros(lead, bool)
    is_first[:, 0] = True
    batch = {
        "image": rng.random((*lead, 10, 10, 10)) < 0.2,
        "action": action.astype(np.float32),
        "reward": rng.normal(size=lead).astype(np.float32),
        "is_first": is_first,
        "is_last": np.zeros(lead, bool),
        "is_terminal": rng.random(lead) < 0.2,
        "task": np.array([0, 2, 0], np.int32),
    }
    return {k: tf.constant(v) for k, v in batch.items()}


def make_obs(discrete: bool = True) -> dict[str, tf.Tensor]:
    """The first observations of the batch, as the policy takes them."""
    return {k: v[:, 0] for k, v in make_batch(discrete).items() if k in obs_space()}

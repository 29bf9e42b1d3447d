"""Trains on CartPole: two discrete actions, four numbers, an end when the pole falls.

python examples/cartpole.py [--logdir FOLDER] [--steps UPDATES] [--key value ...]
"""

from __future__ import annotations

import sys

import gymnasium
import numpy as np

from dreamerv2_transfer import api
from dreamerv2_transfer.common import cli, flags

# Settings for vectors, at a size for two CPU cores.
config = api.defaults.update(api.configs["dmc_proprio"]).update(
    {
        "logdir": "logdir/cartpole",
        "steps": 5000,  # Updates, like all intervals.
        "log_every": 50,
        "eval_every": 1000,
        "checkpoint_every": 500,
        "eval_eps": 10,  # Episodes.
        "envs": 4,
        "action_repeat": 1,
        "prefill": 1000,  # Random steps before the first update.
        "pretrain": 1,  # Updates before the agent acts.
        "train_every": 8,  # Environment steps per update.
        # At first the pole falls within about 20 steps, so sequences join episodes.
        "replay": {"minlen": 1, "maxlen": 16, "prioritize_ends": True},
        "dataset": {"batch": 32, "length": 16},
        # Every reward is 1, so the task is to foresee the end.
        "pred_discount": True,
        "grad_heads": ["decoder", "reward", "discount"],
        "loss_scales": {"discount": 5.0, "kl": 0.1},
        "kl.free": 0.0,
        "rssm": {"hidden": 64, "deter": 64, "stoch": 8, "discrete": 8},
        r"(encoder|decoder)\.mlp_layers": [64, 64],
        r".*(_head|actor|critic)\.layers": 2,
        r".*(_head|actor|critic)\.units": 64,
        "imag_horizon": 10,
        "discount": 0.99,
        "model_opt.lr": 1e-3,
        "actor_opt.lr": 5e-4,
        "critic_opt.lr": 5e-4,
        "actor_ent": 1e-3,
        "slow_target_update": 20,  # Updates; a short run needs values soon.
    }
)


def make_env() -> gymnasium.Env:
    """Makes CartPole with its angle scaled to the size of the other numbers.

    The angle stays below 0.21. Vectors are predicted with a squared error, so small
    numbers would count for little.
    """
    env = gymnasium.make("CartPole-v1")
    scale = np.array([1, 1, 10, 1], np.float32)
    return gymnasium.wrappers.TransformObservation(env, lambda obs: obs * scale, None)


def main(argv: list[str]) -> int:
    done = api.train(make_env, flags.Flags(config).parse(argv))
    return 0 if done else cli.INTERRUPTED


if __name__ == "__main__":
    sys.exit(cli.run(main))

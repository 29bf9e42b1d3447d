"""Trains on Pendulum: one continuous action, three numbers, episodes of 200 steps.

python examples/pendulum.py [--logdir FOLDER] [--steps UPDATES] [--key value ...]
"""

from __future__ import annotations

import sys

import gymnasium

from dreamerv2_transfer import api
from dreamerv2_transfer.common import cli, flags

# Settings for vectors, at a size for two CPU cores. Episodes end only by time, so
# there is no discount to predict, and the actor learns through the model's gradients.
config = api.defaults.update(api.configs["dmc_proprio"]).update(
    {
        "logdir": "logdir/pendulum",
        "steps": 5000,  # Updates, like all intervals.
        "log_every": 50,
        "eval_every": 1000,
        "checkpoint_every": 500,
        "eval_eps": 10,  # Episodes.
        "envs": 4,
        "action_repeat": 1,
        "prefill": 2000,  # Random steps before the first update.
        "pretrain": 1,  # Updates before the agent acts.
        "train_every": 8,  # Environment steps per update.
        "replay": {"minlen": 16, "maxlen": 16},
        "dataset": {"batch": 32, "length": 16},
        "rssm": {"hidden": 64, "deter": 64, "stoch": 8, "discrete": 8},
        r"(encoder|decoder)\.mlp_layers": [64, 64],
        r".*(_head|actor|critic)\.layers": 2,
        r".*(_head|actor|critic)\.units": 64,
        "imag_horizon": 10,
        "discount": 0.99,
        "kl.free": 0.0,
        "loss_scales.kl": 0.1,
        "model_opt.lr": 1e-3,
        "actor_opt.lr": 5e-4,
        "critic_opt.lr": 5e-4,
        "actor_ent": 1e-3,
        "slow_target_update": 20,  # Updates; a short run needs values soon.
    }
)


def main(argv: list[str]) -> int:
    settings = flags.Flags(config).parse(argv)
    done = api.train(lambda: gymnasium.make("Pendulum-v1"), settings)
    return 0 if done else cli.INTERRUPTED


if __name__ == "__main__":
    sys.exit(cli.run(main))

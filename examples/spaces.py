"""Trains on actions and observations of every kind that Gymnasium has.

python examples/spaces.py [--kind KIND] [--logdir FOLDER] [--key value ...]
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from dreamerv2_transfer import api
from dreamerv2_transfer.common import cli, flags

STEPS = 8  # Of an episode.
KINDS: dict[str, spaces.Space] = {
    "discrete": spaces.Discrete(4, start=5),
    "multi_discrete": spaces.MultiDiscrete([4, 3, 4]),
    "multi_binary": spaces.MultiBinary(4),
    "box": spaces.Box(-1, 1, (2, 2)),
    "tuple": spaces.Tuple([spaces.Discrete(4), spaces.Box(-1, 1, (2,))]),
}
KINDS["dict"] = spaces.Dict(KINDS)
KINDS["masked"] = KINDS["discrete"]

# Small networks and short dreams, as what is to be learned is seen at once.
config = api.defaults.update(api.configs["minatar"]).update(
    {
        "logdir": "logdir/spaces",
        "steps": 300,  # Updates, like all intervals.
        "log_every": 50,
        "eval_every": 300,
        "eval_eps": 32,
        "eval_envs": 8,
        "checkpoint_every": 300,
        "envs": 4,
        "prefill": 800,
        "pretrain": 1,
        "train_every": 8,
        "replay": {"minlen": 1, "maxlen": 9},
        "dataset": {"batch": 16, "length": 9},
        "rssm": {"hidden": 64, "deter": 64, "stoch": 8, "discrete": 8},
        r"(encoder|decoder)\.(cnn|mlp)_keys": ".*",
        r"(encoder|decoder)\.cnn_depth": 4,
        r"(encoder|decoder)\.mlp_layers": [64],
        r".*(_head|actor|critic)\.layers": 1,
        r".*(_head|actor|critic)\.units": 64,
        "loss_scales.reward": 100,  # Its variance is small beside that of an image.
        "imag_horizon": 4,
        "discount": 0.5,
        "model_opt.lr": 3e-3,
        "actor_opt.lr": 1e-3,
        "critic_opt.lr": 3e-3,
        "actor_ent": 3e-3,
        "clip_rewards": "identity",
        "slow_target_update": 20,
    }
)


class Signal(gymnasium.Env):
    """Shows a signal of 0 or 1 in many ways, and rewards actions that repeat it.

    An episode has one signal. The reward of a step is the mean over the parts of the
    action. A choice gets 1 if it is the class that the signal says, else 0; a number x
    gets `1 - |x - signal / 2|`. Of `masked` actions, the class of the other signal is
    not allowed.

    Args:
        kind: The kind of actions, see `KINDS`.
    """

    observation_space = spaces.Dict(
        front=spaces.Box(0, 255, (10, 10, 3), np.uint8),
        back=spaces.Box(0, 255, (16, 16), np.uint8),
        level=spaces.Discrete(2, start=3),
        dials=spaces.MultiDiscrete([2, 3]),
        body=spaces.Dict(
            speed=spaces.Box(-1, 1, (2,)), doors=spaces.Tuple([spaces.MultiBinary(2)])
        ),
    )

    def __init__(self, kind: str):
        self.action_space = KINDS[kind]
        self._is_masked = kind == "masked"

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        self._steps, self._bit = 0, int(self.np_random.integers(2))
        return self._signal(), self._info()

    def step(self, action: Any):
        start = getattr(self.action_space, "start", 0)
        if self._is_masked and not self._info()["action_mask"][action - start]:
            raise ValueError(f"Received: action={action}, which is not allowed.")
        self._steps += 1
        reward = score(self.action_space, action, self._bit)
        return self._signal(), reward, self._steps == STEPS, False, self._info()

    def _info(self) -> dict[str, Any]:
        if not self._is_masked:
            return {}
        return {"action_mask": (np.arange(4) != 1 - self._bit).astype(np.int8)}

    def _signal(self) -> dict[str, Any]:
        bit = self._bit
        return {
            "front": np.full((10, 10, 3), 255 * bit, np.uint8),
            "back": np.full((16, 16), 255 * bit, np.uint8),
            "level": 3 + bit,
            "dials": np.array([bit, bit]),
            "body": {
                "speed": np.full(2, bit, np.float32),
                "doors": (np.full(2, bit, np.int8),),
            },
        }


def score(space: Any, action: Any, bit: int) -> float:
    """Returns how well an action repeats a signal, at most 1."""
    if isinstance(space, spaces.Dict):
        parts = [score(x, action[k], bit) for k, x in space.items()]
    elif isinstance(space, spaces.Tuple):
        parts = [score(x, y, bit) for x, y in zip(space, action, strict=True)]
    elif isinstance(space, spaces.Box):
        parts = 1 - np.abs(action - bit / 2)
    else:
        parts = action == bit + getattr(space, "start", 0)
    return float(np.mean(parts))


def random_return(kind: str, episodes: int = 200) -> float:
    """Returns the mean return of random play."""
    env, total = Signal(kind), 0.0
    env.action_space.seed(0)
    for episode in range(episodes):
        _, info = env.reset(seed=episode)
        mask = info.get("action_mask")
        total += sum(env.step(env.action_space.sample(mask))[1] for _ in range(STEPS))
    return total / episodes


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--kind", choices=KINDS, default="dict")
    known, rest = parser.parse_known_args(argv)
    defaults = config.update({"obs.action_mask": known.kind == "masked"})
    settings = flags.Flags(defaults).parse(rest)
    if not api.train(lambda: Signal(known.kind), settings):
        return cli.INTERRUPTED
    lines = (pathlib.Path(settings.logdir) / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line).get("eval_return_mean") for line in lines]
    (*_, last) = [x for x in found if x is not None] or [float("nan")]
    print(
        f"{known.kind}: return {last:.2f}, random play {random_return(known.kind):.2f},"
        f" at most {STEPS}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))

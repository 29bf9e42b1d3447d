"""The values that a key of the configuration may take, where they are a fixed list.

Each list stands here once, and the module that acts on it (named beside it) imports it
from here. It cannot stand there: those modules need TensorFlow, whose import takes
seconds, and a mistyped value must fail before that; or they need `config`, which checks
values by these lists. `tests/common/test_choices.py` compares each dispatch table with
its list.
"""

from __future__ import annotations

import math
import re

# Keras' dtype policy by the value of `precision`; `machine` sets it.
PRECISIONS = {"32": "float32", "16": "mixed_float16", "bf16": "mixed_bfloat16"}
STRATEGIES = ("none", "mirrored", "multiworker")  # `distributed.replicas`
REWARD_TRANSFORMS = ("identity", "sign", "tanh")  # `world_model`
ACTOR_GRADIENTS = ("dynamics", "reinforce", "both")  # `agent.ActorCritic`
IMAGE_DISTS = ("mse", "binary")  # `nets.images`
PARALLEL = ("none", "process")  # `envs.suites`
OUTPUTS = ("terminal", "jsonl", "tensorboard", "wandb", "mlflow")  # `logger`

CHOICES = {
    "strategy": STRATEGIES,
    "precision": ("auto", *PRECISIONS),
    "clip_rewards": REWARD_TRANSFORMS,
    "actor_grad": ("auto", *ACTOR_GRADIENTS),
    "decoder.cnn_dist": ("auto", *IMAGE_DISTS),
    # Files of the original may have `thread`, which only `envs` refuses.
    "envs_parallel": (*PARALLEL, "thread"),
    "outputs": OUTPUTS,
}

# Keys whose value is a float or a schedule.
SCHEDULED = ("actor_ent", "actor_grad_mix")
# How many numbers each schedule takes; `other.schedule` computes them.
SCHEDULES = {"linear": 3, "warmup": 2, "exp": 3, "horizon": 3}


def parse_schedule(text: str) -> tuple[str, list[float]]:
    """Splits a schedule such as `linear(1,0.1,1e5)` into its name and its numbers.

    Raises:
        ValueError: It is not one of `SCHEDULES` with as many finite numbers.
    """
    match = re.fullmatch(r"(\w+)\((.*)\)", text)
    if match and match[1] in SCHEDULES:
        numbers = [float(number) for number in match[2].split(",")]
        if len(numbers) == SCHEDULES[match[1]] and all(map(math.isfinite, numbers)):
            return match[1], numbers
    raise ValueError(
        "A schedule is linear(a,b,c), warmup(a,b), exp(a,b,c) or horizon(a,b,c). "
        f"Received: {text!r}"
    )

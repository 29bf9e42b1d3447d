"""The values that a key of the configuration may take: lists of texts, and ranges.

Each list stands here once, and the module that acts on it (named beside it) imports it
from here. It cannot stand there: those modules need TensorFlow, whose import takes
seconds, and a mistyped value must fail before that; or they need `config`, which checks
values by these lists. `tests/common/test_choices.py` compares each dispatch table with
its list.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

# Keras' dtype policy by the value of `precision`; `machine` sets it.
PRECISIONS = {"32": "float32", "16": "mixed_float16", "bf16": "mixed_bfloat16"}
STRATEGIES = ("none", "mirrored", "multiworker")  # `distributed.replicas`
REWARD_TRANSFORMS = ("identity", "sign", "tanh", "log1p")  # `world_model`
BEHAVIORS = ("dreamerv2", "pydreamer")  # `agent.ActorCritic`
LOSS_BALANCES = ("none", "harmony")  # `world_model`
ACTOR_GRADIENTS = ("dynamics", "reinforce", "both")  # `agent.ActorCritic`
IMAGE_DISTS = ("mse", "binary", "categorical")  # `nets.images`
IMAGE_KINDS = ("conv", "dense")  # `nets.images`
NORMS = ("none", "layer")  # `nets.layers`
CELLS = ("dv2", "gru", "gru_layernorm", "gru_layernorm_dv2")  # `nets.cells`
DISTS = ("mse", "normal", "binary", "tanh_normal", "trunc_normal", "onehot")
# `nets.heads`; the last two are for numbers alone.
HEAD_DISTS = (*DISTS, "symlog_mse", "symlog_twohot", "support")
ACTOR_DISTS = (*DISTS, "squashed_normal", "normal_tanh")
MINATAR_VIEWS = ("planes", "collapsed")  # `envs.minatar`
VECTOR_DISTS = ("mse", "symlog_mse")  # `nets.images`
PARALLEL = ("none", "process")  # `envs.suites`
BACKENDS = ("python", "native")  # `envs.suites`
DRAWS = ("episodes", "steps")  # `replay.law`
RETURN_NORMS = ("none", "percentile")  # `agent.ActorCritic`
ADAPTS = ("none", "actions", "image")  # `transfer.adapt`
OUTPUTS = ("terminal", "jsonl", "tensorboard", "wandb", "mlflow")  # `logger`

CHOICES = {
    "strategy": STRATEGIES,
    "precision": ("auto", *PRECISIONS),
    "clip_rewards": REWARD_TRANSFORMS,
    "behavior": BEHAVIORS,
    "rssm.cell": CELLS,
    **dict.fromkeys(("encoder.cnn", "decoder.cnn"), IMAGE_KINDS),
    **dict.fromkeys(("encoder.cnn_norm", "decoder.cnn_norm"), ("same", *NORMS)),
    "minatar_view": MINATAR_VIEWS,
    "loss_balance": LOSS_BALANCES,
    "actor_grad": ("auto", *ACTOR_GRADIENTS),
    "decoder.cnn_dist": ("auto", *IMAGE_DISTS),
    "decoder.mlp_dist": VECTOR_DISTS,
    **dict.fromkeys(("reward_head.dist", "critic.dist", "expl_head.dist"), HEAD_DISTS),
    "discount_head.dist": DISTS,
    "actor.dist": ("auto", *ACTOR_DISTS),
    # Files of the original may have `thread`, which only `envs` refuses.
    "envs_parallel": (*PARALLEL, "thread"),
    "collect.backend": BACKENDS,
    "return_norm.kind": RETURN_NORMS,
    "dataset.draw": DRAWS,
    "init.adapt": ADAPTS,
    "outputs": OUTPUTS,
}

# Values that exclude each other, each pair with the reason.
CONFLICTS = (
    (
        {"pred_terminal": (True,), "pred_discount": (True,)},
        "both predict the end of episodes",
    ),
    (
        {"behavior": ("pydreamer",), "actor_grad": ("both",)},
        "pydreamer has reinforce or dynamics",
    ),
    (
        {"kl.separate": (True,), "kl.forward": (True,)},
        "the separate losses are those of KL(post || prior)",
    ),
    (
        {
            "loss_balance": ("harmony",),
            "reward_head.dist": ("normal", "tanh_normal", "trunc_normal"),
        },
        "only a loss that is never negative can be balanced",
    ),
    (
        {"overlap": (True,), "strategy": ("mirrored", "multiworker")},
        "the thread of an update belongs to one device",
    ),
)
# The flags that have no effect while a key has a value, with the reason.
UNUSED = {
    ("kl.separate", True): (
        ("loss_scales.kl", "kl.balance", "kl.free_avg"),
        "which takes loss_scales.dyn, loss_scales.rep, and kl.free by step",
    ),
    ("kl.separate", False): (
        ("loss_scales.dyn", "loss_scales.rep"),
        "which takes loss_scales.kl and kl.balance",
    ),
    ("return_norm.kind", "none"): (
        tuple(f"return_norm.{name}" for name in ("low", "high", "decay", "limit")),
        "which leaves returns as they are",
    ),
    ("loss_balance", "harmony"): (
        ("loss_scales.kl", "loss_scales.reward"),
        "which learns these factors",
    ),
}

# Keys whose value is a float or a schedule.
SCHEDULED = ("actor_ent", "actor_grad_mix")
# The numbers that each schedule takes; `other.schedule` computes them.
SCHEDULES = {
    "linear": ("first", "last", "steps"),
    "warmup": ("steps", "value"),
    "exp": ("first", "last", "halflife"),
    "horizon": ("first", "last", "steps"),
}


def parse_schedule(text: str) -> tuple[str, list[float]]:
    """Splits a schedule such as `linear(1,0.1,1e5)` into its name and its numbers.

    Raises:
        ValueError: It is not one of `SCHEDULES` with as many finite numbers.
    """
    match = re.fullmatch(r"(\w+)\((.*)\)", text)
    if match and match[1] in SCHEDULES:
        numbers = [float(number) for number in match[2].split(",")]
        names = SCHEDULES[match[1]]
        if len(numbers) == len(names) and all(map(math.isfinite, numbers)):
            return match[1], numbers
    *forms, last = (f"{name}({','.join(x)})" for name, x in SCHEDULES.items())
    raise ValueError(f"A schedule is {', '.join(forms)} or {last}. Received: {text!r}")


class Range(NamedTuple):
    """The numbers that a key may take.

    Attributes:
        low: The smallest.
        high: The largest.
        zero: Whether 0 is allowed too, for `none`.
    """

    low: float
    high: float
    zero: bool = False

    def __str__(self) -> str:
        low = f"{'0 or ' * self.zero}at least {self.low}"
        high = f"at most {self.high}"
        limits = [low] * (self.low != -FLOAT)
        # These only keep numbers from overflowing.
        limits += [high] * (self.high not in (SIZE, COUNT, FLOAT))
        return ", ".join(limits) or "any finite number"

    def fault(self, value: float) -> str:
        """Returns what a number must be but is not; empty if it is in the range."""
        if self.low <= value <= self.high or (self.zero and value == 0):
            return ""
        if not math.isfinite(value):
            return "a finite number"
        if value > self.high:
            return f"at most {self.high}"
        return f"{'0 or ' * self.zero}at least {self.low}"


COUNT = 10**18  # Larger ones overflow 64 bits where they are multiplied.
FLOAT = 3e38  # Larger ones are infinite in float32.
SIZE = 10**6  # Of networks and batches; memory ends long before.
# By a regular expression that matches the whole key; the first that does counts. Each
# number in configs.yaml has one.
RANGES = {
    r"seed": Range(0, 2**32 - 1),
    r"dmc_camera": Range(-1, SIZE),
    r"render_size": Range(1, 10**4),
    r"(minatar_sticky|dqn\.epsilon(_first|_last)?)": Range(0, 1),
    r"(.*\.|eval_)?envs": Range(1, 10**4),
    r"(stages\..*\.|dqn\.)?(steps|(log|eval|checkpoint)_every)": Range(0, COUNT),
    r"(dqn\.)?time_limit|eval_eps|prefill|pretrain|expl_until": Range(0, COUNT),
    r"action_repeat": Range(1, SIZE),
    r"(train_every|train_steps|steps_per_call)": Range(1, COUNT),
    r"(stages\..*\.)?wm_steps": Range(0, COUNT),
    r"replay\.capacity": Range(0, COUNT),
    r"replay\.minlen": Range(1, SIZE),
    r"replay\.maxlen": Range(0, SIZE),
    r"replay\.mix": Range(0, 1),
    r"dataset\.(batch|length)": Range(1, SIZE),
    r"dataset\.holdout": Range(2, COUNT, zero=True),
    r"dataset\.rewarded": Range(0, 1),
    r"dataset\.prefetch": Range(0, SIZE),
    r"(dataset\.memory|collect\.disk|task_weights|policies\..*)": Range(0, FLOAT),
    r"collect\.steps": Range(1, COUNT),
    r"collect\.processes": Range(0, 10**4),
    r"dqn\.discount": Range(0, 1),
    r"dqn\.(batch|n_step|updates)": Range(1, SIZE),
    r"dqn\.(interval|capacity|train_(start|every)|target_every)": Range(1, COUNT),
    r"dqn\.epsilon_steps": Range(1, FLOAT),
    r"checkpoints_kept": Range(1, SIZE),
    r"eval_(batches|dream)": Range(1, SIZE),
    r"phantom\.(ratio|margin)": Range(0, FLOAT),
    r"phantom\.patience": Range(0, COUNT),
    r"video\.(context|episode|rows)": Range(1, SIZE),
    r"video\.length": Range(2, SIZE),
    r"video\.(scale|fps)": Range(1, 100),
    r"(expl|eval)_noise": Range(0, FLOAT),
    r"rssm\.(ensemble|gru_layers)": Range(1, 1000),
    r"rssm\.(hidden|deter|stoch)": Range(1, SIZE),
    r"rssm\.discrete": Range(0, SIZE),
    r".*\.min_std": Range(0, FLOAT),
    r"(rssm|actor)\.unimix|decoder\.cnn_unimix": Range(0, 1),
    r"(en|de)coder\.(cnn_depth|mlp_layers|cnn_layers)": Range(1, SIZE),
    r"encoder\.mlp_out": Range(0, SIZE),
    r"reward_head\.support": Range(-FLOAT, FLOAT),
    r"(en|de)coder\.cnn_(kernels|strides)": Range(1, 1000),
    r".*\.layers": Range(0, 1000),
    r".*\.units": Range(1, SIZE),
    r".*\.bins": Range(2, SIZE),
    r".*\.bin_limit": Range(0.01, 80),  # The exponential of more overflows float32.
    r".*\.outscale": Range(0, 1000),
    r"loss_scales\..*": Range(0, FLOAT),
    r"kl\.free": Range(0, FLOAT),
    r"kl\.balance": Range(0, 1),
    r".*(_opt|optimizer)\.(lr|eps)": Range(0, FLOAT),
    r"model_opt\.lr_by\..*": Range(0, FLOAT),
    r"model_opt\.wd_start": Range(0, 0.99),
    r"init\.shrink": Range(0, 1),
    r"adapter\.(rank|actions)|task_embed\.size": Range(0, SIZE),
    r"adapter\.scale": Range(1e-6, 1e6),  # With 0 nothing would learn.
    r".*(_opt|optimizer)\.clip": Range(1, FLOAT, zero=True),
    r".*(_opt|optimizer)\.wd": Range(0, 0.99),
    r"discount(_lambda)?": Range(0, 1),
    r"imag_horizon": Range(2, SIZE),  # The last two states of a dream have no loss.
    r"actor_grad_mix": Range(0, 1),
    r"(actor_ent|expl_(intr|extr)_scale|.*reward_norm\.scale)": Range(-FLOAT, FLOAT),
    r"slow_target_update": Range(1, COUNT),
    r"slow_target_fraction": Range(0, 1),
    r".*reward_norm\.momentum": Range(0, 1),
    r".*reward_norm\.eps": Range(0, FLOAT),
    r"return_norm\.(low|high)": Range(0, 100),
    r"return_norm\.decay": Range(0, 1),
    r"return_norm\.limit": Range(1e-8, FLOAT),
    r"disag_models": Range(2, 1000),  # A single network always agrees with itself.
    r"disag_offset": Range(0, SIZE),
    r"reproduce\.(dqn|fixed)": Range(0, COUNT),
    r"reproduce\.(collect|pretrain(_others)?|train|episodes|frames)": Range(1, COUNT),
}


# Ranges that hold while another key has a value.
RANGES_WHILE = {
    # Only the last state of its dreams has no loss.
    ("imag_horizon", "behavior", "pydreamer"): Range(1, SIZE),
}


def range_in(config: Mapping[str, Any], key: str) -> Range:
    """Returns the range of a key's numbers in a configuration."""
    for (name, other, value), limits in RANGES_WHILE.items():
        if name == key and config.get(other) == value:
            return limits
    return range_of(key)


@functools.cache
def range_of(key: str) -> Range:
    """Returns the range of a key's numbers; any finite one where none is declared."""
    found = (x for pattern, x in RANGES.items() if re.fullmatch(pattern, key))
    return next(found, Range(-FLOAT, FLOAT))

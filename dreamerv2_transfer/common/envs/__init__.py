"""Environments of every suite in one form; `make_env` makes one by its task's name."""

from __future__ import annotations

from dreamerv2_transfer.common.envs.actions import Joined, Part
from dreamerv2_transfer.common.envs.actions import parts as act_parts
from dreamerv2_transfer.common.envs.dummy import Dummy
from dreamerv2_transfer.common.envs.masks import IS_MASKED, MASK
from dreamerv2_transfer.common.envs.minatar import (
    MINATAR_CHANNELS,
    MINATAR_GAMES,
    MinAtar,
    native_planes,
)
from dreamerv2_transfer.common.envs.several import make as make_several
from dreamerv2_transfer.common.envs.several import makers
from dreamerv2_transfer.common.envs.suites import (
    Fit,
    act_size,
    act_space,
    check_action_repeat,
    fit,
    kinds,
    make_env,
    make_vector_env,
    obs_space,
    options,
    run_options,
)
from dreamerv2_transfer.common.errors import EnvError

__all__ = [
    "IS_MASKED",
    "MASK",
    "MINATAR_CHANNELS",
    "MINATAR_GAMES",
    "Dummy",
    "EnvError",
    "Fit",
    "Joined",
    "MinAtar",
    "Part",
    "act_parts",
    "act_size",
    "act_space",
    "check_action_repeat",
    "fit",
    "kinds",
    "make_env",
    "make_several",
    "make_vector_env",
    "makers",
    "native_planes",
    "obs_space",
    "options",
    "run_options",
]

"""The networks of DreamerV2 as named Keras layers.

Every sublayer carries the original's name (`img_in`, `obs_dist`, `cell`, `dense0`,
...). All are made in `__init__` and built in `build`, so that a variable's path
(`rssm/img_in/kernel`) is the one name for freezing, porting, checkpoints and logs.
"""

from __future__ import annotations

from dreamerv2_transfer.common.nets.adapter import AdaptedRSSM
from dreamerv2_transfer.common.nets.harmony import Harmony
from dreamerv2_transfer.common.nets.heads import MLP, DistLayer
from dreamerv2_transfer.common.nets.images import Decoder, Encoder
from dreamerv2_transfer.common.nets.kl import free_nats, frees_average
from dreamerv2_transfer.common.nets.layers import (
    Conv2D,
    Conv2DTranspose,
    Dense,
    GRUCell,
    NormLayer,
    flatten_event,
    stop_gradient,
)
from dreamerv2_transfer.common.nets.make import make_rssm, mask_head, rssm_of
from dreamerv2_transfer.common.nets.rssm import EnsembleRSSM
from dreamerv2_transfer.common.nets.task_embed import GAME, ConditionedRSSM

__all__ = [
    "GAME",
    "MLP",
    "AdaptedRSSM",
    "ConditionedRSSM",
    "Conv2D",
    "Conv2DTranspose",
    "Decoder",
    "Dense",
    "DistLayer",
    "Encoder",
    "EnsembleRSSM",
    "GRUCell",
    "Harmony",
    "NormLayer",
    "flatten_event",
    "free_nats",
    "frees_average",
    "make_rssm",
    "mask_head",
    "rssm_of",
    "stop_gradient",
]

"""The networks of DreamerV2 as named Keras layers.

Every sublayer carries the original's name (`img_in`, `obs_dist`, `cell`, `dense0`,
...). All are made in `__init__` and built in `build`, so that a variable's path
(`rssm/img_in/kernel`) is the one name for freezing, porting, checkpoints and logs.
"""

from __future__ import annotations

from dreamerv2_transfer.common.nets.rssm import (
    MLP,
    Conv2D,
    Conv2DTranspose,
    Decoder,
    Dense,
    DistLayer,
    Encoder,
    EnsembleRSSM,
    GRUCell,
    NormLayer,
    flatten_event,
    free_nats,
    stop_gradient,
)

__all__ = [
    "MLP",
    "Conv2D",
    "Conv2DTranspose",
    "Decoder",
    "Dense",
    "DistLayer",
    "Encoder",
    "EnsembleRSSM",
    "GRUCell",
    "NormLayer",
    "flatten_event",
    "free_nats",
    "stop_gradient",
]

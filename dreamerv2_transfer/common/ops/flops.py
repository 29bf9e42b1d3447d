"""Counts the operations of a training step, and measures the machine's peak.

The operations of a dense or convolutional product are twice its multiply-adds, and its
backward pass takes twice its forward pass. Each product is counted only as often as it
must be computed.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence

BACKWARD = 2  # A backward pass multiplies by the weights and by the inputs.


def world_model_step(config, shapes: Mapping[str, tuple], actions: int) -> float:
    """Returns the operations of one update of the world model."""
    macs = sum(world_model_macs(config, shapes, actions).values())
    return 2 * macs * (1 + BACKWARD) * config.dataset.batch * config.dataset.length


def behavior_step(config, actions: int) -> float:
    """Returns the operations of one update of actor and critic in dreams.

    Every state of the batch starts a dream. Each step of the horizon runs the RSSM and
    the actor once. Reward, discount and slow critic see one state more than the
    horizon; the actor learns from one state less, the critic from all but the last.
    """
    rssm, feat = rssm_macs(config, 0, actions), feat_size(config)
    horizon = config.imag_horizon
    actor = mlp_macs(config.actor, feat, actions)
    critic = number_macs(config.critic, feat)
    heads = number_macs(config.reward_head, feat) + critic
    if config.pred_discount or config.pred_terminal:
        heads += mlp_macs(config.discount_head, feat, 1)
    macs = (
        horizon * (rssm["img_step"] + actor)
        + (horizon + 1) * heads
        + (horizon - 1) * BACKWARD * actor
        + horizon * (1 + BACKWARD) * critic
    )
    return 2 * macs * config.dataset.batch * config.dataset.length


def world_model_macs(
    config, shapes: Mapping[str, tuple], actions: int
) -> dict[str, int]:
    """Returns each component's multiply-adds, forward, on one step of a sequence."""
    encoder, embed = encoder_macs(config.encoder, shapes)
    rssm = rssm_macs(config, embed, actions)
    feat = feat_size(config)
    macs = {
        "encoder": encoder,
        "rssm": rssm["img_step"] + rssm["post"],
        "decoder": decoder_macs(config.decoder, shapes, feat),
        "reward": number_macs(config.reward_head, feat),
    }
    if config.pred_discount or config.pred_terminal:
        macs["discount"] = mlp_macs(config.discount_head, feat, 1)
    return macs


def feat_size(config) -> int:
    rssm = config.rssm
    return rssm.stoch * (int(rssm.discrete) or 1) + rssm.deter


def rssm_macs(config, embed: int, actions: int) -> dict[str, int]:
    """Returns the multiply-adds of `img_step` and of the posterior."""
    rssm = config.rssm
    stats = rssm.stoch * (int(rssm.discrete) or 2)
    dist = rssm.hidden * stats
    img_in = (feat_size(config) - rssm.deter + actions) * rssm.hidden
    cell = (rssm.hidden + rssm.deter) * 3 * rssm.deter
    img_out = rssm.ensemble * (rssm.deter * rssm.hidden + dist)
    post = (rssm.deter + embed) * rssm.hidden + dist
    return {"img_step": img_in + cell + img_out, "post": post}


def encoder_macs(options, shapes: Mapping[str, tuple]) -> tuple[int, int]:
    """Returns the multiply-adds for one observation, and its embedding's size."""
    images, vectors = _inputs(options, shapes)
    macs, embed = 0, 0
    if images:
        (size, _, _), channels = images[0], sum(s[2] for s in images)
        stack = zip(options.cnn_kernels, options.cnn_strides, strict=True)
        for i, (kernel, stride) in enumerate(stack):
            size = (size - kernel) // stride + 1
            depth = options.cnn_depth * 2**i
            macs += size**2 * kernel**2 * channels * depth
            channels = depth
        embed += size**2 * channels
    if vectors:
        macs += _dense(sum(vectors), options.mlp_layers)
        embed += options.mlp_layers[-1]
    return macs, embed


def decoder_macs(options, shapes: Mapping[str, tuple], feat: int) -> int:
    images, vectors = _inputs(options, shapes)
    macs = 0
    if images:
        size, channels = 1, 32 * options.cnn_depth
        macs += feat * channels
        depths = [options.cnn_depth * 2**i for i in range(len(options.cnn_kernels) - 1)]
        depths = [*reversed(depths), sum(s[2] for s in images)]
        stack = zip(options.cnn_kernels, options.cnn_strides, depths, strict=True)
        for kernel, stride, depth in stack:
            macs += size**2 * kernel**2 * channels * depth
            size, channels = (size - 1) * stride + kernel, depth
    if vectors:
        macs += _dense(feat, options.mlp_layers)
        macs += options.mlp_layers[-1] * sum(vectors)
    return macs


def number_macs(options, feat: int) -> int:
    """Returns the multiply-adds of a head that predicts a number."""
    outputs = options.bins if options.dist == "symlog_twohot" else 1
    return mlp_macs(options, feat, outputs)


def mlp_macs(options, feat: int, out: int) -> int:
    return _dense(feat, [options.units] * options.layers + [out])


def _inputs(options, shapes: Mapping[str, tuple]) -> tuple[list, list]:
    """Returns the shapes of the images and the widths of the vectors that match."""
    images = [
        s for k, s in shapes.items() if len(s) == 3 and re.match(options.cnn_keys, k)
    ]
    vectors = [
        s[0] for k, s in shapes.items() if len(s) == 1 and re.match(options.mlp_keys, k)
    ]
    return images, vectors


def _dense(width: int, layers: Sequence[int]) -> int:
    return sum(a * b for a, b in zip([width, *layers], layers, strict=False))


def measure_peak(dtype: str, seconds: float = 1.0, size: int = 2048) -> float:
    """Returns the operations a second of square matrix products, at their best.

    Args:
        dtype: Of the matrices, `float32` or `bfloat16`.
        seconds: How long to measure.
        size: Rows and columns; choose fewer on a slow machine.
    """
    import tensorflow as tf

    a = tf.cast(tf.random.stateless_normal([size, size], [0, 0]), dtype)
    product = tf.function(lambda a: tf.linalg.matmul(a, a), autograph=False)
    product(a)
    best, begin = math.inf, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        # Waits for the device, without copying the matrix.
        tf.reduce_sum(product(a)[0, :1]).numpy()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best

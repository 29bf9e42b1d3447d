"""Times products of one-hot latents with a kernel, and their gradients.

    python bench/onehot.py [--rows 24576 --latents 32 --classes 32 --units 400]

The default sizes are those of a head's first layer on all imagined states of the block
`minatar`. `full` multiplies by the zeros too; `segment_sum` is TensorFlow's, on one
core; `ours` is common/ops/matmul.py.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from dreamerv2_transfer.common import cli, flags
from dreamerv2_transfer.common.files import memory
from dreamerv2_transfer.common.ops import matmul

DEFAULTS = {"rows": 24576, "latents": 32, "classes": 32, "units": 400, "repeats": 7}


def main(argv: list[str]) -> int:
    options = flags.Flags(**DEFAULTS).parse(argv)
    memory.keep_freed()
    rng = np.random.default_rng(0)
    size = (options.rows, options.latents)
    index = tf.constant(rng.integers(options.classes, size=size), tf.int32)
    inputs = options.latents * options.classes
    kernel = tf.random.stateless_normal([inputs, options.units], [0, 0])
    upstream = tf.random.stateless_normal([options.rows, options.units], [0, 1])
    stoch = tf.reshape(tf.one_hot(index, options.classes), [options.rows, inputs])
    zeros = tf.zeros_like(upstream)
    ways = {
        "product, full": lambda: tf.linalg.matmul(stoch, kernel),
        "product, segment_sum": lambda: segment_sum(index, kernel, options.classes),
        "product, ours": lambda: matmul.one_hot_dense(
            index, kernel, zeros, tf.identity
        ),
        "gradient, full": lambda: tf.linalg.matmul(stoch, upstream, transpose_a=True),
        "gradient, ours": lambda: gradient(index, kernel, upstream),
    }
    result = {name: timed(way, options.repeats) for name, way in ways.items()}
    print(json.dumps({f"{k}, ms": round(1000 * v, 1) for k, v in result.items()}))
    return 0


def segment_sum(index: tf.Tensor, kernel: tf.Tensor, classes: int) -> tf.Tensor:
    rows, latents = index.shape
    flat = tf.reshape(index + tf.range(latents) * classes, [-1])
    return tf.sparse.segment_sum(kernel, flat, tf.repeat(tf.range(rows), latents))


def gradient(index: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        value = tf.zeros_like(upstream)
        product = matmul.attach_one_hot_gradient(value, index, kernel, stoch=None)
    return tape.gradient(product, kernel, upstream)


def timed(way, repeats: int) -> float:
    """Returns the median seconds of a call, without the first, which traces."""
    graph, times = tf.function(way, autograph=False), []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        graph()[0, 0].numpy()  # Waits for the device.
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


if __name__ == "__main__":
    sys.exit(cli.run(main))

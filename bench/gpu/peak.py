"""Measures a device's matrix products, in its turn (see turns.py).

    python bench/gpu/peak.py PLATFORM SIZE

In float32 with JAX's default precision, as the steps have it: on a GPU with tensor
cores that is TF32.
"""

from __future__ import annotations

import sys
import time

import jax
import jax.numpy as jnp
import turns

DTYPES = ("float32", "bfloat16", "float16")
PRODUCTS = 20


def main(platform: str, size: str) -> None:
    device = jax.devices(platform)[0]

    def prepare() -> dict:
        return {"device": device.device_kind, "jax": jax.__version__}

    def measure() -> dict:
        return {dtype: tflops(device, dtype, int(size)) for dtype in DTYPES}

    turns.take(prepare, measure)


def tflops(device: jax.Device, dtype: str, size: int) -> float:
    """Returns the operations a second of the fastest of some square products."""
    product = jax.jit(jnp.matmul)
    with jax.default_device(device):
        x = jax.random.normal(jax.random.key(0), (size, size), dtype)
    jax.block_until_ready(product(x, x))
    times = []
    for _ in range(PRODUCTS):
        start = time.perf_counter()
        jax.block_until_ready(product(x, x))
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times) / 1e12


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Makes training steps of the original DreamerV2, one for each line that it reads.

original.py runs it with the Python of the original's environment. PYTHONPATH contains
tests/golden. The argument is a folder with `inputs.npz`, the batch, and `config.json`,
values by dotted key, of which the original uses those that it has. Each answer is a
line `[seconds, model loss]`.
"""

from __future__ import annotations

import json
import logging
import pathlib
import sys
import time

import record  # Sets TensorFlow up, so it comes first.
import tensorflow as tf


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # The original prints.
    folder = pathlib.Path(sys.argv[1])
    original = record.load_original(None)
    keys = json.loads((folder / "config.json").read_text())
    config = make_config(original, keys)
    setup(config)
    inputs = record.read(folder / "inputs.npz")
    agent = record.make_agent(original, config, inputs, discrete=True)
    batch = {k: tf.constant(v) for k, v in inputs.items()}
    state = agent.wm.rssm.initial(len(inputs["reward"]))
    for _ in sys.stdin:
        start = time.perf_counter()
        state, metrics = agent.train(batch, state)
        loss = float(metrics["model_loss"])  # Waits for the device.
        print(json.dumps([time.perf_counter() - start, loss]), file=answers, flush=True)


def make_config(original, keys: dict):
    """Returns the original's defaults with the given values for the same keys."""
    config = original.common.Config(original.blocks["defaults"])
    for key in config.flat.keys() & keys.keys():
        config = record.override(config, key, keys[key])
    return config


def setup(config) -> None:
    """Sets TensorFlow up like the original's train.py."""
    logging.getLogger().setLevel("ERROR")
    tf.config.run_functions_eagerly(not config.jit)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    if config.precision == 16:
        tf.keras.mixed_precision.set_global_policy("mixed_float16")


if __name__ == "__main__":
    main()

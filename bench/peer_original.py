"""Makes training steps of the original DreamerV2, one for each line that it reads.

peers.py runs it with the Python of the original's environment. PYTHONPATH contains
tests/golden. The argument is a folder with `inputs.npz`, the batch, and `config.json`,
values by dotted key, of which the original uses those that it has.
"""

from __future__ import annotations

import json
import logging
import pathlib
import sys

import record  # Sets TensorFlow up, so it comes first.
import tensorflow as tf
from peer_answers import answer, reserve_output


def main() -> None:
    answers = reserve_output()  # The original prints.
    folder = pathlib.Path(sys.argv[1])
    original = record.load_original(None)
    keys = json.loads((folder / "config.json").read_text())
    config = make_config(original, keys)
    setup(config)
    inputs = record.read(folder / "inputs.npz")
    agent = record.make_agent(original, config, inputs, discrete=True)
    batch = {k: tf.constant(v) for k, v in inputs.items()}
    start = agent.wm.rssm.initial(len(inputs["reward"]))
    states = {"whole": start, "wm": start}

    @tf.function
    def train_world_model(batch, state):
        state, _, metrics = agent.wm.train(batch, state)
        return state, metrics

    run = {"whole": agent.train, "wm": train_world_model}

    def step(kind: str) -> float:
        states[kind], metrics = run[kind](batch, states[kind])
        return float(metrics["model_loss"])  # Waits for the device.

    answer(step, answers)


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

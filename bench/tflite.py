"""Converts the steps of a model to TensorFlow Lite, and times them.

    python bench/tflite.py [--source minatar_small_four_games] [--json FILE]

Exports the model, converts each signature to float32 for one row, with TensorFlow
Lite's own operations alone (`builtin`) and with those of TensorFlow (`select`, which
needs a runtime that has them), and compares it with the SavedModel: `difference` is the
largest one of any output. `ms` and `saved_model_ms` are medians of one call, on one
thread; `error` says what cannot be converted.

Without `--source`, it takes an agent of `--configs` (by default `minatar small`), whose
weights are fresh: the time does not depend on them.
"""

from __future__ import annotations

import json
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks, cli, envs, flags
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.trained import export
from dreamerv2_transfer.trained.graphs import precision
from dreamerv2_transfer.trained.load import SETTINGS, load
from dreamerv2_transfer.trained.model import Model

BUILTIN = [tf.lite.OpsSet.TFLITE_BUILTINS]
KINDS = {"builtin": BUILTIN, "select": [*BUILTIN, tf.lite.OpsSet.SELECT_TF_OPS]}
MOST_ERROR = 300  # Characters of it.


def main(argv: list[str]) -> int:
    names, rest = cli.split_configs(argv)
    options, rest = flags.Flags(json="", source="", calls=200).parse_known(rest)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    if options.source:
        model = load(options.source)
    else:
        names = ["minatar", "small"] if list(names) == ["defaults"] else list(names)
        model = fresh(names, rest)
    with tempfile.TemporaryDirectory() as folder:
        export.write(model, pathlib.Path(folder), {})
        size = sum(x.stat().st_size for x in pathlib.Path(folder).rglob("*"))
        loaded = tf.saved_model.load(folder)
        found = {
            name: measure(folder, name, loaded.signatures[name], options.calls)
            for name in loaded.signatures
            if name != "initial_state"
        }
    report = json.dumps({"saved_model_bytes": size, "steps": found}, indent=2)
    print(report)
    if options.json:
        pathlib.Path(options.json).write_text(report)
    return 0


def fresh(names: list[str], rest: list[str]) -> Model:
    """Returns an agent for MinAtar's Breakout that has learned nothing."""
    config = blocks.load_config([*names, "finetune"], rest).update(SETTINGS)
    with envs.make_env("minatar_breakout") as env:
        spaces = envs.obs_space(env), envs.act_space(env)
    with precision():
        agent = agent_lib.Agent(config, *spaces, tf.random.Generator.from_seed(0))
    return Model(agent.wm, agent, spaces[1]["action"], config, "fresh")


def measure(folder: str, name: str, step, calls: int) -> dict:
    """Returns the figures of a step, by the kind of operations."""
    inputs = {k: row(x) for k, x in step.structured_input_signature[1].items()}
    expected = step(**inputs)
    found: dict = {"saved_model_ms": timed(step, inputs, calls)}
    for kind, ops in KINDS.items():
        try:
            content = convert(folder, name, ops)
            lite = tf.lite.Interpreter(model_content=content, num_threads=1)
            runner = lite.get_signature_runner(name)
            outputs = runner(**inputs)
        except Exception as error:  # The converter's are of many types.
            found[kind] = {"error": " ".join(str(error).split())[:MOST_ERROR]}
            continue
        differences = [
            np.abs(outputs[k] - v.numpy()).max() for k, v in expected.items()
        ]
        found[kind] = {
            "bytes": len(content),
            "difference": float(max(differences)),
            "ms": timed(runner, inputs, calls),
        }
    return found


def row(spec: tf.TensorSpec) -> tf.Tensor:
    """Returns an input of one row, of zeros and ones."""
    shape = [n or 1 for n in spec.shape]
    bits = np.random.default_rng(len(shape)).integers(2, size=shape)
    return tf.cast(bits, spec.dtype)


def convert(folder: str, name: str, ops: list) -> bytes:
    """Returns a signature as a file of TensorFlow Lite."""
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, [name])
    converter.target_spec.supported_ops = ops
    return converter.convert()


def timed(step: Callable, inputs: dict, calls: int) -> float:
    """Returns the median of the milliseconds of a call."""
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        step(**inputs)
        times.append(1e3 * (time.perf_counter() - start))
    return round(statistics.median(times), 3)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(str(error))

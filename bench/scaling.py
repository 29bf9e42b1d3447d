"""Draws the time of a training step over batch and length of its sequences.

    python bench/scaling.py --configs minatar --precision 32 \
        --json scaling.json --picture scaling.png

It times an update of the world model and a whole update (world model, actor and critic)
at several batches with the configured length, and at several lengths with the
configured batch; `--batches 4,8,16 --lengths 6,12,24` names others. Several rounds
measure all sizes in turn, so that a drift of the machine's speed affects all of them;
the first two rounds trace and warm up, and are not timed.

The line `seconds = constant_s + slope_s * size` fits the medians by the least squares
of relative departures: `slope_s` is seconds per sequence (over batch) or seconds per
step of all sequences (over length). `departures` is (measured - line) / measured.
"""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import train_step
from matplotlib.figure import Figure  # No pyplot: it would look for a display.
from tqdm import tqdm

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks, cli, config, envs, flags, machine, tfutils
from dreamerv2_transfer.common.files import atomic

WARM_UP = 2  # Untimed rounds.
NAMES = {"wm_step": "world model", "step": "whole step"}
LABELS = {"batch": "batch / sequences", "length": "length / steps"}
DEFAULTS = {
    "json": "",
    "picture": "scaling.png",
    "repeats": 5,
    "batches": [4, 8, 16, 32, 64],
    "lengths": [6, 12, 24, 48, 96],
}
# Batch and length; the name of an update.
Size = tuple[int, int]
Times = dict[tuple[str, Size], list[float]]


def main(argv: list[str]) -> int:
    names, rest = cli.split_configs(argv)
    options, rest = flags.Flags(DEFAULTS).parse_known(rest)
    if min(len(options.batches), len(options.lengths)) < 3:
        raise config.ConfigError(
            "--batches and --lengths need at least three sizes each, to fit a line. "
            f"Received: {options.batches}, {options.lengths}"
        )
    settings = blocks.load_config(names, rest)
    print(machine.setup(settings))
    tf.get_logger().setLevel("ERROR")  # It warns of the intended trace per size.
    sizes = {
        "batch": [(n, settings.dataset.length) for n in options.batches],
        "length": [(settings.dataset.batch, n) for n in options.lengths],
    }
    # A size on both curves is measured once.
    times = measure(settings, {*sizes["batch"], *sizes["length"]}, options.repeats)
    result = {"dtype": tfutils.compute_dtype().name, **curves(times, sizes)}
    report = json.dumps(result, indent=2)
    print(report)
    if options.json:
        pathlib.Path(options.json).write_text(report + "\n")
    draw(result, pathlib.Path(options.picture))
    return 0


def measure(settings, sizes: set[Size], repeats: int) -> Times:
    """Returns seconds of both updates at every size, by rounds over all sizes."""
    obs_space, act_space = train_step.spaces(settings)
    rng = tf.random.Generator.from_seed(settings.seed)
    agent = agent_lib.Agent(settings, obs_space, act_space, rng)
    wm_step = tfutils.compiled(lambda b, s: agent.wm.train(b, s)[::2], settings)
    steps = {"wm_step": wm_step, "step": agent.train}
    actions = envs.act_size(act_space["action"])
    batches = {}
    for batch, length in sorted(sizes):
        sized = settings.update({"dataset.batch": batch, "dataset.length": length})
        batches[batch, length] = train_step.random_batch(sized, obs_space, actions)
    times = {(name, size): [] for name in steps for size in batches}
    for _ in tqdm(range(repeats + WARM_UP), "all sizes", unit="round"):
        for (name, size), taken in tqdm(times.items(), unit="step", leave=False):
            taken.append(seconds(steps[name], batches[size], agent))
    return {key: taken[WARM_UP:] for key, taken in times.items()}


def seconds(step: Callable, batch: dict[str, tf.Tensor], agent) -> float:
    state = agent.wm.rssm.initial(len(batch["reward"]))
    start = time.perf_counter()
    _, metrics = step(batch, state)
    float(metrics["model_loss"])  # Waits for the device.
    return time.perf_counter() - start


def curves(times: Times, sizes: dict[str, list[Size]]) -> dict:
    """Returns measured seconds and fitted line by axis and update."""
    result = {}
    for i, axis in enumerate(LABELS):
        at = [size[i] for size in sizes[axis]]
        measured = {
            name: [statistics.median(times[name, size]) for size in sizes[axis]]
            for name in NAMES
        }
        lines = {name: fit(at, taken) for name, taken in measured.items()}
        result[axis] = {"at": at, **lines}
    return result


def fit(at: list[int], taken: list[float]) -> dict:
    """Returns the line that fits measured seconds, and their distance from it."""
    x, y = np.array(at), np.array(taken)
    slope, constant = np.polyfit(x, y, 1, w=1 / y)
    departures = (y - constant - slope * x) / y
    return {
        "s": taken,
        "slope_s": slope,
        "constant_s": constant,
        "departures": departures.tolist(),
        "largest_departure": float(np.abs(departures).max()),
    }


def draw(result: dict, path: pathlib.Path) -> None:
    """Draws measured points and fitted lines, a panel for batch and one for length."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (axis, label) in zip(figure.subplots(1, 2), LABELS.items(), strict=True):
        at = np.array(result[axis]["at"])
        for color, name in enumerate(NAMES):
            curve, style = result[axis][name], {"color": f"C{color}"}
            line = curve["constant_s"] + curve["slope_s"] * at
            text = f"line: {curve['constant_s']:.3g} s + {curve['slope_s']:.3g} s each"
            axes.plot(at, curve["s"], "o", label=f"{NAMES[name]}, measured", **style)
            axes.plot(at, line, label=text, **style)
        axes.set(xlabel=label, ylabel="time of an update / s")
        axes.set(xlim=(0, None), ylim=(0, None))
        axes.legend()
    figure.suptitle(result["dtype"])
    with atomic.atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


if __name__ == "__main__":
    sys.exit(cli.run(main))

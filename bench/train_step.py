"""Times a training step, and compares it with the machine's fastest matrix products.

    python bench/train_step.py --configs minatar --precision 32 --json result.json

measures an update of the world model, a whole update (world model, actor and critic),
and the machine's peak in matrix products of the same precision, all in one run.
`efficiency` is the step's dense operations (see common/ops/flops.py) a second over that
peak. For the block `minatar` the number of operations is known, and is checked.
"""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import gymnasium
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks, cli, envs, flags, machine, tfutils
from dreamerv2_transfer.common.ops import flops

PEAK_SIZE = 2048
# Operations in GFLOP that the formula gives for the block `minatar`.
KNOWN = {"wm_gflop": 35.1, "gflop": 487.5}


def main(argv: list[str]) -> int:
    names, rest = cli.split_configs(argv)
    options, rest = flags.Flags(json="", repeats=7).parse_known(rest)
    settings = blocks.load_config(names, rest)
    print(machine.setup(settings))
    result = measure(settings, options.repeats)
    if list(names) == ["minatar"] and not any(x.startswith("--rssm") for x in rest):
        check_operations(result)
    report = json.dumps(result, indent=2)
    print(report)
    if options.json:
        pathlib.Path(options.json).write_text(report + "\n")
    return 0


def measure(settings, repeats: int) -> dict:
    """Returns seconds, operations and efficiencies of both steps."""
    agent, batch, wm_step = prepare(settings)
    shapes, actions = agent.wm.shapes, envs.act_size(agent.act_space)
    dtype = tfutils.compute_dtype().name
    # The peak is measured before, between and after: the machine's speed may drift.
    peaks = [flops.measure_peak(dtype, size=PEAK_SIZE)]
    wm_times = timed("world model", wm_step, batch, agent, repeats)
    peaks.append(flops.measure_peak(dtype, size=PEAK_SIZE))
    times = timed("whole step", agent.train, batch, agent, repeats)
    peaks.append(flops.measure_peak(dtype, size=PEAK_SIZE))
    wm_flop = flops.world_model_step(settings, shapes, actions)
    flop = wm_flop + flops.behavior_step(settings, actions)
    peak = max(peaks)
    wm_step_s, step_s = statistics.median(wm_times), statistics.median(times)
    return {
        "precision": settings.precision,
        "dtype": dtype,
        "wm_step_s": wm_step_s,
        "step_s": step_s,
        "wm_step_s_all": wm_times,
        "step_s_all": times,
        "peak_gflops": peak / 1e9,
        "peak_gflops_all": [p / 1e9 for p in peaks],
        "wm_gflop": wm_flop / 1e9,
        "gflop": flop / 1e9,
        "wm_efficiency": wm_flop / wm_step_s / peak,
        "efficiency": flop / step_s / peak,
    }


def prepare(settings):
    """Creates an agent, a batch for it, and the graph of a world model's update."""
    obs_space, act_space = spaces(settings)
    agent = agent_lib.make_agent(settings, obs_space, act_space)
    batch = random_batch(settings, obs_space, envs.act_size(agent.act_space))
    wm_step = tfutils.compiled(lambda b, s: agent.wm.train(b, s)[::2], settings)
    return agent, batch, wm_step


def spaces(settings):
    """Returns the task's spaces; images of Atari's size unless it is a MinAtar game."""
    if settings.task.startswith("minatar"):
        with envs.make_env(settings.task) as env:
            return envs.obs_space(env), envs.act_space(env)
    box = gymnasium.spaces.Box
    flag = box(0, 1, (), bool)
    image = box(0, 255, (*settings.render_size, 1), np.uint8)
    obs_space = {"image": image, "reward": box(-np.inf, np.inf, ())}
    obs_space.update(is_first=flag, is_last=flag, is_terminal=flag)
    return obs_space, {"action": gymnasium.spaces.Discrete(6)}


def random_batch(settings, obs_space, actions: int) -> dict[str, tf.Tensor]:
    """Draws a batch about as sparse in planes, rewards and ends as MinAtar's."""
    rng = np.random.default_rng(settings.seed)
    lead = (settings.dataset.batch, settings.dataset.length)
    space = obs_space["image"]
    image = rng.random((*lead, *space.shape)) < 0.1
    batch = {
        "image": image if space.dtype == bool else image.astype(np.uint8) * 255,
        "action": np.eye(actions, dtype=np.float32)[rng.integers(actions, size=lead)],
        "reward": (rng.random(lead) < 0.05).astype(np.float32),
        **{k: rng.random(lead) < 0.05 for k in ("is_first", "is_last", "is_terminal")},
    }
    return {k: tf.convert_to_tensor(v) for k, v in batch.items()}


def timed(name: str, step, batch, agent, repeats: int) -> list[float]:
    """Returns the seconds of each step, without the first two (tracing, warm-up)."""
    state, times = agent.wm.rssm.initial(len(batch["reward"])), []
    for _ in tqdm(range(repeats + 2), name, unit="step"):
        start = time.perf_counter()
        state, metrics = step(batch, state)
        float(metrics["model_loss"])  # Waits for the device.
        times.append(time.perf_counter() - start)
    return times[2:]


def check_operations(result: dict) -> None:
    for name, known in KNOWN.items():
        if abs(result[name] / known - 1) > 0.005:
            raise AssertionError(f"{name} must be {known}. Received: {result[name]}")


if __name__ == "__main__":
    sys.exit(cli.run(main))

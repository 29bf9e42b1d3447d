"""Times an update of pre-training by one process, and by two that share its batch.

    python bench/distribute.py --configs minatar small --json result.json

Each process has one core, so that the second adds as much as the first. Measurements
alternate, `rounds` times: one process, then two over loopback. `speedup` is the median
time of one over that of two; 2 would be perfect. Both have the configured batch, so of
two processes each has half of the rows, and they add their gradients.
"""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import workers
from tqdm import tqdm

from dreamerv2_transfer.common import blocks, cli, config, flags
from dreamerv2_transfer.common.distributed import cluster

OPTIONS = {
    "json": "",
    "rounds": 3,
    "repeats": 20,  # Timed updates per round.
    "core": -1,  # The core of a process that the script starts; -1 starts them.
}
WARM_UP = 3  # Untimed updates, which trace.


def main(argv: list[str]) -> int:
    names, rest = cli.split_configs(argv)
    options, rest = flags.Flags(OPTIONS).parse_known(rest)
    settings = blocks.load_config(names, rest)
    if options.core >= 0:
        print(json.dumps(measure(settings, options)))
        return 0
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise config.ConfigError(f"Two processes need two cores. Received: {cores}")
    times = {1: [], 2: []}
    for _ in tqdm(range(options.rounds), "one and two processes", unit="round"):
        for count, taken in times.items():
            taken += processes(argv, cores[:count])
    result = {f"processes_{n}_s": statistics.median(t) for n, t in times.items()}
    result["speedup"] = result["processes_1_s"] / result["processes_2_s"]
    result["parallel_efficiency"] = result["speedup"] / 2
    result["all_s"] = times
    report = json.dumps(result, indent=2)
    print(report)
    if options.json:
        pathlib.Path(options.json).write_text(report + "\n")
    return 0


def processes(argv: list[str], cores: list[int]) -> list[float]:
    """Returns seconds of each update by a process per core, as the first sees it."""
    started = []
    for core, told in zip(cores, workers.descriptions(len(cores)), strict=True):
        kind = "multiworker" if len(cores) > 1 else "none"
        command = [*argv, "--core", str(core), "--strategy", kind]
        started.append(
            subprocess.Popen(
                [sys.executable, __file__, *command],
                env={**os.environ, cluster.VARIABLE: told},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
    outputs = [process.communicate()[0] for process in started]
    return json.loads(outputs[0].splitlines()[-1])


def measure(settings, options) -> list[float]:
    """Returns the seconds of each update by this process and its peers."""
    os.sched_setaffinity(0, {options.core})  # TensorFlow creates a thread per core.

    import train_step

    from dreamerv2_transfer import agent
    from dreamerv2_transfer.common import envs, machine, updates

    machine.setup(settings)
    obs_space, act_space = train_step.spaces(settings)
    wm = agent.make_world_model(settings, obs_space, act_space)
    actions = envs.act_size(act_space["action"])
    tensors = train_step.random_batch(settings, obs_space, actions)
    batch = updates.numbers(tensors)
    run = updates.Updates(
        lambda batch, state: wm.train(batch, state)[::2],
        settings,
        pathlib.Path("."),
        source=lambda batch: "random",
        consume=lambda metrics, batch: None,
    )
    state, times = wm.rssm.initial(settings.dataset.batch), []
    for step in range(options.repeats + WARM_UP):
        start = time.perf_counter()
        state = run.run([batch], state, step)
        run.read()  # Waits for the device.
        times.append(time.perf_counter() - start)
    return times[WARM_UP:]


if __name__ == "__main__":
    sys.exit(cli.run(main))

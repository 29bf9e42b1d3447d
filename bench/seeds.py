"""Times the updates of several seeds at once, and of one seed that has the machine.

    python bench/seeds.py --configs minatar small --seeds 4 --json result.json

starts the processes of `train --seeds 4`, each with its share of the cores as threads,
and one more with all of them. In each round that one makes `repeats` whole updates, and
then all others make as many each, at the same time. With a GPU they share it.

`gain` is the updates a second of all seeds together over those of the one; `cpu_gain`
compares processor seconds an update, for a CPU that other programs use too.
"""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tqdm import tqdm

from dreamerv2_transfer.common import blocks, cli, flags
from dreamerv2_transfer.reproduction import processes

OPTIONS = {
    "json": "",
    "seeds": 4,
    "rounds": 5,
    "repeats": 10,  # Updates of a process in a round.
    "worker": False,  # Is one of the processes that the script starts.
}
WARM_UP = 2  # Untimed updates, which trace.


def main(argv: list[str]) -> int:
    names, rest = cli.split_configs(argv)
    options, rest = flags.Flags(OPTIONS).parse_known(rest)
    if options.worker:
        work(blocks.load_config(names, rest), options.repeats)
        return 0
    cores = len(os.sched_getaffinity(0))
    each = max(1, cores // options.seeds)
    one = [start(argv, cores)]
    many = [start(argv, each) for _ in range(options.seeds)]
    for process in one + many:
        process.stdout.readline()  # It is warm.
    alone, together = [], []
    for _ in tqdm(range(options.rounds), "one, then all", unit="round"):
        alone.append(measured(one, options.repeats))
        together.append(measured(many, options.repeats))
    for process in one + many:
        process.communicate()
    result = {
        "seeds": options.seeds,
        "gpus": len(processes.visible_gpus()),
        "cores": cores,
        "alone": summary(alone),
        "together": summary(together),
        "gain": ratio(together, alone, 0),
        "cpu_gain": 1 / ratio(together, alone, 1),
        "alone_all": alone,
        "together_all": together,
    }
    report = json.dumps(result, indent=2)
    print(report)
    if options.json:
        pathlib.Path(options.json).write_text(report + "\n")
    return 0


def start(argv: Sequence[str], threads: int) -> subprocess.Popen:
    """Starts a process that makes updates whenever it is told to."""
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    return subprocess.Popen(
        [sys.executable, __file__, *argv, "--worker", "True"],
        env={**os.environ, **dict.fromkeys(names, str(threads))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def measured(started: Sequence[subprocess.Popen], repeats: int) -> tuple[float, float]:
    """Returns updates a second of all processes, and processor seconds an update."""
    begin = time.perf_counter()
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    spent = [float(process.stdout.readline()) for process in started]
    updates = repeats * len(started)
    return updates / (time.perf_counter() - begin), sum(spent) / updates


def work(settings, repeats: int) -> None:
    """Makes updates for each line of the input, and prints their processor seconds."""
    import train_step

    from dreamerv2_transfer.common import machine

    print(machine.setup(settings), file=sys.stderr)
    agent, batch, _ = train_step.prepare(settings)
    state = agent.wm.rssm.initial(settings.dataset.batch)

    def update(count: int, state):
        for _ in range(count):
            state, metrics = agent.train(batch, state)
        float(metrics["model_loss"])  # Waits for the device.
        return state

    state = update(WARM_UP, state)
    print("warm", flush=True)
    for _ in sys.stdin:
        begin = time.process_time()
        state = update(repeats, state)
        print(time.process_time() - begin, flush=True)


def summary(rounds: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Returns the medians over the rounds."""
    speeds, spent = zip(*rounds, strict=True)
    return {
        "updates_a_second": statistics.median(speeds),
        "cpu_seconds_an_update": statistics.median(spent),
    }


def ratio(first: Sequence[tuple], second: Sequence[tuple], at: int) -> float:
    """Returns the median of the quotients of numbers that were measured in a round."""
    pairs = zip(first, second, strict=True)
    return statistics.median(x[at] / y[at] for x, y in pairs)


if __name__ == "__main__":
    sys.exit(cli.run(main))

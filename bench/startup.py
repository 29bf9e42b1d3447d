"""Times starts of `launch/train.py`, and measures the memory of a run.

    python bench/startup.py [--configs minatar] [--json FILE] [--precision 32 ...]

`first_update_s` is the time from the start of a fresh process to the line of
`metrics.jsonl` with the metrics of its first update, for `pretrain` and for `scratch`
(fine-tuning only adds a file of weights). The data exist before: a dataset of a few
thousand steps per game, and the `prefill` random steps of the replay.
`peak_gib_updates` is the peak resident memory until `--updates` updates are made, and
`peak_gib` until the end, after an evaluation, its videos and a checkpoint.

The first start after an installation or a reboot reads more from the disk. The result
has all `--repeats` starts and their median.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from tqdm import tqdm

from dreamerv2_transfer import collect
from dreamerv2_transfer.common import blocks, cli, envs, flags
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.data import collection

ROOT = pathlib.Path(__file__).resolve().parents[1]
COLLECTED = 5000  # Steps per game in the dataset.
INTERVAL = 0.02  # Seconds between two looks at the process.
GIB_IN_KIB = 2**20


def main(argv: list[str]) -> int:
    names, rest = cli.split_configs(argv)
    names = ["minatar"] if list(names) == ["defaults"] else list(names)
    options, rest = flags.Flags(json="", updates=5, repeats=3).parse_known(rest)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        prepare = {"pretrain": make_dataset, "scratch": make_replay}
        result = {"updates": options.updates}
        for stage, make in prepare.items():
            settings = blocks.load_config([*names, stage], rest)
            command = ["--configs", *names, stage, *rest, *make(settings, folder)]
            starts = [
                start(command, folder / stage, options.updates)
                for _ in tqdm(range(options.repeats), stage, unit="start")
            ]
            result[stage] = summary(starts)
    report = json.dumps(result, indent=2)
    print(report)
    if options.json:
        pathlib.Path(options.json).write_text(report + "\n")
    return 0


def make_dataset(settings, folder: pathlib.Path) -> list:
    """Collects the games to pre-train on, and returns the flags that name them."""
    recipes = {
        task: collection.Recipe(settings=envs.options(settings, task))
        for task in settings.tasks
    }
    collect.collect(folder / "dataset", recipes, steps=COLLECTED)
    return ["--dataset.directory", folder / "dataset"]


def make_replay(settings, folder: pathlib.Path) -> list:
    """Plays at random as an online run does first, and returns no flags."""
    task = settings.task
    collect.prefill(
        folder / "train_episodes",
        task,
        steps=int(settings.prefill),
        envs=settings.envs,
        seed=settings.seed,
        make_envs=functools.partial(
            envs.make_vector_env, task, **envs.run_options(settings, task)
        ),
        settings=envs.options(settings, task),
    )
    return []


def start(command: list, logdir: pathlib.Path, updates: int) -> dict[str, float]:
    """Trains in a new process and a new logdir, and returns what `watch` saw."""
    shutil.rmtree(logdir, ignore_errors=True)
    replay = logdir.parent / "train_episodes"
    if replay.exists():
        shutil.copytree(replay, logdir / "train_episodes")
    flags = ["--logdir", logdir, "--steps", updates, "--log_every", 1]
    output = logdir.parent / "output.txt"
    begin = time.perf_counter()
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "launch/train.py", *map(str, [*command, *flags])],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    seen = watch(process, logdir / "metrics.jsonl", begin, updates)
    if process.returncode or len(seen) < 3:
        raise UserError(f"The run failed. Its output: {output.read_text()[-2000:]}")
    return seen


def watch(process, metrics: pathlib.Path, begin: float, updates: int) -> dict:
    """Watches time and memory of a process until it ends."""
    seen = {"peak_gib": 0.0}
    while process.poll() is None:
        time.sleep(INTERVAL)
        seen["peak_gib"] = max(seen["peak_gib"], peak_gib(process.pid))
        logged = logged_updates(metrics)
        if logged:
            seen.setdefault("first_update_s", time.perf_counter() - begin)
        if logged >= updates:
            seen.setdefault("peak_gib_updates", seen["peak_gib"])
    return seen


def peak_gib(pid: int) -> float:
    """Returns the peak resident memory of a process; 0 once it has ended."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / GIB_IN_KIB if found else 0.0


def logged_updates(metrics: pathlib.Path) -> int:
    return metrics.read_text().count('"model_loss"') if metrics.exists() else 0


def summary(starts: list[dict[str, float]]) -> dict:
    """Returns the median of the seconds and the largest of the peaks."""
    seconds = [x["first_update_s"] for x in starts]
    return {
        "first_update_s": statistics.median(seconds),
        "first_update_s_all": seconds,
        "peak_gib_updates": max(x["peak_gib_updates"] for x in starts),
        "peak_gib": max(x["peak_gib"] for x in starts),
    }


if __name__ == "__main__":
    sys.exit(cli.run(main))

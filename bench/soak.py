"""Watches a run for hours: does its memory, or its number of files or threads, grow?

    python bench/soak.py --hours 2 --folder FOLDER --json soak.json -- \
        --configs minatar small scratch --steps 1e9 --replay.capacity 2e4

What follows `--` goes to `launch/train.py`. The run may fill its replay and its caches
during the first half; growth is the slope of the second half. It then gets a Ctrl-C and
must save and stop. The last line is the result as JSON; the exit status is 1 if the run
ended by itself or did not stop as it should.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import signal
import subprocess
import sys
import time

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import psutil

ROOT = pathlib.Path(__file__).parents[1]
MIB = 2**20
# What is counted, and its unit in the picture.
COUNTS = {
    "memory_mib": "MiB",
    "threads": "threads",
    "open_files": "open files",
    "processes": "processes",
    "logdir_files": "files of the run",
    "logdir_mib": "MiB of the run",
}
PATIENCE = 300  # Seconds in which the run has to stop.


def main(argv: list[str] | None = None) -> int:
    """Starts the run, watches it, stops it and prints what was found."""
    args = parse(argv)
    logdir = pathlib.Path(args.folder, "run")
    log_path = pathlib.Path(args.folder, "output.log")
    log_path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "launch/train.py", *args.run, "--logdir", str(logdir)]
    with open(log_path, "w") as log:
        run = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    samples = watch(run, logdir, args.hours * 3600, args.every)
    if not samples:
        sys.exit(f"The run ended before it logged anything; see {log_path}.")
    alone = run.poll() is not None
    if not alone:
        run.send_signal(signal.SIGINT)
        run.wait(PATIENCE)
    stopped = "Stopped at" in log_path.read_text()
    result = {
        "run": " ".join(args.run),
        "hours": samples[-1]["hours"],
        "updates": samples[-1]["step"],
        "ended_by_itself": alone,
        "stopped_when_asked": stopped,
        **{name: summary(samples, name) for name in COUNTS},
        "samples": samples,
    }
    print_table(result)
    if args.picture:
        draw(samples, args.picture)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "samples"}))
    return 0 if stopped and not alone else 1


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--every", type=float, default=30.0, help="seconds")
    parser.add_argument("--folder", required=True, help="new folder for the run")
    parser.add_argument("--json", help="where to write the result with all samples")
    parser.add_argument("--picture", help="where to draw the samples, such as soak.png")
    parser.add_argument("run", nargs="+", help="arguments of launch/train.py")
    return parser.parse_args(argv)


def watch(run: subprocess.Popen, logdir: pathlib.Path, seconds: float, every: float):
    """Samples the run from its first metrics on, for `seconds` or until it ends."""
    while run.poll() is None and not last_step(logdir / "metrics.jsonl"):
        time.sleep(1)
    start, samples = time.monotonic(), []
    while True:
        time.sleep(every)
        passed = time.monotonic() - start
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            taken = sample(psutil.Process(run.pid), logdir)
            samples.append({"hours": round(passed / 3600, 4), **taken})
            print(json.dumps(samples[-1]), flush=True)
        if passed >= seconds or run.poll() is not None:
            return samples


def sample(process: psutil.Process, logdir: pathlib.Path) -> dict[str, float]:
    """Returns the counts of a process and its children, and of its logdir.

    Memory is the proportional set size, which counts pages that processes share once.

    Raises:
        psutil.NoSuchProcess: One of the processes ended meanwhile.
    """
    taken = [
        (p.memory_full_info().pss, p.num_threads(), p.num_fds())
        for p in (process, *process.children(recursive=True))
        if p.status() != psutil.STATUS_ZOMBIE
    ]
    memory, threads, open_files = (sum(x) for x in zip(*taken, strict=True))
    files = [path.stat() for path in logdir.rglob("*") if path.is_file()]
    return {
        "step": last_step(logdir / "metrics.jsonl"),
        "memory_mib": round(memory / MIB, 1),
        "threads": threads,
        "open_files": open_files,
        "processes": len(taken),
        "logdir_files": len(files),
        "logdir_mib": round(sum(status.st_size for status in files) / MIB, 1),
    }


def last_step(metrics: pathlib.Path) -> int:
    """Returns the step of the last complete line of metrics, 0 before the first."""
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except json.JSONDecodeError:
            continue  # It is being written.
    return 0


def summary(samples: list[dict], name: str) -> dict[str, float]:
    """Returns start, middle, end and peak, and the growth of the second half."""
    values = np.array([x[name] for x in samples], float)
    hours = np.array([x["hours"] for x in samples])
    half = len(samples) // 2
    slope = np.polyfit(hours[half:], values[half:], 1)[0] if half > 1 else 0.0
    return {
        "first": values[0],
        "middle": values[half],
        "last": values[-1],
        "peak": values.max(),
        "growth_an_hour": round(float(slope), 2),
    }


def print_table(result: dict) -> None:
    """Prints what was counted as a Markdown table."""
    print(f"\n{result['updates']} updates in {result['hours']} hours\n")
    print("| | first | middle | last | peak | growth an hour, second half |")
    print("|---|---|---|---|---|---|")
    for name, unit in COUNTS.items():
        cells = " | ".join(f"{value:g}" for value in result[name].values())
        print(f"| {unit} | {cells} |")
    print()


def draw(samples: list[dict], path: str) -> None:
    """Draws each count over time."""
    figure, axes = plt.subplots(2, 3, figsize=(10, 5), sharex=True, layout="tight")
    for axis, (name, unit) in zip(axes.flat, COUNTS.items(), strict=True):
        axis.plot([x["hours"] for x in samples], [x[name] for x in samples])
        axis.set_title(unit, fontsize=10)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("hours")
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())

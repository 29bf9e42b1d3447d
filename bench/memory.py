"""Measures whether a dataset of four times its memory cap stays under the cap.

    python bench/memory.py [--folder FOLDER] [--game atari] [--cap 0.25] [--times 4]

Writes episodes of made-up frames, then opens and samples them in fresh processes, with
and without the cap, which keep freed memory as training does. It reports the peak
resident memory beyond that of the imports, batches a second from the kernel's file
cache, the CPU time of a batch, which other work on the machine changes less, and what
is read from the disk once that cache is dropped. The last line is the result as JSON;
the exit status is 1 if the cap was exceeded or the batches differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import pathlib
import resource
import sys
import tempfile
import time
from concurrent import futures

import numpy as np

from dreamerv2_transfer.common import config
from dreamerv2_transfer.common.files import memory
from dreamerv2_transfer.common.replay import offline, packed, store

MIB = 2**20
TASK = "made_up"
BATCHES = {"16x32": (16, 32), "16x50": (16, 50)}
# Steps per episode, and bytes per packed step.
GAMES = {"atari": (2000, 4096 + 1 + 4 + 2), "minatar": (200, 125 + 1 + 4 + 2)}


def main() -> int:
    """Writes the dataset, measures both ways and prints."""
    args = parse()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        write_dataset(pathlib.Path(folder), args)
        result = {}
        for name, cap in {"capped": args.cap, "uncapped": 0.0}.items():
            with futures.ProcessPoolExecutor(1, spawn) as fresh:
                task = fresh.submit(measure, folder, name, cap, args.seconds)
                result[name] = task.result()
            print(name, json.dumps(result[name]), flush=True)
    return report(result, args.cap * 1024)


def parse() -> argparse.Namespace:
    """Reads the command line; the defaults take about two minutes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", help="where to write; by default the system's")
    parser.add_argument("--game", choices=GAMES, default="atari")
    parser.add_argument("--cap", type=float, default=0.25, help="GiB")
    parser.add_argument("--times", type=float, default=4.0, help="dataset / cap")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="of each measurement"
    )
    return parser.parse_args()


def report(result: dict, cap_mib: float) -> int:
    """Prints the comparison, and returns the exit status."""
    capped, uncapped = result["capped"], result["uncapped"]
    peaks = [capped[key] for key in capped if key.endswith("_peak_mib")]
    same = capped["digest"] == uncapped["digest"]
    held = max(peaks) <= cap_mib
    speeds = {
        f"speed_ratio_{name}": capped[f"batches_s_{name}"]
        / uncapped[f"batches_s_{name}"]
        for name in BATCHES
    }
    speeds |= {
        f"cpu_ratio_{name}": uncapped[f"cpu_ms_{name}"] / capped[f"cpu_ms_{name}"]
        for name in BATCHES
    }
    summary = {"cap_mib": cap_mib, "cap_held": held, "same_batches": same, **speeds}
    print(json.dumps({**summary, **result}))
    return 0 if held and same else 1


def write_dataset(folder: pathlib.Path, args: argparse.Namespace) -> None:
    """Writes episodes that take `times` the cap once they are packed."""
    length, step_bytes = GAMES[args.game]
    count = round(args.cap * args.times * 2**30 / (length * step_bytes))
    start = time.perf_counter()
    (folder / "data" / TASK).mkdir(parents=True)
    for number in range(count):
        store.save_episode(folder / "data" / TASK, episode(args.game, length, number))
    seconds = time.perf_counter() - start
    print(f"wrote {count} episodes of {length} steps in {seconds:.0f} s", flush=True)


def episode(game: str, length: int, number: int) -> dict[str, np.ndarray]:
    """Returns frames that compress like a game's: a background and a moving patch."""
    rng = np.random.default_rng(number)
    if game == "minatar":
        image = rng.random((length, 10, 10, 10)) < 0.05
    else:
        image = np.repeat(rng.integers(0, 256, (1, 64, 64, 1), np.uint8), length, 0)
        for time_, top in enumerate(rng.integers(0, 56, length)):
            image[time_, top : top + 8] = rng.integers(0, 256, (8, 64, 1), np.uint8)
    last = np.arange(length) == length - 1
    action = np.eye(18, dtype=np.float32)[rng.integers(18, size=length)]
    action[0] = 0
    flags = {"is_first": last[::-1], "is_last": last, "is_terminal": last}
    reward = rng.random(length).astype(np.float32)
    return {"image": image, "action": action, "reward": reward, **flags}


def measure(folder: str, name: str, cap: float, seconds: float) -> dict:
    """Opens, opens again and samples in a fresh process, each with its own peak."""
    memory.keep_freed()
    root = pathlib.Path(folder)
    settings = config.Config(
        {
            "seed": 0,
            "task_weights": [1.0],
            "task_embed": {"size": 0},
            "dataset": {
                "batch": 16,
                "length": 50,
                "holdout": 20,
                "memory": cap,
                "draw": "episodes",
                "rewarded": 0.0,
            },
            "replay": {"minlen": 50, "maxlen": 50, "prioritize_ends": True},
        }
    )
    base = resident("VmRSS")
    result = {"imports_mib": round(base, 1)}
    for phase in ("build", "open"):
        tasks = None  # Frees the arrays of the first opening before the second.
        forget_peak()
        start = time.perf_counter()
        tasks = packed.open_dataset(
            root / "data", [TASK], root / name, memory=offline.memory_cap(settings)
        )
        result[f"{phase}_s"] = round(time.perf_counter() - start, 2)
        result[f"{phase}_peak_mib"] = round(resident("VmHWM") - base, 1)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    result["largest_child_mib"] = round(children, 1)
    result["dataset_mib"] = round(sum(x.nbytes for x in tasks.values()) / MIB, 1)
    forget_peak()
    read_all(tasks)
    result |= sample(settings, tasks, seconds)
    result["sample_peak_mib"] = round(resident("VmHWM") - base, 1)
    result["after_sampling_mib"] = {
        kind: round(resident(kind), 1) for kind in ("VmRSS", "RssAnon", "RssFile")
    }
    return result | (read_cold(settings, tasks, root / name) if cap else {})


def read_all(tasks: dict) -> None:
    """Reads each row once, so that checksums are compared, as early in a long run."""
    for task in tasks.values():
        for array in task.arrays.values():
            for start in range(0, task.offsets[-1], 4096):
                array[start : start + 4096]


def sample(settings: config.Config, tasks: dict, seconds: float) -> dict:
    """Returns batches a second of each size, and a digest of the first ones."""
    result, digest = {}, hashlib.blake2b(digest_size=8)
    for name, (batch, length) in BATCHES.items():
        options = {"dataset.batch": batch, "dataset.length": length}
        dataset = offline.make_dataset(settings.update(options), tasks)
        for _ in range(20):
            for key, values in sorted(dataset.next().items()):
                digest.update(key.encode() + values.tobytes())
        count, start, busy = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < seconds:
            dataset.next()
            count += 1
        rate = count / (time.perf_counter() - start)
        result[f"batches_s_{name}"] = round(rate, 1)
        result[f"cpu_ms_{name}"] = round((time.process_time() - busy) * 1e3 / count, 3)
    return {**result, "digest": digest.hexdigest()}


def read_cold(settings: config.Config, tasks: dict, index: pathlib.Path) -> dict:
    """Returns what a batch reads from the disk once the file cache is dropped."""
    dataset = offline.make_dataset(settings, tasks)
    for path in index.rglob("*.npy"):
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)  # Only pages that are on the disk can be dropped.
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)
    before, start, count = disk_bytes(), time.perf_counter(), 100
    asked = sum(
        x.nbytes for _ in range(count) for k, x in dataset.next().items() if k != "task"
    )
    rate = count / (time.perf_counter() - start)
    return {
        "cold_batches_s": round(rate, 1),
        "cold_disk_kib_a_batch": round((disk_bytes() - before) / count / 1024, 1),
        "unpacked_kib_a_batch": round(asked / count / 1024, 1),
    }


def resident(kind: str) -> float:
    """Returns MiB of this process: `VmRSS`, its parts, or the peak `VmHWM`."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(kind)


def forget_peak() -> None:
    """Resets `VmHWM` to the memory that is resident now."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def disk_bytes() -> int:
    """Returns the bytes that this process has read from the disk."""
    lines = pathlib.Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


if __name__ == "__main__":
    sys.exit(main())

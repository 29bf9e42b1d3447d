"""Kills runs at named moments, and compares what they end with to an uninterrupted run.

    python bench/kills.py --kills 100 --folder FOLDER --json kills.json

A moment is the writing of a file of the run, which inotify reports: the process and its
children get SIGKILL within a millisecond. Then the same command starts again, is killed
at another moment, and so on; after a few kills it may finish. What it leaves must have
the bits of the uninterrupted run: metrics, weights, the last checkpoint, episodes. The
same command resumes a trial that was stopped. The last line is the result as JSON; the
exit status is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import fnmatch
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import inotify_simple
import numpy as np
import tensorflow as tf
import workers
from inotify_simple import flags

ROOT = pathlib.Path(__file__).parents[1]
# Appearing under a name, by creation or by renaming; and being written to.
APPEARS = flags.CREATE | flags.MOVED_TO
MOMENTS = {
    "configuration written": (APPEARS, "config.yaml"),
    "episode begun": (APPEARS, "*.npz.*.tmp"),
    "episode in place": (APPEARS, "*-*.npz"),
    "metrics logged": (flags.MODIFY, "metrics.jsonl"),
    "event file written": (flags.MODIFY, "events.*"),
    "checkpoint begun": (APPEARS, "checkpoints/*"),
    "checkpoint's data in place": (APPEARS, "checkpoints/ckpt-*.data-*"),
    "checkpoint's index in place": (APPEARS, "checkpoints/ckpt-*.index"),
    "checkpoint named": (APPEARS, "checkpoints/checkpoint"),
    "old checkpoint removed": (flags.DELETE, "checkpoints/ckpt-*.index"),
    "weights begun": (APPEARS, "*.weights.h5.*.tmp"),
    "weights in place": (APPEARS, "*.weights.h5"),
    "manifest in place": (APPEARS, "*manifest.json"),
    "dataset packed": (APPEARS, "*.packed/*"),
}
SMALL = ("--dataset.batch", "4", "--dataset.length", "6", "--video.rows", "1")
STEPS = ("--steps", "14", "--log_every", "1", "--eval_every", "4")
EVERY = ("--checkpoint_every", "3")
DEBUG = ("--configs", "minatar", "debug")
GAMES = ("--tasks", "minatar_breakout,minatar_asterix", "--collect.steps", "120")
PATIENCE = 300  # Seconds that a process may take.


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of run.

    Attributes:
        script: The script of launch/.
        args: Its arguments.
        moments: The moments that such a run has.
        workers: The number of its processes; several read a dataset made before.
    """

    script: str
    args: tuple[str, ...]
    moments: tuple[str, ...]
    workers: int = 1


PLAY = ("episode begun", "episode in place")
TRAIN = tuple(x for x in MOMENTS if x not in (*PLAY, "manifest in place"))
OFFLINE = ("pretrain", *GAMES, *SMALL, *STEPS, *EVERY)
KINDS = {
    "offline": Kind("train", (*DEBUG, *OFFLINE), tuple(MOMENTS)),
    "online": Kind(
        "train",
        (*DEBUG, "scratch", *SMALL, *STEPS, *EVERY, "--prefill", "60"),
        (*PLAY, *(x for x in TRAIN if x != "dataset packed")),
    ),
    "dqn": Kind(
        "train_dqn",
        (*DEBUG, "dqn", "--task", "minatar_breakout", "--steps", "1100")
        + ("--log_every", "100", "--eval_every", "500", "--checkpoint_every", "200"),
        tuple(x for x in TRAIN if x != "dataset packed"),
    ),
    "collection": Kind(
        "collect",
        (*DEBUG, "collect", "--collect.steps", "1500"),
        (*PLAY, "manifest in place"),
    ),
    "multiworker": Kind(
        "train",
        (*DEBUG, *OFFLINE, "--jit", "True", "--strategy", "multiworker"),
        TRAIN,
        workers=2,
    ),
}


class Trial:
    """Kills of one kind of run, recorded in a file line by line.

    Args:
        kind: The name of the kind.
        folder: Holds the runs, and the record.
        a_chain: Kills before a run may finish.
        seed: Draws moments and their number.
    """

    def __init__(self, kind: str, folder: pathlib.Path, a_chain: int, seed: int):
        self._kind, self._name, self._folder = KINDS[kind], kind, folder / kind
        self._a_chain = a_chain
        self._seed = seed
        self._record = self._folder / "kills.jsonl"
        self._whole: dict[str, str] = {}

    def lines(self) -> list[dict]:
        """Returns what was recorded: a line a chain."""
        text = self._record.read_text() if self._record.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def run(self, kills: int) -> None:
        """Runs chains until at least `kills` kills are recorded."""
        whole = self._folder / "whole"
        if not (self._folder / "whole.done").exists():
            shutil.rmtree(whole, ignore_errors=True)
            if self._kind.workers > 1:
                collect = (*DEBUG, "collect", *GAMES)
                finish([start("collect", [*collect, *self._dataset()])], whole)
            finish(self._start(whole), whole)
            (self._folder / "whole.done").touch()
        self._whole = fingerprint(whole)
        while (done := sum(len(x["moments"]) for x in self.lines())) < kills:
            chain = self._chain(len(self.lines()))
            with open(self._record, "a") as file:
                file.write(json.dumps(chain) + "\n")
            done += len(chain["moments"])
            print(
                f"{self._name}: {done} kills, differs: {chain['differs']}", flush=True
            )

    def _chain(self, number: int) -> dict:
        """Kills a new run several times, lets it finish, and compares it."""
        rng = np.random.default_rng([self._seed, number])
        logdir = self._folder / f"killed_{number}"
        shutil.rmtree(logdir, ignore_errors=True)
        killed = []
        for moment in map(str, rng.choice(self._kind.moments, self._a_chain)):
            if not self._kill(logdir, moment, int(rng.integers(1, 4)), rng):
                break  # The run finished before.
            killed.append(moment)
        finish(self._start(logdir), logdir)
        found = fingerprint(logdir)
        names = sorted(self._whole.keys() | found.keys())
        differs = [x for x in names if self._whole.get(x) != found.get(x)]
        left = [str(p.relative_to(logdir)) for p in logdir.rglob("*.tmp")]
        if not differs:
            shutil.rmtree(logdir)
        return {"moments": killed, "differs": differs, "left_over": left}

    def _kill(self, logdir: pathlib.Path, moment: str, occurrence: int, rng) -> bool:
        """Starts the run and kills it at a moment; whether the moment came."""
        logdir.mkdir(parents=True, exist_ok=True)
        with Watch(logdir, *MOMENTS[moment]) as watch:
            processes = self._start(logdir)
            for _ in range(occurrence):
                came = watch.wait(processes)
            if came:
                os.killpg(processes[rng.integers(len(processes))].pid, signal.SIGKILL)
            for process in processes:
                output, _ = process.communicate(timeout=PATIENCE)
                # The other processes of a killed one have to end with a sentence.
                if "Traceback" in output:
                    print(output)
        return came

    def _dataset(self) -> list[str]:
        return ["--dataset.directory", str(self._folder / "dataset")]

    def _start(self, logdir: pathlib.Path) -> list[subprocess.Popen]:
        """Starts the processes of the run."""
        if self._name == "collection":
            args = [*self._kind.args, "--dataset.directory", str(logdir)]
        else:
            args = [*self._kind.args, "--logdir", str(logdir)]
        if self._kind.workers == 1:
            return [start(self._kind.script, args)]
        args += self._dataset()
        return [
            start(self._kind.script, args, TF_CONFIG=told)
            for told in workers.descriptions(self._kind.workers)
        ]


def start(script: str, args: list[str], **environment: str) -> subprocess.Popen:
    """Starts a script of launch/ as the head of a group of processes."""
    return subprocess.Popen(
        [sys.executable, f"launch/{script}.py", *args],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(processes: list[subprocess.Popen], logdir: pathlib.Path) -> None:
    """Lets a run finish."""
    for process in processes:
        output, _ = process.communicate(timeout=PATIENCE)
        if process.returncode:
            sys.exit(f"{logdir} ended with {process.returncode}:\n{output}")


class Watch:
    """Waits for files of a folder, and of those within, that match a pattern.

    Args:
        folder: The folder.
        events: What has to happen to a file.
        pattern: The end of its path, as `fnmatch` reads it.
    """

    def __init__(self, folder: pathlib.Path, events: flags, pattern: str):
        self._events, self._pattern = events, pattern
        self._inotify = inotify_simple.INotify()
        self._folders: dict[int, pathlib.Path] = {}
        for _ in self._add(folder):
            pass

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_) -> None:
        self._inotify.close()

    def wait(self, processes: list[subprocess.Popen]) -> bool:
        """Waits for the next match; False if a process ended before."""
        deadline = time.monotonic() + PATIENCE
        while all(p.poll() is None for p in processes):
            if time.monotonic() > deadline:
                raise TimeoutError(f"Nothing happened to {self._pattern}.")
            for event in self._inotify.read(timeout=200):
                path = self._folders[event.wd] / event.name
                new = [path]
                if event.mask & flags.ISDIR and event.mask & APPEARS:
                    new += self._add(path)
                if event.mask & self._events and any(map(self._matches, new)):
                    return True
        return False

    def _add(self, folder: pathlib.Path) -> Iterator[pathlib.Path]:
        """Watches a folder; yields what came into it before."""
        try:
            descriptor = self._inotify.add_watch(
                folder, APPEARS | flags.MODIFY | flags.DELETE
            )
            self._folders[descriptor] = folder
            for path in folder.iterdir():
                yield path
                if path.is_dir():
                    yield from self._add(path)
        except FileNotFoundError:
            pass  # It was a temporary folder.

    def _matches(self, path: pathlib.Path) -> bool:
        return fnmatch.fnmatch(path, f"*/{self._pattern}")


def fingerprint(run: pathlib.Path) -> dict[str, str]:
    """Returns digests of all that an interruption must not change."""
    found = {}
    metrics = run / "metrics.jsonl"
    if metrics.exists():
        rows = [json.loads(line) for line in metrics.read_text().splitlines()]
        found["metrics"] = digest(
            [json.dumps({k: v for k, v in x.items() if k != "fps"}) for x in rows]
        )
    for path in run.glob("*.weights.h5"):
        found[path.name] = digest(weights(path))
    if prefix := tf.train.latest_checkpoint(run / "checkpoints"):
        reader = tf.train.load_checkpoint(prefix)
        names = sorted(reader.get_variable_to_shape_map())
        arrays = [(name, reader.get_tensor(name)) for name in names]
        found[pathlib.Path(prefix).name] = digest(
            [(name, np.asarray(array).tobytes()) for name, array in arrays]
        )
    episodes = collections.defaultdict(list)
    for path in run.rglob("*-*.npz"):
        with np.load(path) as arrays:
            content = digest([(k, arrays[k].tobytes()) for k in sorted(arrays)])
        # The name begins with the time of writing.
        episodes[str(path.parent.relative_to(run))].append((path.name[15:], content))
    return found | {name: digest(sorted(x)) for name, x in episodes.items()}


def weights(path: pathlib.Path) -> list[tuple[str, bytes]]:
    """Returns names and bits of all arrays of a file."""
    found = []
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.append((name, item[()].tobytes()))
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return found


def digest(parts: list) -> str:
    """Returns a short digest of what `repr` prints."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def table(chains: dict[str, list[dict]]) -> str:
    """Returns the kills of each moment and kind as a Markdown table."""
    lines = [
        f"| killed when | {' | '.join(chains)} |",
        "|---" * (len(chains) + 1) + "|",
    ]
    for moment in MOMENTS:
        counts = [sum(x["moments"].count(moment) for x in c) for c in chains.values()]
        lines.append(f"| {moment} | " + " | ".join(str(x or "") for x in counts) + " |")
    rows = {
        "**kills**": [sum(len(x["moments"]) for x in c) for c in chains.values()],
        "**runs that finished**": [len(c) for c in chains.values()],
        "**of these not bit for bit the same**": [
            sum(bool(x["differs"]) for x in c) for c in chains.values()
        ],
        "**with temporary files left over**": [
            sum(bool(x["left_over"]) for x in c) for c in chains.values()
        ],
    }
    lines += [f"| {k} | " + " | ".join(map(str, v)) + " |" for k, v in rows.items()]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Kills runs of each kind, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="in all, at least")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--a_chain", type=int, default=5, help="kills before a finish")
    parser.add_argument("--folder", required=True, help="where the runs go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="where to write the result")
    args = parser.parse_args(argv)
    chains = {}
    for kind in args.kinds:
        folder = pathlib.Path(args.folder).absolute()
        (folder / kind).mkdir(parents=True, exist_ok=True)
        trial = Trial(kind, folder, args.a_chain, args.seed)
        trial.run(-(-args.kills // len(args.kinds)))
        chains[kind] = trial.lines()
    print(table(chains))
    all_ = [x for c in chains.values() for x in c]
    result = {
        "kills": sum(len(x["moments"]) for x in all_),
        "runs": len(all_),
        "differ": sum(bool(x["differs"]) for x in all_),
        "left_over": sum(bool(x["left_over"]) for x in all_),
    }
    if args.json:
        pathlib.Path(args.json).write_text(
            json.dumps({**result, "chains": chains}, indent=1) + "\n"
        )
    print(json.dumps(result))
    return 1 if result["differ"] else 0


if __name__ == "__main__":
    sys.exit(main())

"""Compares the offline loader with a loop that works like the original's generator.

    python bench/loader.py [--directory DATASET] [--batch 32] [--length 48]

Without a dataset it collects a small one. Both loaders draw from the same episodes, in
one thread and one run; the last line is the ratio of their speeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np

from dreamerv2_transfer import collect
from dreamerv2_transfer.common.replay import offline, packed
from dreamerv2_transfer.data import collection

GAMES = [f"minatar_{game}" for game in ("asterix", "breakout", "freeway", "seaquest")]


def main() -> None:
    """Parses the arguments, measures and prints."""
    args = parse()
    with tempfile.TemporaryDirectory() as scratch:
        directory = args.directory or scratch
        if not args.directory:
            start = time.perf_counter()
            recipes = dict.fromkeys(args.tasks, collection.Recipe())
            collect.collect(directory, recipes, steps=args.steps)
            report("collected_steps_s", args.steps * len(args.tasks), start)
        start = time.perf_counter()
        tasks = packed.open_dataset(directory, args.tasks)
        print(f"opened in {time.perf_counter() - start:.2f} s")
        result = measure(tasks, args)
    print(json.dumps(result))
    print(f"loader / plain loop: {result['ratio']:.1f}")


def parse() -> argparse.Namespace:
    """Reads the command line; the defaults are those of the block `minatar`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--directory", help="dataset; collected by default")
    parser.add_argument("--tasks", nargs="+", default=GAMES)
    parser.add_argument("--steps", type=int, default=20_000, help="to collect per task")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=48)
    parser.add_argument("--minlen", type=int, default=1)
    parser.add_argument("--maxlen", type=int, default=48)
    parser.add_argument("--draw", default="episodes", help="of our loader alone")
    parser.add_argument("--rewarded", type=float, default=0.0, help="likewise")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="of each measurement"
    )
    return parser.parse_args()


def report(name: str, amount: float, start: float) -> None:
    """Prints an amount per second."""
    print(f"{name}: {amount / (time.perf_counter() - start):.0f}")


def measure(tasks: dict[str, packed.PackedEpisodes], args: argparse.Namespace) -> dict:
    """Returns the speeds of both loaders, and the memory of the packed episodes."""
    sizes = dict(minlen=args.minlen, maxlen=args.maxlen, prioritize_ends=True)
    dataset = offline.OfflineDataset(
        tasks,
        batch=args.batch,
        length=args.length,
        draw=args.draw,
        rewarded=args.rewarded,
        **sizes,
    )
    fast = batches_a_second(dataset.next, args.seconds)
    plain = PlainLoop(tasks, args.batch, args.length, **sizes)
    slow = batches_a_second(plain.next, args.seconds)
    steps = sum(x.steps for x in tasks.values())
    size = sum(x.nbytes for x in tasks.values())
    return {
        "batches_s": round(fast, 1),
        "steps_s": round(fast * args.batch * args.length),
        "plain_batches_s": round(slow, 1),
        "ratio": round(fast / slow, 2),
        "mib_a_million_steps": round(size / steps * 1e6 / 2**20, 1),
    }


def batches_a_second(draw: Callable[[], dict], seconds: float) -> float:
    """Returns calls a second, over the given time."""
    draw()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        draw()
        count += 1
    return count / (time.perf_counter() - start)


class PlainLoop:
    """Draws one piece at a time from unpacked episodes, concatenates and stacks.

    It unpacks at most 2,000 episodes per task, which makes it no slower.
    """

    def __init__(self, tasks, batch, length, minlen, maxlen, prioritize_ends):
        self._episodes = [
            [x.episode(i) for i in range(min(len(x), 2000))] for x in tasks.values()
        ]
        self._rng = np.random.RandomState(0)
        self._minlen, self._maxlen = minlen, maxlen
        self._upper = 1 + (minlen if prioritize_ends else 0)
        number = range(len(self._episodes))
        self._rows = [self._chunks(i % len(number), length) for i in range(batch)]

    def next(self) -> dict[str, np.ndarray]:
        """Returns a batch, each row from one game."""
        rows = [next(row) for row in self._rows]
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}

    def _chunks(self, game: int, length: int) -> Iterator[dict[str, np.ndarray]]:
        piece = self._piece(game)
        while True:
            parts, missing = [], length
            while missing:
                parts.append({k: v[:missing] for k, v in piece.items()})
                piece = {k: v[missing:] for k, v in piece.items()}
                missing -= len(parts[-1]["action"])
                if not len(piece["action"]):
                    piece = self._piece(game)
            yield {k: np.concatenate([p[k] for p in parts]) for k in piece}

    def _piece(self, game: int) -> dict[str, np.ndarray]:
        episode = self._episodes[game][self._rng.randint(len(self._episodes[game]))]
        total = len(episode["action"])
        length = min(total, self._maxlen or total) - self._rng.randint(self._minlen)
        length = max(self._minlen, length)
        start = self._rng.randint(total - length + self._upper)
        start = min(start, total - length)
        piece = {k: np.array(v[start : start + length]) for k, v in episode.items()}
        piece["is_first"] = np.arange(length) == 0
        return piece


if __name__ == "__main__":
    main()

"""Executes all exported steps on a GPU, and writes what it measured as one JSON file.

    python bench/gpu/run_all.py --authors CHECKOUT --to result.json

needs a Python with jax for the GPU, numpy and ml_dtypes, without TensorFlow and without
a network, and for the authors' step PyTorch, pyyaml and a checkout of
https://github.com/JonaSchulz/pydreamer; without --authors that step is left out, and
--authors_python names another Python for it.

All programs compile side by side, one process each. Then one after the other is timed
while the rest wait (see turns.py). The file has for each step its seconds (waited for
one by one, and together as in training), the share of the measured peak of matrix
products, the seconds of compiling, memory, a profile of the kernels, and whether all
numbers are finite. The world model's first step in float32 is also computed by the
processor, and compared. The file is written again after each turn, so that it has what
was measured even if the run is stopped. After --limit seconds whatever is left is given
up, and named under `failed`.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
COMPILING = 0.65  # Share of the limit after which what is ready is timed.
COMPARED = "32.wm"  # The step that the processor computes too.


class Process:
    """A script that takes its turn.

    Args:
        script: Its name.
        args: Its arguments.
        python: The Python that runs it.
        environment: Added to this process' own.
        log: The file for what it prints besides its answers.
    """

    def __init__(
        self,
        script: str,
        args: list,
        python: str,
        environment: dict[str, str],
        log: pathlib.Path,
    ):
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [python, str(HERE / script), *map(str, args)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **environment},
            )

    def read(self) -> dict:
        """Waits for the next answer."""
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(self._log.read_text()[-2000:])
        return json.loads(line)

    def take_turn(self) -> dict:
        """Lets it measure, and returns the result."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("now\n")
            self._process.stdin.flush()
        return self.read()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def main() -> int:
    options = parse()
    begin = time.monotonic()
    result = {"failed": {}, "steps": {}, "processor": {}, "authors": {}}

    def left(share: float = 1.0) -> float:
        return max(1.0, begin + share * options.limit - time.monotonic())

    with tempfile.TemporaryDirectory() as logs, contextlib.ExitStack() as stack:
        pool = concurrent.futures.ThreadPoolExecutor(64)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        started = start(options, pathlib.Path(logs))
        for process in started.values():
            stack.callback(process.stop)
        ready = {name: pool.submit(p.read) for name, p in started.items()}
        concurrent.futures.wait(ready.values(), timeout=left(COMPILING))
        for name, process in started.items():
            try:
                told = ready[name].result(timeout=0)
                turn = pool.submit(process.take_turn)
                keep(result, name, {**told, **turn.result(timeout=left())})
            except (TimeoutError, RuntimeError, ValueError) as error:
                result["failed"][name] = str(error) or "not ready in time"
            process.stop()
            result["seconds"] = time.monotonic() - begin
            summarize(result, options.exported)
            options.to.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return 1 if result["failed"] else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    path = pathlib.Path
    parser.add_argument("--exported", type=path, default=HERE / "exported")
    parser.add_argument("--authors", type=path, help="a checkout of pydreamer")
    parser.add_argument("--authors_python", default=sys.executable)
    parser.add_argument("--to", type=path, default=path("gpu.json"))
    parser.add_argument("--platform", default="gpu", choices=("gpu", "cpu"))
    parser.add_argument("--steps", type=int, default=20, help="timed steps")
    parser.add_argument("--peak_size", type=int, default=8192)
    parser.add_argument("--limit", type=float, default=460, help="seconds in all")
    return parser.parse_args()


def start(options: argparse.Namespace, logs: pathlib.Path) -> dict[str, Process]:
    """Starts all processes, in the order of their turns."""
    shared = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # Of the GPU's memory.
    processor = {"JAX_PLATFORMS": "cpu"}
    on_device = processor if options.platform == "cpu" else shared

    def process(
        name: str,
        script: str,
        args: list,
        environment: dict,
        python: str = sys.executable,
    ) -> None:
        log = logs / name.replace("/", "_")
        started[name] = Process(script, args, python, environment, log)

    started: dict[str, Process] = {}
    size = [options.platform, options.peak_size]
    process("peak", "peak.py", size, on_device)
    files = sorted(options.exported.glob("*/*.mlir.gz"))
    paths = {f"{x.parent.name}/{x.name.removesuffix('.mlir.gz')}": x for x in files}
    for name in paths:
        args = [options.exported / name, options.platform, options.steps, "--profile"]
        process(f"steps/{name}", "step.py", args, on_device)
    for folder in {x.parent for x in files if options.authors}:
        args = [folder, options.authors, options.steps]
        own = options.authors_python
        process(f"authors/{folder.name}", "authors.py", args, {}, own)
    for name in paths:
        if name.endswith(f"/{COMPARED}"):
            args = [options.exported / name, "cpu", 0]
            process(f"processor/{name}", "step.py", args, processor)
    return started


def keep(result: dict, name: str, found: dict) -> None:
    kind, _, what = name.partition("/")
    if what:
        result[kind][what] = found
    else:
        result[kind] = found


def summarize(result: dict, exported: pathlib.Path) -> None:
    """Adds the ratios of what has been measured."""
    for name, step in result["steps"].items():
        told = json.loads(pathlib.Path(exported, f"{name}.json").read_text())
        step["tflops"] = told["gflop"] / 1e3 / step["seconds"]
        if peak := result.get("peak", {}).get(told["dtype"]):
            step["share_of_peak"] = step["tflops"] / peak
        size, _, rest = name.partition("/")
        kind = rest.partition(".")[2]
        if theirs := result["authors"].get(size, {}).get(kind):
            step["times_as_fast_as_the_authors"] = theirs["seconds"] / step["seconds"]
        if reference := result["processor"].get(name):
            step["difference"] = difference(step["numbers"][0], reference["numbers"][0])


def difference(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    """Returns how far the first step's numbers are from the processor's, relatively."""
    return {
        name: abs(ours[name] - value) / max(abs(value), 1e-6)
        for name, value in theirs.items()
    }


def table(result: dict) -> str:
    """Returns the result as a few lines."""
    lines = [f"{'step':24}{'ms':>9}{'steps/s':>9}{'peak':>7}{'compile':>9}{'x':>7}"]
    for name, step in result["steps"].items():
        numbers = (
            f"{step['seconds'] * 1e3:9.2f}",
            f"{step['steps_a_second']:9.1f}",
            f"{step.get('share_of_peak', 0):7.1%}",
            f"{step['compile_seconds']:8.0f}s",
            f"{step.get('times_as_fast_as_the_authors', 0):7.1f}",
        )
        lines.append(f"{name:24}{''.join(numbers)}")
    for name, reason in result["failed"].items():
        lines.append(f"{name} failed: {reason.splitlines()[-1]}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

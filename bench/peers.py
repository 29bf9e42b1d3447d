"""Times training steps against the original DreamerV2's and the paper authors'.

    python bench/peers.py --configs atari --precision bf16 --original PYTHON
    python bench/peers.py --configs minatar --authors CHECKOUT --authors_python PYTHON

--original is the Python of an environment with `dreamerv2==2.2.0` and today's
TensorFlow, see tests/golden/record.py. It has convolutions for images of 64x64 alone.
It runs in its own way, as one `tf.function` without XLA, in float32 or, with
`--original_precision 16`, in its mixed float16, which is meant for a GPU.

--authors is a checkout of https://github.com/JonaSchulz/pydreamer, and --authors_python
a Python with PyTorch. It runs in its own way too, in float32, on the GPU if there is
one.

All get a random batch of the same shapes, at the sizes of this project's
configuration. World model, actor and critic are a `whole` step, the world model alone
is `wm`. Each project has its own process, and their steps alternate: one waits while
the others have all cores. The first two turns are not timed. `ratios` are seconds of
the other over ours, by the medians and by the fastest steps of all rounds. The losses
of the first step show that the original does the same work.

A run on a busy machine counts for nothing, and says so in `busy`: others wait for the
cores when it starts, or the fastest matrix product differs by more than a tenth between
the rounds.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import train_step
from peer_answers import timed
from tqdm import tqdm

from dreamerv2_transfer.common import blocks, cli, flags, machine, tfutils
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.ops import flops

BENCH = pathlib.Path(__file__).resolve().parent
GOLDEN = BENCH.parent / "tests" / "golden"
KINDS = ("whole", "wm")
WARM_UP = 2  # Untimed turns, which trace the graphs.
MOST_LOAD = 0.5  # Processes of others that wait for a core or have one.
MOST_DRIFT = 0.1  # Of the fastest product, between the rounds.
# Makes a step of a kind; returns its seconds and its loss.
Step = Callable[[str], tuple[float, float]]


class PeerError(UserError):
    """Another project cannot run, or not at this size."""


def main(argv: list[str]) -> int:
    load = os.getloadavg()[0]
    names, rest = cli.split_configs(argv)
    options, rest = flags.Flags(
        json="",
        rounds=3,
        steps=3,
        original="",
        original_precision=32,
        authors="",
        authors_python=sys.executable,
    ).parse_known(rest)
    settings = blocks.load_config(names, rest)
    check(options, settings, train_step.spaces(settings)[0]["image"].shape)
    print(machine.setup(settings))
    agent, batch, wm_step = train_step.prepare(settings)
    ours = our_step(agent, batch, wm_step)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        write_inputs(pathlib.Path(folder), settings, options, batch)
        started = {
            name: stack.enter_context(peer(command, folder))
            for name, command in commands(options).items()
        }
        result = measure({"ours": ours, **started}, options)
    result = {
        "configs": list(names),
        "dtype": tfutils.compute_dtype().name,
        "original_precision": options.original_precision,
        "busy": busy(load, result["peak_gflops"]),
        **result,
    }
    report = json.dumps(result, indent=2)
    print(report)
    if result["busy"]:
        print(f"The machine was busy, so this counts for nothing: {result['busy']}.")
    if options.json:
        pathlib.Path(options.json).write_text(report + "\n")
    return 0


def check(options, settings, image: tuple[int, ...]) -> None:
    """Checks that the others can run what is asked for.

    Raises:
        PeerError: One cannot, or none is named.
    """
    if not (options.original or options.authors):
        raise PeerError(
            "Name the Python of an environment with dreamerv2==2.2.0 by --original "
            f"({GOLDEN / 'record.py'} says how to create it), or a checkout of the "
            "paper authors' code by --authors. Received: nothing"
        )
    if options.authors and not pathlib.Path(options.authors, "pydreamer").is_dir():
        raise PeerError(
            "--authors must be a checkout of https://github.com/JonaSchulz/pydreamer. "
            f"Received: {options.authors}"
        )
    if options.original_precision not in (16, 32):
        raise PeerError(
            "--original_precision must be 16 or 32. "
            f"Received: {options.original_precision}"
        )
    strides = {*settings.encoder.cnn_strides, *settings.decoder.cnn_strides}
    if options.original and (image[:2] != (64, 64) or strides != {2}):
        raise PeerError(
            "The original only has convolutions for images of 64x64 with strides of 2; "
            "compare a block such as `atari`. Received: an image of shape "
            f"{image}, strides {sorted(strides)}"
        )


def busy(load: float, peaks: Sequence[float]) -> str:
    """Returns why a run counts for nothing; an empty string if it counts.

    Args:
        load: The average number of processes that wanted a core before the run.
        peaks: The fastest matrix product of each round.
    """
    if load > MOST_LOAD:
        return f"a load of {load:.1f} before it began"
    drift = 1 - min(peaks) / max(peaks)
    if drift > MOST_DRIFT:
        return f"the fastest matrix product differed by {drift:.0%}"
    return ""


def our_step(agent, batch, wm_step) -> Step:
    start = agent.wm.rssm.initial(len(batch["reward"]))
    states = dict.fromkeys(KINDS, start)
    run = {"whole": agent.train, "wm": wm_step}

    def step(kind: str) -> float:
        states[kind], metrics = run[kind](batch, states[kind])
        return float(metrics["model_loss"])  # Waits for the device.

    return timed(step)


def write_inputs(folder: pathlib.Path, settings, options, batch) -> None:
    """Writes the batch, and values by dotted key, for the processes of the others."""
    np.savez(folder / "inputs.npz", **{k: v.numpy() for k, v in batch.items()})
    keys = {**settings.flat, "precision": options.original_precision}
    (folder / "config.json").write_text(json.dumps(keys))


def commands(options) -> dict[str, list[str]]:
    """Returns what starts the processes of the others, by name, but for the folder."""
    made = {}
    if options.original:
        made["original"] = [options.original, "peer_original.py"]
    if options.authors:
        made["authors"] = [options.authors_python, "peer_authors.py", options.authors]
    return made


@contextlib.contextmanager
def peer(command: Sequence[str], folder: str) -> Iterator[Step]:
    """Yields a step of another project, in a process that ends with the context."""
    python, script, *rest = command
    environment = {**os.environ, "PYTHONPATH": f"{GOLDEN}{os.pathsep}{BENCH}"}
    if tf.config.list_physical_devices("GPU"):  # Else record.py hides it.
        environment.setdefault("CUDA_VISIBLE_DEVICES", "0")
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    line = [python, str(BENCH / script), folder, *rest]
    try:
        process = subprocess.Popen(line, env=environment, bufsize=0, **pipes)
    except OSError as error:
        raise PeerError(
            f"{script} cannot be started: {error.strerror}. Received: {python}"
        ) from error
    with process:
        try:
            yield lambda kind: ask(process, script, kind)
        finally:
            process.kill()


def ask(process: subprocess.Popen, script: str, kind: str) -> tuple[float, float]:
    """Asks another project for a step, and waits for it."""
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(f"{kind}\n".encode())
    answer = process.stdout.readline()
    if not answer:
        raise PeerError(
            f"{script} stopped; see its output above. "
            f"Received: exit status {process.wait()}"
        )
    return tuple(json.loads(answer))


def measure(steps: Mapping[str, Step], options) -> dict:
    """Lets all make their steps in turn; returns seconds, ratios and first losses."""
    dtype = tfutils.compute_dtype().name
    seconds = {name: {kind: [] for kind in KINDS} for name in steps}
    losses, peaks = {}, []
    for turn in tqdm(range(WARM_UP + options.rounds * options.steps), "turns"):
        if turn >= WARM_UP and (turn - WARM_UP) % options.steps == 0:
            peaks.append(flops.measure_peak(dtype, size=train_step.PEAK_SIZE) / 1e9)
        for kind in KINDS:
            for name, step in steps.items():
                time, loss = step(kind)
                losses.setdefault(name, loss)
                if turn >= WARM_UP:
                    seconds[name][kind].append(time)
    ratios = {
        name: {kind: compared(times[kind], seconds["ours"][kind]) for kind in KINDS}
        for name, times in seconds.items()
        if name != "ours"
    }
    return {
        "peak_gflops": peaks,
        "ratios": ratios,
        "seconds": seconds,
        "first_model_loss": losses,
    }


def compared(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    return {
        "median": statistics.median(theirs) / statistics.median(ours),
        "best": min(theirs) / min(ours),
    }


if __name__ == "__main__":
    sys.exit(cli.run(main))

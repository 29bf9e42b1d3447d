"""Times a whole training step against the original DreamerV2's, in one run.

    python bench/original.py --configs atari --precision bf16 --original PYTHON \
        --repeats 3 --json result.json

PYTHON is the Python of an environment with `dreamerv2==2.2.0` and today's TensorFlow,
see tests/golden/record.py. World model, actor and critic get the same random batch in
both, at the sizes of this project's configuration: the original gets the value of each
key that it has, so flags reach both. It runs in its own way, as one `tf.function`
without XLA, in float32 or, with `--original_precision 16`, in its mixed float16, which
is meant for a GPU: on a CPU without float16 products (an AMD EPYC with AVX2) that runs
too, but its step took 1.5 times as long as in float32.

Each has its own process, and their steps alternate: one waits while the other has all
cores. The first two steps of each are not timed. `ratio` is the median of the
original's seconds over the median of ours, `ratio_best` that of the fastest steps. The
losses of the first step, before anything is learned, show that both do the same work.
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
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import train_step
from tqdm import tqdm

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks, cli, envs, flags, machine, tfutils
from dreamerv2_transfer.common.errors import UserError

BENCH = pathlib.Path(__file__).resolve().parent
GOLDEN = BENCH.parent / "tests" / "golden"
WARM_UP = 2  # Untimed steps, which trace the graphs.
# Makes a step; returns its seconds and its loss.
Step = Callable[[], tuple[float, float]]


class OriginalError(UserError):
    """The original cannot run, or not at this size."""


def main(argv: list[str]) -> int:
    names, rest = cli.split_configs(argv)
    options, rest = flags.Flags(
        json="", repeats=3, original="", original_precision=32
    ).parse_known(rest)
    settings = blocks.load_config(names, rest)
    obs_space, act_space = train_step.spaces(settings)
    check(options, settings, obs_space["image"].shape)
    print(machine.setup(settings))
    actions = envs.act_size(act_space["action"])
    batch = train_step.random_batch(settings, obs_space, actions)
    ours = our_step(settings, obs_space, act_space, batch)
    result = {"dtype": tfutils.compute_dtype().name}
    result["original_precision"] = options.original_precision
    with original_step(options, settings, batch) as theirs:
        result |= measure(ours, theirs, options.repeats)
    report = json.dumps(result, indent=2)
    print(report)
    if options.json:
        pathlib.Path(options.json).write_text(report + "\n")
    return 0


def check(options, settings, image: tuple[int, ...]) -> None:
    """Checks that the original can run what is asked for.

    Raises:
        OriginalError: It cannot.
    """
    if not options.original:
        raise OriginalError(
            "--original must name the Python of an environment with dreamerv2==2.2.0; "
            f"{GOLDEN / 'record.py'} says how to create it. Received: nothing"
        )
    if options.original_precision not in (16, 32):
        raise OriginalError(
            "--original_precision must be 16 or 32. "
            f"Received: {options.original_precision}"
        )
    strides = {*settings.encoder.cnn_strides, *settings.decoder.cnn_strides}
    if image[:2] != (64, 64) or strides != {2}:
        raise OriginalError(
            "The original only has convolutions for images of 64x64 with strides of 2; "
            "compare a block such as `atari`. Received: an image of shape "
            f"{image}, strides {sorted(strides)}"
        )


def our_step(settings, obs_space, act_space, batch) -> Step:
    rng = tf.random.Generator.from_seed(settings.seed)
    agent = agent_lib.Agent(settings, obs_space, act_space, rng)
    state = agent.wm.rssm.initial(len(batch["reward"]))

    def step() -> tuple[float, float]:
        nonlocal state
        start = time.perf_counter()
        state, metrics = agent.train(batch, state)
        loss = float(metrics["model_loss"])  # Waits for the device.
        return time.perf_counter() - start, loss

    return step


@contextlib.contextmanager
def original_step(options, settings, batch) -> Iterator[Step]:
    """Yields a step of the original, in a process that ends with the context."""
    keys = {**settings.flat, "precision": options.original_precision}
    with tempfile.TemporaryDirectory() as folder:
        inputs = pathlib.Path(folder, "inputs.npz")
        np.savez(inputs, **{k: v.numpy() for k, v in batch.items()})
        pathlib.Path(folder, "config.json").write_text(json.dumps(keys))
        with start(options.original, folder) as process:
            try:
                yield lambda: ask(process)
            finally:
                process.kill()


def start(python: str, folder: str) -> subprocess.Popen:
    """Starts original_steps.py, which imports tests/golden/record.py."""
    environment = {**os.environ, "PYTHONPATH": str(GOLDEN)}
    if tf.config.list_physical_devices("GPU"):  # Else record.py hides it.
        environment.setdefault("CUDA_VISIBLE_DEVICES", "0")
    command = [python, str(BENCH / "original_steps.py"), folder]
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    try:
        return subprocess.Popen(command, env=environment, bufsize=0, **pipes)
    except OSError as error:
        raise OriginalError(
            f"--original cannot be started: {error.strerror}. Received: {python}"
        ) from error


def ask(process: subprocess.Popen) -> tuple[float, float]:
    """Asks the original for a step, and waits for it."""
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(b"step\n")
    answer = process.stdout.readline()
    if not answer:
        raise OriginalError(
            "The original stopped; see its output above. "
            f"Received: exit status {process.wait()}"
        )
    return tuple(json.loads(answer))


def measure(ours: Step, theirs: Step, repeats: int) -> dict:
    """Returns the seconds of both, their ratios, and the losses of the first step."""
    rounds = tqdm(range(repeats + WARM_UP), "both", unit="step")
    pairs = [(ours(), theirs()) for _ in rounds]
    (_, our_loss), (_, original_loss) = pairs[0]
    our_times, times = zip(*((a[0], b[0]) for a, b in pairs[WARM_UP:]), strict=True)
    step_s, original_step_s = statistics.median(our_times), statistics.median(times)
    return {
        "step_s": step_s,
        "original_step_s": original_step_s,
        "step_s_all": our_times,
        "original_step_s_all": times,
        "ratio": original_step_s / step_s,
        "ratio_best": min(times) / min(our_times),
        "first_model_loss": our_loss,
        "original_first_model_loss": original_loss,
    }


if __name__ == "__main__":
    sys.exit(cli.run(main))

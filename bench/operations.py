"""Lists a step's operations by the time that they take.

    python bench/operations.py --configs minatar --precision 32 [--step wm] [--top 30]

Milliseconds are summed over threads, so a kind of operation can take longer than the
step; `calls` counts its calls. `--step` is `wm` or `whole`.
"""

from __future__ import annotations

import collections
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
import train_step
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from dreamerv2_transfer.common import blocks, cli, flags, machine


def main(argv: list[str]) -> int:
    names, rest = cli.split_configs(argv)
    options, rest = flags.Flags(step="whole", top=30).parse_known(rest)
    settings = blocks.load_config(names, rest)
    print(machine.setup(settings))
    step = make_step(settings, options.step)
    for _ in range(2):  # Traces, and warms up.
        step()
    with tempfile.TemporaryDirectory() as folder:
        # Level 2 has the operations.
        details = tf.profiler.experimental.ProfilerOptions(host_tracer_level=2)
        tf.profiler.experimental.start(folder, options=details)
        step()
        tf.profiler.experimental.stop()
        report(pathlib.Path(folder), options.top)
    return 0


def make_step(settings, which: str):
    """Returns a function that makes an update and waits for its end."""
    agent, batch, wm_step = train_step.prepare(settings)
    state = agent.wm.rssm.initial(settings.dataset.batch)
    update = wm_step if which == "wm" else agent.train
    return lambda: float(update(batch, state)[1]["model_loss"])


def report(folder: pathlib.Path, top: int) -> None:
    time, calls = collections.Counter(), collections.Counter()
    for path in folder.rglob("*.xplane.pb"):
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
        for plane in space.planes:
            events = [event for line in plane.lines for event in line.events]
            for event in events:
                # The name is the node's, a colon, and the kind of operation.
                name = plane.event_metadata[event.metadata_id].name.split(":")[-1]
                time[name] += event.duration_ps / 1e9
                calls[name] += 1
    for name, milliseconds in time.most_common(top):
        print(f"{milliseconds:10.1f} ms {calls[name]:7d} calls  {name[:60]}")


if __name__ == "__main__":
    sys.exit(cli.run(main))

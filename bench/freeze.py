"""Times updates with frozen weights, as shares of the update that trains all weights.

    python bench/freeze.py --configs minatar --json result.json

It times an update of the world model and a whole update (world model, actor and critic)
with all weights training, with `freeze_rssm` and with `freeze_world_model`, in one run.
"""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import train_step

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common import cli, flags, machine

ARMS = {"none": [], "freeze_rssm": ["freeze_rssm"]}
ARMS["freeze_world_model"] = ["freeze_world_model"]


def main(argv: list[str]) -> int:
    names, rest = cli.split_configs(argv)
    options, rest = flags.Flags(json="", repeats=7).parse_known(rest)
    result = {}
    for arm, blocks in ARMS.items():
        settings = blocks_lib.load_config([*names, *blocks], rest)
        machine.setup(settings)
        result[arm] = measure(settings, arm, options.repeats)
    for times in result.values():
        for name in ("wm_step", "step"):
            times[f"{name}_share"] = times[f"{name}_s"] / result["none"][f"{name}_s"]
    report = json.dumps(result, indent=2)
    print(report)
    if options.json:
        pathlib.Path(options.json).write_text(report + "\n")
    return 0


def measure(settings, arm: str, repeats: int) -> dict:
    """Returns the median seconds of both steps."""
    agent, batch, wm_step = train_step.prepare(settings)
    times = {
        "wm_step_s": train_step.timed(f"{arm}, model", wm_step, batch, agent, repeats),
        "step_s": train_step.timed(f"{arm}, all", agent.train, batch, agent, repeats),
    }
    return {name: statistics.median(values) for name, values in times.items()}


if __name__ == "__main__":
    sys.exit(cli.run(main))

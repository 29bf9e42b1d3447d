"""Exports training steps as a GPU would run them, on a machine without one.

    python bench/gpu/export.py --configs minatar --precision 16 [--steps wm,whole]

writes `exported/NAME/PRECISION.STEP.mlir.gz` and `.json` beside this script (see
`dreamerv2_transfer/common/ops/lowering.py`), and there what the paper authors' step
needs: `inputs.npz` and `config.json`. NAME is that of the blocks. Steps are an update
of the world model (`wm`), a whole update (`whole`) and a call of the policy on 16
observations (`policy`). Arguments are like fresh weights and a random batch.

run_all.py executes the programs on a GPU, count.py counts what is in them.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
import train_step

from dreamerv2_transfer.common import blocks, cli, envs, flags, machine, tfutils
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.ops import flops, lowering

FOLDER = pathlib.Path(__file__).resolve().parent / "exported"
ACTING = 16  # Observations of a call of the policy.


class ExportError(UserError):
    """The options name nothing that can be exported."""


def main(argv: list[str]) -> int:
    names, rest = cli.split_configs(argv)
    options, rest = flags.Flags(to=str(FOLDER), steps="wm,whole").parse_known(rest)
    settings = blocks.load_config(names, [*rest, "--jit", "True"])
    if settings.precision == "auto":
        raise ExportError("Name a --precision: 32, bf16 or 16. Received: auto")
    folder = pathlib.Path(options.to) / "_".join(names)
    with tfutils.for_gpu():
        print(machine.setup(settings))
        agent, batch, wm_step = train_step.prepare(settings)
        for name in options.steps.split(","):
            path = folder / f"{settings.precision}.{name}"
            function, args, flop = find_step(name, agent, batch, wm_step)
            lowered = lowering.lower(function, *args, feedback={0: 1})
            dtype = tfutils.compute_dtype().name
            lowered.save(path, configs=names, dtype=dtype, gflop=flop / 1e9)
            print(f"Exported {path} with {len(lowered.inputs)} inputs.", flush=True)
    inputs = {k: v.numpy() for k, v in batch.items()}
    np.savez_compressed(folder / "inputs.npz", **inputs)
    (folder / "config.json").write_text(json.dumps(settings.flat))
    return 0


def find_step(name: str, agent, batch, wm_step: Callable) -> tuple:
    """Returns a step, its arguments, and its dense operations.

    A step's second argument is the state, which is the first of its results.
    """
    settings, actions = agent.config, envs.act_size(agent.act_space)
    state = agent.wm.rssm.initial(len(batch["reward"]))
    wm_flop = flops.world_model_step(settings, agent.wm.shapes, actions)
    if name == "wm":
        return wm_step, (batch, state), wm_flop
    if name == "whole":
        flop = wm_flop + flops.behavior_step(settings, actions)
        return agent.train, (batch, state), flop
    if name == "policy":
        seen = {k: v[:ACTING, 0] for k, v in batch.items() if k != "action"}

        def act(observations, state):
            action, state = agent.policy(observations, state)
            return state, action

        return act, (seen, agent.initial(len(seen["reward"]))), 0
    raise ExportError(f"--steps are wm, whole or policy. Received: {name}")


if __name__ == "__main__":
    sys.exit(cli.run(main))

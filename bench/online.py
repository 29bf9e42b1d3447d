"""Times an online run: a call of the policy, and where the time of a run goes.

    python bench/online.py --configs minatar --json result.json

`policy_ms` is the median time of a call of the policy on one observation, as the driver
makes it. `share` is the share of each part in the wall time of a run that acts and
trains as `scratch` does: updates, policy, environment, replay, logging, and the rest,
which is the driver's own work. `overhead` is everything except updates and policy.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections import defaultdict

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer import collect, finetune
from dreamerv2_transfer.common import (
    blocks,
    cli,
    counter,
    envs,
    flags,
    logger,
    machine,
    replay,
)
from dreamerv2_transfer.common.replay import online

CALLS = 300  # Calls of the policy.
WARM_UP = 2  # Untimed updates, which trace the graphs.


class Stopwatch:
    """Adds up the seconds spent in the functions that it wraps, by name."""

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)

    def wrap(self, owner, method: str, name: str) -> None:
        inner = getattr(owner, method)

        def timed(*args, **kwargs):
            start = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - start

        setattr(owner, method, timed)


def main(argv: list[str]) -> int:
    names, rest = cli.split_configs(argv)
    options, rest = flags.Flags(json="", updates=10).parse_known(rest)
    settings = blocks.load_config([*names, "scratch"], rest)
    settings = settings.update(
        steps=WARM_UP + options.updates, log_every=5, checkpoint_every=0, prefill=1000
    )
    print(machine.setup(settings))
    make_envs = functools.partial(
        envs.make_vector_env, settings.task, **envs.run_options(settings, settings.task)
    )
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        env = stack.enter_context(contextlib.closing(make_envs(settings.envs)))
        result = measure(settings, pathlib.Path(folder), env, make_envs)
    report = json.dumps(result, indent=2)
    print(report)
    if options.json:
        pathlib.Path(options.json).write_text(report + "\n")
    return 0


def measure(settings, logdir: pathlib.Path, env, make_envs) -> dict:
    agent = agent_lib.make_agent(settings, envs.obs_space(env), envs.act_space(env))
    with contextlib.closing(make_envs(1)) as single:
        policy_ms = 1000 * policy_seconds(agent, single)
    folder = logdir / "train_episodes"
    collect.prefill(
        folder,
        settings.task,
        steps=int(settings.prefill),
        envs=settings.envs,
        seed=settings.seed,
        make_envs=make_envs,
        settings={},
    )
    episodes = replay.Replay(folder, **online.options(settings))
    log = logger.make_logger(logdir, counter.Counter())
    watch = Stopwatch()
    trainer = finetune.Trainer(settings, logdir, env, None, episodes, agent, log)
    trainer.evaluate = lambda: None  # An evaluation would follow the last update.
    watch.wrap(trainer, "_policy", "policy")
    watch.wrap(trainer.learner, "update", "updates")
    watch.wrap(env, "step", "environment")
    watch.wrap(env, "reset", "environment")
    watch.wrap(episodes, "batch", "replay")
    watch.wrap(trainer.logger, "write", "logging")
    trainer.run(lambda: trainer.counter >= WARM_UP)
    watch.seconds.clear()
    # So does a checkpoint, which does not count.
    watch.wrap(trainer, "save", "checkpoint")
    start = time.perf_counter()
    trainer.run(lambda: False)
    wall = time.perf_counter() - start - watch.seconds.pop("checkpoint")
    share = {name: seconds / wall for name, seconds in watch.seconds.items()}
    share["rest"] = 1 - sum(share.values())
    return {
        "policy_ms": policy_ms,
        "update_s": watch.seconds["updates"] / (settings.steps - WARM_UP),
        "wall_s": wall,
        "share": share,
        "overhead": 1 - share["updates"] - share["policy"],
    }


def policy_seconds(agent, env) -> float:
    """Returns the median time of a call, with the conversions of the driver."""
    obs, _ = env.reset(seed=0)
    obs["is_first"] = np.zeros(1, bool)
    policy, state = agent_lib.acting(agent, "train"), None
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        _, state = policy(obs, state)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    sys.exit(cli.run(main))

"""Trains a DQN. `python launch/train_dqn.py --configs minatar dqn --task minatar_NAME`

The players are LOGDIR/model_STEPS.weights.h5. The same command resumes a run that was
stopped.
"""

from __future__ import annotations

import functools
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from dreamerv2_transfer.common import cli, counter, envs, logger
from dreamerv2_transfer.common.files import logdir


def main(argv: list[str]) -> int:
    hint = "Name the block dqn, as in --configs minatar dqn."
    settings = cli.load_config(argv, __file__, ["dqn"], hint)
    logger.check(settings.outputs)
    options = envs.options(settings, settings.task)
    options["time_limit"] = settings.dqn.time_limit
    make_envs = functools.partial(envs.make_vector_env, settings.task, **options)
    make_envs(1).close()  # Fails before TensorFlow is imported, which takes seconds.
    print(f"Logdir {settings.logdir}", flush=True)
    with logdir.opened(settings) as folder:
        from dreamerv2_transfer.common import machine
        from dreamerv2_transfer.dqn import train

        print(machine.setup(settings.update({"precision": "32"})), flush=True)
        log = logger.make_logger(folder.path, counter.Counter(), names=settings.outputs)
        done = train.train(settings, folder.path, make_envs, log, folder.push)
    return 0 if done else cli.INTERRUPTED


if __name__ == "__main__":
    sys.exit(cli.run(main))

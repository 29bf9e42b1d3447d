"""Trains a DQN player on a game, for collections.

The players are LOGDIR/model_STEPS.weights.h5. The same command resumes a run that was
stopped.
"""

from __future__ import annotations

from dreamerv2_transfer.commands import configuration, summary
from dreamerv2_transfer.commands.options import Usage
from dreamerv2_transfer.common import cli

USAGE = Usage(
    forms=("--configs BLOCK [BLOCK ...] dqn --task TASK [--KEY VALUE ...]",),
    examples={
        "--configs minatar dqn --task minatar_breakout": "a million steps of Breakout",
    },
    options={"": configuration.TEMPLATE | configuration.TRUST},
    blocks=True,
)


def main(argv: list[str]) -> int:
    from dreamerv2_transfer.common import counter, envs, logger
    from dreamerv2_transfer.common.files import logdir

    hint = "Name the block dqn, as in --configs minatar dqn."
    settings = configuration.load(argv, ["dqn"], hint)
    logger.check(settings.outputs)
    options = envs.options(settings, settings.task)
    options["time_limit"] = settings.dqn.time_limit

    def make_envs(number: int):
        return envs.make_vector_env(settings.task, number, **options)

    make_envs(1).close()  # Fails before TensorFlow is imported, which takes seconds.
    print(f"Logdir {settings.logdir}", flush=True)
    with logdir.opened(settings) as folder:
        from dreamerv2_transfer.common import machine
        from dreamerv2_transfer.dqn import train

        print(machine.setup(settings.update({"precision": "32"})), flush=True)
        log = logger.make_logger(folder.path, counter.Counter(), names=settings.outputs)
        done = train.train(settings, folder.path, make_envs, log, folder.push)
    summary.print_run("train-dqn", argv, settings, folder.path, done)
    return 0 if done else cli.INTERRUPTED

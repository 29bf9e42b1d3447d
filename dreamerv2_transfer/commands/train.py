"""Trains a world model on several games, or an agent on one.

One of the blocks names the stage: pretrain trains a world model on episodes of several
games, finetune an agent on a game from a world model, and scratch an agent without one;
offline trains an agent in a world model's dreams, on recorded episodes alone. The same
command resumes a run that was stopped.
"""

from __future__ import annotations

from dreamerv2_transfer.commands import configuration, summary
from dreamerv2_transfer.commands.options import Usage
from dreamerv2_transfer.common import cli

USAGE = Usage(
    forms=("--configs BLOCK [BLOCK ...] [--KEY VALUE ...]",),
    examples={
        "--configs minatar debug pretrain --logdir logdir/first": (
            "30 updates of tiny networks, half a minute"
        ),
        "--configs minatar small pretrain --logdir logdir/small": (
            "30,000 updates, about 50 minutes on 2 CPU cores"
        ),
        "--configs minatar small finetune --init logdir/small --logdir logdir/agent": (
            "an agent on a new game"
        ),
        "--configs minatar small offline --init logdir/small --task minatar_breakout "
        "--dataset.directory logdir/small/dataset": "an agent without an environment",
    },
    options={"": configuration.TEMPLATE | configuration.TRUST},
    blocks=True,
)


def main(argv: list[str]) -> int:
    # TensorFlow is imported later still, once the configuration has been checked.
    from dreamerv2_transfer import train
    from dreamerv2_transfer.common.files import logdir

    stages = ", ".join(train.STAGES)
    hint = f"Name the stage to run in --configs: one of {stages}; or a --template."
    settings = train.with_games(configuration.load(argv, train.STAGES, hint))
    train.check(settings)
    print(f"Logdir {settings.logdir}", flush=True)
    with logdir.opened(settings) as folder:
        done = train.run(settings, folder)
    summary.print_run("train", argv, settings, folder.path, done)
    return 0 if done else cli.INTERRUPTED

"""Trains a world model on several games, or an agent on one.

One of the blocks names the stage: pretrain trains a world model on episodes of several
games, finetune an agent on a game from a world model, and scratch an agent without one;
offline trains an agent in a world model's dreams, on recorded episodes alone. The same
command resumes a run that was stopped.
"""

from __future__ import annotations

from dreamerv2_transfer.commands import configuration, summary
from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.commands.options import Option, Usage
from dreamerv2_transfer.common import cli, flags
from dreamerv2_transfer.common.config import Config

SEEDS = {"seeds": Option(1, "Seeds to train at once, from --seed on.", least=1)}
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
        "--configs minatar small scratch --tasks minatar_asterix minatar_breakout": (
            "one agent for two games"
        ),
        "--configs minatar small scratch --logdir logdir/four --seeds 4": (
            "four agents at once, in logdir/four/seed0 to seed3"
        ),
    },
    options={"": configuration.TEMPLATE | configuration.TRUST | SEEDS},
    blocks=True,
)


def main(argv: list[str]) -> int:
    # TensorFlow is imported later still, once the configuration has been checked.
    from dreamerv2_transfer import train
    from dreamerv2_transfer.common.files import logdir

    stages = ", ".join(train.STAGES)
    hint = f"Name the stage to run in --configs: one of {stages}; or a --template."
    given, rest = options_lib.parse_known(SEEDS, argv)
    settings = train.with_games(configuration.load(rest, train.STAGES, hint))
    if given.seeds > 1:
        return train_seeds(argv, settings, given.seeds)
    settings = train.checked(settings)
    print(f"Logdir {settings.logdir}", flush=True)
    with logdir.opened(settings) as folder:
        done = train.run(settings, folder)
    summary.print_run("train", argv, settings, folder.path, done)
    return 0 if done else cli.INTERRUPTED


def train_seeds(argv: list[str], settings: Config, count: int) -> int:
    """Trains several seeds at once, each in a process and a folder of its own."""
    from dreamerv2_transfer import train
    from dreamerv2_transfer.reproduction import seeds

    seeds.check(settings)
    configs = [
        settings.update(seed=seed, logdir=f"{settings.logdir.rstrip('/')}/seed{seed}")
        for seed in range(settings.seed, settings.seed + count)
    ]
    for config in configs:  # Each may resume, and then needs no model of `init`.
        train.checked(config)
    print(f"Logdir {settings.logdir}, what the seeds print is in its logs/", flush=True)
    own = options_lib.without(SEEDS, argv)
    _, kept = flags.Flags(seed=0, logdir="").parse_known(own)
    done = seeds.run(settings, seeds.jobs(kept, configs))
    summary.print_seeds(argv, settings, [x.logdir for x in configs], done)
    return 0 if done else cli.INTERRUPTED

"""Collects episodes of games into a dataset.

Plays the games of the key `tasks` until each has `collect.steps` steps: at random and,
if --dqn.checkpoints names a folder of DQN players, with these in turns. The same
command resumes a collection that was stopped. The dataset may be a URL, such as
s3://...
"""

from __future__ import annotations

from dreamerv2_transfer.commands import configuration, summary
from dreamerv2_transfer.commands.options import Usage
from dreamerv2_transfer.common import cli

USAGE = Usage(
    forms=("--configs BLOCK [BLOCK ...] collect [--KEY VALUE ...]",),
    examples={
        "--configs minatar collect --dataset.directory data": (
            "100,000 steps of each of four games, at random"
        ),
        "--configs minatar collect --dataset.directory data --dqn.checkpoints "
        "logdir/minatar_dqn": "the same, 80% of the steps with DQN players",
    },
    options={"": configuration.TEMPLATE | configuration.TRUST},
    blocks=True,
)


def main(argv: list[str]) -> int:
    from dreamerv2_transfer import collect
    from dreamerv2_transfer.common.files import remote

    hint = "Name the block collect, as in --configs minatar collect."
    settings = configuration.load(argv, ["collect"], hint)
    directory = settings.dataset.directory or f"{settings.logdir}/dataset"
    with remote.opened(directory) as folder:
        done = collect.complete(settings, folder.path, folder.push)
    summary.print_next("collect", argv, settings, done)
    return 0 if done else cli.INTERRUPTED

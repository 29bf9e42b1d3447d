"""Collects episodes into a dataset.

    python launch/collect.py --configs minatar collect --dataset.directory D

Plays the games of `tasks` until each has `collect.steps` steps in D: at random and, if
`--dqn.checkpoints` names a folder of DQN players, with these in turns. The same command
resumes a collection that was stopped. D may be a URL, such as s3://...
"""

from __future__ import annotations

import sys

from dreamerv2_transfer import collect
from dreamerv2_transfer.common import cli
from dreamerv2_transfer.common.files import remote


def main(argv: list[str]) -> int:
    hint = "Name the block collect, as in --configs minatar collect."
    settings = cli.load_config(argv, __file__, ["collect"], hint)
    directory = settings.dataset.directory or f"{settings.logdir}/dataset"
    with remote.opened(directory) as folder:
        done = collect.complete(settings, folder.path, folder.push)
    return 0 if done else cli.INTERRUPTED


if __name__ == "__main__":
    sys.exit(cli.run(main))

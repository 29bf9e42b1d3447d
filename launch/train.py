"""Trains. `python launch/train.py --configs minatar small pretrain [--key value ...]`

Merges the named blocks of configs.yaml in their order; `--help` lists all keys. The
same command resumes a run that was stopped.
"""

from __future__ import annotations

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from dreamerv2_transfer import train
from dreamerv2_transfer.common import cli, config, flags
from dreamerv2_transfer.common.files import logdir

TEMPLATES = pathlib.Path(__file__).resolve().parents[1] / "logdir_templates"


def main(argv: list[str]) -> int:
    stages = ", ".join(train.STAGES)
    hint = f"Name the stage to run in --configs: one of {stages}; or a --template."
    settings = cli.load_config(from_template(argv), __file__, train.STAGES, hint)
    train.check(settings)
    print(f"Logdir {settings.logdir}", flush=True)
    with logdir.opened(settings) as folder:
        done = train.run(settings, folder)
    return 0 if done else cli.INTERRUPTED


def from_template(argv: list[str]) -> list[str]:
    """Returns a command line with the file of its `--template` as the first block.

    Raises:
        ConfigError: There is no such template.
    """
    given, rest = flags.Flags(template="").parse_known(argv)
    if not given.template:
        return argv
    names, rest = cli.split_configs(rest)
    file = TEMPLATES / given.template / "config.yaml"
    if not file.exists():
        known = sorted(path.parent.name for path in TEMPLATES.glob("*/config.yaml"))
        raise config.ConfigError(
            f"--template is one of {', '.join(known)}. Received: {given.template}"
        )
    return ["--configs", str(file), *(x for x in names if x != "defaults"), *rest]


if __name__ == "__main__":
    sys.exit(cli.run(main))

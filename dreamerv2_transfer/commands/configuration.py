"""The configuration that a command's line asks for."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Sequence

from dreamerv2_transfer.commands import program
from dreamerv2_transfer.common import blocks, cli, flags
from dreamerv2_transfer.common.config import Config, ConfigError, suggestion


def path() -> pathlib.Path:
    """Returns `configs.yaml`: the one beside the running script, or the installed one.

    Raises:
        ConfigError: There is none.
    """
    top = program.checkout()
    return top / "configs.yaml" if top else blocks.find_configs()


def split(argv: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Splits a command line into the names of blocks and the other flags.

    `--template NAME` stands for the block in `logdir_templates/NAME/config.yaml`, which
    comes first.

    Raises:
        ConfigError: There is no such template.
    """
    given, rest = flags.Flags(template="").parse_known(argv)
    names, rest = cli.split_configs(rest)
    if not given.template:
        return names, rest
    file = templates() / given.template / "config.yaml"
    if not file.exists():
        known = sorted(x.parent.name for x in templates().glob("*/config.yaml"))
        raise ConfigError(
            f"--template is one of {', '.join(known)}. Received: {given.template}."
            f"{suggestion(given.template, known)}"
        )
    return (str(file), *(x for x in names if x != "defaults")), rest


def templates() -> pathlib.Path:
    """Returns the folder of the templates, which is beside `configs.yaml`."""
    return path().parent / "logdir_templates"


def load(argv: Sequence[str], stages: Collection[str], hint: str) -> Config:
    """Loads the configuration that a command's line asks for.

    Args:
        argv: The command line.
        stages: The stages that the command can run.
        hint: What to do where the configuration has another stage.

    Raises:
        ConfigError: The stage is another one, or as for `split` and
            `blocks.load_config`.
    """
    names, rest = split(argv)
    loaded = blocks.load_config(names, rest, path())
    if loaded.stage not in stages:
        raise ConfigError(f"{hint} Received: --configs {' '.join(names)}")
    return loaded

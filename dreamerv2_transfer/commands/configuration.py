"""The configuration that a command's line asks for."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Collection, Sequence
from typing import Any

from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.commands import program
from dreamerv2_transfer.commands.options import Option, Usage, path_option
from dreamerv2_transfer.common import blocks, cli
from dreamerv2_transfer.common.blocks import Resolved
from dreamerv2_transfer.common.config import (
    Config,
    ConfigError,
    check_ranges,
    suggestion,
)
from dreamerv2_transfer.common.files import paths

TEMPLATE = {
    "template": path_option("Folder of logdir_templates/ whose experiment to run."),
}
TRUST = {
    "trust": Option(
        False, "Import the Python module of a task gym_MODULE:ID that a file names."
    ),
}
NONE = ("defaults",)  # The blocks of a line that names none.
# A text that YAML reads as such without quotes.
PLAIN = r"(?!(true|false|null)$)[a-z][\w/-]*"


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
    given, rest = options_lib.parse_known(TEMPLATE, argv)
    names, rest = cli.split_configs(rest)
    if not given.template:
        return names, rest
    file = templates() / given.template / "config.yaml"
    if not file.exists():
        known = sorted(x.parent.name for x in templates().glob("*/config.yaml"))
        options_lib.check_choice("--template", given.template, known)
    return (str(file), *(x for x in names if x != "defaults")), rest


def templates() -> pathlib.Path:
    """Returns the folder of the templates, which is beside `configs.yaml`."""
    return path().parent / "logdir_templates"


def spaces() -> pathlib.Path:
    """Returns the folder of the search spaces, which is beside `configs.yaml`."""
    return path().parent / "sweep_spaces"


def arms() -> pathlib.Path:
    """Returns the folder of the files of arms, which is beside `configs.yaml`."""
    return path().parent / "study_arms"


def shipped(option: str, name: str, folder: pathlib.Path) -> pathlib.Path:
    """Returns a file that an option names: its path, or the name of a shipped one.

    Args:
        option: The option, such as `--space`.
        name: What it received.
        folder: The folder of the shipped ones.

    Raises:
        ConfigError: There is none of this name.
    """
    file = paths.local(name)
    if file.suffix or file.exists():
        return file
    known = sorted(x.stem for x in folder.glob("*.yaml"))
    if name not in known:
        raise ConfigError(
            f"{option} is a file NAME.yaml, or one of {', '.join(known)}. Received: "
            f"{name}.{suggestion(name, known)}"
        )
    return folder / f"{name}.yaml"


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
    loaded = resolve(argv).config
    if loaded.stage not in stages:
        names, _ = split(argv)
        received = "" if names == NONE else f" Received: --configs {' '.join(names)}"
        raise ConfigError(f"{hint}{received}")
    check_ranges(loaded)
    return loaded


def of_run(logdir: pathlib.Path, is_trusted: bool) -> Config:
    """Reads the configuration of a run; prints what is different today.

    Args:
        logdir: The run's folder on this machine.
        is_trusted: Whether its task may name a Python module to import.

    Raises:
        ConfigError: There is no run, or as for `blocks.load_old` and
            `blocks.check_task`.
    """
    file = logdir / "config.yaml"
    if not file.exists():
        raise ConfigError(f"There is no run in {logdir}: it has no {file.name}.")
    loaded, notes = blocks.load_old(file)
    for note in notes:
        print(note)
    if not is_trusted:
        blocks.check_task(loaded.task, file)
    return loaded


def resolve(argv: Sequence[str]) -> Resolved:
    """Returns the configuration of any stage, and where each value comes from.

    Raises:
        ConfigError: As for `split` and `blocks.load_config`.
    """
    names, rest = split(argv)
    given, rest = options_lib.parse_known(TRUST, rest)
    return blocks.resolve(names, rest, path(), given.trust)


def concerning(usage: Usage, argv: Sequence[str]) -> list[str]:
    """Returns the arguments of a command that are not its own options.

    Args:
        usage: The command's usage.
        argv: Its arguments.
    """
    groups = usage.options.values()
    named = {name: option for group in groups for name, option in group.items()}
    own = {k: v for k, v in named.items() if k not in TEMPLATE | TRUST}
    return options_lib.without(own, argv)


def show(argv: Sequence[str]) -> None:
    """Prints all keys with their values, and where each value comes from.

    The text is a configuration file, so `--configs FILE.yaml` takes it.
    """
    from rich.text import Text

    from dreamerv2_transfer.commands import screen

    out, resolved = screen.console(), resolve(argv)
    for key, value in resolved.config.flat.items():
        origin = resolved.origins[key]
        written = (f" {_as_yaml(value)}", screen.VALUE)
        line = Text.assemble((f"{key}:", screen.NAME), written)
        line.pad_right(max(2, 40 - len(line)))
        line.append(f"# {origin}", screen.FAINT if origin == "defaults" else "")
        out.print(line)


def _as_yaml(value: Any) -> str:
    """Returns a value on one line as YAML reads it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_as_yaml, value))}]"
    if not isinstance(value, str) or re.fullmatch(PLAIN, value):
        return str(value)
    return "'" + value.replace("'", "''") + "'"

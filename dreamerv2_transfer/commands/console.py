"""The command `dreamerv2-transfer`: which command to run, and what all have in common.

Nothing heavy is imported before it is needed: `--help` and a mistyped command answer at
once, and `doctor` has to work where a package is missing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import sys
from collections.abc import Sequence

from dreamerv2_transfer import __version__
from dreamerv2_transfer.commands import program

HELP = ("--help", "-h")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name and returns the exit status.

    Args:
        argv: The name and the arguments of a command; by default what was typed.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["doctor"]:
        from dreamerv2_transfer import doctor

        if not doctor.can_start():
            return doctor.FAILED

    from dreamerv2_transfer.common import cli

    return cli.run(run, argv)


def run(argv: list[str]) -> int:
    """Does the same as `main`, but raises errors."""
    from dreamerv2_transfer.common import cli

    if argv == ["--version"]:
        print(__version__)
        return 0
    if argv[:1] and argv[0] in (*HELP, "help"):
        argv = [*argv[1:2], "--help", *argv[2:]]  # `help train` is `train --help`.
    if not argv or argv == ["--help"]:
        from dreamerv2_transfer.commands import help as help_lib

        help_lib.overview()
        return 0 if argv else cli.FAILED
    name = program.canonical(argv[0])
    from dreamerv2_transfer.common.config import ConfigError, suggestion

    if name not in program.COMMANDS:
        raise ConfigError(
            f"There is no command '{argv[0]}'.{suggestion(name, program.COMMANDS)} "
            f"Commands: {', '.join(program.COMMANDS)}."
        )
    module = importlib.import_module(program.COMMANDS[name])
    usage = module.USAGE
    request = Request.read(argv[1:], usage.blocks)
    is_bare = usage.starts_with_word and not request.argv
    if request.names is not None or is_bare:
        from dreamerv2_transfer.commands import help as help_lib

        help_lib.show(name, module, request.argv, request.names or [])
        return 0 if request.names is not None else cli.FAILED
    first = request.argv[0] if request.argv else "--"
    if not (usage.starts_with_word or first.startswith("-")):
        raise ConfigError(
            f"{name} begins with a flag: {name} {usage.forms[0]}. Received: {first}"
        )
    if request.prints_config:
        from dreamerv2_transfer.commands import configuration

        configuration.show(configuration.concerning(usage, request.argv))
        return 0
    with cli.hidden() if request.is_quiet else contextlib.nullcontext():
        return module.main(request.argv)


@dataclasses.dataclass
class Request:
    """What a command line asks of every command, and the rest of it.

    Attributes:
        names: What `--help` is to explain; empty for the whole page; None if no help is
            asked for.
        prints_config: Whether to print the configuration instead of using it.
        is_quiet: Whether to show results and errors alone.
        argv: The other arguments.
    """

    names: list[str] | None = None
    prints_config: bool = False
    is_quiet: bool = False
    argv: list[str] = dataclasses.field(default_factory=list)

    @classmethod
    def read(cls, argv: Sequence[str], has_config: bool) -> Request:
        """Reads a command line; only `has_config` allows to print a configuration."""
        request = cls()
        names: list[str] | None = None  # Where the next arguments belong, if to --help.
        for argument in argv:
            names = None if argument.startswith("--") else names
            if argument in HELP:
                request.names = names = request.names or []
            elif names is not None:
                names.append(argument)
            elif argument == "--quiet":
                request.is_quiet = True
            elif has_config and argument.replace("_", "-") == "--print-config":
                request.prints_config = True
            else:
                request.argv.append(argument)
        return request

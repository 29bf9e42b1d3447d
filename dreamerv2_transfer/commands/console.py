"""The command `dreamerv2-transfer`: which command to run, and what all have in common.

Nothing heavy is imported before it is needed: `--help` and a mistyped command answer at
once, and `doctor` has to work where a package is missing.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from dreamerv2_transfer.commands import program


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name and returns the exit status.

    Args:
        argv: The name and the arguments of a command; by default what was typed.
    """
    name, *rest = sys.argv[1:] if argv is None else argv
    name = program.canonical(name)
    if name == "doctor":
        from dreamerv2_transfer import doctor

        if not doctor.can_start():
            return doctor.FAILED

    from dreamerv2_transfer.common import cli

    module = importlib.import_module(program.COMMANDS[name])
    return cli.run(module.main, rest)

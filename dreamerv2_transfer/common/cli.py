"""What the launch scripts share: `--configs`, and errors as one line of text."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Callable, Collection, Sequence

from dreamerv2_transfer.common import blocks, config, flags
from dreamerv2_transfer.common.errors import UserError

FAILED = 2
CUT_SHORT = 141  # What a shell reports for a process whose output pipe was closed.
INTERRUPTED = 130  # What a shell reports for a process that Ctrl-C ended.


def split_configs(argv: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Splits a command line into the names after `--configs` and the other flags."""
    parsed, remaining = flags.Flags(configs=["defaults"]).parse_known(argv)
    return parsed.configs, remaining


def load_config(
    argv: Sequence[str], script: str, stages: Collection[str], hint: str
) -> config.Config:
    """Loads the configuration that a launch script's command line asks for.

    Args:
        argv: The command line.
        script: Path of the script, in a folder next to `configs.yaml`; without that
            file, the installed one is used.
        stages: The stages that the script can run.
        hint: What to do where the configuration has another stage.

    Raises:
        ConfigError: The stage is another one, or as for `blocks.load_config`.
    """
    names, flags_given = split_configs(argv)
    path = pathlib.Path(script).resolve().parents[1] / "configs.yaml"
    loaded = blocks.load_config(names, flags_given, path if path.exists() else None)
    if loaded.stage not in stages:
        raise config.ConfigError(f"{hint} Received: --configs {' '.join(names)}")
    return loaded


def run(main: Callable[[list[str]], int]) -> int:
    """Runs a launch script's main function and returns the exit status.

    A `UserError` becomes one line without a traceback. Other exceptions are bugs, and
    keep their traceback.
    """
    try:
        return main(sys.argv[1:])
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)
        return FAILED
    except KeyboardInterrupt:
        print(
            "Interrupted; run the same command to resume.", file=sys.stderr, flush=True
        )
        return INTERRUPTED
    except BrokenPipeError:  # As of `... | head`, which reads only the first lines.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CUT_SHORT

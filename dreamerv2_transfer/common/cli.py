"""What the launch scripts share: reading `--configs`, and errors for a person."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Callable, Collection, Sequence

from dreamerv2_transfer.common import blocks, config, flags
from dreamerv2_transfer.common.errors import UserError

FAILED = 2
CUT_SHORT = 141  # As a shell reports a process that writes where nobody reads.
INTERRUPTED = 130  # As a shell reports a process that Ctrl-C ended.


def split_configs(argv: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Takes `--configs a b c` out of a command line: the names, and the other flags."""
    parsed, remaining = flags.Flags(configs=["defaults"]).parse_known(argv)
    return parsed.configs, remaining


def load_config(
    argv: Sequence[str], script: str, stages: Collection[str], hint: str
) -> config.Config:
    """Reads a launch script's command line by the configuration beside the script.

    Args:
        argv: The command line.
        script: Path of the script, in a folder next to `configs.yaml`; where that is
            missing, the installed one counts.
        stages: Those that the script runs.
        hint: What to do where the configuration has another stage.

    Raises:
        ConfigError: The stage is another one, or as `config.load_config`.
    """
    names, flags_given = split_configs(argv)
    path = pathlib.Path(script).resolve().parents[1] / "configs.yaml"
    loaded = blocks.load_config(names, flags_given, path if path.exists() else None)
    if loaded.stage not in stages:
        raise config.ConfigError(f"{hint} Received: --configs {' '.join(names)}")
    return loaded


def run(main: Callable[[list[str]], int]) -> int:
    """Runs a launch script's main function and returns the exit status.

    An error that the person at the keyboard can put right becomes one line without a
    traceback; all others are bugs, and keep theirs.
    """
    try:
        return main(sys.argv[1:])
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)
        return FAILED
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on.", file=sys.stderr, flush=True)
        return INTERRUPTED
    except BrokenPipeError:  # As of `... | head`, which has read enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CUT_SHORT

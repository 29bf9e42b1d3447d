"""Plays in the dream of a model, on a page in the browser.

The page shows the game that the model dreams beside the real one, which gets the same
actions: yours, by the keyboard or by touch, or the agent's. It shows rewards, errors,
discounts and the latent state, rewinds to any step, branches there, and saves GIFs.
This machine alone can open it, at the address that is printed.

SOURCE is a run's logdir, its file of weights, or the name of a published model.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import webbrowser

from dreamerv2_transfer.commands import configuration
from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.commands.options import Option, Usage
from dreamerv2_transfer.common import cli, progress
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.files import paths

MOST_PORT = 65535
OPTIONS = {
    "task": Option("", "The game at the start; by default one that it learned."),
    "seed": Option(0, "Seed of the game and of the dream.", least=0),
    "port": Option(0, "Port of the page; by default the first free one.", least=0),
    "browser": Option(True, "Open the page, where there is a display."),
} | configuration.TRUST
USAGE = Usage(
    forms=("SOURCE [--task TASK] [--port PORT] [...]",),
    examples={
        "minatar_small_four_games --task minatar_breakout": (
            "Breakout, dreamed by a published model"
        ),
        "logdir/agent": "the dream of a run, in which its agent can play",
    },
    options={"": OPTIONS},
)


def main(argv: list[str]) -> int:
    source, *rest = argv
    paths.check(source, "SOURCE")
    if source.startswith("--"):
        raise ConfigError(f"Name a logdir or a model first. Received: {source}")
    options = options_lib.parse(OPTIONS, rest)
    if options.port > MOST_PORT:
        raise ConfigError(f"port must be at most {MOST_PORT}. Received: {options.port}")
    if importlib.util.find_spec("aiohttp") is None:
        raise ConfigError(
            "play needs the package aiohttp, which is not installed: pip install "
            "'dreamerv2_transfer[play]'"
        )

    import asyncio  # Takes longer to import than all else that help needs.

    from dreamerv2_transfer.play import server

    with server.listen(options.port) as sock:  # Before the model, which takes seconds.
        with progress.explained("Loading the model"):
            from dreamerv2_transfer.play import tables
            from dreamerv2_transfer.trained import load
            from dreamerv2_transfer.trained.model import Model

            model = load.load(source)
            if not isinstance(model, Model):
                raise ConfigError(
                    f"{source} is a DQN, which does not dream. Name a world model or "
                    "an agent."
                )
            made = tables.Tables(model, options.task, options.seed, options.trust)
        page = server.Server(sock, made.new)
        asyncio.run(page.run(lambda: _show(page.url, options.browser)))
    print("Ended.")
    return 0


def _show(url: str, opens: bool) -> None:
    cli.show(f"Play at {url} (Ctrl-C ends it)")
    has_display = sys.platform in ("darwin", "win32") or any(
        os.environ.get(x) for x in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if opens and has_display:
        webbrowser.open(url)

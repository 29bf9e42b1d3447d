"""Which commands there are, and how to type one.

This module imports the standard library alone: `dreamerv2-transfer doctor` has to work
where a package is missing.
"""

from __future__ import annotations

import importlib
import pathlib
import sys

NAME = "dreamerv2-transfer"
# The commands with the modules that have their mains, in the order of help.
COMMANDS = {
    "collect": "dreamerv2_transfer.commands.collect",
    "train": "dreamerv2_transfer.commands.train",
    "train-dqn": "dreamerv2_transfer.commands.train_dqn",
    "evaluate": "dreamerv2_transfer.commands.evaluate",
    "analyze": "dreamerv2_transfer.commands.analyze",
    "play": "dreamerv2_transfer.commands.play",
    "plot": "dreamerv2_transfer.commands.plot",
    "report": "dreamerv2_transfer.commands.report",
    "dataset": "dreamerv2_transfer.commands.dataset",
    "publish": "dreamerv2_transfer.commands.publish",
    "export": "dreamerv2_transfer.commands.export",
    "port": "dreamerv2_transfer.commands.port",
    "reproduce": "dreamerv2_transfer.commands.reproduce",
    "sweep": "dreamerv2_transfer.commands.sweep",
    "doctor": "dreamerv2_transfer.commands.doctor",
    "completion": "dreamerv2_transfer.commands.completion",
}
# Scripts in launch/ whose name is not that of the command.
SCRIPTS = {"port": "port_checkpoint"}


def canonical(word: str) -> str:
    """Returns the name of a command, which may be typed like its script in launch/."""
    names = {script: name for name, script in SCRIPTS.items()}
    return names.get(word, word.replace("_", "-"))


def purpose(command: str) -> str:
    """Returns what a command is for, in a sentence."""
    text = importlib.import_module(COMMANDS[command]).__doc__ or ""
    return text.partition("\n")[0]


def checkout() -> pathlib.Path | None:
    """Returns the checkout whose script in launch/ is running, if one is."""
    script = pathlib.Path(sys.argv[0]).resolve()
    top = script.parent.parent
    is_ours = (top / "configs.yaml").is_file() and (top / "dreamerv2_transfer").is_dir()
    return top if script.parent.name == "launch" and is_ours else None


def words(command: str) -> list[str]:
    """Returns what to type for a command, in the way that this one was typed."""
    typed = pathlib.Path(sys.argv[0])
    script = SCRIPTS.get(command, command.replace("-", "_"))
    if checkout() and (typed.parent / f"{script}.py").exists():
        return ["python", str(typed.parent / f"{script}.py")]
    if typed.parts[-2:] == ("dreamerv2_transfer", "__main__.py"):
        return ["python", "-m", "dreamerv2_transfer", command]
    return [NAME, command]

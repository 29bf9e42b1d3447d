"""Manages datasets of episodes: a folder of task folders, or one of these.

    python launch/dataset.py info DIRECTORY [--picture PATH]
    python launch/dataset.py verify DIRECTORY
    python launch/dataset.py import DIRECTORY --source PATH --task TASK [--format F]
    python launch/dataset.py export DIRECTORY --target NAME_OR_PATH [--task TASK]

info describes each task and draws frames of it: DIRECTORY/contact_sheet.png. verify
reads every byte, names each damaged file, and exits with status 1 if there is one.
import adds the episodes of a source to DIRECTORY/TASK, each content once: of the
original's train_episodes (dreamerv2), of the paper authors' files (pydreamer; for
several games --tasks GAME_0,GAME_1,... or --task GAME --env_id NUMBER), or of a Minari
dataset (minari). export writes a Minari dataset for each task.
"""

from __future__ import annotations

import functools
import sys

from dreamerv2_transfer.common import cli, config, flags
from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.data import contact_sheet, imports, inspect, minari_io, verify

IMPORT = {"source": "", "task": "", "tasks": [""], "env_id": -1, "format": "auto"}
REQUIRED = {
    "source": "what to import: a file, a folder or a Minari dataset",
    "target": "the Minari dataset to write: a name or a folder",
}


def main(argv: list[str]) -> int:
    if not argv or {"--help", "-h"} & {*argv}:
        print(__doc__)
        return 0
    command, *rest = argv
    if command not in COMMANDS:
        raise config.ConfigError(
            f"The first argument is one of {', '.join(COMMANDS)}. Received: {command}"
        )
    if not rest or rest[0].startswith("--"):
        raise config.ConfigError(
            f"Name a dataset after {command}. Received: {' '.join(rest) or 'nothing'}"
        )
    function, defaults, formats = COMMANDS[command]
    options = flags.Flags(defaults).parse(rest[1:])
    for name in REQUIRED.keys() & defaults.keys():
        if not options[name]:
            raise config.ConfigError(f"Name {REQUIRED[name]}: --{name} {name.upper()}.")
    if formats and options.format not in formats:
        raise config.ConfigError(
            f"--format is one of {', '.join(formats)}. Received: {options.format}"
        )
    return function(rest[0], options) or 0


def info(directory: str, options: config.Config) -> None:
    directory = remote.fetched(directory)
    for task in inspect.info(directory):
        print(task.table(), *task.damaged, sep="\n", flush=True)
    picture = options.picture or f"{directory}/contact_sheet.png"
    if contact_sheet.save(directory, picture):
        print(f"Saved {picture}.")


def check(directory: str, options: config.Config) -> int:
    tell = functools.partial(print, flush=True)
    verified = verify.verify(remote.fetched(directory), tell)
    print(verified.summary())
    return 1 if verified.damaged else 0


def import_(directory: str, options: config.Config) -> None:
    source = remote.fetched(options.source)
    tasks = [task for task in options.tasks if task] or [options.task]
    env_id = options.env_id if options.env_id >= 0 else None
    kind = imports.detect(source) if options.format == "auto" else options.format
    with remote.opened(directory) as folder:
        result = imports.import_source(folder.path, source, tasks, kind, env_id)
    print(*result.damaged, *result.notes, result.summary(), sep="\n")


def export(directory: str, options: config.Config) -> None:
    directory = remote.fetched(directory)
    for task, done in minari_io.export(directory, options.target, options.task):
        print(*done.damaged, done.summary(task), sep="\n", flush=True)


# Functions, their options with default values, and the formats that they know.
COMMANDS = {
    "info": (info, {"picture": ""}, ()),
    "verify": (check, {}, ()),
    "import": (import_, IMPORT, ("auto", *imports.FORMATS)),
    "export": (export, {"target": "", "task": "", "format": "minari"}, ("minari",)),
}

if __name__ == "__main__":
    sys.exit(cli.run(main))

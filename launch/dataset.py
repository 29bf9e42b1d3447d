"""Looks after datasets of episodes: a folder of task folders, or one of these.

    python launch/dataset.py info DIRECTORY [--picture PATH]
    python launch/dataset.py verify DIRECTORY
    python launch/dataset.py import DIRECTORY --source PATH --task TASK [--format F]
    python launch/dataset.py export DIRECTORY --target NAME_OR_PATH [--task TASK]

info says what is in it, and draws frames of each task: DIRECTORY/contact_sheet.png.
verify reads every byte, names each damaged file, and ends with status 1 if one is.
import adds the episodes of a source to DIRECTORY/TASK, each content once: of the
original's train_episodes (dreamerv2), of the paper authors' files (pydreamer; of
several games --tasks GAME_0,GAME_1,... or --task GAME --env_id NUMBER), or of a
Minari dataset (minari). export writes a Minari dataset for each task.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable

from dreamerv2_transfer.common import cli, config, flags
from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.data import (
    contact_sheet,
    folders,
    imports,
    inspect,
    minari_io,
    verify,
)

FORMATS = ("auto", "dreamerv2", "pydreamer", "minari")
DAMAGED = 1  # Exit status of verify.


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
    options, run = COMMANDS[command]
    return run(rest[0], flags.Flags(options).parse(rest[1:]))


def show(directory: str, options: config.Config) -> int:
    directory = remote.fetched(directory)
    for task in inspect.info(directory):
        print(task.table(), flush=True)
        print(*task.damaged, sep="\n", end="\n" if task.damaged else "")
    picture = options.picture or f"{directory}/contact_sheet.png"
    if contact_sheet.save(directory, picture):
        print(f"Saved {picture}.")
    return 0


def check(directory: str, options: config.Config) -> int:
    verified = verify.verify(
        remote.fetched(directory), lambda line: print(line, flush=True)
    )
    print(verified.summary())
    return DAMAGED if verified.damaged else 0


def take(directory: str, options: config.Config) -> int:
    _require(options, "source", "what to import: a file, a folder or a Minari dataset")
    _one_of(options, "format", FORMATS)
    kind = options.format
    if remote.is_remote(options.source):
        options = options.update(source=str(remote.fetched(options.source)))
    kind = imports.detect(options.source) if kind == "auto" else kind
    with remote.opened(directory) as folder:
        result = _import(kind, folder.path, options)
    print(*result.damaged, *result.notes, result.summary(), sep="\n")
    return 0


def _import(
    kind: str, directory: pathlib.Path, options: config.Config
) -> imports.Result:
    if kind == "minari":
        return imports.import_minari(directory, options.source, options.task)
    tasks = [task for task in options.tasks if task] or [options.task]
    if kind == "dreamerv2":
        return imports.import_dreamerv2(directory, options.source, options.task)
    env_id = options.env_id if options.env_id >= 0 else None
    return imports.import_pydreamer(directory, options.source, tasks, env_id)


def give(directory: str, options: config.Config) -> int:
    _require(options, "target", "the Minari dataset to write: a name or a folder")
    _one_of(options, "format", ("minari",))
    found = folders.task_folders(remote.fetched(directory))
    if options.task and options.task not in found:
        raise config.ConfigError(
            f"{directory} has the tasks {', '.join(found)}. "
            f"Received: task={options.task}"
        )
    tasks = [options.task] if options.task else list(found)
    for task in tasks:
        done = minari_io.export_task(
            found[task], task, options.target, several=len(tasks) > 1
        )
        print(*done.damaged, sep="\n", end="\n" if done.damaged else "")
        print(
            f"Exported {done.episodes:,} episodes of {task} to {done.folder} "
            f"({done.name}); {len(done.damaged)} damaged ones are left out."
        )
    return 0


def _require(options: config.Config, name: str, meaning: str) -> None:
    if not options[name]:
        raise config.ConfigError(f"Name {meaning}: --{name} {name.upper()}.")


def _one_of(options: config.Config, name: str, values: tuple[str, ...]) -> None:
    if options[name] not in values:
        raise config.ConfigError(
            f"--{name} is one of {', '.join(values)}. Received: {options[name]}"
        )


COMMANDS: dict[str, tuple[dict, Callable[[str, config.Config], int]]] = {
    "info": ({"picture": ""}, show),
    "verify": ({}, check),
    "import": (
        {"source": "", "task": "", "tasks": [""], "env_id": -1, "format": "auto"},
        take,
    ),
    "export": ({"target": "", "task": "", "format": "minari"}, give),
}

if __name__ == "__main__":
    sys.exit(cli.run(main))

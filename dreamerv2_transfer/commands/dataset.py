"""Manages datasets of episodes: a folder of task folders, or one of these.

info describes each task and draws frames of it: DIRECTORY/contact_sheet.png. verify
reads every byte, names each damaged file, and exits with status 1 if there is one.
import adds the episodes of a source to DIRECTORY/TASK, each content once: of the
original's train_episodes (dreamerv2), of the paper authors' files (pydreamer; for
several games --tasks GAME_0,GAME_1,... or --task GAME --env_id NUMBER), or of a Minari
dataset (minari). export writes a Minari dataset for each task.
"""

from __future__ import annotations

from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.commands.options import Option, Usage
from dreamerv2_transfer.common import cli
from dreamerv2_transfer.common.config import Config, ConfigError, suggestion
from dreamerv2_transfer.common.files import paths

FORMATS = ("auto", "dreamerv2", "pydreamer", "minari")
INFO = {
    "picture": Option(
        "", "The drawing; by default DIRECTORY/contact_sheet.png.", is_path=True
    ),
}
IMPORT = {
    "source": Option("", "A file, a folder or a Minari dataset.", is_path=True),
    "task": Option("", "The game of the episodes."),
    "tasks": Option([""], "The games of a source of several, in their order."),
    "env_id": Option(-1, "Number of the game to import; -1 imports all."),
    "format": Option("auto", "Format of the source.", FORMATS),
}
EXPORT = {
    "target": Option(
        "", "The Minari dataset to write: a name or a folder.", is_path=True
    ),
    "task": Option("", "The task to export; by default all."),
    "format": Option("minari", "Format of the target.", ("minari",)),
}
REQUIRED = ("source", "target")


def main(argv: list[str]) -> int:
    command, *rest = argv or ["nothing"]
    if command not in ACTIONS:
        raise ConfigError(
            f"The first argument is one of {', '.join(ACTIONS)}. Received: {command}."
            f"{suggestion(command, ACTIONS)}"
        )
    if not rest or rest[0].startswith("--"):
        raise ConfigError(
            f"Name a dataset after {command}. Received: {' '.join(rest) or 'nothing'}"
        )
    paths.check(rest[0], "DIRECTORY")
    function, options = ACTIONS[command]
    values = options_lib.parse(options, rest[1:])
    for name in options.keys() & REQUIRED:
        if not values[name]:
            raise ConfigError(
                f"--{name} {name.upper()} is missing: {options[name].text}"
            )
    return function(rest[0], values) or 0


def info(directory: str, options: Config) -> None:
    from dreamerv2_transfer.common.files import remote
    from dreamerv2_transfer.data import contact_sheet, inspect

    directory = remote.fetched(directory)
    for task in inspect.info(directory):
        cli.show("\n".join([task.table(), *task.damaged]))
    picture = options.picture or f"{directory}/contact_sheet.png"
    if contact_sheet.save(directory, picture):
        print(f"Saved {picture}.")


def check(directory: str, options: Config) -> int:
    from dreamerv2_transfer.common.files import remote
    from dreamerv2_transfer.data import verify

    verified = verify.verify(remote.fetched(directory), cli.show)
    cli.show(verified.summary())
    return 1 if verified.damaged else 0


def import_(directory: str, options: Config) -> None:
    from dreamerv2_transfer.common.files import remote
    from dreamerv2_transfer.data import imports

    source = remote.fetched(options.source)
    tasks = [task for task in options.tasks if task] or [options.task]
    env_id = options.env_id if options.env_id >= 0 else None
    kind = imports.detect(source) if options.format == "auto" else options.format
    with remote.opened(directory) as folder:
        result = imports.import_source(folder.path, source, tasks, kind, env_id)
    cli.show("\n".join([*result.damaged, *result.notes, result.summary()]))


def export(directory: str, options: Config) -> None:
    from dreamerv2_transfer.common.files import remote
    from dreamerv2_transfer.data import minari_io

    directory = remote.fetched(directory)
    for task, done in minari_io.export(directory, options.target, options.task):
        cli.show("\n".join([*done.damaged, done.summary(task)]))


ACTIONS = {
    "info": (info, INFO),
    "verify": (check, {}),
    "import": (import_, IMPORT),
    "export": (export, EXPORT),
}
USAGE = Usage(
    forms=(
        "info DIRECTORY [--picture PATH]",
        "verify DIRECTORY",
        "import DIRECTORY --source PATH --task TASK [--format FORMAT]",
        "export DIRECTORY --target NAME_OR_PATH [--task TASK]",
    ),
    examples={
        "info logdir/first/dataset": "what is in the dataset of a run",
        "import data --source old/train_episodes --task atari_pong": (
            "episodes of the original DreamerV2"
        ),
    },
    options={"info": INFO, "import": IMPORT, "export": EXPORT},
    words=tuple(ACTIONS),
)

"""Manages datasets of episodes: a folder of task folders, or one of these.

info describes each task and draws frames of it. It also says how often training sees
rewards with the given keys, which are those of the block minatar by default. verify
reads every byte, names each damaged file, and exits with status 1 if there is one.
import adds the episodes of a source to DIRECTORY/TASK, each content once: of the
original's train_episodes (dreamerv2), of the paper authors' files (pydreamer; for
several games --tasks GAME_0,GAME_1,... or --task GAME --env_id NUMBER), or of a Minari
dataset (minari). export writes a Minari dataset for each task. index writes the packed
indices of a dataset; beside the episodes at a URL, they let training start before all
episodes are fetched.
"""

from __future__ import annotations

from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.commands.options import Option, Usage, path_option
from dreamerv2_transfer.common import choices, cli
from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.common.files import paths

FORMATS = ("auto", "dreamerv2", "pydreamer", "minari")
OPTIONS = {
    "info": {
        "picture": path_option("The drawing; else DIRECTORY/contact_sheet.png."),
        "dataset.draw": Option(
            "episodes", "What training draws uniformly.", choices.DRAWS
        ),
        "dataset.rewarded": Option(
            0.0, "Share of the pieces that it draws among those with a reward."
        ),
        "replay.minlen": Option(1, "Fewest steps of its pieces."),
        "replay.maxlen": Option(48, "Most steps of its pieces; 0 is no limit."),
        "replay.prioritize_ends": Option(
            True, "Whether it draws the ends of episodes more often."
        ),
    },
    "verify": {},
    "import": {
        "source": path_option("A file, folder or Minari dataset.", is_required=True),
        "task": Option("", "The game of the episodes."),
        "tasks": Option([""], "The games of a source of several, in their order."),
        "env_id": Option(-1, "Number of the game to import; -1 imports all."),
        "format": Option("auto", "Format of the source.", FORMATS),
        "obs.exclude": Option("^$", "Expression for Minari's keys that are left out."),
    },
    "export": {
        "target": path_option("The new dataset: a name or folder.", is_required=True),
        "task": Option("", "The task to export; by default all."),
        "format": Option("minari", "Format of the target.", ("minari",)),
    },
    "index": {
        "dataset.memory": Option(
            0.0, "GiB that it may take in memory; 0 for no limit.", least=0
        ),
    },
}
USAGE = Usage(
    forms=(
        "info DIRECTORY [--picture PATH] [--dataset.draw steps] ...",
        "verify DIRECTORY",
        "import DIRECTORY --source PATH --task TASK [--format FORMAT]",
        "export DIRECTORY --target NAME_OR_PATH [--task TASK]",
        "index DIRECTORY [--dataset.memory GIB]",
    ),
    examples={
        "info logdir/first/dataset": "what is in the dataset of a run",
        "import data --source old/train_episodes --task atari_pong": (
            "episodes of the original DreamerV2"
        ),
        "index s3://bucket/episodes": "lets training start with the first batch",
    },
    options=OPTIONS,
    words=tuple(OPTIONS),
)


def main(argv: list[str]) -> int:
    command, *rest = argv
    options_lib.check_choice("The first argument", command, OPTIONS)
    if not rest or rest[0].startswith("--"):
        raise ConfigError(f"Name a dataset after {command}. Received: {' '.join(argv)}")
    paths.check(rest[0], "DIRECTORY")
    runs = (info, check, import_, export, index)
    run = dict(zip(OPTIONS, runs, strict=True))[command]
    return run(rest[0], options_lib.parse(OPTIONS[command], rest[1:])) or 0


def info(directory: str, options: Config) -> None:
    from dreamerv2_transfer.common.files import remote
    from dreamerv2_transfer.common.replay import offline
    from dreamerv2_transfer.data import contact_sheet, inspect

    law = offline.law_of(options)
    folder = remote.fetched(directory)
    for task in inspect.info(folder, law):
        cli.show("\n".join([task.table(), *task.damaged]))
    if picture := contact_sheet.save(folder, options.picture):
        print(f"Saved {picture}.")


def check(directory: str, options: Config) -> int:
    from dreamerv2_transfer.data import verify

    verified = verify.verify(directory, cli.show)
    cli.show(verified.summary())
    return 1 if verified.damaged else 0


def import_(directory: str, options: Config) -> None:
    from dreamerv2_transfer.common.files import remote
    from dreamerv2_transfer.data import imports

    tasks = [task for task in options.tasks if task] or [options.task]
    game = options.env_id if options.env_id >= 0 else None
    source = remote.fetched(options.source)
    with remote.opened(directory) as folder:
        result = imports.import_source(
            folder.path, source, tasks, options.format, game, options.obs.exclude
        )
    cli.show("\n".join([*result.damaged, *result.notes, result.summary()]))


def export(directory: str, options: Config) -> None:
    from dreamerv2_transfer.data import minari_io

    for task, done in minari_io.export(directory, options.target, options.task):
        cli.show("\n".join([*done.damaged, done.summary(task)]))


def index(directory: str, options: Config) -> None:
    from dreamerv2_transfer.common.files import remote
    from dreamerv2_transfer.common.replay import offline, packed, streamed
    from dreamerv2_transfer.data import folders

    memory = offline.memory_cap(options)
    with remote.opened(directory, folders.check_dataset) as folder:
        folder.push()
        for task, path in folders.task_folders(folder.path).items():
            episodes = packed.write_index(path, memory)
            told = f"{task}: packed {len(episodes)} episodes, {episodes.steps} steps"
            if remote.is_remote(directory):
                size = streamed.upload(directory, path.name)
                told += f"; uploaded {size / 2**20:.3g} MiB"
            cli.show(f"{told}.")

"""Exports a model as a TensorFlow SavedModel, which runs without this package.

Its signatures are the steps of acting, observing and dreaming, with the noise's seed as
an input and any number of rows. A world model without an agent exports all but acting.

SOURCE is a run's logdir, its file of weights, or the name of a published model.
"""

from __future__ import annotations

from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.commands.options import Usage, path_option
from dreamerv2_transfer.common import progress
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.files import paths

OPTIONS = {
    "to": path_option("The folder to write, which is new or empty.", is_required=True)
}
USAGE = Usage(
    forms=("SOURCE --to FOLDER",),
    examples={
        "logdir/agent --to exported/agent": "the steps of a run",
        "minatar_small_four_games --to exported/dream": "a published model's dream",
    },
    options={"": OPTIONS},
)


def main(argv: list[str]) -> int:
    source, *rest = argv
    if source.startswith("--"):
        raise ConfigError(f"Name a logdir or a model first. Received: {source}")
    paths.check(source, "SOURCE")
    options = options_lib.parse(OPTIONS, rest)
    with progress.explained("Loading TensorFlow"):
        from dreamerv2_transfer.trained import export

    model = export.export(source, options.to)
    if not model.has_agent:
        print(
            f"{source} has no agent: the export observes and dreams, but does not act."
        )
    print(f"Exported {options.to}. Its README.md lists the signatures.")
    return 0

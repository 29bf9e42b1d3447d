"""Ports agents of the original DreamerV2, and of pydreamer, to ours, and back.

OLD is an old logdir or its variables.pkl, or pydreamer's latest.pt or the folder of its
MLflow run. The configuration is the one beside it unless --config names another file.
Without any, name the blocks that the original's agent was trained with by --configs,
and sizes are read off the arrays. Flags for keys of the configuration, such as
--rssm.stoch 32, override all of these. What the agent observes and does is told by its
episodes, its game or its arrays; if not, name it by --obs and --actions.

The result is a run that train continues, evaluate plays and --init starts from.
"""

from __future__ import annotations

import shlex
from typing import Any

from dreamerv2_transfer.commands import configuration, program
from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.commands.options import Option, Usage, path_option
from dreamerv2_transfer.common import progress
from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.common.files import paths

TARGET = {"to": path_option("The folder or, with --reverse, the file to write.")}
REVERSE = {"reverse": Option(False, "Port a run of ours to the original's format.")}
OLD = {
    "config": path_option("The original's config.yaml or config.json."),
    "configs": Option([""], "Blocks of configs.yaml, or of pydreamer's YAML."),
    "obs": Option([""], "Observations with their sizes: image:64x64x1 position:8."),
    "actions": Option("", "discrete:6 or continuous:6."),
} | configuration.TRUST
CAME = "The state of the optimizers came along"
FRESH = "The old format holds no state of the optimizers, so they start afresh"
USAGE = Usage(
    forms=(
        "OLD --to LOGDIR [--config OLD_CONFIG] [--KEY VALUE ...]",
        "LOGDIR --reverse --to FILE.pkl|FILE.pt",
    ),
    examples={
        "old/logdir --to logdir/ported": "an agent of the original becomes a run",
        "logdir/agent --reverse --to variables.pkl": "and back",
        "mlruns/0/RUN --to logdir/ported": "an agent of pydreamer becomes a run",
    },
    options={"": TARGET | REVERSE | OLD},
)


def main(argv: list[str]) -> int:
    path, *rest = argv
    paths.check(path, "OLD")
    if path.startswith("--"):
        raise ConfigError(
            f"Name an old logdir or a variables.pkl first. Received: {path}"
        )
    options, keys = options_lib.parse_known(TARGET | REVERSE | OLD, rest)
    if options.reverse:  # Flags for keys of the configuration are errors.
        options = options_lib.parse(TARGET | REVERSE, rest)
    if not options.to:
        raise ConfigError("Name what to write: --to PATH.")

    from dreamerv2_transfer.common.files import remote

    path = str(remote.fetched(path))
    if not options.reverse:
        return port(path, options, keys)
    config = configuration.of_run(paths.local(path), is_trusted=True)
    with progress.explained("Loading TensorFlow"):
        from dreamerv2_transfer.porting import port as port_lib
        from dreamerv2_transfer.porting import pydreamer_port

    is_pydreamer = config.get("behavior") == "pydreamer"
    number = (pydreamer_port if is_pydreamer else port_lib).reverse(path, options.to)
    who = "pydreamer" if is_pydreamer else "the original DreamerV2"
    print(
        f"Wrote {number} arrays to {options.to}, which {who} loads with the "
        "configuration beside it."
    )
    return 0


def port(path: str, options: Config, argv: list[str]) -> int:
    # TensorFlow takes seconds to import, so what can fail without it comes first.
    from dreamerv2_transfer.porting import old as old_lib
    from dreamerv2_transfer.porting import pydreamer

    old_lib.check_free(options.to)
    blocks, obs = ([x for x in options[name] if x] for name in ("configs", "obs"))
    if pydreamer.is_checkpoint(path):
        return port_pydreamer(path, options, blocks, argv)
    told = blocks, argv, obs, options.actions, options.trust
    old = old_lib.read(path, options.config, *told)
    with progress.explained("Loading TensorFlow"):
        from dreamerv2_transfer.porting import port as port_lib

    steps = port_lib.port(old, options.to)
    _tell(old, options.to, old.summary(steps), FRESH)
    return 0


def port_pydreamer(
    path: str, options: Config, blocks: list[str], argv: list[str]
) -> int:
    """Ports an agent of pydreamer, whose configuration tells what it observes."""
    from dreamerv2_transfer.porting import pydreamer

    if options.actions or any(options.obs):
        raise ConfigError(
            "--obs and --actions are for agents of the original; pydreamer's "
            "configuration tells what its agents observe and do. Leave them out."
        )
    theirs = pydreamer.read(path, options.config, blocks, argv, options.trust)
    with progress.explained("Loading TensorFlow"):
        from dreamerv2_transfer.porting import pydreamer_port

    has_optimizers = pydreamer_port.port(theirs, options.to)
    _tell(theirs, options.to, theirs.summary(), CAME if has_optimizers else FRESH)
    return 0


def _tell(old: Any, to: str, summary: str, optimizers: str) -> None:
    """Prints what was ported, and how to go on."""
    logdir = shlex.quote(to)
    print(
        *old.notes,
        f"Ported {len(old.arrays)} arrays of {old.path} to {to}: {summary}. "
        f"{optimizers}.",
        f"Play: {shlex.join(program.words('evaluate'))} --logdir {logdir}",
        f"Train: {shlex.join(program.words('train'))} --configs {logdir}/config.yaml "
        f"scratch --logdir {logdir}",
        sep="\n",
    )

"""Ports agents of the original DreamerV2 to ours, and back.

    python launch/port_checkpoint.py OLD --to LOGDIR [--config OLD_CONFIG]
    python launch/port_checkpoint.py LOGDIR --reverse --to FILE.pkl

OLD is an old logdir or its variables.pkl; the configuration is by default the one
beside it. Where there is none, --configs names the blocks that the agent was trained
with, and sizes are read off the arrays. Flags for keys of the configuration, such as
--rssm.stoch 32, go over all of these. What the agent observes and does is told by its
episodes, its game or the arrays; else --obs image:64x64x1 position:8 and
--actions discrete:6 (or continuous:6) name it.

LOGDIR is then what train.py goes on with, evaluate.py plays and --init starts from.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from dreamerv2_transfer.common import cli, config, flags
from dreamerv2_transfer.common.files import remote

OPTIONS = {
    "to": "",  # The folder or, with --reverse, the file to write.
    "config": "",  # The original's config.yaml or config.json.
    "configs": [""],  # Blocks of configs.yaml.
    "obs": [""],  # Observations with their sizes.
    "actions": "",
}


def main(argv: list[str]) -> int:
    if not argv or {"--help", "-h"} & {*argv}:
        print(__doc__)
        return 0
    path, *rest = argv
    if path.startswith("--"):
        raise config.ConfigError(
            f"Name an old logdir or a variables.pkl first. Received: {path}"
        )
    backwards = "--reverse" in rest
    rest = [argument for argument in rest if argument != "--reverse"]
    known = flags.Flags({"to": ""} if backwards else OPTIONS)
    # Backwards there is nothing else to say, and other flags are errors.
    options, remaining = (
        (known.parse(rest), []) if backwards else known.parse_known(rest)
    )
    if not options.to:
        raise config.ConfigError("Name what to write: --to PATH.")
    if remote.is_remote(options.to):
        raise config.ConfigError(f"Name a local path by --to. Received: {options.to}")
    path = str(remote.fetched(path))
    return reverse(path, options.to) if backwards else port(path, options, remaining)


def port(path: str, options: config.Config, argv: list[str]) -> int:
    # TensorFlow takes seconds to import, so what can fail without it fails first.
    from dreamerv2_transfer.porting import old as old_lib

    old_lib.check_free(options.to)
    given = {name: [x for x in options[name] if x] for name in ("configs", "obs")}
    old = old_lib.read(
        path, options.config, given["configs"], argv, given["obs"], options.actions
    )

    from dreamerv2_transfer import agent as agent_lib
    from dreamerv2_transfer.common import machine
    from dreamerv2_transfer.porting import port

    machine.setup(old.config)
    agent = agent_lib.make_agent(old.config, *old.spaces)
    port.fill(agent, old.arrays, old.path)
    port.write(agent, old, options.to)
    print(*old.notes, sep="\n", end="\n" if old.notes else "")
    kind = "discrete" if old.discrete else "continuous"
    print(
        f"Ported {len(old.arrays)} arrays of {old.path} to {options.to}: an agent of "
        f"{int(agent.tfstep)} steps that observes {_told(old.obs)} and has "
        f"{old.actions} {kind} actions. The old format holds no state of the "
        "optimizers, so they begin anew."
    )
    print(
        f"Play: python launch/evaluate.py --logdir {options.to}\nTrain: python "
        f"launch/train.py --configs {options.to}/config.yaml scratch --logdir "
        f"{options.to}"
    )
    return 0


def _told(obs: dict[str, tuple[int, ...]]) -> str:
    sizes = {key: "x".join(map(str, shape)) for key, shape in obs.items()}
    return ", ".join(f"{key} ({size})" for key, size in sizes.items())


def reverse(path: str, to: str) -> int:
    from dreamerv2_transfer.porting import port

    number = port.reverse(path, to)
    print(
        f"Wrote {number} arrays to {to}, which the original DreamerV2 loads with the "
        "configuration beside it."
    )
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))

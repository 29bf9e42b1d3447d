"""Ports agents of the original DreamerV2 to ours, and back.

    python launch/port_checkpoint.py OLD --to LOGDIR [--config OLD_CONFIG]
    python launch/port_checkpoint.py LOGDIR --reverse --to FILE.pkl

OLD is an old logdir or its variables.pkl. Its configuration is the one beside it unless
--config names another file. Without any, --configs names the blocks that the agent was
trained with, and sizes are read off the arrays. Flags for keys of the configuration,
such as --rssm.stoch 32, override all of these. What the agent observes and does is told
by its episodes, its game or its arrays; if not, name it by --obs image:64x64x1
position:8 and --actions discrete:6 (or continuous:6).

The result is a run that train.py continues, evaluate.py plays and --init starts from.
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
    is_reverse = "--reverse" in rest
    rest = [argument for argument in rest if argument != "--reverse"]
    # In reverse, flags for keys of the configuration are errors.
    known = flags.Flags({"to": ""} if is_reverse else OPTIONS)
    options, argv = (known.parse(rest), []) if is_reverse else known.parse_known(rest)
    if not options.to:
        raise config.ConfigError("Name what to write: --to PATH.")
    if remote.is_remote(options.to):
        raise config.ConfigError(f"Name a local path by --to. Received: {options.to}")
    path = str(remote.fetched(path))
    if not is_reverse:
        return port(path, options, argv)
    from dreamerv2_transfer.porting import port as port_lib

    number = port_lib.reverse(path, options.to)
    print(
        f"Wrote {number} arrays to {options.to}, which the original DreamerV2 loads "
        "with the configuration beside it."
    )
    return 0


def port(path: str, options: config.Config, argv: list[str]) -> int:
    # TensorFlow takes seconds to import, so what can fail without it comes first.
    from dreamerv2_transfer.porting import old as old_lib

    old_lib.check_free(options.to)
    blocks, obs = ([x for x in options[name] if x] for name in ("configs", "obs"))
    old = old_lib.read(path, options.config, blocks, argv, obs, options.actions)

    from dreamerv2_transfer import agent as agent_lib
    from dreamerv2_transfer.common import machine
    from dreamerv2_transfer.porting import port as port_lib

    machine.setup(old.config)
    agent = agent_lib.make_agent(old.config, *old.spaces)
    port_lib.fill(agent, old.arrays, old.path)
    port_lib.write(agent, old, options.to)
    sizes = (f"{k} ({'x'.join(map(str, shape))})" for k, shape in old.obs.items())
    print(
        *old.notes,
        f"Ported {len(old.arrays)} arrays of {old.path} to {options.to}: an agent of "
        f"{int(agent.tfstep)} steps that observes {', '.join(sizes)} and has "
        f"{old.actions} {'discrete' if old.discrete else 'continuous'} actions. The "
        "old format holds no state of the optimizers, so they start afresh.",
        f"Play: python launch/evaluate.py --logdir {options.to}",
        f"Train: python launch/train.py --configs {options.to}/config.yaml scratch "
        f"--logdir {options.to}",
        sep="\n",
    )
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))

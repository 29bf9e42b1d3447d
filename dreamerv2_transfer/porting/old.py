"""Reads an agent of the original DreamerV2 from its files, without its code.

An old logdir holds `variables.pkl` (the agent), `config.yaml` and `train_episodes`.
Where a file is missing or says too little, the shapes of the arrays, the episodes and
the game itself fill in; what none of them knows, the user has to name.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common import flags
from dreamerv2_transfer.common.config import Config
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import paths
from dreamerv2_transfer.porting import observations, pickles, shapes
from dreamerv2_transfer.porting.observations import ObsShapes
from dreamerv2_transfer.porting.pickles import PortError

VARIABLES = "variables.pkl"
CONFIGS = ("config.yaml", "config.json")
EPISODES = "train_episodes"
BEHAVIORS = ("greedy", "Random", "Plan2Explore", "ModelLoss")
ALL_ACTIONS = 18  # Of ALE.


@dataclasses.dataclass(frozen=True)
class Old:
    """An agent of the original.

    Attributes:
        path: Its `variables.pkl`.
        arrays: All of its arrays, without names.
        config: Its configuration, complete, in today's keys.
        obs: Shape of each observation.
        actions: Length of an action.
        discrete: Whether actions are one-hot.
        episodes: The folder of its replay, if there is one.
        notes: What the user should know, in sentences.
    """

    path: pathlib.Path
    arrays: tuple[np.ndarray, ...]
    config: Config
    obs: ObsShapes
    actions: int
    discrete: bool
    episodes: pathlib.Path | None
    notes: tuple[str, ...]

    @property
    def spaces(self) -> tuple[dict[str, spaces.Space], dict[str, spaces.Space]]:
        """The spaces of observations and actions, as `agent.Agent` takes them."""
        return observations.make_spaces(self.obs, self.actions, self.discrete)

    def summary(self, steps: int) -> str:
        """Describes the agent in words, after `steps` steps of training."""
        sizes = (f"{k} ({'x'.join(map(str, shape))})" for k, shape in self.obs.items())
        return (
            f"an agent of {steps} steps that observes {', '.join(sizes)} and has "
            f"{self.actions} {'discrete' if self.discrete else 'continuous'} actions"
        )


def read(
    path: str | pathlib.Path,
    config: str | pathlib.Path = "",
    blocks: Sequence[str] = (),
    argv: Sequence[str] = (),
    obs: Sequence[str] = (),
    actions: str = "",
    trust: bool = False,
) -> Old:
    """Reads an old agent.

    Args:
        path: An old logdir, or a `variables.pkl`.
        config: The original's configuration; by default the file beside the variables.
        blocks: Names of the blocks that it was trained with, if it has no
            configuration.
        argv: Flags for keys of the configuration, which override all of these.
        obs: Observations such as `image:64x64x1` and `position:8`; by default those of
            the episodes, the game or the arrays.
        actions: For example `discrete:6` or `continuous:6`; by default those of the
            arrays.
        trust: Whether the configuration may name a task that imports a module.

    Raises:
        ConfigError: It does, but is not trusted.
        PortError: The arrays do not belong to the agent that the configuration
            describes, or something is unknown; says what to name.
    """
    variables = find_variables(path)
    arrays = pickles.load_variables(variables)
    notes: list[str] = []
    settings, is_own, flagged = _settings(variables, config, blocks, argv, notes)
    if not (trust or "task" in flagged):
        blocks_lib.check_task(settings.task, config or variables.parent)
    # If everything is named, nothing is inferred, and `port.fill` checks each array.
    is_named = is_own and bool(obs and actions)
    found = _find(variables, arrays, settings, is_own, may_fail=is_named)
    if found and not is_own:
        sizes = {k: v for k, v in found.config.items() if k not in flagged}
        settings = settings.update(sizes)
    if not is_named and (differences := shapes.differences(found, settings)):
        raise PortError(
            f"{variables} does not belong to the agent that the configuration "
            f"describes: {'; '.join(differences)}. Name the configuration that it was "
            "trained with, or these values as flags, such as --rssm.deter 200."
        )
    told = observations.parse_actions(actions)
    number, discrete = told or (found.actions, found.discrete)
    settings = _adapted(settings, found, number, notes)
    folder = variables.parent / EPISODES
    episodes = folder if folder.is_dir() else None
    seen = observations.parse(obs)
    seen = seen or observations.infer(settings, found, episodes, notes)
    return Old(
        variables, arrays, settings, seen, number, discrete, episodes, tuple(notes)
    )


def find_variables(path: str | pathlib.Path) -> pathlib.Path:
    """Returns the file of variables that a path names, or that its folder has.

    Raises:
        PortError: The folder has none.
    """
    file = paths.local(path)
    if not file.is_dir():
        return file
    if not (file / VARIABLES).is_file():
        raise PortError(
            f"{path} has no {VARIABLES}. Name an old logdir, or such a file."
        )
    return file / VARIABLES


def check_free(path: str | pathlib.Path) -> pathlib.Path:
    """Returns the absolute path of what is to be written.

    Raises:
        PortError: The path is a URL, a file or a folder that is not empty.
    """
    if paths.is_url(path):
        raise PortError(f"Name a local path by --to. Received: {path}")
    path = paths.local(path).resolve()
    if path.is_dir() and any(path.iterdir()):
        raise PortError(f"{path} is not empty. Name another folder by --to.")
    if path.exists() and not path.is_dir():
        raise PortError(f"{path} exists already. Name another path by --to.")
    return path


def _settings(
    variables: pathlib.Path,
    config: str | pathlib.Path,
    blocks: Sequence[str],
    argv: Sequence[str],
    notes: list[str],
) -> tuple[Config, bool, frozenset[str]]:
    """Loads the configuration.

    Returns:
        The configuration with flags applied, whether it is the agent's own, and the
        keys that flags set.
    """
    beside = [variables.parent / name for name in CONFIGS]
    own = config or next((path for path in beside if path.is_file()), None)
    if own and blocks:
        raise PortError(
            f"--configs is for agents without a configuration, but there is {own}. "
            "Omit it; flags change single keys."
        )
    if own:
        settings, changes = blocks_lib.load_old(own)
        notes.extend(changes)
    elif blocks:
        settings = blocks_lib.load_config(blocks)
    else:
        raise PortError(
            f"There is no configuration beside {variables}. Name it by --config FILE, "
            "or name the blocks that the agent was trained with by --configs, such as "
            "atari: settings other than sizes, such as activations, are not in the "
            "arrays."
        )
    reader = flags.Flags(settings)
    return reader.parse(argv), bool(own), reader.given


def _find(
    variables: pathlib.Path,
    arrays: Sequence[np.ndarray],
    settings: Config,
    is_own: bool,
    may_fail: bool,
) -> shapes.Found | None:
    """Reads the agent's sizes off its arrays.

    Returns:
        The sizes; None if they could not be read and `may_fail`.
    """
    if settings.expl_behavior not in BEHAVIORS:
        raise PortError(
            f"expl_behavior must be one of {', '.join(BEHAVIORS)}. "
            f"Received: {settings.expl_behavior}"
        )
    decoder = settings.decoder
    decoded = 0 if decoder.mlp_keys in observations.NEVER else len(decoder.mlp_layers)
    explores = settings.expl_behavior in ("Plan2Explore", "ModelLoss")
    fault = None
    for layers in [decoded, None] if is_own else [None]:
        try:
            return shapes.find(
                [array.shape for array in arrays],
                settings.expl_behavior,
                settings.disag_models,
                settings.slow_target if explores else None,
                layers,
            )
        except PortError as error:
            fault = fault or error
    if may_fail:
        return None
    raise PortError(
        f"{variables}: {fault} Assumed: expl_behavior={settings.expl_behavior}, "
        f"disag_models={settings.disag_models}. Agents of dreamerv2 1.x have other "
        "arrays and cannot be ported. If sizes that should differ are equal, or the "
        "decoder makes vectors that the encoder does not take, name --obs and "
        "--actions."
    ) from fault


def _adapted(
    settings: Config, found: shapes.Found | None, actions: int, notes: list[str]
) -> Config:
    """Returns the configuration with values that today's code takes."""
    if found and "decoder.cnn_kernels" in found.config:
        decoder, size = settings.decoder, 1
        strides = decoder.cnn_strides
        for kernel, stride in zip(decoder.cnn_kernels, strides, strict=True):
            size = (size - 1) * stride + kernel
        if settings.render_size != (size, size):
            notes.append(
                f"render_size was {list(settings.render_size)}; it is [{size}, {size}] "
                "now, as large as the images that the decoder makes."
            )
        settings = settings.update(render_size=(size, size))
    settings = blocks_lib.with_stage(settings, "scratch")
    if settings.precision == "16":
        settings = settings.update(precision="auto")
        notes.append("precision was 16 and is auto now: 16 bits where they are faster.")
    if settings.envs_parallel == "thread":
        settings = settings.update(envs_parallel="none")
        notes.append(
            "envs_parallel was thread, which no longer exists; it is none now."
        )
    if settings.task.startswith("atari_"):
        from dreamerv2_transfer.dqn import agents

        try:
            minimal = agents.minimal_actions(settings.task)
        except UserError:
            minimal = None
        # A game whose minimal set is all of ALE's needs no flag.
        is_all = actions == ALL_ACTIONS != minimal
        settings = settings.update(atari_all_actions=is_all)
    return settings

"""What is left of a run of the original DreamerV2: its files, read without its code.

An old logdir holds `variables.pkl` (the agent), `config.yaml` and `train_episodes`.
Where something is missing, or a file says too little, the shapes of the arrays, the
episodes and the game itself are asked; what none of them knows is asked for by name.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common import envs, flags
from dreamerv2_transfer.common.config import Config
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.porting import pickles, shapes
from dreamerv2_transfer.porting.pickles import PortError

VARIABLES = "variables.pkl"
CONFIGS = ("config.yaml", "config.json")
EPISODES = "train_episodes"
BEHAVIORS = ("greedy", "Random", "Plan2Explore", "ModelLoss")
ALL_ACTIONS = 18  # Of ALE.
NEVER = ("$^", "^$")  # Patterns by which the original turns a kind of input off.

ObsShapes = dict[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Old:
    """An agent of the original.

    Attributes:
        path: Of its `variables.pkl`.
        arrays: All of it, without names.
        config: Its configuration, complete, as one of ours.
        obs: Shape of each observation.
        actions: Length of an action.
        discrete: Whether actions are one-hot.
        episodes: The folder of its replay, if there is one.
        notes: What a person should know, a sentence each.
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
        """Those of observations and actions, as `agent.Agent` takes them."""
        return make_spaces(self.obs, self.actions, self.discrete)


def make_spaces(
    obs: Mapping[str, tuple[int, ...]], actions: int, discrete: bool
) -> tuple[dict[str, spaces.Space], dict[str, spaces.Space]]:
    """The spaces of observations of these shapes, and of actions of this length."""
    space = spaces.Discrete(actions) if discrete else spaces.Box(-1, 1, (actions,))
    seen = {
        key: spaces.Box(0, 255, shape, np.uint8)
        if len(shape) == 3
        else spaces.Box(-np.inf, np.inf, shape, np.float32)
        for key, shape in obs.items()
    }
    numbers = {key: spaces.Box(-np.inf, np.inf, ()) for key in ("reward", *store.FLAGS)}
    return {**seen, **numbers}, {"action": space}


def read(
    path: str | pathlib.Path,
    config: str | pathlib.Path = "",
    blocks: Sequence[str] = (),
    argv: Sequence[str] = (),
    obs: Sequence[str] = (),
    actions: str = "",
) -> Old:
    """Reads an old agent.

    Args:
        path: An old logdir, or a `variables.pkl`.
        config: The original's configuration; by default the one beside the variables.
        blocks: Names of blocks that it was trained with, where there is none.
        argv: Flags for keys of the configuration, over all of these.
        obs: Observations such as `image:64x64x1` and `position:8`; by default as the
            episodes, the game or the arrays tell.
        actions: `discrete:6` or `continuous:6`, for example; by default as the arrays
            tell.

    Raises:
        PortError: The arrays are not of the agent that the configuration describes, or
            something is not known; says what to name.
    """
    variables = _find_variables(pathlib.Path(path).expanduser())
    folder = variables.parent
    arrays = pickles.load_variables(variables)
    settings, notes, is_own, flagged = _settings(variables, config, blocks, argv)
    # Then nothing need be guessed, and the arrays are judged one by one at the end.
    is_told = is_own and bool(obs and actions)
    found = _find(variables, arrays, settings, is_own, is_told)
    if found and not is_own:
        sizes = {k: v for k, v in found.config.items() if k not in flagged}
        settings = settings.update(sizes)
    if not is_told and (told := shapes.differences(found, settings)):
        raise PortError(
            f"{variables} is not of the agent that the configuration describes: "
            f"{'; '.join(told)}. Name the configuration that it was trained with, or "
            "these values as flags, such as --rssm.deter 200."
        )
    settings = _with_image_size(settings, found, notes)
    number, discrete = _parse_actions(actions) or (found.actions, found.discrete)
    episodes = folder / EPISODES
    episodes = episodes if episodes.is_dir() else None
    seen = _parse_obs(obs) or _observations(settings, found, episodes, notes)
    settings = _adapt(settings, number, notes)
    return Old(
        variables, arrays, settings, seen, number, discrete, episodes, tuple(notes)
    )


# Files.


def check_free(path: str | pathlib.Path) -> pathlib.Path:
    """The absolute path of what is to be written: nothing, or an empty folder.

    Raises:
        PortError: There is something.
    """
    path = pathlib.Path(path).expanduser().resolve()
    if path.is_dir() and any(path.iterdir()):
        raise PortError(f"{path} is not empty. Name something new by --to.")
    if path.exists() and not path.is_dir():
        raise PortError(f"{path} is there already. Name something new by --to.")
    return path


def _find_variables(path: pathlib.Path) -> pathlib.Path:
    if not path.is_dir():
        return path
    if not (path / VARIABLES).is_file():
        raise PortError(
            f"There is no {VARIABLES} in {path}. Name an old logdir, or such a file."
        )
    return path / VARIABLES


def _settings(
    variables: pathlib.Path, config, blocks: Sequence[str], argv: Sequence[str]
) -> tuple[Config, list[str], bool, frozenset[str]]:
    """The configuration, notes, whether it is the agent's own, and flags' keys."""
    beside = [variables.parent / name for name in CONFIGS]
    own = config or next((path for path in beside if path.is_file()), None)
    if own and blocks:
        raise PortError(
            f"--configs is for agents without a configuration, but there is {own}. "
            "Leave it out; flags change single keys."
        )
    if own:
        settings, notes = blocks_lib.load_old(own)
    elif blocks:
        settings, notes = blocks_lib.load_config(blocks), []
    else:
        raise PortError(
            f"There is no configuration beside {variables}. Name it by --config FILE, "
            "or by --configs the blocks that the agent was trained with, such as "
            "atari: what is no size, such as activations, is not in the arrays."
        )
    reader = flags.Flags(settings)
    return reader.parse(argv), notes, bool(own), reader.given


def _find(variables, arrays, settings: Config, is_own: bool, may_fail: bool):
    """The sizes that the arrays tell of; None if they do not, and need not."""
    if settings.expl_behavior not in BEHAVIORS:
        raise PortError(
            f"expl_behavior is one of {', '.join(BEHAVIORS)}. "
            f"Received: {settings.expl_behavior}"
        )
    decoder = settings.decoder
    decoded = 0 if decoder.mlp_keys in NEVER else len(decoder.mlp_layers)
    explores = settings.expl_behavior in ("Plan2Explore", "ModelLoss")
    given = dict(
        shapes=[array.shape for array in arrays],
        expl_behavior=settings.expl_behavior,
        disag_models=settings.disag_models,
        slow_target=settings.slow_target if explores else None,
    )
    fault = None
    for layers in [decoded, None] if is_own else [None]:
        try:
            return shapes.find(**given, decoded=layers)
        except PortError as error:
            fault = fault or error
    if may_fail:
        return None
    raise PortError(
        f"{variables}: {fault} Its expl_behavior is taken to be "
        f"{settings.expl_behavior}, its disag_models {settings.disag_models}. Agents "
        "of dreamerv2 1.x have other arrays and cannot be ported. Where sizes that "
        "should differ are equal, or the decoder makes vectors that the encoder does "
        "not take, name --obs and --actions."
    ) from fault


# What the agent observes and does.


def _parse_obs(items: Sequence[str]) -> ObsShapes:
    parsed = {}
    for item in items:
        name, _, size = item.partition(":")
        if not name or not re.fullmatch(r"\d+(x\d+x\d+)?", size):
            raise PortError(
                "Observations are named with their sizes, such as image:64x64x1 or "
                f"position:8. Received: --obs {item}"
            )
        parsed[name] = tuple(map(int, size.split("x")))
    return parsed


def _parse_actions(text: str) -> tuple[int, bool] | None:
    if not text:
        return None
    if not re.fullmatch(r"(discrete|continuous):[1-9]\d*", text):
        raise PortError(
            "Actions are named with their size, such as discrete:6 or continuous:6. "
            f"Received: --actions {text}"
        )
    kind, _, number = text.partition(":")
    return int(number), kind == "discrete"


def _with_image_size(settings: Config, found: shapes.Found | None, notes) -> Config:
    """With the size of the images that the decoder makes, if it makes any."""
    decoder = settings.decoder
    if not found or "decoder.cnn_kernels" not in found.config:
        return settings
    size = 1
    for kernel, stride in zip(decoder.cnn_kernels, decoder.cnn_strides, strict=True):
        size = (size - 1) * stride + kernel
    if settings.render_size != (size, size):
        notes.append(
            f"render_size was {list(settings.render_size)}; it is [{size}, {size}] "
            "now, as large as the images that the decoder makes."
        )
    return settings.update(render_size=(size, size))


def _observations(settings: Config, found: shapes.Found, episodes, notes) -> ObsShapes:
    for source in (_of_episodes(episodes), _of_task(settings)):
        seen = _inputs(settings, source)
        if seen and _fits(settings, seen, found):
            return seen
    return _of_patterns(settings, found, notes)


def _of_episodes(folder: pathlib.Path | None) -> ObsShapes:
    """Shapes in the first episode that can be read."""
    for path in sorted(folder.glob("*.npz")) if folder else []:
        try:
            episode = store.load_episode(path)
        except UserError:
            continue
        # load_episode leaves out what is for logging alone.
        return {k: v.shape[1:] for k, v in episode.items() if k not in store.REQUIRED}
    return {}


def _of_task(settings: Config) -> ObsShapes:
    kinds = envs.kinds(settings.task, **envs.options(settings, settings.task)) or {}
    return {k: shape for k, (shape, _) in kinds.items() if k != "action"}


def _inputs(settings: Config, seen: ObsShapes) -> ObsShapes:
    """Those that the encoder or the decoder takes."""
    parts = settings.encoder, settings.decoder
    patterns = {
        3: [part.cnn_keys for part in parts],
        1: [part.mlp_keys for part in parts],
    }
    return {
        key: shape
        for key, shape in seen.items()
        if any(re.match(x, key) for x in patterns.get(len(shape), []))
    }


def _fits(settings: Config, seen: ObsShapes, found: shapes.Found) -> bool:
    encoder, decoder = settings.encoder, settings.decoder
    images = [
        shape
        for key, shape in seen.items()
        if len(shape) == 3 and re.match(encoder.cnn_keys, key)
    ]
    if any(shape[:2] != settings.render_size for shape in images):
        return False
    channels = sum(shape[2] for shape in images)
    pattern = encoder.mlp_keys if decoder.mlp_keys in NEVER else decoder.mlp_keys
    vectors = tuple(
        seen[key][0]
        for key in sorted(seen)
        if len(seen[key]) == 1 and re.match(pattern, key)
    )
    if decoder.mlp_keys in NEVER:
        vectors = (sum(vectors),) if vectors else ()
    return (channels, vectors) == (found.channels, found.vectors)


def _of_patterns(settings: Config, found: shapes.Found, notes: list[str]) -> ObsShapes:
    """Names from the configuration's patterns, or made up where these allow any."""
    seen: ObsShapes = {}
    if found.channels:
        (name,) = _names(settings.encoder.cnn_keys, 1, "image")
        seen[name] = (*settings.render_size, found.channels)
        if not _is_literal(settings.encoder.cnn_keys):
            notes.append(
                f"The arrays do not tell whether the agent observes one image or more; "
                f"here it is {name}, of {found.channels} channels. Name them by --obs "
                "if there are more."
            )
    if found.vectors:
        pattern = settings.decoder.mlp_keys
        pattern = settings.encoder.mlp_keys if pattern in NEVER else pattern
        number = len(found.vectors)
        names = _names(pattern, number, "vector")
        seen |= {k: (n,) for k, n in zip(names, found.vectors, strict=True)}
        if names[0] in ("vector", "vector0"):
            listed = ", ".join(f"{k} ({v[0]})" for k, v in seen.items() if len(v) == 1)
            notes.append(
                "The arrays do not tell what the vectors that the agent observes are "
                f"called; here they are {listed}. To act, name them: --obs NAME:SIZE "
                "... for all observations."
            )
    return seen


def _is_literal(pattern: str) -> bool:
    """Whether a pattern can match a single name only."""
    return bool(re.fullmatch(r"\^?\w+\$", pattern))


def _names(pattern: str, number: int, kind: str) -> list[str]:
    """So many names that a pattern matches, sorted."""
    literal = sorted(part.strip("^$") for part in pattern.split("|"))
    if len(literal) == number and all(part.isidentifier() for part in literal):
        return literal
    made_up = [f"{kind}{i}" for i in range(number)] if kind == "vector" else [kind]
    if all(re.match(pattern, name) for name in made_up):
        return made_up
    raise PortError(
        f"What the agent observes is not known: {number} of kind {kind} whose names "
        f"match {pattern!r}. Name all observations: --obs NAME:SIZE ..., such as "
        "image:64x64x1 or position:8."
    )


# What today's configuration has otherwise.


def _adapt(settings: Config, actions: int, notes: list[str]) -> Config:
    settings = blocks_lib.with_stage(settings, "scratch")
    if settings.precision == "16":
        settings = settings.update(precision="auto")
        notes.append("precision was 16 and is auto now: 16 bits where they are faster.")
    if settings.envs_parallel == "thread":
        settings = settings.update(envs_parallel="none")
        notes.append("envs_parallel was thread, which is not offered; it is none now.")
    if settings.task.startswith("atari_"):
        settings = settings.update(
            atari_all_actions=_all_actions(settings.task, actions)
        )
    return settings


def _all_actions(task: str, actions: int) -> bool:
    """Whether an agent of so many actions chooses from all of ALE's."""
    from dreamerv2_transfer.dqn import agents

    try:
        minimal = agents.minimal_actions(task)
    except UserError:
        return actions == ALL_ACTIONS
    return actions == ALL_ACTIONS != minimal

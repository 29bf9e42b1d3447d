"""Finds out what an old agent observes and does; its arrays tell only sizes.

Names of observations come from the user, from the agent's episodes, from its game, or
from the patterns in its configuration.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.config import Config
from dreamerv2_transfer.common.replay import shards, store
from dreamerv2_transfer.porting import shapes
from dreamerv2_transfer.porting.pickles import PortError

NEVER = ("$^", "^$")  # Patterns by which the original turns a kind of input off.

ObsShapes = dict[str, tuple[int, ...]]


def make_spaces(
    obs: Mapping[str, tuple[int, ...]], actions: int, discrete: bool
) -> tuple[dict[str, spaces.Space], dict[str, spaces.Space]]:
    """Creates spaces for observations of these shapes and actions of this length."""
    space = spaces.Discrete(actions) if discrete else spaces.Box(-1, 1, (actions,))
    seen = {
        key: spaces.Box(0, 255, shape, np.uint8)
        if len(shape) == 3
        else spaces.Box(-np.inf, np.inf, shape, np.float32)
        for key, shape in obs.items()
    }
    numbers = {key: spaces.Box(-np.inf, np.inf, ()) for key in ("reward", *store.FLAGS)}
    return {**seen, **numbers}, {"action": space}


def parse(items: Sequence[str]) -> ObsShapes:
    """Reads observations such as `image:64x64x1` and `position:8`.

    Raises:
        PortError: An item has another form.
    """
    parsed = {}
    for item in items:
        name, _, size = item.partition(":")
        if not name or not re.fullmatch(r"\d+(x\d+x\d+)?", size):
            raise PortError(
                "Name observations with their sizes, such as image:64x64x1 or "
                f"position:8. Received: --obs {item}"
            )
        parsed[name] = tuple(map(int, size.split("x")))
    return parsed


def parse_actions(text: str) -> tuple[int, bool] | None:
    """Reads actions such as `discrete:6`.

    Returns:
        The number of actions and whether they are discrete; None for an empty text.

    Raises:
        PortError: The text has another form.
    """
    if not text:
        return None
    if not re.fullmatch(r"(discrete|continuous):[1-9]\d*", text):
        raise PortError(
            "Name actions with their size, such as discrete:6 or continuous:6. "
            f"Received: --actions {text}"
        )
    kind, _, number = text.partition(":")
    return int(number), kind == "discrete"


def infer(
    settings: Config,
    found: shapes.Found,
    episodes: pathlib.Path | None,
    notes: list[str],
) -> ObsShapes:
    """Infers what an agent observes from its episodes, its game or its configuration.

    Args:
        settings: The agent's configuration.
        found: The sizes that its arrays tell.
        episodes: The folder of its episodes, if there is one.
        notes: Is extended by what the user should know.

    Raises:
        PortError: No names fit the configuration's patterns.
    """
    parts = settings.encoder, settings.decoder
    patterns = {3: [x.cnn_keys for x in parts], 1: [x.mlp_keys for x in parts]}
    sources = []
    paths = sorted(episodes.glob("*.npz")) if episodes else []
    for episode in shards.intact(*paths):  # Without what is for logging alone.
        sources.append({k: v.shape[1:] for k, v in episode.items()})
        break
    kinds = envs.kinds(settings.task, **envs.options(settings, settings.task)) or {}
    sources.append({k: shape for k, (shape, _) in kinds.items()})
    for source in sources:
        seen = {
            key: shape
            for key, shape in source.items()
            if key not in store.REQUIRED
            and any(re.match(x, key) for x in patterns.get(len(shape), []))
        }
        if seen and _fits(settings, seen, found):
            return seen
    return _from_patterns(settings, found, notes)


def _fits(settings: Config, seen: ObsShapes, found: shapes.Found) -> bool:
    """Tells whether observations have the sizes that the arrays tell."""
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


def _from_patterns(
    settings: Config, found: shapes.Found, notes: list[str]
) -> ObsShapes:
    """Takes names from the patterns, or invents some where the patterns allow any."""
    seen: ObsShapes = {}
    if found.channels:
        pattern = settings.encoder.cnn_keys
        (name,) = _names(pattern, 1, "image")
        seen[name] = (*settings.render_size, found.channels)
        if not re.fullmatch(r"\^?\w+\$", pattern):  # It may match several names.
            notes.append(
                "The arrays do not tell whether the agent observes one image or more; "
                f"here it is {name}, of {found.channels} channels. If there are more, "
                "name them by --obs."
            )
    if found.vectors:
        pattern = settings.decoder.mlp_keys
        pattern = settings.encoder.mlp_keys if pattern in NEVER else pattern
        names = _names(pattern, len(found.vectors), "vector")
        seen |= {k: (n,) for k, n in zip(names, found.vectors, strict=True)}
        if names[0] in ("vector", "vector0"):
            listed = ", ".join(f"{k} ({v[0]})" for k, v in seen.items() if len(v) == 1)
            notes.append(
                "The arrays do not tell the names of the vectors that the agent "
                f"observes; here they are {listed}. To let it act, name all "
                "observations: --obs NAME:SIZE ..."
            )
    return seen


def _names(pattern: str, number: int, kind: str) -> list[str]:
    """Returns `number` names that match a pattern, sorted."""
    literal = sorted(part.strip("^$") for part in pattern.split("|"))
    if len(literal) == number and all(part.isidentifier() for part in literal):
        return literal
    invented = [f"{kind}{i}" for i in range(number)] if kind == "vector" else [kind]
    if all(re.match(pattern, name) for name in invented):
        return invented
    raise PortError(
        f"The agent observes {number} of kind {kind}, but their names are unknown: "
        f"they match {pattern!r}. Name all observations: --obs NAME:SIZE ..., such as "
        "image:64x64x1 or position:8."
    )


def check_actions(space: spaces.Space, weights: pathlib.Path) -> None:
    """Refuses actions that neither the original nor pydreamer has a distribution for.

    Args:
        space: The space of an action.
        weights: The file of the agent that has them.

    Raises:
        PortError: They are joined.
    """
    if isinstance(space, envs.Joined):
        raise PortError(
            "The original and pydreamer have no joined actions. Received: "
            f"{weights}, with {space}, so its agent cannot be ported."
        )

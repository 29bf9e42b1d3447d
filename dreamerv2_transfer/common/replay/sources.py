"""What a replay draws from: complete episodes and those in progress; their pieces."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dreamerv2_transfer.common.replay import packed as packing
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.common.replay.packed import PackedEpisodes
from dreamerv2_transfer.common.replay.store import Episode

Transition = Mapping[str, Any]


class Stored(NamedTuple):
    """A complete episode in memory, and its identifier in file names and states."""

    identifier: str
    packed: PackedEpisodes

    @property
    def length(self) -> int:
        """Number of transitions, including that of the reset."""
        return int(self.packed.offsets[-1])

    @property
    def rewarded(self) -> np.ndarray:
        """The transitions with a nonzero reward, in order."""
        return np.flatnonzero(self.packed.arrays["reward"])

    def cut(self, start: int, stop: int) -> Piece:
        """Returns the piece from one transition to before another."""
        return Piece(self.identifier, start, stop, self.packed)


@dataclasses.dataclass
class Ongoing:
    """An episode in progress.

    Attributes:
        number: Its position in the order of the run's resets.
        identifier: Its identifier in file names and states.
        transitions: What has happened so far.
        rewards: Which of them have a nonzero reward.
    """

    number: int
    identifier: str
    transitions: list[Transition] = dataclasses.field(default_factory=list)
    rewards: list[int] = dataclasses.field(default_factory=list)

    def add(self, transition: Transition) -> None:
        """Adds what happens next."""
        if np.float32(transition["reward"]):  # As it is stored.
            self.rewards.append(len(self.transitions))
        self.transitions.append(transition)

    @property
    def rewarded(self) -> np.ndarray:
        """The transitions with a nonzero reward, in order."""
        return np.array(self.rewards, int)

    @property
    def length(self) -> int:
        """Number of transitions, including that of the reset."""
        return len(self.transitions)

    @property
    def steps(self) -> int:
        """Number of environment steps."""
        return len(self.transitions) - 1

    def episode(self, start: int = 0, stop: int | None = None) -> Episode:
        """Returns the transitions from `start` to before `stop` as arrays."""
        steps = self.transitions[start:stop]
        return {k: store.convert([x[k] for x in steps]) for k in steps[0]}

    def cut(self, start: int, stop: int) -> Piece:
        """Returns the piece from one transition to before another."""
        packed = pack(self.episode(start, stop), "An episode in progress")
        return Piece(self.identifier, start, stop, packed, base=start)


class Part(NamedTuple):
    """Successive steps of an episode in a row of a batch."""

    packed: PackedEpisodes
    steps: slice


@dataclasses.dataclass
class Piece:
    """The state of a row: it continues with an episode's steps.

    Attributes:
        identifier: Identifier of the episode.
        next: The step that comes next.
        stop: The step before which the piece ends.
        packed: The episode; None if the piece comes from a state.
        base: The step that `packed` begins with: of an episode in progress only the
            piece is packed.
    """

    identifier: str
    next: int
    stop: int
    packed: PackedEpisodes | None = None
    base: int = 0

    @property
    def left(self) -> int:
        """Number of steps that are left."""
        return self.stop - self.next

    def take(self, steps: int) -> Part:
        """Returns the next steps."""
        start = self.next - self.base
        self.next += steps
        return Part(self.packed, slice(start, start + steps))


def pack(episode: Episode, source: str) -> PackedEpisodes:
    """Packs the keys that training reads; `log_` keys stay in the file.

    Args:
        episode: Arrays by key, [time, ...].
        source: What error messages call it.
    """
    kept = {k: v for k, v in episode.items() if not k.startswith(store.LOGGED)}
    flags = {k: kept[k].astype(bool) for k in store.FLAGS}
    return PackedEpisodes.from_episode({**kept, **flags}, source)


def fit(packed: PackedEpisodes, other: PackedEpisodes) -> PackedEpisodes:
    """Checks that two episodes have the same shapes, and lets them share these.

    Raises:
        DatasetError: The shapes differ; names both episodes.
    """
    packing.check_same_kinds([packed, other])
    # A description per episode would weigh much beside a short episode's bits.
    same = packed.fields == other.fields
    return dataclasses.replace(packed, fields=other.fields) if same else packed


def gather(parts: Sequence[Part], shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Copies parts into a batch.

    Args:
        parts: What the rows consist of, one row after the other.
        shape: Rows and length of the batch.

    Returns:
        Unpacked arrays by key, [*shape, ...].
    """
    episodes = packing.with_same_coding([part.packed for part in parts])
    spans = [(x.arrays, part.steps) for x, part in zip(episodes, parts, strict=True)]
    batch = {}
    for key, field in episodes[0].fields.items():
        stored = np.concatenate([arrays[key][steps] for arrays, steps in spans])
        batch[key] = field.decode(stored.reshape(*shape, *field.stored[0]))
    return batch

"""Episodes of one task in contiguous arrays, stored compactly.

Boolean images are stored as bits (a MinAtar step's 10x10x10 planes are 125 bytes)
and one-hot actions as an index, so that 10 million MinAtar steps take 1.2 GiB.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.common.envs import minatar
from dreamerv2_transfer.common.replay.array_file import (
    ArrayFile,
    Checked,
    Decoded,
    Joined,
    is_on_disk,
)
from dreamerv2_transfer.common.replay.store import DatasetError, Episode

# Images of MinAtar in both of its views.
PLANES = (10, 10, minatar.MINATAR_CHANNELS)
CATEGORIES = (10, 10, minatar.MINATAR_CATEGORIES)


@dataclasses.dataclass(frozen=True)
class Field:
    """One key of a transition: its shape and type, and how it is stored.

    Attributes:
        shape: Shape of a single step, unpacked.
        dtype: Type of the unpacked values, for example `bool` or `float32`.
        coding: `plain`; `bits`, eight booleans per byte; `onehot`, the index as one
            byte, where an index equal to the size stands for a row of zeros (the
            action of an episode's first transition); or `collapsed`, the `bits` of
            MinAtar's planes, seen as `minatar.collapsed` shows them.
    """

    shape: tuple[int, ...]
    dtype: str
    coding: str = "plain"

    @classmethod
    def of(cls, key: str, values: np.ndarray) -> Field:
        """Chooses a lossless coding for values of shape [time, ...]."""
        coding = "plain"
        if values.dtype == bool and values.ndim > 1:
            coding = "bits"
        elif (
            key == "action" and values.dtype.kind == "f" and 2 <= values.shape[1] <= 255
        ):
            ones, zeros = (values == 1).sum(1), (values == 0).sum(1)
            if ((ones <= 1) & (ones + zeros == values.shape[1])).all():
                coding = "onehot"
        return cls(values.shape[1:], values.dtype.name, coding)

    @property
    def kind(self) -> tuple[tuple[int, ...], str]:
        """Shape and type of an unpacked step, whatever the coding."""
        return self.shape, self.dtype

    @property
    def stored(self) -> tuple[tuple[int, ...], str]:
        """Shape and type of a step as stored."""
        if self.coding in ("bits", "collapsed"):
            return (math.ceil(math.prod(self._bits) / 8),), "uint8"
        return ((), "uint8") if self.coding == "onehot" else self.kind

    @property
    def _bits(self) -> tuple[int, ...]:
        """Shape of the booleans of a step."""
        return PLANES if self.coding == "collapsed" else self.shape

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Packs values of shape [time, ...]."""
        if self.coding == "bits":
            return np.packbits(values.reshape(len(values), -1), axis=1)
        if self.coding == "onehot":
            index = np.where(values.any(1), values.argmax(1), self.shape[0])
            return index.astype(np.uint8)
        return values

    def decode(self, stored: np.ndarray) -> np.ndarray:
        """Unpacks values with any leading axes; the caller may change the result."""
        if self.coding in ("bits", "collapsed"):
            leading, shape = stored.shape[:-1], self._bits
            # numpy unpacks flat arrays fastest.
            bits = np.unpackbits(stored.ravel()).view(bool).reshape(*leading, -1)
            bits = bits[..., : math.prod(shape)].reshape(leading + shape)
            return bits if self.coding == "bits" else minatar.collapsed(bits)
        if self.coding == "onehot":
            rows = np.eye(self.shape[0] + 1, self.shape[0], dtype=self.dtype)
            return rows.take(stored, axis=0)
        return stored


@dataclasses.dataclass(frozen=True)
class PackedEpisodes:
    """Episodes of one task, concatenated in the order of their content digests.

    The order is the same for the same episodes, whatever the names of their files and
    whenever they were written.

    Attributes:
        source: What error messages call them: a file or a folder.
        fields: The keys without `is_first`, which is true where an episode starts.
        arrays: Stored values by key, [steps, ...]: in memory, mapped into it or on
            disk.
        offsets: Where each episode starts and the last ends, int64 [episodes + 1].
        digests: Digests of each episode's keys and arrays, uint8 [episodes, 16].
        damaged: Names of the files that were skipped.
    """

    source: str
    fields: dict[str, Field]
    arrays: dict[str, np.ndarray | ArrayFile | Checked | Decoded | Joined]
    offsets: np.ndarray
    digests: np.ndarray
    damaged: tuple[str, ...] = ()

    @classmethod
    def from_episode(cls, episode: Episode, source: str) -> PackedEpisodes:
        """Packs one episode, as `store.load_episode` returns it."""
        return cls.from_joined(episode, np.array([0, len(episode["action"])]), source)

    @classmethod
    def from_joined(
        cls, joined: Episode, offsets: np.ndarray, source: str
    ) -> PackedEpisodes:
        """Packs episodes that lie one after the other, in this order.

        Args:
            joined: Arrays by key, [transitions of all, ...].
            offsets: Where each episode begins and the last ends.
            source: What error messages call them.
        """
        digests = [
            content_digest({key: values[start:stop] for key, values in joined.items()})
            for start, stop in itertools.pairwise(offsets.tolist())
        ]
        kept = {k: v for k, v in sorted(joined.items()) if k != "is_first"}
        fields = {k: Field.of(k, v) for k, v in kept.items()}
        arrays = {k: fields[k].encode(v) for k, v in kept.items()}
        digest = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)
        return cls(source, fields, arrays, offsets.astype(np.int64), digest)

    @classmethod
    def join(
        cls, parts: Sequence[PackedEpisodes], source: str, lazily: bool = False
    ) -> PackedEpisodes:
        """Joins the episodes of all parts in content order.

        Args:
            parts: The episodes; their arrays are in memory.
            source: What error messages call the episodes of all parts.
            lazily: Whether to leave the arrays where they are, as `Joined` ones, rather
                than copy them.

        Raises:
            DatasetError: The parts' keys, shapes or types differ; names both.
        """
        check_same_kinds(parts)
        parts = with_same_coding(parts)
        lengths = np.concatenate([part.lengths for part in parts])
        starts = np.concatenate([part.offsets[:-1] for part in parts])
        owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        digests = np.concatenate([part.digests for part in parts])
        order = np.lexsort(digests.T[::-1])
        slices = [slice(starts[i], starts[i] + lengths[i]) for i in order]
        places = list(zip(owner[order].tolist(), slices, strict=True))
        offsets = np.concatenate([[0], np.cumsum(lengths[order])])
        arrays: dict[str, Any] = {}
        for key in parts[0].arrays:
            sources = [part.arrays[key] for part in parts]
            pieces = [sources[owner][steps] for owner, steps in places]
            arrays[key] = Joined(pieces) if lazily else np.concatenate(pieces)
        damaged = tuple(name for part in parts for name in part.damaged)
        fields = parts[0].fields
        return cls(source, fields, arrays, offsets, digests[order], damaged)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Transitions of each episode, its steps and the reset: int64 [episodes]."""
        return np.diff(self.offsets)

    @property
    def steps(self) -> int:
        """Environment steps of all episodes."""
        return int(self.offsets[-1]) - len(self)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(v.nbytes for v in self.arrays.values())

    @property
    def fingerprint(self) -> str:
        """A digest of all episodes."""
        return hashlib.blake2b(self.digests.tobytes(), digest_size=16).hexdigest()

    def find(self, digest: bytes) -> list[int]:
        """Returns the numbers of the episodes that have a digest."""
        digests = self.digests.view("S16")[:, 0]
        first, stop = (np.searchsorted(digests, digest, x) for x in ("left", "right"))
        return list(range(first, stop))

    def episode(self, number: int) -> Episode:
        """Unpacks one episode: arrays [time, ...] by key, including `is_first`."""
        steps = slice(self.offsets[number], self.offsets[number + 1])
        episode = {k: f.decode(self.arrays[k][steps]) for k, f in self.fields.items()}
        is_first = np.arange(steps.stop - steps.start) == 0
        return episode | {"is_first": is_first}

    def with_plain(self, key: str) -> PackedEpisodes:
        """Returns the same episodes with one key stored as it is."""
        field = self.fields[key]
        fields = {**self.fields, key: dataclasses.replace(field, coding="plain")}
        arrays = dict(self.arrays)
        if isinstance(arrays.get(key), ArrayFile | Checked):
            arrays[key] = Decoded(arrays[key], field.decode)
        elif key in arrays:
            arrays[key] = field.decode(arrays[key])
        return dataclasses.replace(self, fields=fields, arrays=arrays)

    def collapsed(self) -> PackedEpisodes:
        """Returns episodes of MinAtar's planes as agents of `collapsed` see them."""
        image = Field(CATEGORIES, "bool", "collapsed")
        return dataclasses.replace(self, fields={**self.fields, "image": image})

    @property
    def is_on_disk(self) -> bool:
        """Whether an array is read from disk each time."""
        return any(map(is_on_disk, self.arrays.values()))

    def ask(self, index: np.ndarray) -> None:
        """Lets the kernel read steps that are on disk and will be needed."""
        for array in self.arrays.values():
            if is_on_disk(array):
                array.ask(index)

    def with_small_in_memory(self, most: int) -> PackedEpisodes:
        """Returns the same episodes with the smallest arrays read into memory.

        Reading from disk takes a call for each key and run of steps, so all keys but
        the image, which are a few bytes, take most of the time.

        Args:
            most: Bytes that they may take.
        """
        arrays = dict(self.arrays)
        for key, array in sorted(arrays.items(), key=lambda item: item[1].nbytes):
            if not is_on_disk(array):
                continue
            most -= array.nbytes
            if most < 0:
                break
            arrays[key] = array[:]
        return dataclasses.replace(self, arrays=arrays)

    def without_arrays(self) -> PackedEpisodes:
        """Returns the tables of the episodes without their content."""
        return dataclasses.replace(self, arrays={})


def content_digest(episode: Episode) -> bytes:
    """Returns a digest of an episode's keys, types, shapes and values, 16 bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for key, value in sorted(episode.items()):
        digest.update(f"{key} {value.dtype.str} {value.shape};".encode())
        digest.update(np.ascontiguousarray(value))
    return digest.digest()


def check_same_kinds(parts: Iterable[PackedEpisodes]) -> None:
    """Checks that all parts have the same keys, shapes and types.

    Raises:
        DatasetError: They differ; names the two sources and what each holds.
    """
    first, *others = parts
    for other in others:
        check_kinds(other, kinds(first), first.source)


def kinds(packed: PackedEpisodes) -> dict[str, tuple[tuple[int, ...], str]]:
    """Returns shape and type of a single step by key."""
    return {key: field.kind for key, field in packed.fields.items()}


def check_kinds(
    packed: PackedEpisodes,
    expected: Mapping[str, tuple[tuple[int, ...], str]],
    expected_by: str,
) -> None:
    """Checks that episodes have exactly the expected keys, shapes and types.

    Args:
        packed: The episodes.
        expected: Shape and type of a step by key.
        expected_by: What the error message calls the source of the expectation.

    Raises:
        DatasetError: They differ; names the key and both shapes.
    """
    found = kinds(packed)
    for key in sorted({*found, *expected}):
        both = found.get(key), expected.get(key)
        if both[0] != both[1]:
            here, there = (f"{x[1]} {tuple(x[0])}" if x else "missing" for x in both)
            raise DatasetError(
                f"{packed.source} does not fit {expected_by}: {key} is {here} in the "
                f"former, {there} in the latter."
            )


def with_same_coding(parts: Sequence[PackedEpisodes]) -> Sequence[PackedEpisodes]:
    """Stores keys plainly whose coding differs, as one-hot actions do by chance."""
    for key in parts[0].fields:
        if len({part.fields[key].coding for part in parts}) > 1:
            parts = [part.with_plain(key) for part in parts]
    return parts


def as_seen(
    packed: PackedEpisodes, expected: Mapping[str, tuple[tuple[int, ...], str]]
) -> PackedEpisodes:
    """Returns episodes of MinAtar's planes collapsed, if the model expects that."""
    image = kinds(packed).get("image"), expected.get("image")
    is_wanted = image == ((PLANES, "bool"), (CATEGORIES, "bool"))
    return packed.collapsed() if is_wanted else packed

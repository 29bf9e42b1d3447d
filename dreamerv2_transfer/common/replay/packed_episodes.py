"""Episodes of one task, packed one after the other.

Boolean images are stored as bits (a MinAtar step's 10x10x10 planes are 125 bytes)
and one-hot actions as an index, so that 10 million MinAtar steps take 1.2 GiB.
"""

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from dreamerv2_transfer.common.replay.array_file import ArrayFile, Decoded
from dreamerv2_transfer.common.replay.store import DatasetError, Episode


@dataclasses.dataclass(frozen=True)
class Field:
    """One key of a transition: what it is, and how it is stored.

    Attributes:
        shape: of a single step, unpacked.
        dtype: unpacked, for example `bool` or `float32`.
        coding: `plain`; `bits`, eight booleans a byte; or `onehot`, the index as one
            byte, where an index equal to the size stands for a row of zeros (the
            action of an episode's first transition).
    """

    shape: tuple[int, ...]
    dtype: str
    coding: str = "plain"

    @classmethod
    def of(cls, key: str, values: np.ndarray) -> "Field":
        """Chooses the coding of values of shape [time, ...]; it loses nothing."""
        coding = "plain"
        if values.dtype == bool and values.ndim > 1:
            coding = "bits"
        elif key == "action" and _is_onehot(values):
            coding = "onehot"
        return cls(values.shape[1:], values.dtype.name, coding)

    @property
    def kind(self) -> tuple[tuple[int, ...], str]:
        """What it is, whatever the coding."""
        return self.shape, self.dtype

    @property
    def stored(self) -> tuple[tuple[int, ...], str]:
        """Shape and dtype of a step as stored."""
        if self.coding == "bits":
            return (math.ceil(math.prod(self.shape) / 8),), "uint8"
        return ((), "uint8") if self.coding == "onehot" else self.kind

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Packs values of shape [time, ...]."""
        if self.coding == "bits":
            return np.packbits(values.reshape(len(values), -1), axis=1)
        if self.coding == "onehot":
            index = np.where(values.any(1), values.argmax(1), self.shape[0])
            return index.astype(np.uint8)
        return values

    def decode(self, stored: np.ndarray) -> np.ndarray:
        """Unpacks any number of leading axes into an array of the caller's own."""
        if self.coding == "bits":
            return self._decode_bits(stored)
        if self.coding == "onehot":
            rows = np.eye(self.shape[0] + 1, self.shape[0], dtype=self.dtype)
            return rows.take(stored, axis=0)
        return stored

    def _decode_bits(self, stored: np.ndarray) -> np.ndarray:
        leading = stored.shape[:-1]
        # Flat, for that is how numpy unpacks fastest.
        bits = np.unpackbits(stored.ravel()).view(bool).reshape(*leading, -1)
        return bits[..., : math.prod(self.shape)].reshape(leading + self.shape)


def _is_onehot(values: np.ndarray) -> bool:
    if values.dtype.kind != "f" or not 2 <= values.shape[1] <= 255:
        return False
    ones, zeros = (values == 1).sum(1), (values == 0).sum(1)
    return bool(((ones <= 1) & (ones + zeros == values.shape[1])).all())


@dataclasses.dataclass(frozen=True)
class PackedEpisodes:
    """Episodes of one task, concatenated, in the order of their content digests.

    The order is the same for the same episodes, whatever their files are called and
    whenever they were written.

    Attributes:
        source: what an error message calls them: a file or a folder.
        fields: the keys, without `is_first`, which is true where an episode starts.
        arrays: by key, as stored: [steps, ...]. In memory, mapped into it, or on disk.
        offsets: int64 [episodes + 1], where each episode starts and the last ends.
        digests: uint8 [episodes, 16], of each episode's keys and arrays.
        damaged: what was skipped: file names.
    """

    source: str
    fields: dict[str, Field]
    arrays: dict[str, np.ndarray | ArrayFile | Decoded]
    offsets: np.ndarray
    digests: np.ndarray
    damaged: tuple[str, ...] = ()

    @classmethod
    def from_episode(cls, episode: Episode, source: str) -> "PackedEpisodes":
        """Packs one episode, as `store.load_episode` returns it."""
        digest = np.frombuffer(content_digest(episode), np.uint8)[None]
        kept = {k: v for k, v in sorted(episode.items()) if k != "is_first"}
        fields = {k: Field.of(k, v) for k, v in kept.items()}
        arrays = {k: fields[k].encode(v) for k, v in kept.items()}
        offsets = np.array([0, len(episode["action"])])
        return cls(source, fields, arrays, offsets, digest)

    @classmethod
    def join(cls, parts: Sequence["PackedEpisodes"], source: str) -> "PackedEpisodes":
        """Puts the episodes of all parts into one, in content order.

        Raises:
            DatasetError: the parts' keys, shapes or dtypes differ; names both.
        """
        check_same_kinds(parts)
        parts = with_same_coding(parts)
        lengths = np.concatenate([part.lengths for part in parts])
        starts = np.concatenate([part.offsets[:-1] for part in parts])
        owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        digests = np.concatenate([part.digests for part in parts])
        order = np.lexsort(digests.T[::-1])
        slices = [slice(starts[i], starts[i] + lengths[i]) for i in order]
        pieces = list(zip(owner[order].tolist(), slices, strict=True))
        arrays = {key: _collate(parts, key, pieces) for key in parts[0].arrays}
        offsets = np.concatenate([[0], np.cumsum(lengths[order])])
        damaged = tuple(name for part in parts for name in part.damaged)
        fields = parts[0].fields
        return cls(source, fields, arrays, offsets, digests[order], damaged)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 [episodes], transitions of each: its steps and the reset."""
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
        """A name for exactly these episodes."""
        return hashlib.blake2b(self.digests.tobytes(), digest_size=16).hexdigest()

    def find(self, digest: bytes) -> list[int]:
        """Numbers of the episodes of a digest: one, or more of equal content."""
        digests = self.digests.view("S16")[:, 0]
        first, stop = (np.searchsorted(digests, digest, x) for x in ("left", "right"))
        return list(range(first, stop))

    def episode(self, number: int) -> Episode:
        """Unpacks one episode: [time, ...] by key, `is_first` included."""
        steps = slice(self.offsets[number], self.offsets[number + 1])
        episode = {k: f.decode(self.arrays[k][steps]) for k, f in self.fields.items()}
        is_first = np.arange(steps.stop - steps.start) == 0
        return episode | {"is_first": is_first}

    def with_plain(self, key: str) -> "PackedEpisodes":
        """The same episodes with one key stored as it is."""
        field = self.fields[key]
        fields = {**self.fields, key: dataclasses.replace(field, coding="plain")}
        arrays = dict(self.arrays)
        if isinstance(arrays.get(key), ArrayFile):
            arrays[key] = Decoded(arrays[key], field.decode)
        elif key in arrays:
            arrays[key] = field.decode(arrays[key])
        return dataclasses.replace(self, fields=fields, arrays=arrays)

    def without_arrays(self) -> "PackedEpisodes":
        """What the episodes are, without what is in them."""
        return dataclasses.replace(self, arrays={})


def content_digest(episode: Episode) -> bytes:
    """16 bytes that tell an episode: over its keys, types, shapes and values."""
    digest = hashlib.blake2b(digest_size=16)
    for key, value in sorted(episode.items()):
        digest.update(f"{key} {value.dtype.str} {value.shape};".encode())
        digest.update(np.ascontiguousarray(value))
    return digest.digest()


def _collate(
    parts: Sequence[PackedEpisodes], key: str, pieces: list[tuple[int, slice]]
) -> np.ndarray:
    """Copies pieces (part, steps) of one key one after the other."""
    arrays = [part.arrays[key] for part in parts]
    total = sum(len(array) for array in arrays)
    out = np.empty((total, *arrays[0].shape[1:]), arrays[0].dtype)
    start = 0
    for owner, steps in pieces:
        stop = start + steps.stop - steps.start
        out[start:stop] = arrays[owner][steps]
        start = stop
    return out


def check_same_kinds(parts: Iterable[PackedEpisodes]) -> None:
    """Checks that all parts have the same keys, shapes and dtypes.

    Raises:
        DatasetError: names the two sources and what each holds.
    """
    first, *others = parts
    for other in others:
        check_kinds(other, kinds(first), first.source)


def kinds(packed: PackedEpisodes) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of a single step by key."""
    return {key: field.kind for key, field in packed.fields.items()}


def check_kinds(
    packed: PackedEpisodes,
    expected: Mapping[str, tuple[tuple[int, ...], str]],
    expected_by: str,
) -> None:
    """Checks the keys that are in either against shapes and dtypes.

    Raises:
        DatasetError: names the key and both shapes.
    """
    found = kinds(packed)
    for key in sorted({*found, *expected}):
        if found.get(key) != expected.get(key):
            raise DatasetError(
                f"{packed.source} does not fit {expected_by}: "
                f"{key} is {_describe(found.get(key))} in the former, "
                f"{_describe(expected.get(key))} in the latter."
            )


def _describe(kind: tuple[tuple[int, ...], str] | None) -> str:
    return f"{kind[1]} {tuple(kind[0])}" if kind else "missing"


def with_same_coding(parts: Sequence[PackedEpisodes]) -> Sequence[PackedEpisodes]:
    """Stores plainly what is one-hot in some parts only (by chance, in short ones)."""
    if len({part.fields["action"].coding for part in parts}) == 1:
        return parts
    return [part.with_plain("action") for part in parts]

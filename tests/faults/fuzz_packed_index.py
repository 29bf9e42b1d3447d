"""Fuzzes the packed index; see `fuzzing`.

An input is the files of an index, one after the other. Their checksums always hold, as
those of a file that somebody made up would.
"""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import tempfile
from collections.abc import Iterator

import atheris
import numpy as np

with atheris.instrument_imports(include=["dreamerv2_transfer.common.replay"]):
    from dreamerv2_transfer.common.replay import packed_index
    from dreamerv2_transfer.common.replay.packed_episodes import PackedEpisodes

import fuzzing

END = b"\n=====\n"  # Of each file.
KEYS = ("action", "image", "is_last", "is_terminal", "reward")
NAMES = ("index.json", "offsets.npy", "digests.npy", *(f"key-{x}.npy" for x in KEYS))
FOLDER = pathlib.Path(tempfile.mkdtemp(dir="/dev/shm")) / "index"


class Anything:
    """Is equal to every checksum."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def test(content: bytes) -> None:
    """Opens an index: either it is refused, or all of its episodes can be read."""
    FOLDER.mkdir(exist_ok=True)
    for name, part in zip(NAMES, content.split(END), strict=False):
        (FOLDER / name).write_bytes(part)
    for on_disk in (False, True):
        with contextlib.redirect_stdout(io.StringIO()):
            found = packed_index.find([FOLDER], "some", on_disk)
        for number in range(len(found) if found else 0):
            episode = found.episode(number)
            length = found.lengths[number]
            assert all(len(values) == length for values in episode.values())
            # Of a bit or an index, a value takes up to eight bytes.
            assert sum(x.nbytes for x in episode.values()) <= 3000 * len(content)


def seeds() -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    for planes in (np.bool_, np.uint8):
        episodes = [
            PackedEpisodes.from_episode(
                {
                    "action": np.eye(3, dtype=np.float32)[rng.integers(0, 3, steps)],
                    "image": rng.integers(0, 2, (steps, 2, 3)).astype(planes),
                    "is_last": np.arange(steps) == steps - 1,
                    "is_terminal": np.zeros(steps, bool),
                    "reward": rng.normal(size=steps).astype(np.float32),
                },
                "some",
            )
            for steps in (2, 3)
        ]
        packed_index.save(FOLDER, PackedEpisodes.join(episodes, "some"))
        header = json.loads((FOLDER / "index.json").read_text())
        header.pop("checksum")
        (FOLDER / "index.json").write_text(json.dumps(header))
        assert packed_index.find([FOLDER], "some", False)
        yield END.join((FOLDER / name).read_bytes() for name in NAMES)


if __name__ == "__main__":
    inputs = list(seeds())
    packed_index.checksums = lambda values: Anything()
    fuzzing.run(test, inputs)

"""Published models: folders with a card that has the hash of each file.

    README.md              the card, in the format of Hugging Face
    config.yaml            the configuration of the run
    world_model.safetensors, actor_critic.safetensors      the weights
    world_model.weights.h5, actor_critic.weights.h5        the same in HDF5
    preview.gif

The models of this repository are in its folder `models/`; each has the name of its
folder there. TensorFlow is not needed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.errors import CheckpointError
from dreamerv2_transfer.common.files import documents

LIBRARY = "dreamerv2_transfer"  # Also the key of our own part of the metadata.
CARD = "README.md"
MOST_BYTES = 2**20
HEADER = re.compile(r"---\r?\n(.*?\n)---\r?\n", re.DOTALL)
SHA256 = re.compile(r"[0-9a-f]{64}")


class CardError(CheckpointError):
    """A published model whose card or files cannot be trusted."""


@dataclasses.dataclass(frozen=True)
class Card:
    """The card of a published model.

    Attributes:
        folder: The model's folder.
        metadata: What stands above the text of the card.
    """

    folder: pathlib.Path
    metadata: Mapping[str, Any]

    @property
    def own(self) -> Mapping[str, Any]:
        """Our part of the metadata."""
        found = self.metadata.get(LIBRARY)
        return found if isinstance(found, Mapping) else {}

    @property
    def summary(self) -> str:
        """What the model is, in a line."""
        return str(self.own.get("summary", ""))

    def check(self) -> None:
        """Checks that the configuration and all weights are those that were published.

        Raises:
            CardError: A file has no hash in the card, or another one.
        """
        listed = self.own.get("files")
        found = [self.folder / "config.yaml", *self.folder.glob("*.weights.h5")]
        found += self.folder.glob("*.safetensors")
        for file in filter(pathlib.Path.is_file, found):
            entry = listed.get(file.name) if isinstance(listed, Mapping) else None
            told = entry.get("sha256") if isinstance(entry, Mapping) else None
            if not isinstance(told, str) or not SHA256.fullmatch(told):
                raise CardError(
                    f"The card {self.folder / CARD} has no sha256 of {file.name}, so "
                    "that nothing tells whether it is the published file. Fetch the "
                    "model again, or ask its author to publish it by "
                    "dreamerv2-transfer publish."
                )
            if (is_now := sha256(file)) != told:
                raise CardError(
                    f"{file} is not the file that its card describes: its sha256 is "
                    f"{is_now}, and {told} in {CARD}. It was damaged or changed; fetch "
                    "it again."
                )


def read(folder: pathlib.Path) -> Card | None:
    """Returns the card of a model, or None if the folder has none.

    Raises:
        CardError: It cannot be read.
    """
    file = folder / CARD
    if not file.is_file():
        return None
    try:
        text = documents.read(file, MOST_BYTES).decode()
        found = HEADER.match(text)
        metadata = documents.parse_yaml(found[1]) if found else None
    except (OSError, ValueError) as error:
        raise CardError(f"The card {file} cannot be read: {error}.") from error
    if not isinstance(metadata, Mapping) or metadata.get("library_name") != LIBRARY:
        return None
    return Card(folder, metadata)


def checked(folder: pathlib.Path) -> pathlib.Path:
    """Returns a folder, once its files are those of its card, if it has one.

    Raises:
        CardError: A file has no hash in the card, or another one.
    """
    if card := read(folder):
        card.check()
    return folder


def published() -> dict[str, Card]:
    """Returns the cards of the models in this repository, by name."""
    cards = {folder.name: read(folder) for folder in _folders()}
    return {name: card for name, card in cards.items() if card}


def find(name: str) -> Card | None:
    """Returns the card of the model of this repository with a name, if there is one."""
    folder = next((x for x in _folders() if x.name == name), None)
    return read(folder) if folder else None


def _folders() -> list[pathlib.Path]:
    return sorted((blocks.find_configs().parent / "models").glob("*/"))


def fingerprints(files: Iterable[pathlib.Path]) -> dict[str, dict[str, Any]]:
    """Returns `sha256` and `bytes` of files, by their names."""
    return {x.name: {"sha256": sha256(x), "bytes": x.stat().st_size} for x in files}


def sha256(file: pathlib.Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

"""What `configs.yaml` says about its blocks and keys in its comments.

A comment behind a block or key describes it, and a comment after an empty line heads a
section. `see model_opt` stands for what is said about the key of the same name there.
Help and `docs/configuration.md` are made from this.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from dreamerv2_transfer.common.choices import CHOICES
from dreamerv2_transfer.common.config import Config


@dataclasses.dataclass(frozen=True)
class Key:
    """A key of the configuration.

    Attributes:
        name: The dotted key.
        default: Its value in the block `defaults`.
        text: What it is, with unit and source; may be empty.
        section: The heading of its section.
        others: Its values by the other blocks that set it.
    """

    name: str
    default: Any
    text: str
    section: str
    others: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Reference:
    """What is said about all blocks and keys.

    Attributes:
        blocks: Texts by block.
        keys: The keys by dotted name, in the order of the file.
    """

    blocks: dict[str, str]
    keys: dict[str, Key]


def read(text: str) -> Reference:
    """Reads the content of `configs.yaml`."""
    loaded = YAML(typ="rt", pure=True).load(text)
    lines = text.splitlines()
    blocks = {name: _comment(lines[loaded.lc.key(name)[0]]) for name in loaded}
    defaults = Config(_plain(loaded["defaults"]))
    others = _other_values(defaults, loaded)
    places = dict(_places(loaded["defaults"]))
    texts = {name: _comment(lines[line]) for name, line in places.items()}
    keys = {
        name: Key(
            name,
            defaults.flat[name],
            _resolved(name, texts),
            _section(lines, line),
            others.get(name, {}),
        )
        for name, line in places.items()
    }
    return Reference(blocks, keys)


def _places(block: CommentedMap, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Yields the dotted keys of a block with the numbers of their lines."""
    for name, value in block.items():
        if isinstance(value, CommentedMap):
            yield from _places(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", block.lc.key(name)[0]


def _section(lines: Sequence[str], line: int) -> str:
    """Returns the comment at the head of the paragraph that a line belongs to."""
    starts = [i for i in range(line) if re.match(r"  # ", lines[i])]
    heads = [i for i in starts if not lines[i - 1].strip()]
    return lines[heads[-1]].strip(" #")


def _comment(line: str) -> str:
    return line.partition(" # ")[2].strip()


def _resolved(name: str, texts: dict[str, str]) -> str:
    """Returns what is said about a key, or else the values that it may have."""
    reference = re.match(r"see (\w+)", texts[name])
    if reference:
        there = f"{reference[1]}.{name.rpartition('.')[2]}"
        return texts[there] + texts[name][reference.end() :]
    if not texts[name] and name in CHOICES:
        return f"one of {', '.join(CHOICES[name])}"
    return texts[name]


def _other_values(defaults: Config, blocks: CommentedMap) -> dict[str, dict[str, Any]]:
    """Returns, by key, the blocks other than `defaults` that set it, and the values."""
    found: dict[str, dict[str, Any]] = {}
    for name in [x for x in blocks if x != "defaults"]:
        values = defaults.update(_plain(blocks[name])).flat
        patterns = [pattern for pattern, _ in _places(blocks[name])]
        for key in sorted({key for x in patterns for key in defaults.match(x)}):
            found.setdefault(key, {})[name] = values[key]
    return found


def _plain(value: Any) -> Any:
    """Returns the values without what ruamel.yaml keeps about their places."""
    if isinstance(value, dict):
        return {str(key): _plain(x) for key, x in value.items()}
    if isinstance(value, list):
        return [_plain(x) for x in value]
    kind = next(x for x in (bool, int, float, str) if isinstance(value, x))
    return kind(value)


def as_flag(value: Any) -> str:
    """Returns a value as a flag takes it."""
    if isinstance(value, list | tuple):
        return ",".join(map(as_flag, value))
    if isinstance(value, float):
        return re.sub(r"e\+?(-?)0?", r"e\1", f"{value:g}")
    return str(value)

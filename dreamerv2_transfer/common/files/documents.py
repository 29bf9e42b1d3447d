"""Reads YAML and JSON files that anybody may have written.

A few lines must not take minutes, gigabytes or the whole stack: how large a file is,
how deep it nests and what its aliases stand for are limited. Whatever is wrong with a
text is a ValueError, with the reason on one line.
"""

from __future__ import annotations

import copy
import errno
import functools
import json
import math
import os
import pathlib
import stat
from collections.abc import Callable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from dreamerv2_transfer.common import errors

YAML_BYTES = 2**18  # ruamel.yaml reads about 160 KB a second.
JSON_BYTES = 2**26
LEVELS = 24  # Groups and lists within each other.
VALUES = 20_000  # Of a YAML file, with what its aliases stand for.


def read(path: pathlib.Path, most: int) -> bytes:
    """Returns the content of a file.

    Args:
        path: The file.
        most: The largest size in bytes.

    Raises:
        OSError: It cannot be read, is larger, or is not a file but, say, a pipe.
    """
    check_is_file(path)
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"It has more than {most:,} bytes", str(path))
        return file.read()


def check_is_file(path: str | os.PathLike) -> None:
    """Refuses what is no file: to open a pipe would wait forever.

    Raises:
        OSError: It is not a file, or nothing is there.
    """
    mode = os.stat(path).st_mode
    kinds = {stat.S_IFREG: "", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe"}
    if kind := kinds.get(stat.S_IFMT(mode), "a device or a socket"):
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))


class SchemaError(ValueError):
    """A JSON file of another form; names the key."""


class Schema:
    """What a JSON file has to hold.

    Args:
        definition: A JSON schema, draft 7.
    """

    def __init__(self, definition: dict[str, Any]):
        self._definition = definition

    @functools.cached_property
    def _validate(self) -> Callable[[Any], Any]:
        import fastjsonschema

        return fastjsonschema.compile(self._definition, use_default=False)

    def parse(self, text: str | bytes) -> Any:
        """Returns the value in a JSON text.

        Raises:
            ValueError: It cannot be parsed strictly, or as for `check`.
        """
        value = parse_json(text)
        self.check(value)
        return value

    def check(self, value: Any) -> None:
        """Checks a value that was read from JSON.

        Raises:
            SchemaError: It is of another form.
        """
        try:
            self._validate(value)
        except ValueError as error:
            reason = str(error).removeprefix("data").removeprefix(".").strip()
            raise SchemaError(f"{reason:.300}") from error


def parse_json(text: str | bytes, unique: bool = True, finite: bool = True) -> Any:
    """Returns the value in a JSON text.

    Args:
        text: The text.
        unique: Whether to refuse keys that are named twice.
        finite: Whether to refuse infinite numbers and NaN.

    Raises:
        ValueError: It is not JSON, nests too deep, has half a character (a lone
            surrogate, which no file can hold), or is to be refused.
    """
    # Left to itself, `json.loads` takes other encodings and halves of characters.
    if isinstance(text, str):
        text.encode()
    else:
        text = text.decode()
    hooks = {"object_pairs_hook": _unique} if unique else {}
    hooks |= {"parse_float": _finite, "parse_constant": _finite} if finite else {}
    try:
        value = json.loads(text, **hooks)
    except RecursionError:
        raise ValueError("it nests too deep") from None
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def parse_yaml(text: str) -> Any:
    """Returns the value in a YAML text.

    Raises:
        ValueError: It is not YAML 1.2, holds objects, nests too deep, or has more
            values than a configuration.
    """
    return copy.deepcopy(_parsed_yaml(text))


# Studies read `configs.yaml` for each setting of each arm, and the parser is slow.
@functools.lru_cache(maxsize=4)
def _parsed_yaml(text: str) -> Any:
    yaml = safe_yaml()
    yaml.Composer = _BoundedComposer
    try:
        return yaml.load(text)
    except Exception as error:  # ruamel.yaml raises nearly anything on odd tags.
        raise ValueError(_reason(error)) from error


def safe_yaml() -> YAML:
    """Returns a reader and writer of YAML 1.2 without objects, in block style."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    return yaml


class _BoundedComposer(Composer):
    """Refuses a document while it is read, before its aliases are followed."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._level = 0
        self._sizes: dict[int, int] = {}  # Values in a node, by its address.

    def compose_node(self, parent, index):
        is_alias = self.parser.check_event(AliasEvent)
        self._level += 1
        if self._level > LEVELS:
            self._refuse(f"it nests deeper than {LEVELS} levels")
        node = super().compose_node(parent, index)
        self._level -= 1
        if not is_alias:
            self._sizes[id(node)] = self._size(node)
        elif id(node) not in self._sizes:
            self._refuse("a value contains itself")
        return node

    def _size(self, node: Node) -> int:
        if isinstance(node, ScalarNode):
            return 1
        pairs = node.value if isinstance(node, MappingNode) else zip(node.value)
        size = 1 + sum(self._sizes[id(part)] for parts in pairs for part in parts)
        if size > VALUES:
            self._refuse(f"it has more than {VALUES:,} values")
        return size

    def _refuse(self, fault: str) -> None:
        mark = self.parser.peek_event().start_mark
        raise ComposerError(problem=fault, problem_mark=mark)


def _reason(error: Exception) -> str:
    """Returns what ruamel.yaml found wrong, and in which line, on one line."""
    if not isinstance(error, MarkedYAMLError):
        return errors.describe(error)
    mark = error.problem_mark or error.context_mark
    parts = [x for x in (error.context, error.problem) if x]
    return ", ".join([*parts, *([f"line {mark.line + 1}"] if mark else [])])


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.40} is not a finite number")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has the key {twice!r:.80} twice")
    return found

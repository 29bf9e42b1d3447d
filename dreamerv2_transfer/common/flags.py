"""Command-line flags for the keys of a configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from dreamerv2_transfer.common.config import (
    Config,
    ConfigError,
    check_used,
    table,
    type_name,
)
from dreamerv2_transfer.common.files import paths as paths_lib

# Flags that the commands read themselves; errors may suggest them too.
OTHERS = ("configs", "help", "print-config", "quiet", "template", "trust")


class Flags:
    """Reads `--key value`, `--key=value`, `--list a b`, `--list a,b`, and `--bool`.

    A key may be a regular expression: `--.*\\.norm layer` sets all norms.

    Args:
        *args, **kwargs: As for `Config`: the keys, with their default values.

    Attributes:
        paths: The keys whose values are paths, which are checked. In a list of them, a
            comma separates nothing if there is a file or folder of that very name.
        whole: The keys of lists in whose values commas separate nothing.
        given: The dotted keys that the last parsed command line named.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        self._config = Config(*args, **kwargs)
        self.paths: Collection[str] = ()
        self.whole: Collection[str] = ()
        self.given: frozenset[str] = frozenset()

    def parse(self, argv: Sequence[str] | None = None) -> Config:
        """Returns the configuration with the values of the command line.

        Args:
            argv: The arguments, `sys.argv[1:]` by default. `--help` prints the keys
                with their values and types, and ends the process with status 0.

        Raises:
            ConfigError: A flag is unknown or its value is not allowed.
            PathError: A path is not one, see `paths.check`.
        """
        argv = sys.argv[1:] if argv is None else argv
        config, remaining = self.parse_known(argv)
        if "--help" in argv:
            sys.exit(0)
        if remaining:
            argument = remaining[0]
            if not argument.startswith("--"):
                raise ConfigError(
                    f"Arguments look like --key value. Received: {argument}"
                )
            name = argument[2:].split("=", 1)[0]
            try:
                self._config.match(name, OTHERS)
            except ConfigError as error:
                raise ConfigError(f"Flag '--{name}': {error} See --help.") from error
        return config

    def parse_known(
        self, argv: Sequence[str] | None = None
    ) -> tuple[Config, list[str]]:
        """Returns the configuration, and the arguments that name none of its keys.

        `--help` prints the keys too, but is left to the next parser.

        Args:
            argv: The arguments, `sys.argv[1:]` by default.

        Raises:
            ConfigError: The value of a flag is not allowed.
            PathError: A path is not one, see `paths.check`.
        """
        argv = sys.argv[1:] if argv is None else argv
        if "--help" in argv:
            rows = []
            for key, value in self._config.flat.items():
                text = ",".join(map(str, value)) if type(value) is tuple else str(value)
                rows.append((f"--{key}", text, f"({type_name(value)})"))
            print(table("Flags:", rows))
        values: dict[str, str | list[str]] = {}
        remaining: list[str] = []
        flags: list[str] = []
        for flag, texts, arguments in _entries(argv):
            try:
                keys = self._config.match(flag[2:]) if flag.startswith("--") else []
            except ConfigError:
                keys = []
            values |= {key: self._value(key, flag, texts) for key in keys}
            flags.append(flag)
            remaining += [] if keys else arguments
        self.given = frozenset(values)
        config = self._config.update(values)
        # An expression may match keys that it was not written for.
        check_used(config, [key for key in values if f"--{key}" in flags])
        return config, remaining

    def _value(self, key: str, flag: str, texts: list[str]) -> str | list[str]:
        if not texts and isinstance(self._config[key], bool):
            return "True"
        if not texts:
            raise ConfigError(f"Flag '{flag}' needs a value after it.")
        is_list, is_path = isinstance(self._config[key], tuple), key in self.paths
        if is_list and key not in self.whole:
            texts = [part for text in texts for part in _elements(text, is_path)]
        elif not is_list and len(texts) > 1:
            received = " ".join(texts)
            raise ConfigError(f"Flag '{flag}' takes one value. Received: {received}")
        for text in texts if is_path else ():
            paths_lib.check(text, flag)
        return texts if is_list else texts[0]


def _elements(text: str, is_path: bool) -> list[str]:
    """Returns the elements of a list that one argument names."""
    if is_path and (not text or os.path.lexists(text)):
        return [text]
    return [part for part in text.split(",") if part]


def _entries(argv: Sequence[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yields each flag, its values, and the arguments that they were written as."""
    groups: list[list[str]] = []
    for argument in argv:
        if argument.startswith("--") or not groups:
            groups.append([])
        groups[-1].append(argument)
    for first, *rest in groups:
        flag, equals, text = first.partition("=")
        yield flag, [text, *rest] if equals else rest, [first, *rest]

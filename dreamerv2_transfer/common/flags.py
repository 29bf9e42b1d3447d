"""Command-line flags for the keys of a configuration."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from dreamerv2_transfer.common.config import Config, ConfigError, table

# Flags that the launch scripts read themselves, to suggest them too.
LAUNCH = ("configs", "help")


class Flags:
    """Reads `--key value`, `--key=value`, `--list a b` and `--list a,b`.

    A key may be a regular expression: `--.*\\.norm layer` sets all norms.

    Args:
      *args, **kwargs: What `Config` takes: the keys, with their default values.

    Attributes:
      given: The dotted keys that the last parsed command line named.
    """

    def __init__(self, *args, **kwargs):
        self._config = Config(*args, **kwargs)
        self.given: frozenset[str] = frozenset()

    def parse(self, argv: Sequence[str] | None = None) -> Config:
        """Returns the configuration with the values of the command line.

        Args:
          argv: The arguments, `sys.argv[1:]` by default. With `--help` among them, the
            keys are printed with values and types, and the process exits with 0.

        Raises:
          ConfigError: A flag is unknown or has an unfit value.
        """
        argv = sys.argv[1:] if argv is None else argv
        config, remaining = self.parse_known(argv)
        if "--help" in argv:
            sys.exit(0)
        if remaining:
            self._reject(remaining[0])
        return config

    def parse_known(
        self, argv: Sequence[str] | None = None
    ) -> tuple[Config, list[str]]:
        """Returns the configuration, and the arguments that name none of its keys.

        `--help` prints the keys too, but is left to the next parser.

        Args:
          argv: The arguments, `sys.argv[1:]` by default.

        Raises:
          ConfigError: A flag has an unfit value.
        """
        argv = sys.argv[1:] if argv is None else argv
        if "--help" in argv:
            print(self._help())
        values, remaining = {}, []
        for flag, texts, arguments in _entries(argv):
            keys = self._keys(flag)
            values |= {key: self._value(key, flag, texts) for key in keys}
            remaining += [] if keys else arguments
        self.given = frozenset(values)
        return self._config.update(values), remaining

    def _keys(self, flag: str) -> list[str]:
        if not flag.startswith("--"):
            return []
        try:
            return self._config.match(flag[2:])
        except ConfigError:
            return []

    def _value(self, key: str, flag: str, texts: list[str]) -> str | list[str]:
        if not texts:
            raise ConfigError(f"Flag '{flag}' needs a value after it.")
        if isinstance(self._config[key], tuple):
            return [part for text in texts for part in text.split(",") if part]
        if len(texts) > 1:
            received = " ".join(texts)
            raise ConfigError(f"Flag '{flag}' takes one value. Received: {received}")
        return texts[0]

    def _reject(self, argument: str) -> None:
        if not argument.startswith("--"):
            raise ConfigError(f"Arguments look like --key value. Received: {argument}")
        name = argument[2:].split("=", 1)[0]
        try:
            self._config.match(name, LAUNCH)
        except ConfigError as error:
            raise ConfigError(f"Flag '--{name}': {error} See --help.") from error

    def _help(self) -> str:
        rows = [
            (f"--{key}", *_example(value)) for key, value in self._config.flat.items()
        ]
        return table("Flags:", rows)


def _example(value: Any) -> tuple[str, str]:
    if isinstance(value, tuple):
        return ",".join(map(str, value)), f"({type(value[0]).__name__}s)"
    return str(value), f"({type(value).__name__})"


def _entries(argv: Sequence[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yields each flag, its values, and the arguments that it was written as."""
    groups: list[list[str]] = []
    for argument in argv:
        if argument.startswith("--") or not groups:
            groups.append([])
        groups[-1].append(argument)
    for first, *rest in groups:
        flag, equals, text = first.partition("=")
        yield flag, [text, *rest] if equals else rest, [first, *rest]

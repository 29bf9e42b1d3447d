"""What a command's line may contain, for its parser, its help and its completion."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from dreamerv2_transfer.common.config import (
    Config,
    ConfigError,
    check_least,
    suggestion,
)
from dreamerv2_transfer.common.flags import Flags


@dataclasses.dataclass(frozen=True)
class Option:
    """An option of a command, such as `--episodes 100`.

    Attributes:
        default: The value without the option; all values have its type.
        text: What the option means.
        choices: The allowed values; empty if any is allowed.
        least: The smallest allowed number.
        is_path: Whether the value is a path, or each element of it.
    """

    default: Any
    text: str
    choices: Sequence[str] = ()
    least: float | None = None
    is_path: bool = False


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a command's line looks like.

    Attributes:
        forms: The arguments after the command's name, one text for each form.
        examples: Arguments that can be copied, with what they do.
        options: The options under headings.
        blocks: Whether the command also takes `--configs` and the keys of
            `configs.yaml`.
        words: What its first argument may be, if that is a fixed list.
    """

    forms: Sequence[str]
    examples: Mapping[str, str]
    options: Mapping[str, Mapping[str, Option]] = dataclasses.field(
        default_factory=dict
    )
    blocks: bool = False
    words: Sequence[str] = ()


def parse(options: Mapping[str, Option], argv: Sequence[str]) -> Config:
    """Returns the values of the options on a command line.

    `--dry-run` is `--dry_run`, and a bool without a value is True.

    Raises:
        ConfigError: An option is unknown, or its value is not allowed.
        PathError: A path is not one.
    """
    return _check(options, _flags(options).parse(_spelled(options, argv)))


def parse_known(
    options: Mapping[str, Option], argv: Sequence[str]
) -> tuple[Config, list[str]]:
    """Returns the values of the options, and the arguments that are no options.

    Raises:
        ConfigError: The value of an option is not allowed.
        PathError: A path is not one.
    """
    parsed, rest = _flags(options).parse_known(_spelled(options, argv))
    return _check(options, parsed), rest


def _flags(options: Mapping[str, Option]) -> Flags:
    flags = Flags({name: option.default for name, option in options.items()})
    flags.paths = [name for name, option in options.items() if option.is_path]
    return flags


def _spelled(options: Mapping[str, Option], argv: Sequence[str]) -> list[str]:
    """Returns the command line as `Flags` reads it."""
    written = []
    for argument, after in itertools.zip_longest(argv, argv[1:], fillvalue="--"):
        flag, equals, value = argument.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name not in options:
            written.append(argument)
            continue
        is_bool = isinstance(options[name].default, bool)
        is_bare = is_bool and not equals and after.startswith("--")
        written += [f"--{name}{equals}{value}", *(["True"] if is_bare else [])]
    return written


def _check(options: Mapping[str, Option], values: Config) -> Config:
    for name, option in options.items():
        if option.choices and values[name] not in option.choices:
            raise ConfigError(
                f"--{name} is one of {', '.join(option.choices)}. Received: "
                f"{values[name]}.{suggestion(values[name], option.choices)}"
            )
    least = {k: o.least for k, o in options.items() if o.least is not None}
    check_least(values, least)
    return values

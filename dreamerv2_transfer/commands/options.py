"""What a command's line may contain, for its parser, its help and its completion."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dreamerv2_transfer.common.config import (
    Config,
    ConfigError,
    check_least,
    check_ranges,
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
        is_required: Whether the command does nothing without it.
        is_whole: Whether commas separate nothing in the values of a list.
    """

    default: Any
    text: str
    choices: Sequence[str] = ()
    least: float | None = None
    is_path: bool = False
    is_required: bool = False
    is_whole: bool = False


def path_option(text: str, is_required: bool = False) -> Option:
    """Returns an option that takes a path, and is empty by default."""
    return Option("", text, is_path=True, is_required=is_required)


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

    @property
    def starts_with_word(self) -> bool:
        """Whether there is a first argument that is no flag, so that it is needed."""
        return not self.forms[0].startswith(("-", "["))


def parse(options: Mapping[str, Option], argv: Sequence[str]) -> Config:
    """Returns the values of the options on a command line.

    `--dry-run` is `--dry_run`, and a bool without a value is True.

    Raises:
        ConfigError: An option is unknown or missing, or its value is not allowed.
        PathError: A path is not one.
    """
    return _check(options, _flags(options).parse(_spelled(options, argv)))


def parse_known(
    options: Mapping[str, Option], argv: Sequence[str]
) -> tuple[Config, list[str]]:
    """Returns the values of the options, and the arguments that are no options.

    Raises:
        ConfigError: An option is missing, or its value is not allowed.
        PathError: A path is not one.
    """
    parsed, rest = _flags(options).parse_known(_spelled(options, argv))
    return _check(options, parsed), rest


def without(options: Mapping[str, Option], argv: Sequence[str]) -> list[str]:
    """Returns the arguments that are none of some options."""
    return _flags(options).parse_known(_spelled(options, argv))[1]


def check_choice(what: str, value: str, choices: Collection[str]) -> None:
    """Raises a ConfigError that has the nearest choice if `value` is none of them."""
    if value not in choices:
        raise ConfigError(
            f"{what} is one of {', '.join(choices)}. Received: {value}."
            f"{suggestion(value, choices)}"
        )


def _flags(options: Mapping[str, Option]) -> Flags:
    flags = Flags({name: option.default for name, option in options.items()})
    flags.paths = [name for name, option in options.items() if option.is_path]
    flags.whole = [name for name, option in options.items() if option.is_whole]
    return flags


def _spelled(options: Mapping[str, Option], argv: Sequence[str]) -> list[str]:
    """Returns the command line as `Flags` reads it, with underscores for hyphens."""
    written = []
    for argument in argv:
        flag, equals, value = argument.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        is_option = flag.startswith("--") and name in options
        written.append(f"--{name}{equals}{value}" if is_option else argument)
    return written


def _check(options: Mapping[str, Option], values: Config) -> Config:
    for name, option in options.items():
        if option.is_required and not values[name]:
            raise ConfigError(f"--{name} {name.upper()} is missing: {option.text}")
        if option.choices:
            check_choice(f"--{name}", values[name], option.choices)
    least = {k: o.least for k, o in options.items() if o.least is not None}
    check_least(values, least)
    check_ranges(values)  # That of `seed`, as a key; all others must be finite.
    return values

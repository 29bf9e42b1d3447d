"""Prints a script that completes commands, flags and values in a shell.

For this shell alone: eval "$(dreamerv2-transfer completion bash)", and with fish
dreamerv2-transfer completion fish | source. For good, add that line to ~/.bashrc,
~/.zshrc or ~/.config/fish/config.fish.
"""

from __future__ import annotations

import contextlib
import importlib
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from dreamerv2_transfer.commands import configuration, keys, program
from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.commands.options import Usage
from dreamerv2_transfer.common import cli
from dreamerv2_transfer.common.choices import CHOICES
from dreamerv2_transfer.common.errors import EnvError

SHELLS = ("bash", "zsh", "fish")
USAGE = Usage(
    forms=("bash|zsh|fish",),
    examples={"bash >> ~/.bashrc": "completion in every new bash"},
    words=SHELLS,
)
SUITES = ("minatar", "atari")  # Suites whose games are completed.
BOOL = ("True", "False")
BARE = ("help", "quiet", "print-config")  # Flags without a value.


class Flag(NamedTuple):
    """A flag with what it means.

    Attributes:
        name: The flag without its hyphens.
        text: What it means.
        values: The values that it takes, if these are known.
        is_list: Whether it takes several values.
    """

    name: str
    text: str
    values: Sequence[str] = ()
    is_list: bool = False


class Command(NamedTuple):
    """A command with what it is for, its first words, and its flags."""

    name: str
    text: str
    words: Sequence[str]
    flags: list[Flag]


def main(argv: list[str]) -> int:
    shell = " ".join(argv)
    options_lib.check_choice("The shell", shell, SHELLS)
    write = {"bash": bash, "zsh": zsh, "fish": fish}[shell]
    cli.show("\n".join(write(list(commands()))))
    return 0


def commands() -> Iterator[Command]:
    """Yields all commands with all that can be completed."""
    reference = keys.read(configuration.path().read_text("utf-8"))
    templates = [x.parent.name for x in configuration.templates().glob("*/config.yaml")]
    games = tuple(_games())
    # A block for two names, `A B`, is none that one would type.
    blocks = tuple(name for name in reference.blocks if " " not in name)
    special = {"configs": blocks, "template": tuple(sorted(templates))}
    special |= dict.fromkeys(("task", "tasks", "games"), games)
    configured = [Flag("configs", "blocks of configs.yaml", special["configs"], True)]
    for key in reference.keys.values():
        values = CHOICES.get(key.name) or special.get(key.name, ())
        is_bool = isinstance(key.default, bool)
        values = BOOL if is_bool else values
        is_list = isinstance(key.default, tuple)
        configured.append(Flag(key.name, key.text, values, is_list))
    configured.append(Flag("print-config", "print all keys with their values"))
    for name, path in program.COMMANDS.items():
        module = importlib.import_module(path)
        usage: Usage = module.USAGE
        flags = [
            Flag(
                key.replace("_", "-"),
                x.text,
                x.choices or special.get(key, ()),
                isinstance(x.default, list),
            )
            for options in usage.options.values()
            for key, x in options.items()
        ]
        flags += configured if usage.blocks else []
        named = [flag.name for flag in flags]
        named += blocks if usage.blocks else ()
        flags.append(Flag("help", "explain the command or names", named, True))
        flags.append(Flag("quiet", "results alone"))
        yield Command(name, program.purpose(name), usage.words, flags)


def _games() -> Iterator[str]:
    from dreamerv2_transfer.common.envs import suites

    for suite in SUITES:
        with contextlib.suppress(EnvError):
            yield from (f"{suite}_{name}" for name in suites.SUITES[suite].tasks())


# The scripts. Where there is no list of values, they complete files.


def bash(found: Sequence[Command]) -> Iterator[str]:
    """Yields the lines of a script for bash."""
    yield "_dreamerv2_transfer() {"
    yield "  local cur=${COMP_WORDS[COMP_CWORD]} flag= flags= values= i"
    yield "  for ((i = COMP_CWORD - 1; i > 1; i--)); do"
    yield "    [[ ${COMP_WORDS[i]} == --* ]] && { flag=${COMP_WORDS[i]}; break; }"
    yield "  done"
    yield "  case ${COMP_WORDS[1]} in"
    for command in found:
        flags = (f"--{flag.name}" for flag in command.flags)
        yield f"    {command.name}) flags={_list(flags)} ;;"
    yield "  esac"
    yield "  case ${COMP_WORDS[1]}$flag in"
    for pattern, values in _values(found):
        yield f"    {pattern}) values={_list(values)} ;;"
    yield "  esac"
    yield f"  ((COMP_CWORD == 1)) && values={_list(x.name for x in found)}"
    yield "  [[ $cur == -* ]] && values=$flags"
    yield '  COMPREPLY=($(compgen -W "$values" -- "$cur"))'
    yield "}"
    yield f"complete -o default -F _dreamerv2_transfer {program.NAME}"


def zsh(found: Sequence[Command]) -> Iterator[str]:
    """Yields the lines of a script for zsh, whose `compinit` has to be loaded."""
    yield f"#compdef {program.NAME}"
    yield "_dreamerv2_transfer() {"
    yield "  local -a commands flags values"
    yield "  local flag= i"
    yield "  for ((i = CURRENT - 1; i > 2; i--)); do"
    yield "    [[ $words[i] == --* ]] && { flag=$words[i]; break }"
    yield "  done"
    yield "  case $words[2] in"
    for command in found:
        flags = (f"--{flag.name}:{flag.text}" for flag in command.flags)
        yield f"    {command.name}) flags=({shlex.join(flags)}) ;;"
    yield "  esac"
    yield "  case $words[2]$flag in"
    for pattern, values in _values(found):
        yield f"    {pattern}) values=({shlex.join(values)}) ;;"
    yield "  esac"
    yield f"  commands=({shlex.join(f'{x.name}:{x.text}' for x in found)})"
    yield "  if ((CURRENT == 2)); then _describe command commands"
    yield "  elif [[ $PREFIX == -* ]]; then _describe -o flag flags"
    yield "  elif (($#values)); then compadd -a values"
    yield "  else _files; fi"
    yield "}"
    yield f"compdef _dreamerv2_transfer {program.NAME}"


def fish(found: Sequence[Command]) -> Iterator[str]:
    """Yields the lines of a script for fish."""
    # fish itself completes the first value of a flag alone.
    yield "function __dreamerv2_transfer_after"
    yield "  set -l flags (string match -- '--*' (commandline -opc))"
    yield '  test "$flags[-1]" = $argv[1]'
    yield "end"
    for command in found:
        first = f"complete -c {program.NAME} -n __fish_use_subcommand -f"
        yield f"{first} -a {command.name} -d {_fish(command.text)}"
        seen = f"__fish_seen_subcommand_from {command.name}"
        start = f"complete -c {program.NAME} -n {_fish(seen)}"
        if command.words:
            yield f"{start} -f -a {_fish(' '.join(command.words))}"
        for flag in command.flags:
            takes = f"-x -a {_fish(' '.join(flag.values))}" if flag.values else "-r"
            takes = "-f" if flag.name in BARE else takes
            yield f"{start} -l {flag.name} {takes} -d {_fish(flag.text)}"
            if flag.values and flag.is_list:
                after = f"{seen}; and __dreamerv2_transfer_after --{flag.name}"
                values = _fish(" ".join(flag.values))
                yield f"complete -c {program.NAME} -n {_fish(after)} -f -a {values}"


def _values(found: Sequence[Command]) -> Iterator[tuple[str, Sequence[str]]]:
    """Yields lists of values, with a pattern for the commands and flags they are of.

    The first words of a command are the values of no flag at all.
    """
    patterns = {tuple(command.name for command in found): ["help", "--help"]}
    for command in found:
        if command.words:
            patterns.setdefault(tuple(command.words), []).append(command.name)
        for flag in command.flags:
            if flag.values:
                name = f"{command.name}--{flag.name}"
                patterns.setdefault(tuple(flag.values), []).append(name)
    for values, names in patterns.items():
        yield "|".join(names), values


def _list(words: Iterable[str]) -> str:
    return shlex.quote(" ".join(words))


def _fish(text: str) -> str:
    """Quotes a text for fish."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

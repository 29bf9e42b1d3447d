"""`--help`: what a command is for, what it takes, and what each key means."""

from __future__ import annotations

import contextlib
import itertools
import shlex
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.text import Text

import dreamerv2_transfer
from dreamerv2_transfer.commands import configuration, keys, program, screen
from dreamerv2_transfer.commands.keys import Key, Reference, as_flag
from dreamerv2_transfer.commands.options import Option, Usage
from dreamerv2_transfer.common.choices import range_of
from dreamerv2_transfer.common.config import Config, ConfigError, suggestion, type_name

FIRST = "train --configs minatar debug pretrain --logdir logdir/first"
COMMON = {
    "--help [NAME]": "This page or, with the name of an option, a key, a group of keys "
    "or a block, that alone.",
    "--quiet": "Results and errors alone.",
}
CONFIGURED = {
    "--configs BLOCK [BLOCK ...]": "Blocks, each of which changes what those before it "
    "set. A file such as a run's config.yaml is a block too.",
    "--KEY VALUE": "Another value of a key. A list is --KEY a b or --KEY a,b, True may "
    r"be left out, and a key may be a regular expression: --.*\.norm layer.",
    "--print-config": "All keys with their values, and where each comes from; nothing "
    "is run.",
}


def overview() -> None:
    """Prints what commands there are."""
    out = screen.console()
    with out:
        out.print(f"Usage: {program.NAME} COMMAND [ARGUMENTS ...]\n")
        out.print(screen.wrapped(dreamerv2_transfer.__doc__, out.width))
        out.print("\nCommands:", style=screen.HEADING)
        for name in program.COMMANDS:
            text = program.purpose(name)
            out.print(screen.entry(Text(name, screen.NAME), text, out.width, lead=16))
        out.print("\nStart with:", style=screen.HEADING)
        out.print(f"  {program.NAME} {FIRST}\n")
        out.print(f"{program.NAME} COMMAND --help explains a command.")


def show(
    name: str, module: ModuleType, argv: Sequence[str], names: Sequence[str]
) -> None:
    """Prints the help of a command, or what names mean there.

    Args:
        name: The command.
        module: The module that has its main.
        argv: The command line; its blocks and flags set the values that are shown.
        names: What to explain; all if it is empty.

    Raises:
        ConfigError: A block, a flag or a name is unknown, or a value is not allowed.
    """
    out = screen.console()
    with out:  # Written at once: `| grep -q` reads up to the line that it looks for.
        shown = Help(out, name, module, argv)
        for said in names:
            shown.explain(said)
        if not names:
            shown.page()


class Help:
    """The help of a command.

    Args:
        out: Where it is printed.
        name: The command.
        module: The module that has its main.
        argv: The command line.

    Raises:
        ConfigError: A block or a flag is unknown, or a value is not allowed.
    """

    def __init__(
        self, out: Console, name: str, module: ModuleType, argv: Sequence[str]
    ):
        self._out = out
        self._words = shlex.join(program.words(name))
        self._purpose = module.__doc__ or ""
        self._usage: Usage = module.USAGE
        self._reference, self._values = Reference({}, {}), Config()
        self._origins: dict[str, str] = {}
        if self._usage.blocks:
            self._reference = keys.read(configuration.path().read_text("utf-8"))
            argv = configuration.concerning(self._usage, argv)
            resolved = configuration.resolve(argv)
            self._values, self._origins = resolved.config, resolved.origins

    def page(self) -> None:
        """Prints all of it."""
        out, usage = self._out, self._usage
        starts = itertools.chain(["Usage:"], itertools.repeat("      "))
        for start, form in zip(starts, usage.forms, strict=False):
            out.print(f"{start} {self._words} {form}")
        for text in self._purpose.strip().split("\n\n"):
            out.print(f"\n{screen.wrapped(text, out.width)}")
        self._heading("Examples")
        for line, what in usage.examples.items():
            out.print(f"  {self._words} {line}".rstrip())
            out.print(f"      {what}", style=screen.FAINT)
        for title, options in usage.options.items():
            if options:
                self._heading(title or "Options")
                self._print_options(options)
        self._heading("For every command")
        self._print_texts(COMMON)
        if usage.blocks:
            self._heading("Configuration")
            self._print_texts(CONFIGURED)
            self._heading("Blocks")
            self._print_texts(self._reference.blocks)
            by_section = itertools.groupby(
                self._reference.keys.values(), lambda key: key.section
            )
            for section, found in by_section:
                self._heading(f"Keys: {section}")
                self._print_keys(found)

    def explain(self, name: str) -> None:
        """Prints what one name means.

        Args:
            name: An option, a block, a key, a group of keys, or an expression for keys.

        Raises:
            ConfigError: There is none of this name; the message has the nearest.
        """
        blocks = self._reference.blocks
        groups = self._usage.options.values()
        option, found = name.replace("-", "_"), self._match(name)
        for group in [x for x in groups if option in x]:
            self._print_options({option: group[option]})
        if name in blocks:
            self._out.print(f"Block {name}: {blocks[name]}", style=screen.HEADING)
            set_here = [x for x in self._reference.keys.values() if name in x.others]
            for key in set_here:
                lead = _lead(key.name, key.others[name])
                self._out.print(screen.entry(lead, key.text, self._out.width))
        if len(found) == 1:
            self._explain_key(found[0])
        elif found:
            self._print_keys(found)
        options = [x for group in groups for x in group]
        if option not in options and name not in blocks and not found:
            known = [*options, *blocks, *self._reference.keys]
            raise ConfigError(
                f"--help NAME takes an option, a block or a key. Received: {name}."
                f"{suggestion(name, known)}"
            )

    def _match(self, name: str) -> list[Key]:
        """Returns the keys that a name stands for."""
        known = self._reference.keys
        group = [key for k, key in known.items() if k.startswith(f"{name}.")]
        if group or not known:
            return group
        with contextlib.suppress(ConfigError):
            return [known[key] for key in self._values.match(name)]
        return []

    def _explain_key(self, key: Key) -> None:
        value, origin = as_flag(self._values[key.name]), self._origins[key.name]
        others = (f"{block} {as_flag(x)}" for block, x in key.others.items())
        self._out.print(f"--{key.name}: {key.text}", style=screen.HEADING)
        number = key.default[0] if isinstance(key.default, tuple) else key.default
        rows = {
            "type": type_name(key.default),
            "value": f"{value or repr('')} (from {origin})",
            "default": as_flag(key.default) or "''",
            "in blocks": ", ".join(others),
            "section": key.section,
            "range": "" if isinstance(number, bool | str) else str(range_of(key.name)),
        }
        for name, text in rows.items():
            if text:
                lead = Text(name, screen.FAINT)
                self._out.print(screen.entry(lead, text, self._out.width, lead=14))

    def _heading(self, text: str) -> None:
        self._out.print(f"\n{text}", style=screen.HEADING)

    def _print_texts(self, texts: Mapping[str, str]) -> None:
        for name, text in texts.items():
            self._out.print(
                screen.entry(Text(name, screen.NAME), text, self._out.width)
            )

    def _print_options(self, options: Mapping[str, Option]) -> None:
        for name, option in options.items():
            choices = f"({', '.join(option.choices)})" if option.choices else ""
            lead = _lead(name.replace("_", "-"), option.default)
            self._out.print(screen.entry(lead, option.text, self._out.width, choices))

    def _print_keys(self, found: Iterable[Key]) -> None:
        """Prints keys with the values that they have by the command line."""
        for key in found:
            value, origin = self._values[key.name], self._origins[key.name]
            default = f"; default {as_flag(key.default) or repr('')}"
            note = f"[{origin}{default if value != key.default else ''}]"
            note = note if origin != "defaults" else ""
            lead = _lead(key.name, value)
            self._out.print(screen.entry(lead, key.text, self._out.width, note))


def _lead(name: str, value: Any) -> Text:
    """Returns a flag with its value."""
    value = (f" {as_flag(value)}", screen.VALUE)
    return Text.assemble((f"--{name}", screen.NAME), value)

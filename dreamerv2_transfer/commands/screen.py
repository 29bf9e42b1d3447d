"""Text for people: with colours on a terminal, plain elsewhere."""

from __future__ import annotations

import re
import sys
import textwrap

from rich.console import Console
from rich.text import Text

WIDTH = 100  # Most columns of a line, and those where there is no terminal.
HEADING, NAME, VALUE, FAINT = "bold", "cyan", "green", "dim"


def console() -> Console:
    """Returns the console of the standard output.

    `NO_COLOR`, and a `TERM` of `dumb`, make it plain on a terminal too.
    """
    made = Console(
        file=sys.stdout, markup=False, emoji=False, highlight=False, soft_wrap=True
    )
    if not made.is_terminal or made.width > WIDTH:
        made.width = WIDTH
    return made


def wrapped(text: str, width: int, indent: str = "") -> str:
    """Returns a text in lines of at most `width` columns."""
    return textwrap.fill(
        " ".join(text.split()),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def entry(name: Text, text: str, width: int, note: str = "", lead: int = 34) -> Text:
    """Returns a name with its explanation beside it.

    Args:
        name: The name, with what belongs to it.
        text: The explanation.
        width: Most columns of a line.
        note: More of the explanation, less visible on a terminal.
        lead: Columns of the name; a longer one has a line to itself.
    """
    indent = " " * lead
    lines = wrapped(f"{text} {note}", max(width, lead + 20), indent)
    explained = Text(lines)
    words = r"\s+".join(map(re.escape, note.split()))
    if found := re.search(f"{words}$", lines):
        explained.stylize(FAINT, found.start())
    start = Text("  ") + name
    if not lines:
        return start
    if len(start) < lead:
        return start + explained[len(start) :]
    return start + Text("\n") + explained

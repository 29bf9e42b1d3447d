"""What run_all.py and its processes agree on; needs Python alone.

A process gets ready beside the others, prints a line of JSON, and waits for a line on
its standard input: its turn. Then it alone measures, prints a second line, and ends.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable


def take(prepare: Callable[[], dict], measure: Callable[[], dict]) -> None:
    """Gets ready, waits for the turn, and measures.

    Args:
        prepare: Returns what it wants to tell before its turn.
        measure: Returns the result.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # For all else that is printed.
    print(json.dumps(prepare()), file=answers, flush=True)
    if sys.stdin.readline():
        print(json.dumps(measure()), file=answers, flush=True)

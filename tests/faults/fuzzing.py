"""What the fuzz targets beside this file share.

They need atheris (`pip install atheris`, Python 3.11 to 3.13), which changes inputs at
random and keeps those that reach new lines of the instrumented modules:

    PYTHONPATH=. python tests/faults/fuzz_pickles.py -max_total_time=600

Options of libFuzzer work, and so does the path of an input that failed before.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterable

import atheris

LIMITS = ("-timeout=30", "-rss_limit_mb=2048", "-max_len=16384")


def run(test: Callable[[bytes], None], seeds: Iterable[bytes]) -> None:
    """Calls `test` with inputs until it raises, hangs or takes too much memory.

    Args:
        test: Raises if it reads its input in another way than it should.
        seeds: Inputs to begin with.
    """
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            pathlib.Path(corpus, str(number)).write_bytes(seed)
        named = [x for x in sys.argv[1:] if not x.startswith("-")]
        options = [x for x in sys.argv[1:] if x.startswith("-")]
        atheris.Setup([sys.argv[0], *LIMITS, *options, *(named or [corpus])], test)
        atheris.Fuzz()

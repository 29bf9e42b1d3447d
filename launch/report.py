"""Writes a page about runs. `python launch/report.py --help` explains it."""

from __future__ import annotations

import sys

from dreamerv2_transfer.commands import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))

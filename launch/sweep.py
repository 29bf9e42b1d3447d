"""Searches for a better configuration. `python launch/sweep.py --help` explains it."""

from __future__ import annotations

import sys

from dreamerv2_transfer.commands import main

if __name__ == "__main__":
    sys.exit(main(["sweep", *sys.argv[1:]]))

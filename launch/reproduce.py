"""Runs a study of the paper. `python launch/reproduce.py --help` explains it."""

from __future__ import annotations

import sys

from dreamerv2_transfer.commands import main

if __name__ == "__main__":
    sys.exit(main(["reproduce", *sys.argv[1:]]))

"""Manages datasets of episodes. `python launch/dataset.py --help` explains it."""

from __future__ import annotations

import sys

from dreamerv2_transfer.commands import main

if __name__ == "__main__":
    sys.exit(main(["dataset", *sys.argv[1:]]))

"""Trains a world model or an agent. `python launch/train.py --help` explains it."""

from __future__ import annotations

import sys

from dreamerv2_transfer.commands import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))

"""Plays in the dream of a model. `python launch/play.py --help` explains it."""

from __future__ import annotations

import sys

from dreamerv2_transfer.commands import main

if __name__ == "__main__":
    sys.exit(main(["play", *sys.argv[1:]]))

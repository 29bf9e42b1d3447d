"""Exports a trained model. `python launch/export.py --help` explains it."""

from __future__ import annotations

import sys

from dreamerv2_transfer.commands import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))

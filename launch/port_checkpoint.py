"""Ports agents of DreamerV2. `python launch/port_checkpoint.py --help` explains it."""

from __future__ import annotations

import sys

from dreamerv2_transfer.commands import main

if __name__ == "__main__":
    sys.exit(main(["port", *sys.argv[1:]]))

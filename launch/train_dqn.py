"""Trains a DQN player. `python launch/train_dqn.py --help` explains it."""

from __future__ import annotations

import sys

from dreamerv2_transfer.commands import main

if __name__ == "__main__":
    sys.exit(main(["train-dqn", *sys.argv[1:]]))

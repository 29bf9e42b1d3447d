"""Runs `launch.py` of pydreamer with today's gymnasium and PyTorch, from its folder."""

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium  # noqa: E402, F401  # Registers MinAtar.
import torch  # noqa: E402

torch.set_num_threads(1)
sys.path.insert(0, os.getcwd())
import launch  # noqa: E402

launch.launch()

"""Sweeps whose jobs are a program of a few lines instead of a training run."""

import pathlib
import sys

import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.reproduction import processes
from dreamerv2_transfer.reproduction.processes import Processes
from dreamerv2_transfer.sweeps import page, plan, space

SPACE = """
space:
  imag_horizon: {low: 2, high: 9}
  model_opt.lr: {low: 1e-4, high: 1e-2, log: True}
  encoder.cnn_kernels: {choices: [[3, 3], [4, 4]]}
returns:
  minatar_breakout: [0, 10]
  minatar_seaquest: [0, 100]
"""
# Logs its horizon times the share of its steps as the return, a line each time: it goes
# on where it was, stops by SIGINT, and does odd things where the folder has a file that
# says so.
PROGRAM = """
import json, pathlib, sys, time
argv = sys.argv[2:]
value = lambda name: argv[argv.index("--" + name) + 1]
logdir = pathlib.Path(value("logdir"))
logdir.mkdir(parents=True, exist_ok=True)
horizon, steps = int(value("imag_horizon")), int(value("steps"))
says = lambda name: (logdir.parents[3] / name).exists()
with open(logdir / "starts", "a") as file:
    file.write(value("model_opt.lr") + " ")
if says("crash"):
    print("Loading")
    print("Error: The game is broken.")
    sys.exit(2)
path = logdir / "metrics.jsonl"
begun = len(path.read_text().splitlines()) if path.exists() else 0
try:
    for step in range(begun + 1, steps + 1):
        row = {"step": step, "loss": 1.0}
        if not says("silent"):
            row["train_return"] = horizon * min(step, 20) / 20
        with open(path, "a") as file:
            file.write(json.dumps(row) + chr(10))
        while says("slow") and step >= 10:
            time.sleep(0.02)
        time.sleep(0.001)
except KeyboardInterrupt:
    sys.exit(130)
"""


def make_plan(folder: pathlib.Path, **changes) -> plan.Plan:
    """The plan of a sweep in a folder, on Breakout with runs of 20 updates."""
    config = blocks.load_config(["minatar", "small", "scratch"])
    file = folder / "space.yaml"
    file.write_text(SPACE)
    searched = space.read(file, config)
    games = changes.get("games", ("minatar_breakout",))
    values = {
        "logdir": folder / "sweep",
        "blocks": ("minatar", "small", "scratch"),
        "flags": ("--eval_every", "0"),
        "games": games,
        "seeds": (7,),
        "space": searched,
        "objective": plan.make_objective("", False, games, searched),
        "updates": 20,
    }
    return plan.Plan(**(values | changes))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for a sweep whose jobs are `PROGRAM`, and whose page is not drawn."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    monkeypatch.setattr(processes, "PROGRAM", [sys.executable, str(program)])
    monkeypatch.setattr(processes, "POLL", 0.02)
    monkeypatch.setattr(page, "write", lambda plan, search: None)
    (tmp_path / "sweep").mkdir()
    return tmp_path


def pool(parallel: int = 2) -> Processes:
    return Processes(parallel, cores=2)

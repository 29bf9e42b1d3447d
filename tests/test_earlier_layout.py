"""Runs that the first release wrote load, evaluate and resume."""

from __future__ import annotations

import json
import pathlib
import re
import shutil

import pytest

from dreamerv2_transfer import evaluate
from dreamerv2_transfer.agent import acting
from dreamerv2_transfer.common import blocks, envs, evaluation
from tests import runs

EARLIER = pathlib.Path(__file__).parent / "earlier_layout"
OPTIONS = ("--eval_every", "0", "--checkpoints_kept", "1", "--outputs", "jsonl")
PRETRAIN = (
    *("launch/train.py", "--configs", "minatar", "debug", "pretrain"),
    *("--logdir", "runs/pretrain", "--steps", "20", "--collect.steps", "120"),
    *("--checkpoint_every", "5", *OPTIONS),
)
FINETUNE = (
    *("launch/train.py", "--configs", "minatar", "debug", "finetune"),
    *("--logdir", "runs/finetune", "--init", "runs/pretrain", "--steps", "20"),
    *("--checkpoint_every", "5", *OPTIONS),
)
DQN = (
    *("launch/train_dqn.py", "--configs", "minatar", "debug", "dqn"),
    *("--task", "minatar_breakout", "--logdir", "runs/dqn", "--steps", "600"),
    *("--dqn.capacity", "100", "--checkpoint_every", "100", *OPTIONS),
)


# Metrics that the first release had and this one replaces, and those that are new.
GONE = re.compile(r"eval_(un)?rewarded(_true|_pred)?(/.*)?")
NEW = re.compile(
    r"reward_(dreamed|played|replayed)"
    r"|eval_(reward|discount)_(events|true|(pred|auc|calibration_error)(_dreamed)?)(/.*)?"
)


@pytest.fixture
def folder(tmp_path):
    """A folder with `runs/`, as the first release left it."""
    shutil.copytree(EARLIER, tmp_path / "runs")
    return tmp_path


def launch(folder: pathlib.Path, script: str, *args: str) -> str:
    done = runs.run(str(runs.ROOT / script), *args, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def expected(name: str):
    return json.loads((EARLIER / "expected" / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("name", "command", "step"),
    [
        ("pretrain", PRETRAIN, 10),
        ("finetune", FINETUNE, 10),
        ("dqn", DQN, 300),
    ],
)
def test_an_earlier_run_resumes_with_the_metrics_that_it_would_have_had(
    folder, name, command, step
):
    output = launch(folder, *command)
    assert f"resumed from step {step}" in output
    logged = [x for x in runs.rows(folder / "runs" / name) if x["step"] > step]
    wanted = expected(name)
    assert [x["step"] for x in logged] == [x["step"] for x in wanted]
    for row, other in zip(logged, wanted, strict=True):
        other.pop("fps", None)
        other = {k: v for k, v in other.items() if not GONE.fullmatch(k)}
        row = {k: v for k, v in row.items() if not NEW.fullmatch(k)}
        assert row == pytest.approx(other, rel=1e-4, abs=1e-6)


def test_an_earlier_agent_plays_as_it_did(folder):
    logdir = folder / "runs" / "finetune"
    config = blocks.load_old(logdir / "config.yaml")[0].update(expl_noise=0.0)
    env = envs.make_vector_env(config.task, 2, **envs.run_options(config, config.task))
    agent = evaluate.load(config, logdir, env)
    # As it was then: noise is drawn for all environments together.
    agent.rng.reset_from_seed(0)
    played = evaluation.evaluate(acting(agent, "eval"), env, 4, 0).summary()
    assert played.items() <= expected("evaluate").items()


def test_an_earlier_agent_is_evaluated(folder):
    output = launch(
        folder,
        "launch/evaluate.py",
        *("--logdir", "runs/finetune", "--episodes", "4", "--envs", "2"),
    )
    # The noise is drawn by episode today, so other episodes are played.
    wanted = {**expected("evaluate"), "length_mean": 86.5}
    assert json.loads(output.splitlines()[-1]) == wanted

"""The evaluation of a run, in a separate process."""

import json
import pathlib
import sys

import pytest

from dreamerv2_transfer import collect, commands
from dreamerv2_transfer.commands import evaluate as command
from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.data.collection import Recipe
from tests import runs

RUN = ["--configs", "minatar", "debug", "scratch", "--steps", 1, "--eval_every", 0]
FEW = ["--imag_horizon", 3, "--dataset.batch", 2, "--dataset.length", 6]


@pytest.fixture(scope="module")
def logdir(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("run")
    task = ["--task", "minatar_breakout", "--prefill", 60, "--time_limit", 20]
    done = runs.run("launch/train.py", *RUN, *FEW, *task, "--logdir", path)
    assert done.returncode == 0, done.stdout + done.stderr
    return path


def evaluate(logdir, *args) -> dict:
    done = runs.run("launch/evaluate.py", "--logdir", logdir, *args)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_last_line_is_a_json_object(logdir):
    file = logdir / "evaluation.json"
    more = ["--videos", 1, "--json", file]
    result = evaluate(logdir, "--episodes", 3, "--seed", 5, *more)
    assert json.loads(file.read_text()) == result
    assert result["episodes"] == 3 and result["seed"] == 5
    assert result["policy"] == "greedy" and result["task"] == "minatar_breakout"
    low, high = result["return_ci95"]
    assert low <= result["return_mean"] <= high and result["length_mean"] > 0
    gif = logdir / "videos" / "evaluate_0_image.gif"
    assert gif.read_bytes()[:4] == b"GIF8"


def test_the_same_seed_gives_the_same_figures(logdir):
    arguments = ["--episodes", 4, "--policy", "sampled", "--seed", 1]
    assert evaluate(logdir, *arguments) == evaluate(logdir, *arguments)


def test_the_model_is_tried_on_held_out_episodes(logdir, tmp_path):
    collect.collect(tmp_path, {"minatar_breakout": Recipe(seed=3)}, steps=300)
    args = ["--episodes", 1, "--dataset", tmp_path, "--batches", 2]
    result = evaluate(logdir, *args)
    assert result == evaluate(logdir, *args)
    losses = result["held_out"]
    # A Normal's constant for each of 1,000 cells, and a small squared error.
    assert 919 < losses["image_loss"] < 970
    assert 0 < losses["model_error"] < 60


@pytest.mark.parametrize("command", ["evaluate", "analyze"])
def test_a_note_on_an_old_configuration_is_a_line_of_its_own(command, tmp_path, capsys):
    config = (runs.ROOT / "tests/earlier_layout/finetune/config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(f"{config}forgotten: 3\n")
    args = [command, "--logdir", str(tmp_path), "--task", "minatar_breakout"]
    assert commands.main(args) == 2  # There are no weights.
    note = "key 'forgotten' is not known today and has no effect."
    lines = capsys.readouterr().out.splitlines(keepends=True)
    line = next(line for line in lines if note in line)
    assert line.endswith("Received: forgotten=3\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "--logdir LOGDIR"),
        (["--logdir", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--logdir", "/nowhere", "--policy", "best"], "greedy, sampled"),
        (["--logdir", "/nowhere", "--episodes", 0], "at least 1"),
        (["--logdir", "/nowhere", "--episods", 3], "episodes"),
    ],
)
def test_bad_input_is_one_line_that_names_it(args, message):
    done = runs.run("launch/evaluate.py", *args)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_dataset_that_does_not_exist_is_refused_before_play(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dreamerv2_transfer.evaluate", None)  # Too slow.
    folder = runs.ROOT / "tests" / "earlier_layout" / "finetune"
    args = ["evaluate", "--logdir", str(folder), "--dataset", "/nowhere"]
    assert commands.main(args) == 2
    assert "Error: /nowhere is no folder." in capsys.readouterr().err


def test_a_run_without_an_actor_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dreamerv2_transfer.evaluate", None)  # Too slow.
    folder = runs.ROOT / "results" / "minatar_small_pretrain"
    assert commands.main(["evaluate", "--logdir", str(folder)]) == 2
    error = capsys.readouterr().err
    start = f"Error: {folder} has no agent to evaluate: pretrain trains a world model "
    assert error == f"{start}alone. Name a run of finetune, offline or scratch.\n"


def test_all_games_of_a_run_are_evaluated(tmp_path, monkeypatch, capsys):
    games = ["minatar_breakout", "minatar_freeway"]
    config = blocks.load_config(["minatar", "debug", "scratch"], ["--tasks", *games])
    config.save(tmp_path / "config.yaml")
    called = []

    def play(options, settings, logdir, task, prefix):
        called.append((logdir, task, prefix))
        return {"return_mean": 1.0, "task": task}

    monkeypatch.setattr(command, "evaluate", play)
    assert command.main(["--logdir", str(tmp_path), "--task", "all"]) == 0
    assert called == [(tmp_path, task, f"{task}_") for task in games]
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["games"]
    assert found == {task: {"return_mean": 1.0, "task": task} for task in games}

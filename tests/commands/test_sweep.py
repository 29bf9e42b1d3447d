"""A sweep as it is typed, and what it refuses before anything starts."""

import configparser
import json
import sys

import pytest

from dreamerv2_transfer import commands
from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.commands import sweep
from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.sweeps import search
from tests import runs

pytest.importorskip("optuna")
SPACE = "space:\n  imag_horizon: {low: 3, high: 5}\n"
DEBUG = ["--configs", "minatar", "debug", "scratch", "--task", "minatar_breakout"]
FEW = ["--steps", "2", "--log_every", "1", "--prefill", "60", "--eval_every", "0"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def plan(*argv):
    argv = [*map(str, argv)]
    options, rest = options_lib.parse_known(sweep.OPTIONS | sweep.JUDGED, argv)
    return sweep.make_plan(options, rest)


def test_two_trials_are_trained_and_the_best_one_trains_on(file, tmp_path):
    logdir = tmp_path / "sweep"
    options = ["--space", file, "--logdir", logdir, "--trials", 2, "--parallel", 2]
    judged = ["--objective", "model_error", "--minimize"]  # No episode ends so early.
    args = [*options, *judged, *DEBUG, *FEW, "--imag_horizon", 3]
    done = runs.run("launch/sweep.py", *args)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Saved {logdir}/index.html" in done.stdout
    content = json.loads((logdir / "results.json").read_text())
    trials = content["trials"]
    assert [x["state"] for x in trials] == ["complete", "complete"]
    assert trials[0]["parameters"] == {"imag_horizon": 3}
    for one in trials:
        run = logdir / "trials" / f"{one['trial']:03}" / "minatar_breakout"
        config = blocks.load_config([str(run / "config.yaml")])
        assert config.imag_horizon == one["parameters"]["imag_horizon"]
        assert one["value"] == runs.series(run, "model_error")[-1]
    assert content["best"] == min(trials, key=lambda x: x["value"])["trial"]
    best = blocks.load_config(["minatar", "debug", str(logdir / "best.yaml")])
    assert best.imag_horizon in {x["parameters"]["imag_horizon"] for x in trials}
    assert (logdir / "index.html").stat().st_size > 100_000


def test_a_line_becomes_a_plan(file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    made = plan("--space", file, *DEBUG, "--seed", 5, "--seeds", 2, "--steps", 50)
    assert made.logdir == tmp_path / "logdir" / "sweep_space"
    assert made.blocks == ("minatar", "debug", "scratch")
    assert made.flags[:2] == ("--task", "minatar_breakout")
    assert made.games == ("minatar_breakout",) and made.seeds == (5, 6)
    assert (made.updates, made.minutes, made.baseline) == (50, 0.0, None)
    assert made.objective.name == "train_return"
    made = plan("--space", file, *DEBUG, "--minutes", 3, "--imag_horizon", 4)
    assert made.updates == 10**9 and made.budget == 180
    assert made.baseline == {"imag_horizon": 4}
    made = plan("--space", file, *DEBUG, "--minutes", 3, "--steps", 70)
    assert made.updates == 70
    pretraining = ["--configs", "minatar", "debug", "pretrain", "--minimize"]
    made = plan("--space", file, *pretraining, "--objective", "eval_model_error")
    assert made.games == ("",) and made.updates == 30 and made.objective.minimize


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (DEBUG, "--space SPACE is missing: The search space"),
        (
            [*DEBUG, "--space", "minata"],
            "a file NAME.yaml, or one of minatar. Received: minata. Did you mean",
        ),
        (["--configs", "minatar", "--space", "{file}"], "Name the stage of the trials"),
        ([*DEBUG, "--space", "none.yaml"], "Cannot read none.yaml"),
        ([*DEBUG, "--space", "{file}", "--trials", "0"], "trials must be at least 1"),
        (
            [*DEBUG, "--space", "{file}", "--trails", "1"],
            "Flag '--trails': Unknown key",
        ),
        ([*DEBUG, "--space", "{file}", "--prune", "best"], "--prune is one of median"),
        (
            [*DEBUG, "--space", "{file}", "--minutes", "-1"],
            "minutes must be at least 0",
        ),
        (
            [*DEBUG, "--space", "{file}", "--games", "a", "a"],
            "--games names a game twice. Received: a a",
        ),
        (
            [*DEBUG, "--space", "{file}", "--games", "minatar_freeway", "pong"],
            "Add a section returns with minatar_freeway: [RANDOM, GOOD]",
        ),
        (
            ["--configs", "minatar", "debug", "pretrain", "--space", "{file}"]
            + ["--games", "a", "b"],
            "Pre-training mixes the games of --tasks. Received: --games a b",
        ),
        (
            [*DEBUG[:4], "--space", "{file}"]
            + ["--tasks", "minatar_asterix,minatar_freeway"],
            "name the games by --games. Received: --tasks minatar_asterix",
        ),
        (
            [*DEBUG, "--space", "{file}", "--log_every", "50"],
            "A run logs nothing within its budget. Received: log_every=50, steps=40",
        ),
        (
            [*DEBUG, "--space", "{file}", "--logdir", "memory://sweep"],
            "A sweep works in one local folder",
        ),
        ([*DEBUG, "--space", "{file}", "--outputs", "terminal"], "jsonl"),
    ],
)
def test_a_sweep_that_cannot_be_run_says_why(
    file, tmp_path, monkeypatch, capsys, argv, message
):
    monkeypatch.chdir(tmp_path)
    assert commands.main(["sweep", *(x.format(file=file) for x in argv)]) == 2
    assert message in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == [file]


def test_a_lack_of_optuna_is_told_first(file, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert commands.main(["sweep", "--space", str(file), "--configs", "minatar"]) == 2
    assert "pip install '.[sweep]'" in capsys.readouterr().err


def test_a_space_is_a_file_or_the_name_of_one_that_is_shipped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sweep.space_file("minatar") == runs.ROOT / "sweep_spaces" / "minatar.yaml"
    assert sweep.space_file("other.yaml").name == "other.yaml"
    parser = configparser.ConfigParser()
    parser.read(runs.ROOT / "setup.cfg")
    listed = dict(parser["options.data_files"])  # Of what is installed.
    assert listed["share/dreamerv2_transfer/sweep_spaces"] == "sweep_spaces/*.yaml"
    (tmp_path / "minatar").touch()
    assert sweep.space_file("minatar").resolve() == tmp_path / "minatar"


def test_the_choice_of_pruners_is_that_of_the_study():
    assert sweep.PRUNERS == search.PRUNERS


def test_help_and_configuration_leave_the_options_of_the_sweep_out(file, capsys):
    argv = ["sweep", "--space", str(file), "--games", "a", "b", "--minimize", *DEBUG]
    assert commands.main([*argv, "--print-config"]) == 0
    assert "imag_horizon: 15" in capsys.readouterr().out
    assert commands.main([*argv, "--help", "imag_horizon"]) == 0
    assert "--imag_horizon: steps that are imagined" in capsys.readouterr().out

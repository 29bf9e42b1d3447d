"""The study as a process of its own."""

import re

import pytest

from dreamerv2_transfer import commands
from dreamerv2_transfer.commands import reproduce
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.reproduction import runner
from tests import runs


def test_the_plan_alone_runs_nothing(tmp_path):
    logdir = tmp_path / "study"
    args = ["minatar", "--scale", "debug", "--dry-run", "--logdir", logdir]
    done = runs.run("launch/reproduce.py", *args, "--leave-out", "asterix")
    assert done.returncode == 0, done.stderr
    assert "asterix/asterix_finetune_2" in done.stdout
    assert f"jobs in {logdir}:" in done.stdout
    assert re.search(r"\nThe time is unknown .*; [\d.]+ GiB of disk", done.stdout)
    assert not logdir.exists()


def test_jobs_run_and_are_done(tmp_path):
    args = [
        "minatar",
        "--scale",
        "debug",
        "--logdir",
        tmp_path,
        "--only",
        "dqn_asterix",
    ]
    done = runs.run("launch/reproduce.py", *args)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Finished dqn_asterix" in done.stdout
    assert list((tmp_path / "dqn" / "asterix").glob("model_*.weights.h5"))
    again = runs.run("launch/reproduce.py", *args)
    assert again.returncode == 0 and "Started" not in again.stdout


def test_a_study_needs_no_options():
    suite, options = reproduce.parse(["minatar"])
    assert (suite, options.scale, options.beyond) == ("minatar", "paper", False)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--beyond"], (True, False, "")),
        (["--beyond", "--dry-run", "--leave-out", "a-b"], (True, True, "a-b")),
        (["--dry-run", "False", "--beyond=True"], (True, False, "")),
        (["--leave-out=a-b", "--dry_run", "True"], (False, True, "a-b")),
    ],
)
def test_some_flags_stand_for_themselves_and_hyphens_for_underscores(args, expected):
    _, options = reproduce.parse(["atari", *args])
    assert (options.beyond, options.dry_run, options.leave_out) == expected


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["pong"], "The study is one of minatar, atari. Received: pong."),
        (["minatar", "--scale", "huge"], "--scale is one of paper, small, small_v1"),
        (["minatar", "--leave-out", "pong"], "--leave_out is all or one of seaquest"),
        (["minatar", "--only", "x1"], "--only finds no job. Received: x1"),
        (["minatar", "--seeds", "0"], "seeds must be at least 1"),
    ],
)
def test_a_study_that_cannot_be_run_says_why(args, message):
    done = runs.run("launch/reproduce.py", *args)
    assert done.returncode == 2 and message in done.stderr


def test_settings_reach_the_study_and_are_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner.Runner, "run", lambda self, jobs: True)
    args = ["reproduce", "minatar", "--scale", "debug", "--logdir", str(tmp_path)]
    chosen = ["--set", "reproduce.train=3,loss_scales.kl=0.1"]
    assert commands.main([*args, *chosen]) == 0
    assert "3 x update of an agent" in capsys.readouterr().out
    assert commands.main(args) == 2
    assert "began with other settings" in capsys.readouterr().err


def test_the_command_line_wins_over_the_file_of_arms(tmp_path):
    chosen = ["--arms", "leave_one_out", "--scale", "debug", "--logdir", str(tmp_path)]
    study = reproduce.make_study(*reproduce.parse(["minatar", *chosen]))
    assert len(study.new) == 5 and study.numbers.train == 10_000
    chosen += ["--set", "reproduce.train=7", "--leave-out", "asterix"]
    study = reproduce.make_study(*reproduce.parse(["minatar", *chosen]))
    assert study.new == ("minatar_asterix",) and study.numbers.train == 7
    assert study.settings["reproduce.pretrain"] == "40000"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--logdir", "s3://b/study"], "may be on a store: --runs s3://b/study."),
        (["--runs", "logdir/study"], "--runs is a URL, .* Received: --runs logdir/st"),
        (["--runs", "s3://b/study", "--publish", "out"], "Copy the runs from the sto"),
    ],
)
def test_only_the_runs_of_a_study_may_be_on_a_store(args, message):
    with pytest.raises(ConfigError, match=message):
        reproduce.parse(["minatar", *args])


def test_arms_of_a_file_are_not_those_of_beyond():
    with pytest.raises(ConfigError, match="Leave it out, and name them in the file"):
        reproduce.parse(["minatar", "--arms", "leave_one_out", "--beyond"])

import json
import pathlib
import re
import shlex
import sys

import pytest

from dreamerv2_transfer.commands import configuration, summary
from tests import names


def resolve(*argv):
    return configuration.resolve(argv).config


@pytest.fixture
def folder(tmp_path):
    rows = [{"step": 1, "model_error": 9.0}, {"step": 2, "eval_model_error": 7.25}]
    text = "\n".join(map(json.dumps, rows)) + '\n{"step": 3, "mod'
    (tmp_path / "metrics.jsonl").write_text(text)
    (tmp_path / "world_model.weights.h5").touch()
    (tmp_path / "checkpoints").mkdir()
    return tmp_path


def test_a_run_says_what_it_reached_where_it_is_and_what_is_next(capsys, folder):
    argv = ["--configs", "minatar", "small", "pretrain", "--logdir", "logdir/a"]
    summary.print_run("train", argv, resolve(*argv), folder, done=True)
    lines = capsys.readouterr().out.splitlines()
    assert "Done: step 2, eval_model_error 7.25, model_error 9" in lines
    assert "In logdir/a" in lines
    names = [line.split()[0] for line in lines if line.startswith("  ")]
    assert names[:3] == ["metrics.jsonl", "world_model.weights.h5", "checkpoints"]
    assert lines[-1] == (
        "  dreamerv2-transfer train --configs minatar small finetune --init logdir/a "
        "--task minatar_space_invaders --logdir logdir/a_finetune"
    )


def test_a_stopped_run_says_how_to_resume(capsys, folder):
    argv = ["--configs", "minatar", "small", "pretrain", "--logdir", "a b"]
    summary.print_run("train", argv, resolve(*argv), folder, done=False)
    assert capsys.readouterr().out == (
        "\nResume\n  dreamerv2-transfer train --configs minatar small pretrain "
        "--logdir 'a b'\n"
    )


def test_seeds_say_what_each_reached_and_how_to_compare_them(capsys, folder):
    logdirs = [f"{folder}/seed{i}" for i in range(2)]
    (folder / "seed0").mkdir()
    (folder / "metrics.jsonl").rename(folder / "seed0" / "metrics.jsonl")
    argv = ["--configs", "minatar", "scratch", "--logdir", "a b", "--seeds", "2"]
    config = resolve(*argv[:-2])
    summary.print_seeds(argv, config, logdirs, done=True)
    lines = capsys.readouterr().out.splitlines()
    name, reached = lines[2].split(maxsplit=1)
    assert (lines[1], name) == ("Done", "seed0")
    assert reached == "step 2, eval_model_error 7.25, model_error 9"
    assert lines[-1] == "  dreamerv2-transfer plot --runs 'a b' --out curves.png"
    summary.print_seeds(argv, config, logdirs, done=False)
    assert capsys.readouterr().out == (
        "\nResume\n  dreamerv2-transfer train --configs minatar scratch --logdir 'a b' "
        "--seeds 2\n"
    )


@pytest.mark.parametrize("name", names.ODD)
def test_commands_can_be_copied_whatever_the_name_of_the_folder(capsys, name):
    for stage in ("pretrain", "scratch"):
        # A tilde alone is the home folder.
        logdir = f"./{name}" if name == "~" else name
        argv = ["--configs", "minatar", stage, f"--logdir={logdir}"]
        summary.print_next("train", argv, resolve(*argv), done=True)
    for line in re.split(r"\n  (?=dreamerv2-transfer )", capsys.readouterr().out)[1:]:
        command = shlex.split(line.partition("\n\n")[0])
        if command[1] == "train":
            again = configuration.resolve(command[2:]).config
            assert pathlib.Path(again.init.path) == pathlib.Path(name)
            assert again.logdir == f"{again.init.path}_finetune"
        else:
            flag = command.index({"plot": "--runs"}.get(command[1], "--logdir"))
            assert pathlib.Path(command[flag + 1]) == pathlib.Path(name)


def test_commands_are_typed_like_this_one(capsys, folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/x/dreamerv2_transfer/__main__.py"])
    argv = ["--configs", "minatar", "scratch", "--logdir", "a"]
    summary.print_next("train", argv, resolve(*argv), done=True)
    output = capsys.readouterr().out
    assert "\n  python -m dreamerv2_transfer evaluate --logdir a " in output


def test_only_one_of_several_processes_says_it(capsys, folder, monkeypatch):
    task = {"type": "worker", "index": 1}
    cluster = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    argv = ["--configs", "minatar", "pretrain", "--strategy", "multiworker"]
    summary.print_run("train", argv, resolve(*argv), folder, done=True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("typed", "follows"),
    [
        (
            "minatar pretrain --rssm.deter 64 --seed 3 --tasks minatar_breakout "
            "--logdir a",
            "train --configs minatar finetune --rssm.deter 64 --init a --task "
            "minatar_space_invaders --logdir a_finetune",
        ),
        (
            "minatar small collect --tasks minatar_breakout --dataset.directory d",
            "train --configs minatar small pretrain --tasks minatar_breakout "
            "--dataset.directory d",
        ),
        (
            "minatar dqn --task minatar_breakout",
            "collect --configs minatar collect --tasks minatar_breakout "
            "--dqn.checkpoints logdir/minatar_dqn --dataset.directory "
            "logdir/minatar_dqn/dataset",
        ),
        (
            "minatar finetune freeze_rssm --init a --logdir b/",
            "plot --runs b --out curves.png",
        ),
    ],
)
def test_the_next_command_keeps_sizes_and_drops_what_was_of_this_run(typed, follows):
    argv = ["--configs", *typed.split()]
    *_, (_, words) = summary.next_steps(argv, resolve(*argv))
    assert words == follows.split()
    if words[0] in ("train", "collect"):
        configuration.resolve(words[1:])


@pytest.mark.parametrize(
    ("typed", "task"),
    [
        ("minatar pretrain", "minatar_space_invaders"),
        ("dmc_proprio pretrain --tasks cartpole_random", "GAME"),
        ("minatar pretrain --tasks gym_A-v0,gym_B-v0", "gym_A-v0"),
        ("dmc_vision pretrain --tasks dmc_cheetah_run", "dmc_cheetah_run"),
        ("atari pretrain --task atari_breakout", "atari_breakout"),
    ],
)
def test_pretraining_on_other_games_suggests_one_that_fits(typed, task):
    argv = ["--configs", *typed.split()]
    *_, (_, words) = summary.next_steps(argv, resolve(*argv))
    assert words[words.index("--task") + 1] == task


def test_tasks_that_are_no_games_are_not_suggested_for_an_analysis():
    argv = ["--configs", "minatar", "pretrain", "--tasks", "own,minatar_asterix"]
    _, (_, words), _ = summary.next_steps(argv, resolve(*argv))
    assert words[words.index("--task") + 1] == "minatar_asterix"


def test_a_run_without_metrics_has_no_last_values(tmp_path):
    assert list(summary.last(tmp_path)) == []

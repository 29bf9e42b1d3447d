import json
import subprocess
import sys

import pytest

from dreamerv2_transfer import __version__, commands
from dreamerv2_transfer.commands.console import Request
from tests import runs

RUN = ["--configs", "minatar", "debug", "scratch", "--task", "minatar_breakout"]
SHORT = [*RUN, "--prefill", "60", "--steps", "1", "--imag_horizon", "3"]


def call(*args) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "dreamerv2_transfer", *map(str, args)],
        cwd=runs.ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_command_may_be_typed_like_its_script(capsys):
    assert commands.main(["train_dqn", "--configs", "small"]) == 2
    assert commands.main(["port_checkpoint", "--to", "x"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].startswith("Error: Name the block dqn")
    assert errors[1].startswith("Error: Name an old logdir")


def test_an_unknown_command_names_the_nearest(capsys):
    assert commands.main(["trian"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: There is no command 'trian'. Did you mean 'train'?")
    assert "collect, train, train-dqn, evaluate" in error


def test_no_name_is_suggested_that_is_not_alike(capsys):
    assert commands.main(["frobnicate"]) == 2
    assert "'frobnicate'. Commands: collect" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("dataset", "dataset info DIRECTORY [--picture PATH] [--dataset.draw steps]"),
        ("port", "port OLD --to LOGDIR [--config OLD_CONFIG] [--KEY VALUE ...]\n"),
        ("reproduce", "reproduce minatar|atari [--scale paper|small|small_v1|debug]"),
        ("completion", "completion bash|zsh|fish\n"),
    ],
)
def test_a_command_that_lacks_its_first_argument_prints_its_help(
    command, usage, capsys
):
    assert commands.main([command]) == 2
    printed = capsys.readouterr()
    assert usage in printed.out.splitlines(keepends=True)[0] and not printed.err
    assert commands.main([command, "--help"]) == 0
    assert capsys.readouterr().out == printed.out


@pytest.mark.parametrize("command", ["train minatar debug", "evaluate logdir/a"])
def test_a_word_in_place_of_a_flag_is_answered_by_the_usage(command, capsys):
    name, word, *more = command.split()
    assert commands.main([name, word, *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"Error: {name} begins with a flag: {name} --")
    assert error.endswith(f". Received: {word}\n")


@pytest.mark.parametrize("word", ["help", "--help", "-h"])
def test_help_takes_a_command(word, capsys):
    assert commands.main([word, "train_dqn"]) == 0
    assert "train-dqn --configs BLOCK" in capsys.readouterr().out.splitlines()[0]
    assert commands.main([word, "train", "rssm.deter"]) == 0
    assert capsys.readouterr().out.startswith("--rssm.deter: units of the")
    assert commands.main([word, "trian"]) == 2
    assert "Did you mean 'train'?" in capsys.readouterr().err


def test_a_line_without_blocks_does_not_show_some_as_received(capsys):
    assert commands.main(["train", "--seed", "1"]) == 2
    error = capsys.readouterr().err
    assert error.endswith(
        "one of pretrain, finetune, scratch, offline; or a --template.\n"
    )


def test_the_version_is_printed(capsys):
    assert commands.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--seed", "1"], Request(argv=["--seed", "1"])),
        (["--seed", "1", "--quiet"], Request(is_quiet=True, argv=["--seed", "1"])),
        (["--help"], Request([])),
        (["-h", "a", "b", "--seed", "1"], Request(["a", "b"], argv=["--seed", "1"])),
        (["--print-config"], Request(prints_config=True)),
        (["--print_config"], Request(prints_config=True)),
    ],
)
def test_what_all_commands_have_in_common_is_taken_out(argv, expected):
    assert Request.read(argv, has_config=True) == expected


def test_only_a_command_with_blocks_prints_a_configuration(capsys):
    assert commands.main(["plot", "--print-config"]) == 2
    assert "'--print-config': Unknown key" in capsys.readouterr().err


def test_a_quiet_run_says_nothing_and_a_quiet_evaluation_its_figures(tmp_path):
    few = ["--dataset.batch", 2, "--dataset.length", 6, "--time_limit", 20]
    trained = call("train", *SHORT, *few, "--logdir", tmp_path, "--quiet")
    assert (trained.returncode, trained.stdout, trained.stderr) == (0, "", "")
    assert (tmp_path / "actor_critic.weights.h5").exists()
    evaluate = ["-m", "dreamerv2_transfer", "evaluate", "--quiet"]
    played = runs.run(*evaluate, "--logdir", tmp_path, "--episodes", 2)
    assert (played.returncode, played.stderr) == (0, "")
    (line,) = played.stdout.splitlines()
    assert json.loads(line)["episodes"] == 2


def test_errors_are_shown_even_by_a_quiet_command(capsys):
    assert (
        commands.main(["plot", "--quiet", "--runs", "/nowhere", "--out", "a.png"]) == 2
    )
    captured = capsys.readouterr()
    assert captured.out == "" and "/nowhere" in captured.err

import shutil
import subprocess

import pytest

from dreamerv2_transfer import commands
from dreamerv2_transfer.commands import completion
from dreamerv2_transfer.commands.completion import Command, Flag


@pytest.fixture(scope="module")
def found():
    return list(completion.commands())


def script(capsys, shell) -> str:
    assert commands.main(["completion", shell]) == 0
    return capsys.readouterr().out


def in_bash(text, *words) -> list[str]:
    """What bash offers for the last of the words."""
    typed = " ".join(f"'{word}'" for word in words)
    code = f"COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _dreamerv2_transfer"
    done = subprocess.run(
        ["bash", "-c", f'{text}\n{code}; printf "%s\\n" "${{COMPREPLY[@]}}"'],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_flags_of_all_kinds_are_found(found):
    flags = {command.name: {x.name: x for x in command.flags} for command in found}
    assert flags["train"]["rssm.deter"].text == "units of the deterministic state"
    assert flags["train"]["jit"].values == ("True", "False")
    assert "small" in flags["collect"]["configs"].values
    assert "minatar_breakout" in flags["train-dqn"]["task"].values
    assert "minatar_pretrain" in flags["train"]["template"].values
    assert flags["evaluate"]["policy"].values == ("greedy", "sampled")
    assert "leave-out" in flags["reproduce"] and "rssm.deter" not in flags["plot"]
    assert all("help" in x and "quiet" in x for x in flags.values())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["tra"], ["train", "train-dqn"]),
        (["train", "--rssm.d"], ["--rssm.deter", "--rssm.discrete"]),
        (["train", "--configs", "minatar", "sm"], ["small", "small_v1"]),
        (
            ["train", "--task", "minatar_s"],
            ["minatar_seaquest", "minatar_space_invaders"],
        ),
        (["train", "--strategy", "m"], ["mirrored", "multiworker"]),
        (["evaluate", "--policy", ""], ["greedy", "sampled"]),
        (["dataset", "ve"], ["verify"]),
        (["train", "--help", "rssm.de"], ["rssm.deter"]),
        (["train", "--help", "rssm.deter", "sma"], ["small", "small_v1"]),
        (["evaluate", "--help", "episo"], ["episodes"]),
        (["--help", "tra"], ["train", "train-dqn"]),
        (["plot", "--runs", ""], []),
    ],
)
def test_bash_completes(capsys, words, offered):
    assert in_bash(script(capsys, "bash"), "dreamerv2-transfer", *words) == offered


def test_fish_completes_with_descriptions(capsys):
    lines = script(capsys, "fish").splitlines()
    assert (
        "complete -c dreamerv2-transfer -n '__fish_seen_subcommand_from train' "
        "-l rssm.deter -r -d 'units of the deterministic state'" in lines
    )
    assert any("-l strategy -x -a 'none mirrored multiworker'" in x for x in lines)


@pytest.mark.skipif(not shutil.which("fish"), reason="There is no fish.")
def test_fish_completes_each_value_of_a_list(capsys, tmp_path):
    typed = {
        "--help rssm.de": ["rssm.deter"],
        "--configs p": ["pretrain"],
        "--configs minatar p": ["pretrain"],
        "--outputs terminal js": ["jsonl"],
        "--configs minatar --strategy m": ["mirrored", "multiworker"],
        "--strategy none mi": [],  # It takes one value.
    }
    path = tmp_path / "script.fish"
    path.write_text(script(capsys, "fish"))
    lines = [f"source {path}"]
    lines += [f"complete -C 'dreamerv2-transfer train {x}'; echo ." for x in typed]
    done = subprocess.run(
        ["fish", "--no-config", "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    offered = [part.split("\n")[:-1] for part in done.stdout.split(".\n")[:-1]]
    words = [[line.split("\t")[0] for line in lines] for lines in offered]
    assert words == list(typed.values())


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_a_script_is_read_without_an_error(capsys, shell):
    if not shutil.which(shell):
        pytest.skip(f"There is no {shell}.")
    done = subprocess.run(
        [shell, "-n"], input=script(capsys, shell), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_texts_with_quotes_stay_whole():
    command = Command("a", "the game's", (), [Flag("b", "it's \\ here", ("x",))])
    *_, flag = completion.fish([command])
    assert flag.endswith(r"-x -a 'x' -d 'it\'s \\ here'")
    text = "\n".join(completion.zsh([command]))
    assert """'--b:it'"'"'s \\ here'""" in text


@pytest.mark.parametrize("argv", [["tcsh"], ["bash", "zsh"]])
def test_an_unknown_shell_is_refused(capsys, argv):
    assert commands.main(["completion", *argv]) == 2
    received = f"bash, zsh, fish. Received: {' '.join(argv)}."
    assert f"The shell is one of {received}" in capsys.readouterr().err

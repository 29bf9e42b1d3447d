import sys

import pytest

from dreamerv2_transfer import commands
from dreamerv2_transfer.commands import program


def ask(capsys, *argv, status=0):
    assert commands.main(argv) == status
    captured = capsys.readouterr()
    return captured.out if status == 0 else captured.err


def test_all_commands_are_listed(capsys):
    lines = ask(capsys, "--help").splitlines()
    assert lines[0] == "Usage: dreamerv2-transfer COMMAND [ARGUMENTS ...]"
    for name in program.COMMANDS:
        assert sum(line.startswith(f"  {name} ") for line in lines) == 1
    assert "  plot          Draws curves of runs." in lines


def test_no_command_at_all_is_an_error_that_shows_them(capsys):
    assert commands.main([]) == 2
    assert "Usage: dreamerv2-transfer COMMAND" in capsys.readouterr().out


def test_a_page_has_usage_examples_blocks_and_keys(capsys):
    page = ask(capsys, "train", "--configs", "minatar", "small", "pretrain", "--help")
    lines = page.splitlines()
    assert lines[0].startswith("Usage: dreamerv2-transfer train --configs BLOCK")
    assert (
        "  dreamerv2-transfer train --configs minatar debug pretrain --logdir "
        "logdir/first" in lines
    )
    assert any(line.split() == ["crafter", "Crafter"] for line in lines)
    assert "Keys: Agent. Numbers: original." in lines
    rows = [" ".join(line.split()) for line in lines]
    assert "--model_opt.lr 0.001 learning rate [small; default 0.0001]" in rows
    assert "--seed 0 seed of every random draw" in rows
    wide = [x for x in lines if len(x) > 100 and "dreamerv2-transfer" not in x]
    assert [x for x in wide if len(x.split()) > 2] == []


def test_a_key_is_explained(capsys):
    said = ask(capsys, "train", "--configs", "small", "--help", "rssm.deter")
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert lines[:4] == [
        "--rssm.deter: units of the deterministic state",
        "type int",
        "value 128 (from small)",
        "default 1024",
    ]
    assert lines[4].startswith("in blocks atari 600, minatar 256, small 128,")


@pytest.mark.parametrize(
    ("key", "row"),
    [
        ("seed", "range at least 0, at most 4294967295"),
        ("model_opt.clip", "range 0 or at least 1"),
        ("render_size", "range at least 1, at most 10000"),
        ("actor_ent", "range any finite number"),
    ],
)
def test_a_number_is_explained_with_its_range(capsys, key, row):
    lines = ask(capsys, "train", "--help", key).splitlines()
    assert row in [" ".join(line.split()) for line in lines]
    assert "range" not in ask(capsys, "train", "--help", "jit")


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("model_opt", "--model_opt.lr 0.0001 learning rate"),
        (".*_opt.lr", "--critic_opt.lr 0.0002 learning rate"),
        ("small", "--rssm.deter 128 units of the deterministic state"),
        (
            "template",
            "--template Folder of logdir_templates/ whose experiment to run.",
        ),
    ],
)
def test_groups_expressions_blocks_and_options_are_explained(capsys, name, row):
    said = ask(capsys, "train", "--help", name)
    assert row in [" ".join(line.split()) for line in said.splitlines()]


def test_an_option_shows_its_default_and_choices(capsys):
    said = ask(capsys, "dataset", "--help", "format")
    assert [x.split()[:2] for x in said.splitlines()] == [
        ["--format", "auto"],
        ["--format", "minari"],
    ]
    said = ask(capsys, "evaluate", "--help", "policy")
    assert said.split()[:2] == ["--policy", "greedy"]
    assert said.split()[-2:] == ["(greedy,", "sampled)"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["train", "--help", "rssm.detre"], "Did you mean 'rssm.deter'?"),
        (["train", "--configs", "smal", "--help"], "Did you mean 'small'?"),
        (["plot", "--help", "yaxes"], "Did you mean 'yaxis'?"),
    ],
)
def test_what_is_unknown_names_the_nearest(capsys, argv, message):
    assert message in ask(capsys, *argv, status=2)


@pytest.mark.parametrize("name", [*program.COMMANDS])
def test_every_command_explains_itself(capsys, name):
    page = ask(capsys, name, "-h")
    assert page.startswith(f"Usage: dreamerv2-transfer {name} ")
    assert "Examples" in page and "--quiet" in page


def test_a_page_is_written_at_once_for_readers_that_stop_at_a_line(monkeypatch):
    """As `| grep -q` does: what is written later would break the pipe."""
    written = []
    monkeypatch.setattr(sys.stdout, "write", written.append)
    assert commands.main(["--help"]) == commands.main(["reproduce", "--help"]) == 0
    assert [text.partition(" ")[0] for text in written] == ["Usage:", "Usage:"]

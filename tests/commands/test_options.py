import importlib
import itertools

import pytest

from dreamerv2_transfer import commands
from dreamerv2_transfer.commands import options, program
from dreamerv2_transfer.commands.options import Option
from dreamerv2_transfer.common.blocks import PATHS as KEYS
from dreamerv2_transfer.common.config import ConfigError

OPTIONS = {
    "scale": Option("paper", "Size.", ("paper", "small")),
    "seeds": Option(3, "Number.", least=1),
    "leave_out": Option("", "Game."),
    "beyond": Option(False, "More."),
    "dry_run": Option(False, "Plan."),
}


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], (False, False, "")),
        (["--beyond"], (True, False, "")),
        (["--beyond", "--dry-run", "--leave-out", "a-b"], (True, True, "a-b")),
        (["--dry-run", "False", "--beyond=True"], (True, False, "")),
        (["--leave-out=a-b", "--dry_run", "True"], (False, True, "a-b")),
    ],
)
def test_a_bool_needs_no_value_and_hyphens_are_underscores(args, expected):
    parsed = options.parse(OPTIONS, args)
    assert (parsed.beyond, parsed.dry_run, parsed.leave_out) == expected


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--scale", "smal"], "one of paper, small. Received: smal. .*'small'"),
        (["--seeds", "0"], "seeds must be at least 1. Received: 0"),
        (["--seeds"], "'--seeds' needs a value"),
        (["--seed", "1"], "'--seed'.*Did you mean 'seeds'"),
        (["--seeds", "1", "2"], "takes one value"),
    ],
)
def test_a_wrong_option_is_named(args, message):
    with pytest.raises(ConfigError, match=message):
        options.parse(OPTIONS, args)


def path_options(module):
    flat = itertools.chain(*(x.items() for x in module.USAGE.options.values()))
    return {name for name, option in flat if option.is_path}


MODULES = {
    name: importlib.import_module(path) for name, path in program.COMMANDS.items()
}
PATHS = {
    **dict.fromkeys(("train", "collect", "train-dqn"), {"template"}),
    "evaluate": {"logdir", "dataset", "json"},
    "analyze": {"logdir", "output"},
    "plot": {"runs", "indir", "out", "outdir", "json", "gains"},
    "report": {"runs", "indir", "out"},
    "dataset": {"picture", "source", "target"},
    "publish": {"to"},
    "export": {"to"},
    "port": {"to", "config"},
    "doctor": {"logdir"},
    "reproduce": {"logdir", "publish", "arms", "runs"},
    "sweep": {"space", "logdir", "template"},
}
FIRST = {
    "train": ["--configs", "minatar", "debug", "pretrain"],
    "collect": ["--configs", "minatar", "debug", "collect"],
    "train-dqn": ["--configs", "minatar", "debug", "dqn"],
    "port": ["OLD"],
    "to": ["LOGDIR"],
    "reproduce": ["minatar"],
    "sweep": ["--space", "a.yaml", "--configs", "minatar", "debug", "scratch"],
    "picture": ["info", "data"],
    "source": ["import", "data"],
    "target": ["export", "data"],
}


def test_each_option_that_is_a_path_says_so():
    found = {name: path_options(module) for name, module in MODULES.items()}
    assert {name: paths for name, paths in found.items() if paths} == PATHS


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        *((name, flag) for name, flags in PATHS.items() for flag in sorted(flags)),
        *((x, y) for x in ("train", "collect", "train-dqn") for y in (*KEYS, "init")),
        ("train", "configs"),
    ],
)
@pytest.mark.parametrize(
    ("path", "message"),
    [("", "is empty"), ("simplecache::s3://b/x", "chain"), ("\udcff", "UTF-8")],
)
def test_every_path_of_every_command_is_checked_before_anything_is_written(
    command, flag, path, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    first = FIRST.get(flag, FIRST.get(command, []))
    assert commands.main([command, *first, f"--{flag}", path]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"Error: --{flag} ") and message in error
    assert error.count("\n") == 1 and not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "first", [["dataset", "info"], ["dataset", "import"], ["port"], ["play"]]
)
def test_a_path_without_a_flag_is_checked(first, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert commands.main([*first, ""]) == 2
    assert "is empty. Name a file or a folder" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_other_flags_are_left_as_they_are():
    parsed, rest = options.parse_known(OPTIONS, ["x", "--a-b", "1", "--seeds", "2"])
    assert (parsed.seeds, rest) == (2, ["x", "--a-b", "1"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--seed", "4294967296"], "seed must be at most 4294967295. Received: 42"),
        (["--seed", "-1"], "seed must be at least 0. Received: -1"),
        (["--xmult", "inf"], "xmult must be a finite number. Received: inf"),
        (["--xmult", "-inf"], "xmult must be a finite number. Received: -inf"),
    ],
)
def test_numbers_have_the_ranges_of_keys_of_the_same_name(args, message):
    known = {"seed": Option(0, "Seed."), "xmult": Option(1.0, "Factor.")}
    assert options.parse(known, ["--seed", "4294967295", "--xmult", "-2"])
    with pytest.raises(ConfigError, match=message):
        options.parse(known, args)

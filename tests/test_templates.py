"""Every template is one of the paper's experiments, and trains."""

import configparser
import pathlib

import pytest

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common import config as config_lib
from dreamerv2_transfer.plotting import claims, paper
from tests import runs

TEMPLATES = runs.ROOT / "logdir_templates"
SEAQUEST = ["--task", "minatar_seaquest"]
BREAKOUT = ["--task", "atari_breakout"]
SAME = {
    "minatar_pretrain": ("minatar pretrain", []),
    "minatar_space_invaders_scratch": ("minatar scratch", []),
    "minatar_space_invaders_finetune": ("minatar finetune", []),
    "minatar_space_invaders_freeze_rssm": ("minatar finetune freeze_rssm", []),
    "minatar_seaquest_scratch": ("minatar scratch", SEAQUEST),
    "minatar_seaquest_freeze_world_model": (
        "minatar finetune freeze_world_model",
        SEAQUEST,
    ),
    "atari_pretrain": ("atari pretrain", []),
    "atari_breakout_scratch": ("atari scratch", BREAKOUT),
    "atari_breakout_finetune": ("atari finetune", BREAKOUT),
    "atari_breakout_freeze_rssm": ("atari finetune freeze_rssm", BREAKOUT),
}


def test_there_is_a_template_for_each_experiment():
    assert {x.parent.name for x in TEMPLATES.glob("*/config.yaml")} == {*SAME}
    assert {x.parent.name for x in TEMPLATES.glob("*/README.md")} == {*SAME}


@pytest.mark.parametrize("name", SAME)
def test_a_template_is_what_its_blocks_are(name):
    blocks, flags = SAME[name]
    expected = blocks_lib.load_config(blocks.split(), flags)
    made = blocks_lib.load_config([str(TEMPLATES / name / "config.yaml")])
    # Sections of other stages, and of other commands, have no effect.
    others = [f"stages.{x}" for x in expected.stages if x != expected.stage]
    beside = ("logdir", "reproduce", *others)
    assert config_lib.difference(expected, made, beside) == {}


@pytest.mark.parametrize(
    ("name", "arm", "told"),
    [
        ("space_invaders_finetune", "pretrained", {10_000: "1.39"}),
        (
            "seaquest_freeze_world_model",
            "pretrained_fixed_world_model",
            {5_000: "1.35", 20_000: "0.94"},
        ),
    ],
)
def test_a_readme_quotes_the_ratios_of_the_papers_curves(name, arm, told):
    game = name.partition("_f")[0]
    curves = paper.curves(f"minatar_{game}_return")
    start = max(float(steps[0]) for steps, _ in curves.values())
    text = (TEMPLATES / f"minatar_{name}" / "README.md").read_text()
    for until, ratio in told.items():
        found = claims.ratio([curves[arm]], [curves["scratch"]], start, until)
        assert f"{found.value:.2f}" == ratio and f"{ratio} times" in text


def train(tmp_path: pathlib.Path, name: str, *args):
    few = ["--steps", 2, "--prefill", 60, "--eval_eps", 0, "--imag_horizon", 3]
    few += ["--dataset.batch", 2, "--dataset.length", 8, "--collect.steps", 100]
    few += ["--replay.minlen", 1, "--logdir", tmp_path / name]
    command = ["--template", name, "--configs", "debug", *few, *args]
    return runs.run("launch/train.py", *command)


def test_templates_train_one_after_the_other(tmp_path):
    first = train(tmp_path, "minatar_pretrain")
    assert first.returncode == 0, first.stdout + first.stderr
    init = tmp_path / "minatar_pretrain"
    done = train(tmp_path, "minatar_seaquest_freeze_world_model", "--init", init)
    assert done.returncode == 0, done.stdout + done.stderr
    config = config_lib.Config.load(
        tmp_path / "minatar_seaquest_freeze_world_model" / "config.yaml"
    )
    assert config.task == "minatar_seaquest" and config.freeze.rssm.cell


def test_a_template_that_does_not_exist_is_named(tmp_path):
    done = train(tmp_path, "minatar_pong")
    assert done.returncode == 2
    assert "--template is one of atari_breakout_finetune, " in done.stderr
    assert "Received: minatar_pong" in done.stderr


def test_an_installed_package_has_every_template():
    parser = configparser.ConfigParser()
    parser.read(runs.ROOT / "setup.cfg")
    listed = dict(parser["options.data_files"])
    folder = "share/dreamerv2_transfer/logdir_templates"
    for name in SAME:
        assert listed[f"{folder}/{name}"] == f"logdir_templates/{name}/*.yaml"

"""The names that figures show."""

import pathlib

import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.plotting import arms, labels, runs
from dreamerv2_transfer.plotting.views import View


def make_run(config):
    return runs.Run("run", pathlib.Path("/a/b"), config, {})


@pytest.mark.parametrize(
    ("task", "label"),
    [
        ("minatar_space_invaders", "Space Invaders (MinAtar)"),
        ("atari_pong", "Pong (Atari)"),
        ("dmc_walker_walk", "Walker Walk (DMC)"),
        ("gym_CartPole-v1", "CartPole-v1 (Gymnasium)"),
        ("gym_ALE/Pong-v5", "ALE/Pong-v5 (Gymnasium)"),
        ("4 games mixed", "4 games mixed"),
    ],
)
def test_a_game_is_written_with_its_suite(task, label):
    assert labels.task_label(task) == label


@pytest.mark.parametrize(
    ("frozen", "label"),
    [
        (["rssm.img_in"], "pre-trained, img_in frozen"),
        (["encoder", "rssm.cell"], "pre-trained, encoder and cell frozen"),
        (["rssm.img_in", "rssm.obs_dist"], "pre-trained, img_in and obs_dist frozen"),
    ],
)
def test_an_arm_with_frozen_components_is_written_in_words(frozen, label):
    changes = {f"freeze.{name}": True for name in frozen}
    config = blocks.load_config(["minatar", "debug", "finetune"]).update(changes)
    arm = arms.arm_of(make_run(config))
    assert labels.arm_label(arm) == label
    assert labels.arm_label(arm, {arm: "ours"}) == "ours"


def test_an_arm_that_is_only_named_alike_keeps_its_name():
    assert labels.arm_label("frozen_rssm") == "pre-trained, RSSM frozen"
    assert labels.arm_label("frozen_rssm_adapter") == "frozen_rssm_adapter"


def test_options_stand_behind_the_name_of_the_arm():
    arm = "pretrained_frozen_rssm, adapter.rank=8, replay.mix=0.25"
    shown = "pre-trained, RSSM frozen, adapter.rank=8, replay.mix=0.25"
    assert labels.arm_label(arm) == shown
    assert labels.arm_label(arm, {arm: "ours"}) == "ours"


def test_a_given_name_comes_before_the_usual_one():
    assert labels.arm_label("scratch") == "from scratch"
    assert labels.arm_label("scratch", {"scratch": "baseline"}) == "baseline"
    assert labels.arm_label("mine", {"scratch": "baseline"}) == "mine"


def test_a_metric_that_has_no_name_is_called_as_it_is_logged():
    assert labels.metric_label("eval_return") == "return of evaluation episodes"
    assert labels.metric_label("kl_loss") == "kl_loss"


@pytest.mark.parametrize(
    ("view", "units", "label"),
    [
        (View(), {"updates"}, "training step (update)"),
        (View(), {"environment steps"}, "environment step"),
        (View(), {"frames"}, "step"),
        (View(), {"environment steps", "updates"}, "step"),
        (View(), {}, "step"),
        (View(xmult=16), {"updates"}, "step"),
        (View(xaxis="train_total_steps"), {"updates"}, "train_total_steps"),
    ],
)
def test_an_axis_is_called_what_its_steps_count_if_they_all_do(view, units, label):
    assert labels.across(view, units) == label


def test_the_arms_of_a_studys_folders_are_written_in_words():
    assert labels.arm_label("frozen_img_in") == "pre-trained, img_in frozen"
    assert labels.arm_label("pretrained_40000") == "pre-trained for 40,000 updates"

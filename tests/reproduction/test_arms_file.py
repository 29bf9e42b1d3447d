"""The file that describes a study's arms."""

import pytest

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.reproduction import arms_file
from tests import runs

BLOCKS = ("minatar", "debug")
CONFIG = blocks_lib.load_config(BLOCKS)
EXAMPLE = runs.ROOT / "study_arms" / "leave_one_out.yaml"


def read(folder, text):
    path = folder / "arms.yaml"
    path.write_text(text)
    return arms_file.read(path, BLOCKS)


def arms_of(folder, text, settings=None):
    return read(folder, text).arms(CONFIG, settings or {}, 2)


def test_the_papers_losses_are_shipped_as_arms_on_a_new_and_a_learned_game():
    file = arms_file.read(EXAMPLE.with_name("paper_losses.yaml"), BLOCKS)
    losses = {"decoder.cnn_dist": "mse", "loss_scales.kl": "0.1"}
    assert losses.items() <= file.settings.items()
    games = {arm.name: arm.games for arm in file.arms(CONFIG, file.settings, 1)}
    new, learned = ("minatar_space_invaders",), ("minatar_seaquest",)
    assert games["scratch"] == new + learned
    assert games["pretrained_fixed_world_model"] == learned


def test_the_learned_games_have_each_a_fixed_model_and_scratch():
    file = arms_file.read(EXAMPLE.with_name("learned_games.yaml"), BLOCKS)
    assert file.settings["reproduce.collect"] == "400000"
    assert file.new_games(CONFIG) == ("minatar_space_invaders",)
    arms = {arm.name: arm for arm in file.arms(CONFIG, file.settings, 1)}
    assert arms["scratch"].games == "learned"
    assert arms["pretrained_fixed_world_model"].games == "learned"
    assert arms["pretrained_fixed_world_model"].presets == ("freeze_world_model",)


def test_the_lengths_of_pretraining_are_arms_on_the_new_game():
    file = arms_file.read(EXAMPLE.with_name("pretraining_length.yaml"), BLOCKS)
    arms = file.arms(CONFIG, file.settings, 1)
    assert [arm.pretrain for arm in arms] == [0, 2500, 10000, 40000, 160000]
    assert [len(arm.seeds) for arm in arms] == [3, 3, 3, 3, 1]


def test_what_keeps_a_model_is_shipped_as_arms_of_two_new_games():
    file = arms_file.read(EXAMPLE.with_name("adapters.yaml"), BLOCKS)
    assert file.settings["known.evaluate"] == "True"
    assert file.new_games(CONFIG) == ("minatar_space_invaders", "minatar_breakout")
    arms = {arm.name: arm for arm in file.arms(CONFIG, file.settings, 1)}
    assert arms["frozen_rssm_adapter"].settings == {"adapter.rank": "8"}
    assert arms["mixed"].settings == {"replay.mix": "0.25"}
    assert arms["near_start"].settings == {"model_opt.wd_start": "0.01"}
    assert arms["shrunk"].settings == {"init.shrink": "0.8"}
    aligned = {"init.adapt": "actions", "adapter.actions": "6"}
    assert arms["mixed_actions"].settings == aligned


def test_the_shipped_example_leaves_each_game_out():
    file = arms_file.read(EXAMPLE, BLOCKS)
    assert file.settings == {"reproduce.pretrain": "40000", "reproduce.train": "10000"}
    assert file.new_games(CONFIG) == CONFIG.reproduce.games
    arms = {arm.name: arm for arm in file.arms(CONFIG, file.settings, 1)}
    assert {*arms} == {
        "scratch",
        "pretrained",
        "fresh_heads",
        "frozen_rssm",
        "frozen_img_in",
        "fixed_after_5000",
    }
    assert arms["fixed_after_5000"].settings == {"wm_steps": "5000.0"}
    assert arms["fresh_heads"].settings == {"init.components": "encoder,rssm,decoder"}
    assert arms["frozen_rssm"].presets == ("freeze_rssm",)
    assert arms["frozen_rssm"].seeds == (0,) and arms["scratch"].seeds == (0, 1, 2)


def test_an_arm_has_games_seeds_and_settings_of_its_own(tmp_path):
    (arm,) = arms_of(
        tmp_path,
        "arms:\n  fixed:\n    stage: finetune\n    presets: [freeze_world_model]\n"
        "    settings: {actor: {layers: 3}}\n    games: [seaquest]\n"
        "    seeds: [3, 5]\n    pretrain: 7\n",
    )
    assert arm.settings == {"actor.layers": "3"} and arm.seeds == (3, 5)
    assert arm.games == ("minatar_seaquest",) and arm.pretrain == 7
    assert arm.definition() == {
        "stage": "finetune",
        "presets": "freeze_world_model",
        "pretrain": "7",
        "actor.layers": "3",
    }


def test_what_the_file_leaves_out_the_command_line_says(tmp_path):
    file = read(tmp_path, "arms: {scratch: {stage: scratch}}")
    (arm,) = file.arms(CONFIG, {}, 2)
    assert arm.seeds == (0, 1) and arm.games == "new" and file.new_games(CONFIG) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arm: {}", "Unknown section 'arm'. Did you mean 'arms'"),
        ("games: all", "The section arms is empty"),
        ("arms: [x]", "The section arms is empty"),
        ("arms: {x: 3}", "arm 'x': It needs a stage"),
        ("arms: {a/b: {stage: scratch}}", "Its name is that of a folder"),
        ("arms: {x: {stage: pretrain}}", "stage is one of scratch, finetune. Received"),
        ("arms: {x: {stge: scratch}}", "Unknown field 'stge'. Did you mean 'stage'"),
        ("arms: {x: {stage: scratch, seeds: 0}}", "seeds are whole numbers from 1"),
        ("arms: {x: {stage: scratch, seeds: .inf}}", "seeds are whole numbers from 1"),
        ("arms: {x: {stage: scratch, seeds: [1, 1]}}", "seeds are distinct numbers"),
        ("arms: {x: {stage: scratch, games: [pong]}}", "The games are all, or of seaq"),
        ("arms: {x: {stage: scratch, games: [{}]}}", "The games are all, or of seaqu"),
        ("arms: {x: {stage: scratch, pretrain: 3}}", "From scratch there is no model"),
        ("arms: {x: {stage: scratch, presets: small}}", "presets are a list of blocks"),
        ("arms: {x: {stage: scratch, presets: [sm]}}", "Unknown block 'sm'"),
        ("arms: {x: {stage: scratch, presets: [dqn]}}", "presets set the stage to dqn"),
        ("arms: {x: {stage: scratch, settings: {kl: 1}}}", "Key 'kl'|Unknown key 'kl'"),
        (
            "arms: {x: {stage: scratch, settings: {dqn.n_step: 1}}}",
            "Key 'dqn.n_step' has no effect in the stage scratch",
        ),
        ("settings: {seed: 3}", "Key 'seed' is set by the study itself"),
        ("settings: {imag_horizon: 0}", "imag_horizon must be"),
        ("settings: 3", "The settings are keys with values. Received: 3"),
    ],
)
def test_a_file_that_cannot_be_run_says_why(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        arms_of(tmp_path, text)
    assert "arms.yaml" in str(caught.value)


def test_settings_of_study_and_arm_must_agree(tmp_path):
    text = "arms: {x: {stage: scratch, settings: {loss_scales.kl: 0.3}}}"
    with pytest.raises(ConfigError, match="loss_scales.kl has no effect"):
        arms_of(tmp_path, text, {"kl.separate": "True"})

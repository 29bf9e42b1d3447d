import numpy as np
import pytest

from dreamerv2_transfer.porting import pydreamer_config
from dreamerv2_transfer.porting.pickles import PortError

YAML = """
defaults: {action_dim: 0, adam_lr: 3.0e-4, n_steps: 100_000_000, env_time_limit: 0}
atari: {env_id: Atari-Montezuma_Revenge, action_dim: 18, env_time_limit: 27_000}
"""


def conf(**changes):
    return {**pydreamer_config.DEFAULTS, "action_dim": 6, **changes}


def convert(**changes):
    return pydreamer_config.convert(conf(**changes), {})


def test_blocks_are_merged_over_defaults(tmp_path):
    path = tmp_path / "defaults.yaml"
    path.write_text(YAML)
    read = pydreamer_config.read(path, ["atari"])
    assert read["env_time_limit"] == 27_000 and read["gru_type"] == "gru"
    config = pydreamer_config.convert(read, {})
    assert config.task == "atari_montezuma_revenge" and config.time_limit == 27_000
    assert config.atari_all_actions and not config.atari_grayscale
    for blocks in ([], ["dmc"]):
        with pytest.raises(PortError, match=r"holds blocks. Name .* of atari"):
            pydreamer_config.read(path, blocks)


def test_parameters_of_mlflow_are_what_str_made_of_them(tmp_path):
    for name, text in {
        "deter_dim": "256",
        "adam_lr": "0.0003",
        "adam_eps": "1e-05",
        "clip_rewards": "tanh",
        "reward_decoder_categorical": "[-1, 0, 1]",
        "vecobs_size": "None",
    }.items():
        (tmp_path / name).write_text(text)
    read = pydreamer_config.read(tmp_path)
    assert (read["deter_dim"], read["adam_lr"], read["adam_eps"]) == (256, 3e-4, 1e-5)
    assert read["reward_decoder_categorical"] == [-1, 0, 1]
    assert read["vecobs_size"] is None and read["clip_rewards"] == "tanh"


def test_the_numbers_are_theirs():
    config = convert(gamma=0.99, entropy=1e-3, kl_weight=0.1, adam_lr=3e-4)
    assert (config.discount, config.actor_ent, config.loss_scales.kl) == (
        *(0.99, 1e-3, 0.1),
    )
    assert config.rssm.cell == "gru" and config.rssm.norm == "layer"
    assert config.encoder.cnn_norm == "none" and config.actor.units == 400
    assert config.model_opt.opt == "adamw"
    assert config.model_opt.wd == pytest.approx(3e-6)  # 0.01 times the learning rate.
    assert config.actor_opt.wd == pytest.approx(1e-6)
    assert (config.model_opt.clip, config.clip_rewards) == (200, "identity")
    assert config.behavior == "pydreamer" and config.pred_terminal
    assert not config.pred_discount and config.stage == "scratch"


def test_dense_images_vectors_and_categorical_rewards():
    config = convert(
        image_size=7,
        image_channels=4,
        image_categorical=True,
        image_encoder="dense",
        image_encoder_layers=3,
        image_decoder="dense",
        image_decoder_layers=2,
        reward_input=True,
        vecobs_size=5,
        reward_decoder_categorical=[-10, 0, 1],
        clip_rewards="tanh",
    )
    encoder, decoder = config.encoder, config.decoder
    assert encoder.cnn_layers == (400, 400, 400, 256) and encoder.reward_planes
    assert decoder.cnn_layers == (400, 400) and decoder.cnn_dist == "categorical"
    assert encoder.mlp_layers == (400, 400) and encoder.mlp_out == 256
    wanted = np.tanh(np.float32([-10, 0, 1]))
    np.testing.assert_allclose(config.reward_head.support, wanted)


@pytest.mark.parametrize(
    ("env_id", "task"),
    [
        ("MinAtar/SpaceInvaders-v1", "minatar_space_invaders"),
        ("Atari-Beam_Rider", "atari_beam_rider"),
        ("DMC-quadruped_run", "dmc_quadruped_run"),
        ("CartPole-v0", "gym_CartPole-v0"),
    ],
)
def test_games(env_id, task):
    assert convert(env_id=env_id).task == task


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iwae_samples": 5}, "iwae_samples is one of 1. Received: iwae_samples=5"),
        ({"gru_type": "lstm"}, "gru_type is one of gru, gru_layernorm, gru_lay"),
        ({"action_dim": 0}, "it is 0: the configuration is that of `defaults` alone"),
        ({"image_decoder": None}, "must be both set or both empty"),
        ({"multi_env_encoder": True}, "multi_env_encoder"),
        ({"image_key": "map"}, "if its image_key is one of image, unset. Received"),
        (
            {"image_encoder": "dense", "image_decoder": "dense"},
            "needs a hidden layer here. Received: image_decoder_layers=0",
        ),
        ({"limit_step_ratio": "few"}, "limit_step_ratio must be a number. Rec"),
        ({"image_size": "big"}, "image_size must be a whole number. Received: 'big'"),
    ],
)
def test_what_cannot_be_expressed_is_refused(changes, message):
    with pytest.raises(PortError, match=message):
        convert(**changes)


def test_there_and_back_again():
    theirs = conf(env_id="MinAtar/Breakout-v0", image_encoder="cnn_minatar")
    theirs |= {"image_decoder": "cnn_minatar", "image_size": 10, "image_channels": 11}
    theirs |= {"image_categorical": True, "deter_dim": 256, "hidden_dim": 200}
    config = pydreamer_config.convert(theirs, {})
    obs = pydreamer_config.observations(theirs)
    back = pydreamer_config.revert(config, obs, 6)
    assert pydreamer_config.convert(back, {}) == config


# All keys of `config/*.yaml` in both repositories that `DEFAULTS` does not have.
OTHERS = """
    aux_critic_weight gamma_aux lambda_gae_aux target_interval_aux amp device verbose
    n_env_steps n_steps n_steps_wm log_interval logbatch_interval save_interval
    eval_interval eval_batches eval_samples eval_batch_size eval_save_size test_batches
    test_batch_size test_save_size data_workers allow_mid_reset enable_profiler map_key
    map_size map_channels map_categorical map_decoder map_hidden_layers map_hidden_dim
    goals_size probe_model buffer_size buffer_size_offline reset_interval
    offline_data_dir offline_prefill_dir offline_test_dir offline_eval_dir env_id_eval
    generator_workers generator_workers_train generator_workers_eval
    generator_prefill_policy policy_main dqn_dir atari_net_dir mlflow_run_id
    model_checkpoint
"""


def test_every_key_of_theirs_is_known_and_others_are_named():
    assert pydreamer_config.notes(conf(**dict.fromkeys(OTHERS.split(), 1))) == []
    found = pydreamer_config.notes(conf(deterdim=3, keep_state=False, latent=1))
    assert found == [
        "keep_state=False has no counterpart: here a sequence starts from the state "
        "before it.",
        "Ignored keys that pydreamer does not have: deterdim, latent.",
    ]


def test_a_limit_of_steps_and_a_frozen_rssm_come_along():
    assert convert(env_id="MinAtar/Breakout-v0").train_every == 16
    config = convert(env_id="MinAtar/Breakout-v0", limit_step_ratio=4)
    assert config.train_every == 4 and not config.freeze.rssm.cell
    frozen = convert(freeze_rssm=True).freeze
    assert all(frozen.rssm.values()) and not frozen.encoder

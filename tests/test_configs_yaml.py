import re
from pathlib import Path

import pytest

from dreamerv2_transfer.common.blocks import find_configs, load_config
from dreamerv2_transfer.common.config import Config, ConfigError

CONFIGS = Path(__file__).resolve().parents[1] / "configs.yaml"
GAMES = ("minatar_asterix", "minatar_breakout", "minatar_freeway", "minatar_seaquest")

# Every key and value of the original DreamerV2 (commit 07d906e).
ORIGINAL = {
    "defaults": {
        "logdir": "/dev/null",
        "seed": 0,
        "task": "dmc_walker_walk",
        "envs": 1,
        "envs_parallel": "none",
        "render_size": [64, 64],
        "dmc_camera": -1,
        "atari_grayscale": True,
        "time_limit": 0,
        "action_repeat": 1,
        "steps": 100000000.0,
        "log_every": 10000.0,
        "eval_every": 100000.0,
        "eval_eps": 1,
        "prefill": 10000,
        "pretrain": 1,
        "train_every": 5,
        "train_steps": 1,
        "expl_until": 0,
        "replay.capacity": 2000000.0,
        "replay.ongoing": False,
        "replay.minlen": 50,
        "replay.maxlen": 50,
        "replay.prioritize_ends": True,
        "dataset.batch": 16,
        "dataset.length": 50,
        "log_keys_video": ["image"],
        "log_keys_sum": "^$",
        "log_keys_mean": "^$",
        "log_keys_max": "^$",
        "jit": True,
        "clip_rewards": "tanh",
        "expl_behavior": "greedy",
        "expl_noise": 0.0,
        "eval_noise": 0.0,
        "eval_state_mean": False,
        "grad_heads": ["decoder", "reward", "discount"],
        "pred_discount": True,
        "rssm.ensemble": 1,
        "rssm.hidden": 1024,
        "rssm.deter": 1024,
        "rssm.stoch": 32,
        "rssm.discrete": 32,
        "rssm.act": "elu",
        "rssm.norm": "none",
        "rssm.std_act": "sigmoid2",
        "rssm.min_std": 0.1,
        "encoder.mlp_keys": ".*",
        "encoder.cnn_keys": ".*",
        "encoder.act": "elu",
        "encoder.norm": "none",
        "encoder.cnn_depth": 48,
        "encoder.cnn_kernels": [4, 4, 4, 4],
        "encoder.mlp_layers": [400, 400, 400, 400],
        "decoder.mlp_keys": ".*",
        "decoder.cnn_keys": ".*",
        "decoder.act": "elu",
        "decoder.norm": "none",
        "decoder.cnn_depth": 48,
        "decoder.cnn_kernels": [5, 5, 6, 6],
        "decoder.mlp_layers": [400, 400, 400, 400],
        "reward_head.layers": 4,
        "reward_head.units": 400,
        "reward_head.act": "elu",
        "reward_head.norm": "none",
        "reward_head.dist": "mse",
        "discount_head.layers": 4,
        "discount_head.units": 400,
        "discount_head.act": "elu",
        "discount_head.norm": "none",
        "discount_head.dist": "binary",
        "loss_scales.kl": 1.0,
        "loss_scales.reward": 1.0,
        "loss_scales.discount": 1.0,
        "loss_scales.proprio": 1.0,
        "kl.free": 0.0,
        "kl.forward": False,
        "kl.balance": 0.8,
        "kl.free_avg": True,
        "model_opt.opt": "adam",
        "model_opt.lr": 0.0001,
        "model_opt.eps": 1e-05,
        "model_opt.clip": 100,
        "model_opt.wd": 1e-06,
        "actor.layers": 4,
        "actor.units": 400,
        "actor.act": "elu",
        "actor.norm": "none",
        "actor.dist": "auto",
        "actor.min_std": 0.1,
        "critic.layers": 4,
        "critic.units": 400,
        "critic.act": "elu",
        "critic.norm": "none",
        "critic.dist": "mse",
        "actor_opt.opt": "adam",
        "actor_opt.lr": 8e-05,
        "actor_opt.eps": 1e-05,
        "actor_opt.clip": 100,
        "actor_opt.wd": 1e-06,
        "critic_opt.opt": "adam",
        "critic_opt.lr": 0.0002,
        "critic_opt.eps": 1e-05,
        "critic_opt.clip": 100,
        "critic_opt.wd": 1e-06,
        "discount": 0.99,
        "discount_lambda": 0.95,
        "imag_horizon": 15,
        "actor_grad": "auto",
        "actor_grad_mix": 0.1,
        "actor_ent": 0.002,
        "slow_target": True,
        "slow_target_update": 100,
        "slow_target_fraction": 1,
        "slow_baseline": True,
        "reward_norm.momentum": 1.0,
        "reward_norm.scale": 1.0,
        "reward_norm.eps": 1e-08,
        "expl_intr_scale": 1.0,
        "expl_extr_scale": 0.0,
        "expl_opt.opt": "adam",
        "expl_opt.lr": 0.0003,
        "expl_opt.eps": 1e-05,
        "expl_opt.clip": 100,
        "expl_opt.wd": 1e-06,
        "expl_head.layers": 4,
        "expl_head.units": 400,
        "expl_head.act": "elu",
        "expl_head.norm": "none",
        "expl_head.dist": "mse",
        "expl_reward_norm.momentum": 1.0,
        "expl_reward_norm.scale": 1.0,
        "expl_reward_norm.eps": 1e-08,
        "disag_target": "stoch",
        "disag_log": False,
        "disag_models": 10,
        "disag_offset": 1,
        "disag_action_cond": True,
        "expl_model_loss": "kl",
    },
    "atari": {
        "task": "atari_pong",
        "encoder.mlp_keys": "$^",
        "encoder.cnn_keys": "image",
        "decoder.mlp_keys": "$^",
        "decoder.cnn_keys": "image",
        "time_limit": 27000,
        "action_repeat": 4,
        "steps": 50000000.0,
        "eval_every": 250000.0,
        "log_every": 10000.0,
        "prefill": 50000,
        "train_every": 16,
        "clip_rewards": "tanh",
        "rssm.hidden": 600,
        "rssm.deter": 600,
        "model_opt.lr": 0.0002,
        "actor_opt.lr": 4e-05,
        "critic_opt.lr": 0.0001,
        "actor_ent": 0.001,
        "discount": 0.999,
        "loss_scales.kl": 0.1,
        "loss_scales.discount": 5.0,
    },
    "crafter": {
        "task": "crafter_reward",
        "encoder.mlp_keys": "$^",
        "encoder.cnn_keys": "image",
        "decoder.mlp_keys": "$^",
        "decoder.cnn_keys": "image",
        "log_keys_max": "^log_achievement_.*",
        "log_keys_sum": "^log_reward$",
        "rssm.hidden": 1024,
        "rssm.deter": 1024,
        "discount": 0.999,
        "model_opt.lr": 0.0001,
        "actor_opt.lr": 0.0001,
        "critic_opt.lr": 0.0001,
        "actor_ent": 0.003,
        ".*\\.norm": "layer",
    },
    "dmc_vision": {
        "task": "dmc_walker_walk",
        "encoder.mlp_keys": "$^",
        "encoder.cnn_keys": "image",
        "decoder.mlp_keys": "$^",
        "decoder.cnn_keys": "image",
        "action_repeat": 2,
        "eval_every": 10000.0,
        "prefill": 1000,
        "pretrain": 100,
        "clip_rewards": "identity",
        "pred_discount": False,
        "replay.prioritize_ends": False,
        "grad_heads": ["decoder", "reward"],
        "rssm.hidden": 200,
        "rssm.deter": 200,
        "model_opt.lr": 0.0003,
        "actor_opt.lr": 8e-05,
        "critic_opt.lr": 8e-05,
        "actor_ent": 0.0001,
        "kl.free": 1.0,
    },
    "dmc_proprio": {
        "task": "dmc_walker_walk",
        "encoder.mlp_keys": ".*",
        "encoder.cnn_keys": "$^",
        "decoder.mlp_keys": ".*",
        "decoder.cnn_keys": "$^",
        "action_repeat": 2,
        "eval_every": 10000.0,
        "prefill": 1000,
        "pretrain": 100,
        "clip_rewards": "identity",
        "pred_discount": False,
        "replay.prioritize_ends": False,
        "grad_heads": ["decoder", "reward"],
        "rssm.hidden": 200,
        "rssm.deter": 200,
        "model_opt.lr": 0.0003,
        "actor_opt.lr": 8e-05,
        "critic_opt.lr": 8e-05,
        "actor_ent": 0.0001,
        "kl.free": 1.0,
    },
    "debug": {
        "jit": False,
        "time_limit": 100,
        "eval_every": 300,
        "log_every": 300,
        "prefill": 100,
        "pretrain": 1,
        "train_steps": 1,
        "replay.minlen": 10,
        "replay.maxlen": 30,
        "dataset.batch": 10,
        "dataset.length": 10,
    },
}


def load(*names, argv=()):
    return load_config(names, argv, CONFIGS)


def section(config, name):
    return dict(config[name])


def test_a_checkout_uses_its_own_file():
    assert find_configs() == CONFIGS


@pytest.mark.parametrize("block", ORIGINAL)
def test_every_key_of_the_original_has_its_value(block):
    names = [] if block == "defaults" else [block]
    config = load(*names)
    for pattern, value in ORIGINAL[block].items():
        keys = [pattern] if pattern in config else config.match(pattern)
        for key in keys:
            if key == "logdir":
                continue  # /dev/null stands for a name made of the blocks
            wanted = tuple(value) if isinstance(value, list) else value
            assert config[key] == wanted, key


def test_defaults_have_the_types_of_the_original():
    config = load()
    # The original's integer refuses the fractions that the key is for.
    fractions = {"slow_target_fraction": 1.0}
    for key, value in {**ORIGINAL["defaults"], **fractions}.items():
        wanted = tuple if isinstance(value, list) else type(value)
        assert type(config[key]) is wanted, key


def test_outputs_are_checked_one_by_one():
    argv = ["--outputs", "jsonl", "wandb,mlflow"]
    assert load(argv=argv).outputs == ("jsonl", "wandb", "mlflow")
    with pytest.raises(ConfigError, match="one of terminal, jsonl.*'tensorbord'"):
        load(argv=["--outputs", "jsonl", "tensorbord"])


def test_the_original_logdir_is_kept_in_the_file():
    assert re.search(r"^  logdir: /dev/null\b", CONFIGS.read_text(), re.MULTILINE)


def test_precision_is_chosen_by_default():
    assert load().precision == "auto"
    assert load(argv=["--precision", "16"]).precision == "16"


def test_our_own_defaults():
    config = load()
    assert config.stage == ""
    assert section(config, "dataset") == {
        "batch": 16,
        "length": 50,
        "directory": "",
        "holdout": 20,
        "draw": "episodes",
        "rewarded": 0.0,
        "prefetch": 4,
        "memory": 0.0,
    }
    assert section(config, "video") == {
        "context": 5,
        "length": 50,
        "rows": 4,
        "scale": 16,
        "fps": 10,
        "episode": 300,
    }
    assert (config.checkpoint_every, config.checkpoints_kept) == (1000, 3)
    assert (config.eval_batches, config.collect.envs) == (4, 8)
    assert (config.minatar_sticky, config.minatar_ramping) == (0.1, True)
    assert config.task_weights == (1.0,)
    assert config.outputs == ("terminal", "jsonl", "tensorboard")
    assert config.atari_all_actions is False
    assert config.encoder.cnn_strides == config.decoder.cnn_strides == (2, 2, 2, 2)
    assert config.decoder.cnn_dist == "mse"


def test_minatar_has_the_sizes_of_the_paper():
    config = load("minatar")
    sizes = {"deter": 256, "hidden": 200, "stoch": 32, "discrete": 32}
    assert {key: config.rssm[key] for key in sizes} == sizes
    assert (config.encoder.cnn_depth, config.decoder.cnn_depth) == (8, 8)
    assert config.encoder.cnn_kernels == (3, 3, 3, 3)
    assert config.decoder.cnn_kernels == (2, 3, 4, 4)
    assert config.encoder.cnn_strides == config.decoder.cnn_strides == (1, 1, 1, 1)
    for network in (config.encoder, config.decoder):
        assert (network.mlp_keys, network.cnn_keys) == ("$^", "image")
    for head in ("reward_head", "discount_head", "actor", "critic"):
        assert (config[head].layers, config[head].units) == (4, 400)
    assert (config.dataset.batch, config.dataset.length) == (32, 48)
    assert section(config, "replay") == {
        "capacity": 2e6,
        "ongoing": False,
        "minlen": 1,
        "maxlen": 48,
        "prioritize_ends": True,
        "mix": 0.0,
    }


def test_minatar_trains_as_the_paper():
    config = load("minatar")
    assert config.task == "minatar_space_invaders"
    assert config.tasks == GAMES
    assert (config.imag_horizon, config.discount, config.actor_ent) == (15, 0.99, 1e-3)
    opts = (config.model_opt, config.actor_opt, config.critic_opt)
    assert [opt.lr for opt in opts] == [3e-4, 1e-4, 1e-4]
    assert [opt.clip for opt in opts] == [100, 100, 100]
    assert (config.loss_scales.kl, config.loss_scales.discount) == (0.1, 5.0)
    assert (config.train_every, config.time_limit, config.prefill) == (16, 27000, 50000)
    assert (config.action_repeat, config.clip_rewards) == (1, "tanh")
    assert (config.collect.steps, config.collect.envs) == (100000, 8)


def test_small_fits_two_cores():
    config = load("minatar", "small", "pretrain")
    sizes = {"deter": 128, "hidden": 128, "stoch": 16, "discrete": 16}
    assert {key: config.rssm[key] for key in sizes} == sizes
    for head in ("reward_head", "discount_head", "actor", "critic"):
        assert (config[head].layers, config[head].units) == (2, 128)
    assert (config.dataset.batch, config.dataset.length) == (16, 32)
    assert (config.replay.minlen, config.replay.maxlen) == (1, 32)
    assert (config.imag_horizon, config.collect.steps) == (10, 100000)
    assert config.tasks == GAMES


def test_small_has_wide_shallow_convolutions_for_minatar():
    config = load("minatar", "small", "scratch")
    stacks = [(x.cnn_depth, x.cnn_kernels) for x in (config.encoder, config.decoder)]
    assert stacks == [(16, (3,)), (16, (8, 3))]
    assert (config.actor_opt.lr, config.critic_opt.lr) == (3e-4, 3e-4)
    assert (config.slow_target_update, config.actor_ent) == (20, 3e-3)
    assert (config.dataset.draw, config.dataset.rewarded) == ("episodes", 0.1)
    atari = load("atari", "small", "scratch")
    assert (atari.encoder.cnn_depth, atari.encoder.cnn_kernels) == (8, (4, 4, 4, 4))
    assert (atari.actor_opt.lr, atari.slow_target_update) == (4e-5, 100)


def test_small_v1_is_small_as_it_was_published_with():
    config = load("minatar", "small_v1", "scratch")
    paper = load("minatar", "scratch")
    assert section(config, "encoder") == section(paper, "encoder")
    assert (config.decoder.cnn_depth, config.decoder.cnn_kernels) == (8, (2, 3, 4, 4))
    assert (config.actor_opt.lr, config.critic_opt.lr) == (1e-4, 1e-4)
    assert (config.slow_target_update, config.actor_ent) == (100, 1e-3)
    assert (config.dataset.draw, config.dataset.rewarded) == ("episodes", 0.0)
    assert section(config, "rssm") == section(load("minatar", "small"), "rssm")


def test_v3_has_the_choices_of_dreamer_v3():
    config = load("minatar", "small", "v3", "scratch")
    assert {v for k, v in config.flat.items() if k.endswith(".act")} == {"silu"}
    assert {v for k, v in config.flat.items() if k.endswith(".norm")} == {"layer"}
    assert (config.rssm.unimix, config.actor.unimix) == (0.01, 0.01)
    for head in (config.reward_head, config.critic):
        assert (head.dist, head.bins, head.outscale) == ("symlog_twohot", 255, 0.0)
        assert (head.layers, head.units) == (2, 128)  # Of `small`.
    assert section(config, "return_norm") == {
        "kind": "percentile",
        "low": 5.0,
        "high": 95.0,
        "decay": 0.99,
        "limit": 1.0,
    }
    assert (config.encoder.symlog, config.decoder.mlp_dist) == (True, "symlog_mse")
    assert (config.kl.separate, config.kl.free) == (True, 1.0)
    assert (config.loss_scales.dyn, config.loss_scales.rep) == (0.5, 0.1)
    numbers = (config.actor_ent, config.discount, config.clip_rewards)
    assert numbers == (3e-4, 0.997, "identity")
    rates = [config[f"{x}_opt"].lr for x in ("model", "actor", "critic")]
    assert rates == [1e-4, 3e-5, 3e-5]
    assert (config.slow_target_update, config.slow_target_fraction) == (1, 0.02)


def test_the_options_are_off_by_default():
    config = load("minatar", "small", "scratch")
    assert (config.rssm.unimix, config.actor.unimix) == (0, 0)
    assert (config.reward_head.dist, config.critic.dist) == ("mse", "mse")
    assert (config.reward_head.outscale, config.critic.outscale) == (1, 1)
    assert (config.return_norm.kind, config.kl.separate) == ("none", False)


def test_debug_is_tiny():
    config = load("minatar", "debug", "pretrain")
    sizes = {"deter": 16, "hidden": 16, "stoch": 4, "discrete": 4}
    assert {key: config.rssm[key] for key in sizes} == sizes
    assert (config.encoder.cnn_depth, config.decoder.cnn_depth) == (2, 2)
    assert config.encoder.mlp_layers == config.decoder.mlp_layers == (16,)
    for head in ("reward_head", "discount_head", "actor", "critic"):
        assert (config[head].layers, config[head].units) == (1, 16)
    assert (config.collect.steps, config.collect.envs) == (300, 2)
    assert (config.jit, config.precision, config.eval_batches) == (False, "32", 1)
    assert (config.video.length, config.video.rows) == (15, 2)
    assert config.encoder.cnn_kernels == (3, 3, 3, 3)


@pytest.mark.parametrize(
    "size, steps, log_every, eval_every, checkpoint_every",
    [
        (["minatar"], 280000, 100, 2000, 500),
        (["atari"], 165000, 100, 2000, 500),
        (["minatar", "small"], 30000, 50, 1000, 250),
        (["minatar", "debug"], 30, 1, 15, 5),
    ],
)
def test_pretraining_steps_and_intervals(
    size, steps, log_every, eval_every, checkpoint_every
):
    config = load(*size, "pretrain")
    assert config.stage == "pretrain"
    assert config.steps == steps
    assert config.log_every == log_every
    assert config.eval_every == eval_every
    assert config.checkpoint_every == checkpoint_every
    assert load(*size).steps != steps


def test_fine_tuning_steps_of_the_paper():
    assert load("minatar").stages.finetune.steps == 20000
    assert load("atari").stages.finetune.steps == 100000


def test_atari_pretrains_on_nine_games():
    config = load("atari", "pretrain")
    assert len(config.tasks) == 9
    assert config.tasks[0] == "atari_air_raid"
    assert config.tasks[-1] == "atari_riverraid"
    assert config.task == "atari_pong"


@pytest.mark.parametrize("size", ["small", "small_v1", "debug"])
def test_stage_and_size_commute(size):
    assert load("minatar", "pretrain", size) == load("minatar", size, "pretrain")
    assert load("pretrain", "minatar", size) == load("minatar", size, "pretrain")


def test_pretrain_sets_the_stage_alone():
    stage = load("minatar", argv=["--stage", "pretrain", "--logdir", "x"])
    assert load("minatar", "pretrain", argv=["--logdir", "x"]) == stage


def test_logdir_is_named_for_the_blocks():
    assert (
        load("minatar", "small", "pretrain").logdir == "logdir/minatar_small_pretrain"
    )


def test_a_resolved_config_comes_back_from_its_file(tmp_path):
    config = load("minatar", "small", "pretrain", argv=["--steps", "3000"])
    config.save(tmp_path / "config.yaml")
    loaded = Config.load(tmp_path / "config.yaml")
    assert repr(loaded.flat) == repr(config.flat)
    assert loaded.steps == 3000


def test_freezing_presets_set_their_flags_alone():
    def frozen(*names):
        flat = load("minatar", "finetune", *names).flat
        return {k for k, v in flat.items() if k.startswith("freeze.") and v}

    parts = ("img_in", "cell", "img_out", "img_dist", "obs_out", "obs_dist")
    rssm = {f"freeze.rssm.{part}" for part in parts}
    heads = {f"freeze.{name}" for name in ("encoder", "decoder", "reward", "discount")}
    assert frozen() == set()
    assert frozen("freeze_rssm") == rssm
    assert frozen("freeze_world_model") == rssm | heads


def test_init_is_short_for_its_path():
    config = load_config(["finetune"], ["--init", "some/where"])
    assert config.init.path == "some/where"
    assert config.init.components == (
        "encoder",
        "rssm",
        "decoder",
        "reward",
        "discount",
    )
    config = load_config([], ["--envs.restart", "True", "--envs", "3"])
    assert config.envs_restart is True and config.envs == 3

"""Keys that a study sets for its jobs."""

import json

import pytest

from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.reproduction import settings

BLOCKS = ("minatar", "debug")
KL = {"loss_scales.kl": "0.1"}


def test_values_are_written_in_one_way_under_full_keys():
    texts = ["loss_scales.kl=0.10", "decoder.cnn_dist=mse", "", "reproduce.train=2e1"]
    assert settings.read(texts, BLOCKS) == {
        "loss_scales.kl": "0.1",
        "decoder.cnn_dist": "mse",
        "reproduce.train": "20",
    }
    layers = settings.read([r"(actor|critic)\.layers=3"], BLOCKS)
    assert layers == {"actor.layers": "3", "critic.layers": "3"}


def test_lists_and_schedules_keep_their_commas():
    texts = ["actor_ent=linear(1", "0.1", "1e5)", "grad_heads=decoder", "reward"]
    assert settings.read(texts, BLOCKS) == {
        "actor_ent": "linear(1,0.1,1e5)",
        "grad_heads": "decoder,reward",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo", "--set takes KEY=VALUE,KEY=VALUE. Received: foo"),
        ("=3", "--set takes KEY=VALUE,KEY=VALUE. Received: =3"),
        ("loss_scales.kll=1", "Unknown key.* Did you mean 'loss_scales.kl'"),
        ("loss_scales.kl=-1", "loss_scales.kl must be at least 0. Received: -1.0"),
        ("decoder.cnn_dist=foo", "must be one of auto, mse, binary"),
        ("seed=3", "Key 'seed' is set by the study itself"),
        ("stages.finetune.steps=3", "is set by the study itself"),
        ("loss_scales.dyn=1", "loss_scales.dyn has no effect with kl.separate=False"),
        ("freeze.rssm.img_in=2", "must be of type bool"),
    ],
)
def test_what_no_job_would_take_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        settings.read([text], BLOCKS)


@pytest.mark.parametrize(
    ("key", "stages"),
    [
        ("loss_scales.kl", ("pretrain", "finetune", "scratch")),
        ("dqn.n_step", ("dqn",)),
        ("dqn.epsilon_last", ("dqn",)),
        ("dqn.interval", ("collect", "pretrain")),
        ("dqn.epsilon", ("collect", "pretrain")),
        ("policies.random", ("collect", "pretrain")),
        ("collect.steps", ("collect",)),
        ("freeze.encoder", ("finetune",)),
        ("init.components", ("finetune",)),
        ("reproduce.train", ()),
        ("minatar_sticky", ("dqn", "collect", "pretrain", "finetune", "scratch")),
    ],
)
def test_keys_reach_the_jobs_that_read_them(key, stages):
    assert settings.readers(key) == stages


def test_a_study_is_not_resumed_with_other_settings(tmp_path):
    settings.remember(tmp_path / "study", KL, {})
    settings.remember(tmp_path / "study", KL, {})
    for other in ({}, {"loss_scales.kl": "1.0"}):
        with pytest.raises(ConfigError, match=r"other settings: loss_scales\.kl=0\.1"):
            settings.remember(tmp_path / "study", other, {})


def test_a_study_from_before_settings_began_without_any(tmp_path):
    (tmp_path / "reproduce.json").write_text("{}")
    settings.remember(tmp_path, {}, {})
    with pytest.raises(ConfigError, match="other settings: none. Received: loss_scal"):
        settings.remember(tmp_path, KL, {})


def test_arms_may_be_added_but_not_changed(tmp_path):
    arm = {"wm_steps": "5000.0"}
    settings.remember(tmp_path, KL, {"fixed": arm})
    settings.remember(tmp_path, KL, {"other": {}})
    written = json.loads((tmp_path / "study.json").read_text())
    assert written == {"settings": KL, "arms": {"fixed": arm, "other": {}}}
    with pytest.raises(ConfigError, match=r"other arm fixed: wm_steps=5000\.0"):
        settings.remember(tmp_path, KL, {"fixed": {}})


@pytest.mark.parametrize("text", ["{", "{}", '{"settings": {"x": 1}}'])
def test_a_damaged_memory_is_told(tmp_path, text):
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(ConfigError, match="settings of the study are not known"):
        settings.remember(tmp_path, {}, {})

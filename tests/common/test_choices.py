"""Every list of choices is what the module that acts on it can do."""

import pytest
import tensorflow as tf

from dreamerv2_transfer import world_model
from dreamerv2_transfer.common import choices, other
from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.common.distributed import replicas
from dreamerv2_transfer.common.logger import logger
from dreamerv2_transfer.common.nets import images


def test_each_dispatch_table_has_its_choices():
    assert {*world_model.REWARD_TRANSFORMS} == {*choices.REWARD_TRANSFORMS}
    assert {*images.IMAGE_DISTS} == {*choices.IMAGE_DISTS}
    assert {*other.SCHEDULES} == {*choices.SCHEDULES}
    assert {*logger.OUTPUTS} == {*choices.OUTPUTS}


def test_each_strategy_is_another_one_of_tensorflow(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert choices.STRATEGIES == ("none", "mirrored", "multiworker")
    assert replicas.strategy("none") is tf.distribute.get_strategy()
    assert isinstance(replicas.strategy("mirrored"), tf.distribute.MirroredStrategy)
    with pytest.raises(ConfigError, match="TF_CONFIG"):
        replicas.strategy("multiworker")


@pytest.mark.parametrize("key", choices.CHOICES)
def test_another_value_is_refused_and_the_allowed_ones_are_listed(key):
    for value in choices.CHOICES[key]:
        assert Config({key: value})[key] == value
    listed = ", ".join(choices.CHOICES[key])
    with pytest.raises(ConfigError, match=f"'{key}' must be one of {listed}. Rec"):
        Config({key: "nonesuch"})


def test_a_schedule_is_split_into_name_and_numbers():
    assert choices.parse_schedule("warmup(1e4, 0.1)") == ("warmup", [1e4, 0.1])


@pytest.mark.parametrize(
    "text",
    ["", "1", "linear", "linear(1,2)", "warmup(1,inf)", "exp(1,2,x)", "cosine(1,2,3)"],
)
def test_a_schedule_that_cannot_be_computed_is_refused(text):
    with pytest.raises(ValueError):
        choices.parse_schedule(text)

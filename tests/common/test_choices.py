"""Every list of choices is what the module that acts on it can do."""

import math
import re

import pytest
import tensorflow as tf

from dreamerv2_transfer import world_model
from dreamerv2_transfer.common import blocks, choices, other
from dreamerv2_transfer.common.config import Config, ConfigError, check_ranges
from dreamerv2_transfer.common.distributed import replicas
from dreamerv2_transfer.common.logger import logger
from dreamerv2_transfer.common.nets import images


def first(value):
    """A number, or the first one of a list."""
    return value[0] if isinstance(value, tuple) else value


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


DEFAULTS = blocks.load_config([], [])
NUMBERS = {
    key: value
    for key, value in DEFAULTS.flat.items()
    if isinstance(first(value), int | float) and not isinstance(first(value), bool)
}


@pytest.mark.parametrize("key", NUMBERS)
def test_each_number_of_the_configuration_has_one_range(key):
    found = [x for x in choices.RANGES if re.fullmatch(x, key)]
    assert len(found) == 1 and not choices.range_of(key).fault(first(NUMBERS[key]))


def test_each_range_is_of_a_key():
    for pattern in choices.RANGES:
        assert any(re.fullmatch(pattern, key) for key in NUMBERS), pattern


@pytest.mark.parametrize("key", NUMBERS)
def test_numbers_that_no_run_can_use_are_refused(key):
    limits = choices.range_of(key)
    refused = [math.inf, -math.inf, math.nan, 1e39]
    refused += [10**19] * (limits.high < 1e38) + [-2] * (limits.low > -2)
    for value in refused:
        values = (value,) if isinstance(NUMBERS[key], tuple) else value
        with pytest.raises(ConfigError, match=rf"{re.escape(key)} must be "):
            check_ranges(Config({**DEFAULTS.flat, key: values}))


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("seed", 2**32, "at most 4294967295"),
        ("seed", -1, "at least 0"),
        ("steps", math.inf, "a finite number"),
        ("stages.pretrain.steps", math.inf, "a finite number"),
        ("checkpoints_kept", 0, "at least 1"),
        ("imag_horizon", 1, "at least 2"),
        ("render_size", (0, 64), "at least 1"),
        ("model_opt.clip", 0.5, "0 or at least 1"),
        ("dqn.optimizer.wd", 1.0, "at most 0.99"),
        ("dqn.epsilon", 1.5, "at most 1"),
        ("dataset.holdout", 1, "0 or at least 2"),
        ("discount", 1.1, "at most 1"),
        ("envs", 0, "at least 1"),
        ("critic.bins", 1, "at least 2"),
        ("rssm.unimix", 1.5, "at most 1"),
        ("actor.unimix", -0.5, "at least 0"),
        ("return_norm.high", 101.0, "at most 100"),
        ("reward_head.bin_limit", 100.0, "at most 80"),
    ],
)
def test_the_range_is_told_with_what_was_received(key, value, wanted):
    with pytest.raises(ConfigError) as error:
        check_ranges(Config({**DEFAULTS.flat, key: value}))
    received = value[0] if isinstance(value, tuple) else value
    assert str(error.value) == f"{key} must be {wanted}. Received: {received}"


def test_each_conflict_is_of_values_that_the_keys_can_have():
    for values, _ in choices.CONFLICTS:
        for key, excluded in values.items():
            for value in excluded:
                assert DEFAULTS.update({key: value})[key] == value


def test_each_unused_key_is_one():
    for (option, value), (unused, _) in choices.UNUSED.items():
        assert DEFAULTS.update({option: value})[option] == value
        assert {*unused} <= {*NUMBERS, "kl.free_avg"}


def test_a_schedule_in_place_of_a_number_is_left_alone():
    check_ranges(Config({**DEFAULTS.flat, "actor_grad_mix": "linear(1,0.1,1e5)"}))


def test_a_schedule_is_split_into_name_and_numbers():
    assert choices.parse_schedule("warmup(1e4, 0.1)") == ("warmup", [1e4, 0.1])


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "linear", "linear(1,2)", "warmup(1,inf)", "exp(1,2,x)"),
        "cosine(1,2,3)",
    ],
)
def test_a_schedule_that_cannot_be_computed_is_refused(text):
    with pytest.raises(ValueError):
        choices.parse_schedule(text)

import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import nets, optimizer

TASKS = {"seen": ["image", "vector"], "reward": ["reward"]}


def made(**s) -> nets.Harmony:
    harmony = nets.Harmony(TASKS)
    for variable in harmony.variables:
        variable.assign(s.get(variable.name, 0.0))
    return harmony


def test_each_task_is_divided_by_its_scale_which_has_a_price():
    harmony = made(seen=np.log(4), reward=np.log(0.5))
    losses = {"image": 6.0, "vector": 2.0, "reward": 0.3, "discount": 0.7}
    losses = {k: tf.constant(v) for k, v in losses.items()}
    scales = {"image": 1.0, "vector": 3.0, "reward": 9.0, "discount": 5.0}
    # The mean of the first task is (6 + 3 * 2) / 4; the prices are ln 5 and ln 1.5.
    wanted = 3 / 4 + 1.6094379 + 0.3 / 0.5 + 0.4054651 + 5 * 0.7
    np.testing.assert_allclose(harmony.total(losses, scales), wanted, rtol=1e-6)
    factors = {k: float(v) for k, v in harmony.factors.items()}
    assert factors == pytest.approx({"seen": 0.25, "reward": 2})


def test_at_first_each_factor_is_one():
    factors = {k: float(v) for k, v in nets.Harmony(TASKS).factors.items()}
    assert factors == {"seen": 1, "reward": 1}


def test_a_task_without_weight_is_left_out():
    losses = {"image": tf.constant(6.0), "reward": tf.constant(0.3)}
    scales = {"image": 1.0, "reward": 0.0}
    # Without the price ln 2 of the reward's.
    got = made().total(losses, scales)
    np.testing.assert_allclose(got, 6 + 0.6931472, rtol=1e-6)


def test_the_losses_of_several_games_are_balanced_alike():
    losses = {"image": tf.constant([6.0, 2.0]), "discount": tf.constant([0.0, 1.0])}
    scales = {"image": 1.0, "discount": 5.0}
    got = made(seen=np.log(2)).total(losses, scales)
    np.testing.assert_allclose(got, [3 + 1.0986123, 6 + 1.0986123], rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "wanted"),
    # sigma^2 = L (1 + sigma): the golden ratio for a loss of 1.
    [(1.0, 1.618034), (6.0, 6.872983), (0.01, 0.105125)],
)
def test_the_scale_that_is_learned(loss, wanted):
    harmony = nets.Harmony({"seen": ["image"]})
    opt = optimizer.Optimizer("model", harmony.variables, lr=0.05)
    for _ in range(250):
        with tf.GradientTape() as tape:
            total = harmony.total({"image": tf.constant(loss)}, {"image": 1.0})
        opt(tape, total)
    np.testing.assert_allclose(1 / harmony.factors["seen"], wanted, rtol=1e-3)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_scales_are_float32_in_mixed_precision(policy, monkeypatch):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        harmony = made(seen=np.log(3))
        losses = {"image": tf.constant(1000.123), "vector": tf.constant(1000.123)}
        got = harmony.total(losses, {"image": 1.0, "vector": 1.0})
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert got.dtype == tf.float32
    np.testing.assert_allclose(got, 333.374333 + 1.3862944, rtol=1e-6)

import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import other
from dreamerv2_transfer.common.config import Config, ConfigError


@pytest.mark.parametrize(
    ("text", "step", "wanted"),
    [
        (0.25, 10, 0.25),
        ("3e-4", 10, 3e-4),
        ("linear(1,0.1,100)", 0, 1.0),
        ("linear(1, 0.1, 100)", 50, 0.55),
        ("linear(1,0.1,1e2)", 1000, 0.1),
        ("warmup(100,0.5)", 20, 0.1),
        ("warmup(100,0.5)", 200, 0.5),
        ("exp(1,0,10)", 20, 0.25),
        ("exp(3,1,10)", 10, 2.0),
        ("horizon(10,20,100)", 100, 0.95),
        ("linear(1,0.1,0)", 0, 0.1),
        ("warmup(0,0.5)", 0, 0.5),
        ("exp(1,0.2,0)", 0, 0.2),
    ],
)
def test_schedule(text, step, wanted):
    assert float(other.schedule(text, tf.constant(step))) == pytest.approx(wanted)


def test_schedule_names_what_it_cannot_read():
    with pytest.raises(ValueError, match=r"Received: 'cosine\(1,2\)'"):
        other.schedule("cosine(1,2)", tf.constant(0))


def returns(lambda_):
    reward = tf.constant([1.0, 2.0, 3.0])
    value = tf.constant([10.0, 20.0, 30.0])
    discount = tf.constant([0.5, 0.5, 0.0])
    return other.lambda_return(reward, value, discount, tf.constant(40.0), lambda_)


def test_lambda_0_is_the_one_step_return():
    np.testing.assert_allclose(returns(0.0), [1 + 10, 2 + 15, 3])


def test_lambda_1_is_the_monte_carlo_return():
    np.testing.assert_allclose(returns(1.0), [1 + 0.5 * 3.5, 2 + 0.5 * 3, 3])


def test_lambda_mixes_from_the_end():
    last = 3.0
    middle = 2 + 0.5 * (0.2 * 30 + 0.8 * last)
    first = 1 + 0.5 * (0.2 * 20 + 0.8 * middle)
    np.testing.assert_allclose(returns(0.8), [first, middle, last], rtol=1e-6)


def test_lambda_return_bootstraps_the_last_state():
    target = other.lambda_return(
        tf.zeros([1, 2]), tf.zeros([1, 2]), tf.ones([1, 2]), tf.constant([7.0, 8]), 0.95
    )
    np.testing.assert_allclose(target, [[7, 8]], rtol=1e-6)


def test_a_weighted_mean_is_zero_without_weight():
    values = tf.constant([1.0, 2.0, 6.0])
    assert other.mean(values, tf.constant([True, False, True])) == 3.5
    assert other.mean(values, tf.constant([0.5, 0.5, 0.0])) == 1.5
    assert other.mean(values, tf.zeros(3)) == 0


def test_discrete_noise_replaces_some_actions():
    action = tf.one_hot(tf.fill([4000], 2), 4)
    noisy = other.action_noise(action, 0.4, True, tf.constant([1, 2]))
    np.testing.assert_allclose(np.round(noisy).mean(0), [0.1, 0.1, 0.7, 0.1], atol=0.03)


@pytest.mark.parametrize("key", ["expl_noise", "eval_noise"])
def test_the_chance_of_a_random_action_is_at_most_one(key):
    noise = Config({"expl_noise": 0.5, "eval_noise": 0.5, key: 2.0})
    other.check_noise(noise, [(3, 0)])  # A standard deviation.
    with pytest.raises(ConfigError, match="at most 1 then. Received: 2"):
        other.check_noise(noise, [(3, 0), (1, 4)])


def test_continuous_noise_stays_in_bounds():
    noisy = other.action_noise(tf.ones([1000, 2]), 0.5, False, tf.constant([1, 2]))
    assert noisy.numpy().max() == 1
    assert 0.7 < noisy.numpy().mean() < 0.9


def test_no_noise_leaves_actions_alone():
    action = tf.constant([[0.3]])
    assert other.action_noise(action, 0.0, False, None) is action


def test_stream_norm_divides_by_the_mean_magnitude():
    norm = other.StreamNorm(momentum=0.5, scale=2.0, eps=0.0)
    outputs, metrics = norm(tf.constant([-4.0, 2.0]))
    # Magnitude 3; half of the old 1 and half of the new 3 make 2.
    assert norm.mag.numpy() == 2
    np.testing.assert_allclose(outputs, [-4, 2])
    assert float(metrics["mean"]) == -1
    assert float(metrics["normed_std"]) == 3


def test_momentum_1_turns_stream_norm_off():
    norm = other.StreamNorm(momentum=1.0, eps=0.0)
    np.testing.assert_array_equal(norm(tf.constant([-4.0, 2.0]))[0], [-4, 2])


def returns_of(largest: float) -> tf.Tensor:
    """0 to a number in 100 equal steps, as two rows: a percentile is a hundredth."""
    values = np.linspace(0, largest, 101)
    return tf.constant(np.stack([values, values[::-1]], 1), tf.float32)


def test_return_norm_divides_by_a_running_range():
    norm = other.ReturnNorm(decay=0.5)
    # Half of the old range, and half of the 90% between the percentiles 5 and 95.
    scales = [norm(returns_of(x)) for x in (10.0, 100.0)]
    np.testing.assert_allclose(scales, [4.5, 2.25 + 45], rtol=1e-3)
    np.testing.assert_allclose(norm.range, 47.25, rtol=1e-3)


def test_return_norm_does_not_scale_small_returns_up():
    norm = other.ReturnNorm(low=10.0, high=90.0, decay=0.99)
    assert norm(returns_of(1.0)) == 1
    np.testing.assert_allclose(norm.range, 0.01 * 0.8, rtol=1e-2)


@pytest.mark.parametrize(("low", "high"), [(95.0, 5.0), (50.0, 50.0)])
def test_percentiles_out_of_order_are_refused(low, high):
    with pytest.raises(ConfigError, match=f"low must be less .*: {low} and {high}"):
        other.ReturnNorm(low, high)


def test_noise_of_joined_actions_is_that_of_each_part():
    action = tf.tile([[1.0, 0, 0, 1, 0]], [2000, 1])
    noisy = other.noise_by_part(action, 0.4, ((2, 2), (1, 0)), tf.constant([1, 2]))
    choices, numbers = noisy[:, :4].numpy(), noisy[:, 4].numpy()
    assert (choices.reshape(-1, 2, 2).sum(-1) == 1).all()
    np.testing.assert_allclose(choices.mean(0), [0.8, 0.2, 0.2, 0.8], atol=0.04)
    np.testing.assert_allclose([numbers.mean(), numbers.std()], [0, 0.4], atol=0.04)
    assert other.noise_by_part(action, 0, ((2, 2), (1, 0)), None) is action


def test_noise_keeps_to_a_mask():
    action, mask = ([[1.0, 0, 0]] * 2000), tf.tile([[1.0, 1, 0]], [2000, 1])
    noisy = other.action_noise(tf.constant(action), 0.6, True, [1, 2], mask)
    # Of 0.6 / 3 for each class, the third one's share is the others'.
    np.testing.assert_allclose(noisy.numpy().mean(0), [0.75, 0.25, 0], atol=0.03)
    parts = tf.concat([action, tf.zeros([2000, 1])], -1), tf.pad(mask, [[0, 0], [0, 1]])
    both = other.noise_by_part(parts[0], 0.6, ((1, 3), (1, 0)), [1, 2], parts[1])
    np.testing.assert_allclose(both.numpy().mean(0), [0.75, 0.25, 0, 0], atol=0.04)

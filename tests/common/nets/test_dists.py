import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from dreamerv2_transfer.common.nets import dists

LOGITS = np.log([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]]).astype(np.float32)


def seed(number: int) -> tf.Tensor:
    return tf.constant([number, 0], tf.int32)


def test_one_hot_has_the_moments_of_a_categorical():
    dist = dists.OneHotDist(LOGITS)
    np.testing.assert_allclose(dist.mean()[0], [0.1, 0.2, 0.7], atol=1e-6)
    np.testing.assert_array_equal(dist.mode(), [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_allclose(dist.entropy(), [0.801819, 1.039721], atol=1e-5)
    np.testing.assert_allclose(
        dist.log_prob([[0.0, 1, 0], [1, 0, 0]]), np.log([0.2, 0.5]), atol=1e-6
    )


def test_one_hot_sums_over_its_event():
    dist = dists.OneHotDist(LOGITS, event_dims=2)
    assert dist.entropy().shape == ()
    np.testing.assert_allclose(dist.entropy(), 0.801819 + 1.039721, atol=1e-5)


def test_kl_of_one_hots():
    other = dists.OneHotDist(np.log([[0.2, 0.2, 0.6], [0.5, 0.25, 0.25]]))
    kl = dists.OneHotDist(LOGITS).kl_divergence(other)
    wanted = 0.1 * np.log(0.1 / 0.2) + 0.7 * np.log(0.7 / 0.6)
    np.testing.assert_allclose(kl, [wanted, 0], atol=1e-6)


def test_a_share_of_a_one_hot_may_be_uniform():
    certain = np.array([[0.0, -1e9]], np.float32)
    dist = dists.OneHotDist(certain, unimix=0.01)
    np.testing.assert_allclose(dist.mean(), [[0.995, 0.005]], rtol=1e-5)
    np.testing.assert_allclose(dist.log_prob([[0.0, 1.0]]), [np.log(0.005)], 1e-5)
    entropy = -(0.995 * np.log(0.995) + 0.005 * np.log(0.005))
    np.testing.assert_allclose(dist.entropy(), [entropy], rtol=1e-4)
    other = dists.OneHotDist(certain[:, ::-1], unimix=0.01)
    kl = 0.99 * (np.log(0.995) - np.log(0.005))
    np.testing.assert_allclose(dist.kl_divergence(other), [kl], rtol=1e-5)
    np.testing.assert_array_equal(dist.mode(), [[1, 0]])
    np.testing.assert_array_equal(dist.classes_at(tf.constant([0.994])), [0])
    np.testing.assert_array_equal(dist.classes_at(tf.constant([0.996])), [1])


def test_samples_are_one_hot_and_as_frequent_as_their_probabilities():
    logits = np.tile(LOGITS[:1], [20000, 1])
    draws = dists.OneHotDist(logits).sample(seed(1)).numpy()
    hard = np.round(draws)
    np.testing.assert_allclose(draws, hard, atol=1e-6)
    np.testing.assert_array_equal(hard.sum(-1), 1)
    np.testing.assert_allclose(hard.mean(0), [0.1, 0.2, 0.7], atol=0.01)


def test_impossible_classes_are_never_drawn():
    dist = dists.OneHotDist(probs=np.tile([[0.0, 1.0, 0.0]], [1000, 1]))
    np.testing.assert_array_equal(np.round(dist.sample(seed(2)))[:, 1], 1)
    np.testing.assert_array_equal(dist.log_prob(dist.mode()), 0)


def test_sample_depends_on_the_seed_alone():
    dist = dists.OneHotDist(np.zeros([50, 4], np.float32))
    np.testing.assert_array_equal(dist.sample(seed(3)), dist.sample(seed(3)))
    assert (dist.sample(seed(3)) != dist.sample(seed(4))).numpy().any()


@pytest.mark.parametrize("number", [None, 5])
def test_gradient_of_a_sample_is_that_of_the_probabilities(number):
    logits = tf.Variable([[0.0, 1.0, 2.0]])
    weights = tf.constant([[1.0, 10.0, 100.0]])
    with tf.GradientTape(persistent=True) as tape:
        drawn = dists.OneHotDist(logits).sample(None if number is None else seed(5))
        by_sample = tf.reduce_sum(drawn * weights)
        by_probs = tf.reduce_sum(tf.nn.softmax(logits) * weights)
    np.testing.assert_allclose(
        tape.gradient(by_sample, logits), tape.gradient(by_probs, logits), rtol=1e-5
    )


def test_log_prob_has_no_gradient_to_the_value():
    value = tf.Variable([[0.0, 1.0, 0.0]])
    with tf.GradientTape() as tape:
        like = dists.OneHotDist(LOGITS[:1]).log_prob(value)
    assert tape.gradient(like, value) is None


def test_logits_and_probs_exclude_each_other():
    with pytest.raises(ValueError, match="Received: logits=None"):
        dists.OneHotDist()


def test_truncated_normal_stays_off_its_bounds():
    dist = dists.TruncNormalDist(tf.fill([1000], 0.999), 2.0, -1.0, 1.0)
    draws = dist.sample(seed=seed(6))
    assert np.abs(draws).max() <= 1 - 1e-6
    assert np.isfinite(dist.log_prob(draws)).all()


def test_clipping_does_not_stop_the_gradient():
    loc = tf.Variable(tf.fill([100], 0.99))
    with tf.GradientTape() as tape:
        draws = dists.TruncNormalDist(loc, 0.1, -1.0, 1.0).sample(seed=seed(7))
    assert (tape.gradient(draws, loc).numpy() > 0).all()


def test_tanh_normal_is_finite_at_its_bounds():
    dist = dists.tanh_normal(tf.constant(0.0), tf.constant(1.0))
    assert np.isfinite(dist.log_prob([-1.0, 1.0])).all()
    # A standard Normal's density at 0; tanh has slope 1 there.
    np.testing.assert_allclose(dist.log_prob(0.0), -0.9189385, atol=1e-6)


def test_sample_dist_estimates_what_it_cannot_compute():
    normal = tfd.Independent(tfd.Normal([[0.0, 2.0]], [[1.0, 1.0]]), 1)
    dist = dists.SampleDist(normal, seed(8), samples=5000)
    np.testing.assert_allclose(dist.mean(), [[0, 2]], atol=0.05)
    np.testing.assert_allclose(dist.entropy(), [2 * 1.4189385], atol=0.05)
    np.testing.assert_allclose(dist.mode(), [[0, 2]], atol=0.3)


def test_no_seed_means_the_mode():
    np.testing.assert_array_equal(dists.sample(tfd.Normal([3.0], 1.0), None), [3])
    assert dists.sample(tfd.Normal([3.0], 1.0), seed(9)).numpy() != 3


def test_symlog_and_symexp():
    x = [-np.e + 1, 0.0, np.e**3 - 1]
    np.testing.assert_allclose(dists.symlog(tf.constant(x)), [-1, 0, 3], rtol=1e-6)
    np.testing.assert_allclose(dists.symexp(tf.constant([-1.0, 0, 3])), x, rtol=1e-6)
    with tf.GradientTape() as tape:
        tape.watch(y := tf.constant([-1.0, 0.0, 3.0]))
        total = tf.reduce_sum(dists.symexp(y))
    np.testing.assert_allclose(tape.gradient(total, y), [np.e, 1, np.e**3], rtol=1e-6)


def test_a_normal_of_the_symlog():
    normal = tfd.Independent(tfd.Normal(tf.constant([1.0, -2.0]), 1.0), 1)
    dist = dists.Symlog(normal)
    np.testing.assert_allclose(dist.mode(), [np.e - 1, 1 - np.e**2], rtol=1e-6)
    assert dist.mean()[0] == dist.mode()[0]
    # Symlogs of 3 and 0, so errors of 2 and 2; a Normal's constant is 0.9189385.
    like = dist.log_prob(tf.constant([np.e**3 - 1, 0.0]))
    np.testing.assert_allclose(like, -0.5 * 4 - 0.5 * 4 - 2 * 0.9189385, rtol=1e-6)


PROBS = np.array([0.1, 0.2, 0.3, 0.25, 0.15], np.float32)  # Of bins -2, -1, 0, 1, 2.


def test_a_two_hot_predicts_the_symexp_of_its_expected_bin():
    dist = dists.SymlogTwoHot(np.log(PROBS), 2.0)
    expected = -0.2 - 0.2 + 0.25 + 0.3
    np.testing.assert_allclose(dist.mode(), np.exp(expected) - 1, rtol=1e-5)
    assert dist.mean() == dist.mode()


@pytest.mark.parametrize(
    ("symlog", "wanted"),
    [
        (1.0, np.log(0.25)),
        (0.25, 0.75 * np.log(0.3) + 0.25 * np.log(0.25)),
        (-1.5, 0.5 * np.log(0.1) + 0.5 * np.log(0.2)),
        (2.0, np.log(0.15)),
        (7.0, np.log(0.15)),
        (-7.0, np.log(0.1)),
    ],
)
def test_a_two_hot_shares_a_number_between_two_bins(symlog, wanted):
    dist = dists.SymlogTwoHot(np.log(PROBS), 2.0)
    like = dist.log_prob(dists.symexp(tf.constant(symlog)))
    np.testing.assert_allclose(like, wanted, rtol=1e-5)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float16, tf.bfloat16])
def test_a_two_hot_computes_in_float32(dtype):
    dist = dists.SymlogTwoHot(tf.zeros([4, 255], dtype), 20.0)
    assert dist.mode().dtype == dist.log_prob(tf.ones([4], dtype)).dtype == tf.float32
    np.testing.assert_array_equal(dist.mode(), np.zeros(4))
    np.testing.assert_allclose(dist.log_prob(tf.ones([4])), [-np.log(255)] * 4, 1e-5)


@pytest.mark.parametrize("value", [-12345.0, -0.5, 0.0, 1.0, 1e6])
def test_a_two_hot_learns_a_number_of_any_size(value):
    """The probabilities that maximize the likelihood predict the number."""
    logits = tf.Variable(tf.zeros([255]))
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = -dists.SymlogTwoHot(logits, 20.0).log_prob(tf.constant(value))
        # The gradient of a cross entropy is the error of the probabilities.
        probs = tf.nn.softmax(logits) - tape.gradient(loss, logits)
        logits.assign(tf.math.log(tf.maximum(probs, 1e-30)))
    learned = dists.SymlogTwoHot(logits, 20.0).mode()
    np.testing.assert_allclose(learned, value, rtol=1e-3, atol=1e-5)


def make_joint():
    choices = dists.OneHotDist(tf.constant([[[0.0, 1], [2, 0]]]), event_dims=2)
    numbers = tfd.Independent(tfd.Normal([[0.5]], 2.0), 1)
    return dists.Joint([choices, numbers], [(2, 2), (1,)])


def test_a_joint_sums_over_its_parts():
    joint = make_joint()
    # log(1 / (1 + e^-1)) + log(1 / (1 + e^2)), and a Normal at its mean.
    wanted = -0.3132617 - 2.1269280 - 0.9189385 - 0.6931472
    value = tf.constant([[0.0, 1, 0, 1, 0.5]])
    np.testing.assert_allclose(joint.log_prob(value), [wanted], rtol=1e-5)
    # The entropies of 0.2689414 and 0.1192029, and of a Normal.
    wanted = 0.5822032 + 0.3653334 + 1.4189385 + 0.6931472
    np.testing.assert_allclose(joint.entropy(), [wanted], rtol=1e-5)


def test_a_joint_draws_its_parts_independently():
    joint = make_joint()
    np.testing.assert_allclose(joint.mode(), [[0, 1, 1, 0, 0.5]])
    assert np.array_equal(dists.sample(joint, None), joint.mode())
    seeds = tf.constant([[i, 0] for i in range(400)])
    drawn = tf.vectorized_map(lambda x: dists.sample(joint, x)[0], seeds).numpy()
    assert (drawn[:, :4].reshape(-1, 2, 2).sum(-1) == 1).all()
    wanted = [0.2689414, 0.7310586, 0.8807971, 0.1192029, 0.5]
    np.testing.assert_allclose(drawn.mean(0), wanted, atol=0.25)


def test_samples_of_a_joint_carry_gradients():
    logits, mean = tf.Variable([[0.0, 1.0]]), tf.Variable([[0.5]])
    with tf.GradientTape() as tape:
        numbers = tfd.Independent(tfd.Normal(mean, 1.0), 1)
        joint = dists.Joint([dists.OneHotDist(logits), numbers], [(2,), (1,)])
        total = tf.reduce_sum(joint.sample([0, 1]) * [[1.0, 0, 3]])
    by_logits, by_mean = tape.gradient(total, [logits, mean])
    np.testing.assert_allclose(by_mean, [[3]])
    np.testing.assert_allclose(by_logits, [[0.1966119, -0.1966119]], rtol=1e-5)


@pytest.mark.parametrize("unimix", [0.0, 0.01])
def test_a_masked_one_hot_has_the_classes_of_its_mask(unimix):
    dist = dists.OneHotDist(tf.constant(LOGITS), unimix=unimix)
    masked = dist.masked(tf.constant([[1.0, 1, 0], [0, 0, 0]]))
    first = np.float32([0.1, 0.2]) * (1 - unimix) + unimix / 3
    np.testing.assert_allclose(masked.mean()[0], [*first / first.sum(), 0], rtol=1e-5)
    np.testing.assert_allclose(masked.mean()[1], dist.mean()[1], rtol=1e-5)
    assert masked.mode().numpy().tolist() == [[0, 1, 0], [1, 0, 0]]
    if not unimix:
        # log(2/3), and the entropy of 1/3 and 2/3.
        like = masked.log_prob(tf.constant([[0.0, 1, 0], [1, 0, 0]]))
        np.testing.assert_allclose(like, [-0.4054651, -0.6931472], rtol=1e-5)
        np.testing.assert_allclose(masked.entropy()[0], 0.6365142, rtol=1e-5)


def test_a_masked_class_is_never_drawn_and_has_no_gradient():
    logits = tf.Variable([[3.0, 0, 1, 5]])
    mask = tf.constant([[0.0, 1, 1, 0]])
    with tf.GradientTape() as tape:
        dist = dists.OneHotDist(logits).masked(mask)
        drawn = tf.stack([dist.sample(seed(i))[0] for i in range(40)])
        likes = dist.log_prob(drawn[:, None]) + dist.entropy()
        total = tf.reduce_sum(drawn * [1.0, 2, 3, 4]) + tf.reduce_sum(likes)
    assert not drawn.numpy()[:, [0, 3]].any() and drawn.numpy()[:, 1:3].any(0).all()
    (gradient,) = tape.gradient(total, logits).numpy()
    assert np.isfinite(gradient).all()
    assert gradient[[0, 3]].tolist() == [0, 0] and gradient[1:3].all()


def test_a_joint_masks_its_choices():
    joint = dists.masked(make_joint(), tf.constant([[1.0, 0, 0, 1, 1]]))
    np.testing.assert_allclose(joint.mode(), [[1, 0, 0, 1, 0.5]])
    normal = tfd.Normal([0.0], 1.0)
    assert dists.masked(normal, tf.ones([1])) is normal

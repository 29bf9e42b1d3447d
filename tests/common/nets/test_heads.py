import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import nets


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def test_the_size_of_a_head():
    head = nets.MLP((), layers=4, units=400)
    head.build(1280)
    assert head.count_params() == 1280 * 400 + 3 * 400 * 400 + 4 * 400 + 400 + 1


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("act", ["elu", "gelu", "silu"])
def test_a_cache_changes_neither_values_nor_gradients(norm, act):
    """Whether the dense layers apply the activation themselves or not."""
    head = nets.MLP(2, layers=2, units=3, act=act, norm=norm)
    head.build(4)
    feat = tf.random.stateless_normal([5, 6, 4], [0, 0])

    def run(**options):
        with tf.GradientTape() as tape:
            tape.watch(feat)
            dist = head(feat, **options)
            loss = tf.reduce_sum(dist.log_prob(tf.ones([5, 6, 2])))
        variables = [v.value for v in head.variables]
        return [dist.mode(), *tape.gradient(loss, [feat, *variables])]

    dist, cache = head.call_with_cache(feat)
    assert [x.shape for x in cache] == [(5, 6, 3)] * 2
    np.testing.assert_array_equal(dist.mode(), head(feat).mode())
    cache = [tf.stop_gradient(x) for x in cache]
    for got, wanted in zip(run(cache=cache), run(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_what_is_cached_is_not_computed():
    head = nets.MLP((), layers=1, units=1, act="none")
    head.build(1)
    head.out.out.kernel.assign([[1.0]])
    assert head(tf.constant([[5.0]]), cache=[tf.constant([[7.0]])]).mode() == 7


@pytest.mark.parametrize(
    ("dist", "event", "stds"),
    [
        ("mse", (2,), 0),
        ("normal", (2,), 1),
        ("binary", (2,), 0),
        ("tanh_normal", (2,), 1),
        ("trunc_normal", (2,), 1),
        ("onehot", (2,), 0),
        ("symlog_mse", (2,), 0),
    ],
)
def test_output_distributions(dist, event, stds):
    layer = nets.DistLayer(event, dist=dist, rng=tf.random.Generator.from_seed(0))
    layer.build((None, 3))
    assert len(layer.variables) == 2 + 2 * stds
    got = layer(tf.ones([4, 3]))
    value = tf.one_hot([1] * 4, 2) if dist == "onehot" else tf.fill([4, 2], 0.5)
    assert got.log_prob(value).shape == (4,)
    assert np.isfinite(got.log_prob(value)).all()
    assert got.mode().shape == got.mean().shape == (4, 2)


@pytest.mark.parametrize("dist", ["normal", "tanh_normal", "trunc_normal"])
def test_a_standard_deviation_stays_positive(dist):
    rng = tf.random.Generator.from_seed(0)
    layer = nets.DistLayer((2,), dist=dist, min_std=0.1, rng=rng)
    layer.build((None, 3))
    layer.std.bias.assign([-50.0, -50.0])  # As small as it gets: min_std.
    layer.out.kernel.assign(tf.zeros([3, 2]))
    draws = np.stack([layer(tf.ones([1, 3])).sample(seed=[i, 0]) for i in range(200)])
    assert draws.std() == pytest.approx(0.1, rel=0.1)


def test_mse_is_half_a_squared_error_and_a_constant():
    layer = nets.DistLayer(())
    layer.build((None, 1))
    layer.out.kernel.assign([[2.0]])
    like = layer(tf.constant([[1.0]])).log_prob(tf.constant([5.0]))
    np.testing.assert_allclose(like, [-0.5 * 9 - 0.9189385], rtol=1e-6)


def test_a_share_of_the_actions_may_be_uniform():
    layer = nets.DistLayer(4, dist="onehot", unimix=0.2)
    layer.build((None, 1))
    layer.out.kernel.assign([[1e9, 0, 0, 0]])
    np.testing.assert_allclose(layer(tf.ones([1, 1])).mean(), [[0.85, *[0.05] * 3]])


def two_hot(**options) -> nets.DistLayer:
    layer = nets.DistLayer((), dist="symlog_twohot", **options)
    layer.build((None, 1))
    return layer


def test_a_two_hot_has_an_output_for_each_bin():
    layer = two_hot(bins=3, bin_limit=1.0)
    layer.out.kernel.assign([np.log([1.0, 1.0, 2.0])])
    dist = layer(tf.ones([5, 7, 1]))
    # Bins -1, 0 and 1 with probabilities 1/4, 1/4 and 1/2.
    np.testing.assert_allclose(dist.mode(), np.full([5, 7], np.exp(0.25) - 1), 1e-5)
    like = dist.log_prob(tf.fill([5, 7], np.e - 1))
    np.testing.assert_allclose(like, np.full([5, 7], np.log(0.5)), 1e-5)


@pytest.mark.parametrize("dist", ["mse", "symlog_twohot"])
def test_a_head_may_predict_nothing_at_first(dist):
    layer = nets.DistLayer((), dist=dist, outscale=0.0)
    layer.build((None, 8))
    np.testing.assert_array_equal(layer(tf.ones([2, 8])).mode(), [0, 0])


def test_initial_weights_are_scaled():
    kernels = []
    for scale in (1.0, 0.25):
        keras.utils.set_random_seed(0)
        layer = nets.DistLayer(3, outscale=scale)
        layer.build((None, 8))
        kernels.append(layer.out.kernel.numpy())
    np.testing.assert_allclose(kernels[1], 0.25 * kernels[0], rtol=1e-5)


def test_a_number_may_be_one_of_a_few():
    head = nets.DistLayer((), dist="support", support=[-1.0, 0.0, 2.0])
    head.build((None, 1))
    head.out.kernel.assign(np.zeros((1, 3)))
    head.out.bias.assign(np.log([1.0, 2.0, 5.0]))
    dist = head(tf.ones([1, 1]))
    np.testing.assert_allclose(dist.mode(), [-0.125 + 1.25], rtol=1e-5)
    for value, prob in ((-0.6, 0.125), (0.9, 0.25), (1.1, 0.625)):  # The nearest one.
        got = dist.log_prob(tf.constant([value]))
        np.testing.assert_allclose(got, [np.log(prob)], rtol=1e-5)


def test_a_squashed_normal_has_the_entropy_of_the_normal():
    head = nets.DistLayer(1, dist="squashed_normal")
    head.build((None, 1))
    for layer, bias in ((head.out, 1.0), (head.std, 0.0)):
        layer.kernel.assign([[0.0]])
        layer.bias.assign([bias])
    dist = head(tf.ones([1, 1]))
    mean, std = 5 * np.tanh(0.2), np.log(2) + 0.1
    np.testing.assert_allclose(dist.mode(), [[np.tanh(mean)]], rtol=1e-5)
    entropy = 0.5 * np.log(2 * np.pi * np.e * std**2)
    np.testing.assert_allclose(dist.entropy(), [entropy], rtol=1e-5)
    normal = np.exp(-((0.5 - mean) ** 2) / (2 * std**2)) / (std * np.sqrt(2 * np.pi))
    density = normal / (1 - np.tanh(0.5) ** 2)
    got = dist.log_prob(tf.constant([[np.tanh(0.5)]], tf.float32))
    np.testing.assert_allclose(got, [np.log(density)], rtol=1e-4)


def test_a_normal_may_have_a_tanh_as_its_mean():
    head = nets.DistLayer(1, dist="normal_tanh", min_std=0.01)
    head.build((None, 1))
    for layer in (head.out, head.std):
        layer.kernel.assign([[0.5]])
    dist = head(tf.ones([1, 1]))
    np.testing.assert_allclose(dist.mode(), [[np.tanh(0.5)]], rtol=1e-5)
    std = 1 / (1 + np.exp(-0.5)) + 0.01
    np.testing.assert_allclose(dist.stddev(), [[std]], rtol=1e-5)


def test_a_two_hot_of_several_numbers_is_an_error():
    with pytest.raises(ValueError, match="predict one number.* predicts 6"):
        nets.DistLayer((2, 3), dist="symlog_twohot")


def test_an_unknown_distribution_is_an_error():
    with pytest.raises(ValueError, match="Received: 'laplace'"):
        nets.DistLayer((), dist="laplace")


def test_an_actor_of_joined_actions_has_a_layer_for_each_part():
    parts = ((2, 3), (2, 0))
    actor = nets.MLP(8, 1, 4, dist="trunc_normal", parts=parts, name="actor")
    actor.build(5)
    assert [v.path for v in actor.out.variables if "kernel" in v.path] == [
        "actor/out/part0/out/kernel",
        "actor/out/part1/out/kernel",
        "actor/out/part1/std/kernel",
    ]
    dist = actor(tf.zeros([7, 2, 5]))
    assert dist.mode().shape == dist.sample([0, 1]).shape == (7, 2, 8)
    assert dist.log_prob(dist.mode()).shape == dist.entropy().shape == (7, 2)
    with pytest.raises(ValueError, match="parts of 8 numbers in all, not 9"):
        nets.MLP(9, 1, 4, dist="normal", parts=parts)

import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import nets

PLANES = {"image": (10, 10, 10), "reward": (), "is_first": ()}
MINATAR_ENCODER = dict(
    cnn_keys="image",
    mlp_keys="$^",
    cnn_depth=8,
    cnn_kernels=[3, 3, 3, 3],
    cnn_strides=[1, 1, 1, 1],
)
MINATAR_DECODER = {**MINATAR_ENCODER, "cnn_kernels": [2, 3, 4, 4]}


def test_minatar_encoder_shapes():
    encoder = nets.Encoder(PLANES, **MINATAR_ENCODER)
    encoder.build()
    x, shapes = tf.zeros([2, 10, 10, 10]), []
    for conv in encoder.convs:
        x = conv(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(8, 8, 8), (6, 6, 16), (4, 4, 32), (2, 2, 64)]
    assert encoder.embed_size == 256
    assert [conv.count_params() for conv in encoder.convs] == [728, 1168, 4640, 18496]
    assert encoder({"image": tf.zeros([3, 4, 10, 10, 10])}).shape == (3, 4, 256)


def test_minatar_decoder_shapes():
    decoder = nets.Decoder(PLANES, **MINATAR_DECODER)
    decoder.build(1280)
    x, shapes = tf.zeros([2, 1, 1, decoder.convin.units]), []
    for conv in decoder.convs:
        x = conv(x)
        shapes.append(tuple(x.shape[1:]))
    assert decoder.convin.units == 256
    assert shapes == [(2, 2, 32), (4, 4, 16), (7, 7, 8), (10, 10, 10)]
    assert decoder.convin.count_params() == 1280 * 256 + 256
    assert [conv.count_params() for conv in decoder.convs] == [32800, 4624, 2056, 1290]
    out = decoder(tf.zeros([3, 4, 1280]))["image"]
    assert out.mean().shape == (3, 4, 10, 10, 10)


def test_atari_stack_is_the_original_s():
    shapes = {"image": (64, 64, 1)}
    encoder = nets.Encoder(shapes, cnn_depth=48)
    encoder.build()
    assert encoder.embed_size == 1536
    assert [conv.filters for conv in encoder.convs] == [48, 96, 192, 384]
    decoder = nets.Decoder(shapes, cnn_depth=48, cnn_kernels=[5, 5, 6, 6])
    decoder.build(20)
    assert decoder.convin.units == 1536
    assert decoder(tf.zeros([1, 20]))["image"].mean().shape == (1, 64, 64, 1)


# Layer norm makes -0.9995 and 0.9995 of 1 and 3, SiLU these of them.
NORMED_SILU = [-0.268905, 0.730595]


@pytest.mark.parametrize("graph", [False, True])
def test_layer_norm_and_silu_after_convolutions(graph):
    """In graphs, TensorFlow fuses what follows a convolution."""
    options = {"act": "silu", "norm": "layer", "cnn_depth": 2}
    shapes = {"image": (1, 1, 2)}
    encoder = nets.Encoder(shapes, **options, cnn_kernels=[1], cnn_strides=[1])
    encoder.build()
    encoder.convs[0].kernel.assign(np.eye(2)[None, None])
    decoder = nets.Decoder(shapes, **options, cnn_kernels=[1, 1], cnn_strides=[1, 1])
    decoder.build(2)
    decoder.convin.kernel.assign(np.eye(2, 64))
    decoder.convs[0].kernel.assign(np.eye(2, 64)[None, None])
    decoder.convs[1].kernel.assign(np.eye(2)[None, None])

    def run(x):
        embedded = encoder({"image": x[:, None, None]})
        return embedded, decoder(x)["image"].mean()[:, 0, 0]

    run = tf.function(run) if graph else run
    for result in run(tf.constant([[1.0, 3.0]])):
        np.testing.assert_allclose(result, [NORMED_SILU], rtol=1e-4)


def test_binary_images():
    options = {**MINATAR_DECODER, "cnn_dist": "binary"}
    decoder = nets.Decoder(PLANES, **options)
    decoder.build(4)
    dist = decoder(tf.zeros([1, 4]))["image"]
    # Weights of zero input leave logits of 0: ln 2 a cell.
    np.testing.assert_allclose(
        dist.log_prob(tf.zeros([1, 10, 10, 10])), [-1000 * np.log(2)], rtol=1e-5
    )


def test_an_image_of_categories_has_a_cross_entropy():
    options = {"cnn": "dense", "cnn_layers": (5,), "cnn_dist": "categorical"}
    decoder = nets.Decoder({"image": (2, 2, 3)}, **options, cnn_unimix=0.1)
    decoder.build(4)
    decoder.convs[-1].kernel.assign(np.zeros((5, 12)))
    logits = np.log([1.0, 2.0, 5.0] * 4).astype(np.float32)
    decoder.convs[-1].bias.assign(logits)
    dist = decoder(tf.ones([1, 4]))["image"]
    image = tf.one_hot([[[0, 1], [2, 2]]], 3)
    probs = 0.9 * np.array([0.125, 0.25, 0.625, 0.625]) + 0.1 / 3
    np.testing.assert_allclose(dist.log_prob(image), [np.log(probs).sum()], rtol=1e-5)
    assert dist.mean().shape == (1, 2, 2, 3)


def test_dense_layers_may_embed_an_image_with_its_reward_and_end():
    shapes = {"image": (1, 2, 1)}
    options = {"cnn": "dense", "cnn_layers": (3, 2), "norm": "layer"}
    encoder = nets.Encoder(shapes, **options, reward_planes=True, act="none")
    encoder.build()
    assert encoder.keys == ("image", "reward", "is_terminal")
    assert encoder.embed_size == 2 and encoder.convs[0].kernel.shape == (6, 3)
    assert [len(x.variables) for x in encoder.conv_norms] == [2, 0]
    encoder.convs[0].kernel.assign(np.arange(18).reshape(6, 3))
    encoder.convs[1].kernel.assign([[0, 1], [0, 0], [1, 0]])
    data = {"image": tf.constant([[[[7.0], [8.0]]]])}
    data |= {"reward": tf.constant([0.5]), "is_terminal": tf.constant([True])}
    # Cell by cell: image, reward, end.
    product = np.array([7, 0.5, 1, 8, 0.5, 1]) @ np.arange(18).reshape(6, 3)
    normed = (product - product.mean()) / np.sqrt(product.var() + 1e-3)
    np.testing.assert_allclose(encoder(data), [normed[[2, 0]]], rtol=1e-4)


def test_vectors_may_end_in_a_linear_layer_and_images_have_no_norm():
    shapes = {"image": (4, 4, 1), "vecobs": (3,)}
    options = {"cnn_kernels": (2,), "cnn_strides": (2,), "cnn_depth": 2}
    encoder = nets.Encoder(
        shapes, **options, norm="layer", cnn_norm="none", mlp_layers=(5,), mlp_out=6
    )
    encoder.build()
    assert encoder.embed_size == 2 * 2 * 2 + 6
    assert not encoder.conv_norms[0].variables and encoder.dense_norms[0].variables
    data = {"image": tf.zeros([1, 4, 4, 1]), "vecobs": tf.ones([1, 3])}
    encoder.mlp_out.kernel.assign(np.zeros((5, 6)))
    encoder.mlp_out.bias.assign([-1.0, -2, -3, 1, 2, 3])  # No activation follows.
    np.testing.assert_array_equal(encoder(data)[0, 8:], [-1, -2, -3, 1, 2, 3])


def test_images_and_vectors_join():
    shapes = {"image": (10, 10, 10), "position": (3,), "speed": (2,), "reward": ()}
    encoder = nets.Encoder(
        shapes, **{**MINATAR_ENCODER, "mlp_keys": ".*"}, mlp_layers=[7]
    )
    encoder.build()
    assert encoder.mlp_keys == ("position", "speed")
    assert encoder.embed_size == 263
    data = {k: tf.zeros([2, *shape]) for k, shape in shapes.items()}
    assert encoder(data).shape == (2, 263)
    decoder = nets.Decoder(
        shapes, **{**MINATAR_DECODER, "mlp_keys": "pos"}, mlp_layers=[7]
    )
    decoder.build(4)
    assert {k: v.mean().shape for k, v in decoder(tf.zeros([2, 4])).items()} == {
        "image": (2, 10, 10, 10),
        "position": (2, 3),
    }


def test_vectors_may_be_seen_and_predicted_by_their_symlog():
    vector, symlog = [[np.e**2 - 1, 1 - np.e]], [[2, -1]]
    encoder = nets.Encoder({"speed": (2,)}, mlp_layers=[], symlog=True)
    encoder.build()
    np.testing.assert_allclose(encoder({"speed": tf.constant(vector)}), symlog, 1e-6)
    decoder = nets.Decoder({"speed": (2,)}, mlp_layers=[], mlp_dist="symlog_mse")
    decoder.build(2)
    decoder.outs[0].out.kernel.assign(np.eye(2))
    dist = decoder(tf.constant(symlog, tf.float32))["speed"]
    np.testing.assert_allclose(dist.mean(), vector, rtol=1e-6)


def test_vectors_that_half_precision_does_not_hold_are_its_largest_number(precision):
    precision("mixed_float16")
    encoder = nets.Encoder({"speed": (2,)}, mlp_layers=[])
    encoder.build()
    found = encoder({"speed": tf.constant([[1e6, -1e6]])})
    assert found.dtype == tf.float16 and found.numpy().tolist() == [[65504, -65504]]


def test_vectors_may_be_of_any_type():
    encoder = nets.Encoder({"keys": (2,), "score": (1,)}, mlp_layers=[])
    encoder.build()
    seen = {"keys": tf.constant([[True, False]]), "score": tf.constant([[7]], tf.int64)}
    assert encoder(seen).numpy().tolist() == [[1, 0, 7]]


def test_log_keys_are_neither_seen_nor_predicted():
    shapes = {"log_map": (10, 10, 1), "log_speed": (2,), "speed": (2,)}
    for kind in (nets.Encoder, nets.Decoder):
        layer = kind(shapes, mlp_layers=[7])
        assert (layer.cnn_keys, layer.mlp_keys) == ((), ("speed",))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nets.Encoder({"reward": ()}), "No observation matches"),
        (lambda: nets.Encoder(PLANES, cnn_kernels=[3]), "same length"),
        (lambda: nets.Encoder(PLANES, cnn_keys="image").build(), "too small for conv2"),
        (lambda: nets.Decoder(PLANES).build(4), r"makes images of \(46, 46\)"),
        (lambda: nets.Decoder(PLANES, cnn_dist="normal"), "Received: 'normal'"),
    ],
)
def test_errors_say_what_was_received(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("key", "layer"),
    [
        ("height", "dense_height"),
        ("legs.left", "dense_legs.left"),
        ("walker/height", "dense_77616c6b65722f686569676874"),
        ("a b", "dense_612062"),
        ("höhe", "dense_68c3b66865"),
    ],
)
def test_vectors_of_any_name_are_predicted(key, layer):
    decoder = nets.Decoder({key: (3,)}, mlp_layers=[4])
    decoder.build(5)
    assert [out.name for out in decoder.outs] == [layer]
    made = tf.function(lambda x: decoder(x)[key].mean())(tf.zeros([2, 5]))
    assert made.shape == (2, 3)

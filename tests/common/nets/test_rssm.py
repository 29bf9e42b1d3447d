import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import nets
from dreamerv2_transfer.common.nets.features import Features

PLANES = {"image": (10, 10, 10), "reward": (), "is_first": ()}
MINATAR_ENCODER = dict(
    cnn_keys="image",
    mlp_keys="$^",
    cnn_depth=8,
    cnn_kernels=[3, 3, 3, 3],
    cnn_strides=[1, 1, 1, 1],
)
MINATAR_DECODER = {**MINATAR_ENCODER, "cnn_kernels": [2, 3, 4, 4]}
TINY = dict(ensemble=1, stoch=3, deter=5, hidden=7, discrete=4)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def parameters(layer) -> int:
    return sum(int(np.prod(v.shape)) for v in layer.variables)


def built_rssm(embed=6, actions=2, **options) -> nets.EnsembleRSSM:
    rssm = nets.EnsembleRSSM(**{**TINY, **options})
    rssm.build(embed, actions)
    return rssm


def sequence(batch=2, length=5, embed=6, actions=2):
    rng = np.random.default_rng(0)
    normal = lambda *shape: tf.constant(rng.normal(size=shape), tf.float32)  # noqa: E731
    is_first = np.zeros([batch, length], bool)
    is_first[:, 0] = is_first[0, 3] = True
    return normal(batch, length, embed), normal(batch, length, actions), is_first


def test_minatar_encoder_shapes():
    encoder = nets.Encoder(PLANES, **MINATAR_ENCODER)
    encoder.build()
    x, shapes = tf.zeros([2, 10, 10, 10]), []
    for conv in encoder.convs:
        x = conv(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(8, 8, 8), (6, 6, 16), (4, 4, 32), (2, 2, 64)]
    assert encoder.embed_size == 256
    assert [parameters(conv) for conv in encoder.convs] == [728, 1168, 4640, 18496]
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
    assert parameters(decoder.convin) == 1280 * 256 + 256
    assert [parameters(conv) for conv in decoder.convs] == [32800, 4624, 2056, 1290]
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


def test_minatar_world_model_parameters():
    rssm = nets.EnsembleRSSM(ensemble=1, stoch=32, deter=256, hidden=200, discrete=32)
    rssm.build(256, 6)
    assert rssm.feat_size == 1280
    # img_in, cell with its norm, img_out, img_dist, obs_out, obs_dist.
    wanted = [1030 * 200 + 200, 456 * 768 + 3 * 768, 256 * 200 + 200, 200 * 1024 + 1024]
    wanted += [512 * 200 + 200, 200 * 1024 + 1024]
    assert parameters(rssm) == sum(wanted)
    head = nets.MLP((), layers=4, units=400)
    head.build(1280)
    assert parameters(head) == 1280 * 400 + 3 * 400 * 400 + 4 * 400 + 400 + 1


def test_sublayers_carry_the_original_s_names():
    rssm = built_rssm(ensemble=2, norm="layer")
    names = {v.path.rsplit("/", 1)[0] for v in rssm.variables}
    layers = ["img_in", "img_out_0", "img_out_1", "obs_out"]
    norms = ["img_in_norm", "img_out_norm_0", "img_out_norm_1", "obs_out_norm"]
    dists = ["img_dist_0", "img_dist_1", "obs_dist", "cell/layer", "cell/norm"]
    assert names == {f"rssm/{name}" for name in layers + norms + dists}


@pytest.mark.parametrize("discrete", [4, 0])
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_observe_is_a_chain_of_obs_steps(discrete, norm):
    rssm = built_rssm(discrete=discrete, norm=norm)
    embed, action, is_first = sequence()
    post, prior = rssm.observe(embed, action, is_first)
    state = rssm.initial(2)
    for t in range(5):
        state, expected = rssm.obs_step(
            state, action[:, t], embed[:, t], is_first[:, t]
        )
        for key in state:
            np.testing.assert_allclose(post[key][:, t], state[key], atol=1e-6)
            np.testing.assert_allclose(prior[key][:, t], expected[key], atol=1e-6)


def test_imagine_is_a_chain_of_img_steps():
    rssm = built_rssm()
    _, action, _ = sequence()
    seed = tf.constant([1, 2])
    dream = rssm.imagine(action, rssm.initial(2))
    state = rssm.initial(2)
    for t in range(5):
        state = rssm.img_step(state, action[:, t])
        np.testing.assert_allclose(dream["deter"][:, t], state["deter"], atol=1e-6)
    noisy = rssm.imagine(action, rssm.initial(2), seed)
    assert (noisy["stoch"] != dream["stoch"]).numpy().any()


def test_is_first_forgets_what_was_before():
    rssm = built_rssm()
    embed, action, is_first = sequence()
    other = {k: tf.ones_like(v) for k, v in rssm.initial(2).items()}
    from_zeros, _ = rssm.observe(embed, action, is_first)
    from_other, _ = rssm.observe(embed, action, is_first, other)
    np.testing.assert_array_equal(from_zeros["deter"], from_other["deter"])
    carried, _ = rssm.observe(embed, action, np.zeros_like(is_first), other)
    assert (carried["deter"] != from_zeros["deter"]).numpy().any()


def test_the_action_before_a_first_step_is_ignored():
    rssm = built_rssm()
    embed, action, is_first = sequence()
    changed = action.numpy()
    changed[:, 0] += 5
    first, _ = rssm.observe(embed, action, is_first)
    second, _ = rssm.observe(embed, changed, is_first)
    np.testing.assert_array_equal(first["deter"], second["deter"])


def test_graph_and_eager_agree():
    rssm = built_rssm()
    embed, action, is_first = sequence()
    seed = tf.constant([3, 4])
    eager = rssm.observe(embed, action, is_first, None, seed)
    graph = tf.function(rssm.observe)(embed, action, is_first, None, seed)
    tf.nest.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), eager, graph
    )


def test_an_ensemble_draws_a_member_a_step():
    rssm = built_rssm(ensemble=3, discrete=0)
    deter = tf.ones([40, 1, 5])
    members = [rssm._prior_stats(k, deter)["mean"][0, 0] for k in range(3)]
    drawn = rssm._prior(deter, False, tf.constant([1, 2]), ensemble_steps=40)["mean"]
    chosen = [
        [k for k in range(3) if np.allclose(members[k], drawn[t, 0])] for t in range(40)
    ]
    assert {k for (k,) in chosen} == {0, 1, 2}


def kl(rssm, post, prior, **options):
    options = {
        "forward": False,
        "balance": 0.8,
        "free": 0.0,
        "free_avg": True,
    } | options
    return rssm.kl_loss(post, prior, **options)


def two_states():
    rssm = built_rssm(stoch=1, discrete=2)
    logit = lambda p: tf.math.log([[[[p, 1 - p]]]])  # noqa: E731
    return rssm, {"logit": logit(0.75)}, {"logit": logit(0.5)}


def test_kl_value_and_balance():
    rssm, post, prior = two_states()
    nats = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    loss, value = kl(rssm, post, prior)
    np.testing.assert_allclose(value, [[nats]], rtol=1e-5)
    np.testing.assert_allclose(loss, nats, rtol=1e-5)
    backwards = 0.5 * np.log(1 / 1.5) + 0.5 * np.log(2)
    np.testing.assert_allclose(
        kl(rssm, post, prior, forward=True)[0], backwards, rtol=1e-5
    )


def test_kl_balance_trains_the_prior_more_than_the_posterior():
    rssm, post, prior = two_states()
    grads = {}
    for balance in (0.5, 0.8):
        with tf.GradientTape() as tape:
            tape.watch([post, prior])
            loss, _ = kl(rssm, post, prior, balance=balance)
        grads[balance] = tape.gradient(loss, [post["logit"], prior["logit"]])
    np.testing.assert_allclose(grads[0.8][0], 0.2 * grads[0.5][0], rtol=1e-5)
    np.testing.assert_allclose(grads[0.8][1], 0.8 * grads[0.5][1], rtol=1e-5)


def test_free_nats():
    value = tf.constant([[0.5, 3.5]])
    assert float(nets.free_nats(value, 1.0, free_avg=True)) == 2
    assert float(nets.free_nats(value, 1.0, free_avg=False)) == 2.25
    assert float(nets.free_nats(value, 5.0, free_avg=True)) == 5


def test_gaussian_latents():
    rssm = built_rssm(discrete=0, std_act="sigmoid2", min_std=0.1)
    state = rssm.img_step(rssm.initial(2), tf.zeros([2, 2]), tf.constant([1, 2]))
    assert state["stoch"].shape == (2, 3)
    assert (state["std"].numpy() > 0.1).all() and (state["std"].numpy() < 2.1).all()
    mode = rssm.img_step(rssm.initial(2), tf.zeros([2, 2]), sample=False)
    np.testing.assert_array_equal(mode["stoch"], mode["mean"])


def test_gru_cell_equation():
    cell = nets.GRUCell(1)
    cell.build((None, 1))
    cell.layer.kernel.assign([[1.0, 2.0, 3.0], [0.5, 0.5, 0.5]])
    got = cell(tf.constant([[0.2]]), tf.constant([[0.4]]))
    reset, cand, update = 0.2 + 0.2, 0.4 + 0.2, 0.6 + 0.2
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    cand, update = np.tanh(sigmoid(reset) * cand), sigmoid(update - 1)
    np.testing.assert_allclose(got, [[update * cand + (1 - update) * 0.4]], rtol=1e-5)


def test_layer_norm():
    norm = nets.NormLayer("layer", "norm")
    norm.build((None, 2))
    got = norm(tf.constant([[1.0, 3.0]]))
    np.testing.assert_allclose(got, [[-0.9995, 0.9995]], atol=1e-4)


def test_layer_norm_keeps_the_dtype_and_computes_in_float32(precision):
    # The squares are no bfloat16 numbers, nor is the mean.
    x = tf.constant([[256.0, 258, 260, 266]], tf.bfloat16)
    norm = nets.NormLayer("layer", "norm")
    norm.build((None, 4))
    wanted = norm(tf.cast(x, tf.float32))
    precision("mixed_bfloat16")
    norm = nets.NormLayer("layer", "norm")
    norm.build((None, 4))
    got = norm(x)
    assert got.dtype == tf.bfloat16
    np.testing.assert_array_equal(got, tf.cast(wanted, tf.bfloat16))


def test_gates_compute_in_float32_and_keep_the_dtype():
    cell = nets.GRUCell(2, norm=True)
    cell.build((None, 3))
    parts = tf.constant([[1.0, -2, 0.5, 3, -1, 0.25]], tf.bfloat16)
    state = tf.constant([[0.3, -0.7]], tf.bfloat16)
    wanted = cell.gates(tf.cast(parts, tf.float32), tf.cast(state, tf.float32))
    for gates in (cell.gates, tf.function(cell.compiled_gates)):
        got = gates(parts, state)
        assert got.dtype == tf.bfloat16
        np.testing.assert_array_equal(got, tf.cast(wanted, tf.bfloat16))


def test_a_dense_layer_is_made_from_its_configuration():
    layer = nets.Dense(3, "elu", name="dense0")
    again = nets.Dense.from_config(layer.get_config())
    assert (again.units, again.activation) == (3, layer.activation)


@pytest.mark.parametrize(
    ("dist", "event", "stds"),
    [
        ("mse", (2,), 0),
        ("normal", (2,), 1),
        ("binary", (2,), 0),
        ("tanh_normal", (2,), 1),
        ("trunc_normal", (2,), 1),
        ("onehot", (2,), 0),
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


def test_binary_images():
    options = {**MINATAR_DECODER, "cnn_dist": "binary"}
    decoder = nets.Decoder(PLANES, **options)
    decoder.build(4)
    dist = decoder(tf.zeros([1, 4]))["image"]
    # Weights of zero input leave logits of 0: ln 2 a cell.
    np.testing.assert_allclose(
        dist.log_prob(tf.zeros([1, 10, 10, 10])), [-1000 * np.log(2)], rtol=1e-5
    )


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


def test_log_keys_are_neither_seen_nor_predicted():
    shapes = {"log_map": (10, 10, 1), "log_speed": (2,), "speed": (2,)}
    for kind in (nets.Encoder, nets.Decoder):
        layer = kind(shapes, mlp_layers=[7])
        assert (layer.cnn_keys, layer.mlp_keys) == ((), ("speed",))


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_a_dense_layer_has_the_gradients_of_its_operations(graph, known):
    """By one-hot latents and by a tensor, computed and known."""
    layer = nets.Dense(3, tf.nn.elu)
    layer.build((None, 8))
    layer.bias.assign([0.5, -0.5, 0.0])
    index = tf.constant([[1, 2], [0, 1]])
    deter, stoch = tf.constant([[0.5, -1], [2, 3.0]]), tf.one_hot(index, 3)

    def gradients(inputs, of):
        with tf.GradientTape() as tape:
            tape.watch([deter, stoch])
            result = of(inputs(tf.reshape(stoch, [2, 6])))
            loss = tf.reduce_sum(result * [[1.0, 2, 3], [4, 5, 6]])
        sources = [deter, stoch, layer.kernel.value, layer.bias.value]
        return [loss, *tape.gradient(loss, sources)]

    def known_call(inputs):
        return layer.known(tf.stop_gradient(layer(inputs)), inputs)

    def plain(x):
        return tf.nn.elu(x @ layer.kernel.value + layer.bias.value)

    joined = lambda stoch: tf.concat([stoch, deter], -1)  # noqa: E731
    features = lambda stoch: Features(deter, index, 3, stoch)  # noqa: E731
    run = tf.function(gradients) if graph else gradients
    wanted = gradients(joined, plain)
    for inputs in (joined, features):
        got = run(inputs, known_call if known else layer)
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nets.Dense(2), (4096, 1)),
        (lambda: nets.Conv2D(2, 3, 1), (64, 10, 10, 1)),
        (lambda: nets.Conv2DTranspose(2, 3, 1), (64, 6, 6, 1)),
    ],
)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_the_gradient_of_a_bias_adds_up(precision, policy, make, shape, graph):
    precision(policy)
    layer = make()
    layer.build(shape)

    def gradient():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cast(layer(tf.zeros(shape)), tf.float32))
        return tape.gradient(loss, layer.bias.value)

    got = tf.function(gradient)() if graph else gradient()
    np.testing.assert_array_equal(got, [4096, 4096])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nets.Encoder({"reward": ()}), "No observation matches"),
        (lambda: nets.Encoder(PLANES, cnn_kernels=[3]), "same length"),
        (lambda: nets.Encoder(PLANES, cnn_keys="image").build(), "too small for conv2"),
        (lambda: nets.Decoder(PLANES).build(4), r"makes images of \(46, 46\)"),
        (lambda: nets.DistLayer((), dist="laplace"), "Received: 'laplace'"),
        (lambda: nets.NormLayer("batch", "norm"), "Received: 'batch'"),
        (lambda: nets.Dense(3, tf.nn.gelu), "Received: activation=<function gelu"),
        (lambda: nets.EnsembleRSSM(std_act="exp"), "std_act is one of"),
    ],
)
def test_errors_say_what_was_received(make, message):
    with pytest.raises(ValueError, match=message):
        make()

import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import nets

TINY = dict(ensemble=1, stoch=3, deter=5, hidden=7, discrete=4)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def built_rssm(embed=6, actions=2, **options) -> nets.EnsembleRSSM:
    rssm = nets.EnsembleRSSM(**{**TINY, **options})
    rssm.build(embed, actions)
    return rssm


def sequence(batch=2, length=5, embed=6, actions=2):
    rng = np.random.default_rng(0)
    is_first = np.zeros([batch, length], bool)
    is_first[:, 0] = is_first[0, 3] = True
    vectors = (rng.normal(size=(batch, length, n)) for n in (embed, actions))
    return *(tf.constant(x, tf.float32) for x in vectors), is_first


def test_the_size_of_the_minatar_model():
    rssm = nets.EnsembleRSSM(ensemble=1, stoch=32, deter=256, hidden=200, discrete=32)
    rssm.build(256, 6)
    assert rssm.feat_size == 1280
    # img_in, cell with its norm, img_out, img_dist, obs_out, obs_dist.
    wanted = [1030 * 200 + 200, 456 * 768 + 3 * 768, 256 * 200 + 200, 200 * 1024 + 1024]
    wanted += [512 * 200 + 200, 200 * 1024 + 1024]
    assert rssm.count_params() == sum(wanted)


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


def test_an_ensemble_draws_a_member_a_step():
    rssm = built_rssm(ensemble=3, discrete=0)
    deter = tf.ones([40, 1, 5])
    members = [rssm.prior_stats(deter, tf.constant(k))["mean"][0, 0] for k in range(3)]
    noise = rssm.img_noise(tf.constant([1, 2]), [40, 1])
    drawn = rssm.prior_stats(deter, noise["member"])["mean"]
    chosen = [
        [k for k in range(3) if np.allclose(members[k], drawn[t, 0])] for t in range(40)
    ]
    assert {k for (k,) in chosen} == {0, 1, 2}
    np.testing.assert_array_equal(rssm.prior_stats(deter)["mean"][0, 0], members[0])


@pytest.mark.parametrize("stoch", [False, True])
def test_latents_keep_their_form(stoch):
    """As classes, with or without `stoch`; the numbers are those of `stoch` alone."""
    rssm = built_rssm()
    full = rssm.img_step(rssm.initial(2), tf.ones([2, 2]))
    wanted = rssm.img_step(full, tf.ones([2, 2]))
    state = {"deter": full["deter"], "index": tf.argmax(full["stoch"], -1, tf.int32)}
    if stoch:
        state["stoch"] = full["stoch"]
    got = rssm.img_step(state, tf.ones([2, 2]))
    assert got.keys() - {"logit"} == state.keys()
    np.testing.assert_allclose(got["deter"], wanted["deter"], atol=1e-6)
    np.testing.assert_array_equal(got["index"], tf.argmax(wanted["stoch"], -1))
    feat = tf.convert_to_tensor(rssm.get_feat(got))
    np.testing.assert_allclose(feat, rssm.get_feat(wanted), atol=1e-6)


def test_a_mode_has_no_gradient_and_a_sample_that_of_the_probabilities():
    rssm = built_rssm(stoch=1, discrete=2)
    logit = tf.constant([[[1.0, 0.0]]])
    gradients = {}
    for sample in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(logit)
            drawn = rssm.draw(rssm.get_dist({"logit": logit}), None, sample)["stoch"]
            loss = drawn[0, 0, 0]
        np.testing.assert_array_equal(drawn, [[[1, 0]]])
        gradients[sample] = tape.gradient(loss, logit)
    assert gradients[False] is None
    prob = 1 / (1 + np.exp(-1))
    slope = prob * (1 - prob)
    np.testing.assert_allclose(gradients[True], [[[slope, -slope]]], rtol=1e-5)


KL = {"forward": False, "balance": 0.8, "free": 0.0, "free_avg": True}


def kl(rssm, post, prior, **options):
    return rssm.kl_loss(post, prior, **KL | options)


def kl_losses(rssm, post, prior, **options):
    return rssm.kl_losses(post, prior, **KL | options)


def two_states():
    rssm = built_rssm(stoch=1, discrete=2)
    states = [{"logit": tf.math.log([[[[p, 1 - p]]]])} for p in (0.75, 0.5)]
    return rssm, *states


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


@pytest.mark.parametrize(
    ("free", "wanted"),
    # The KL is log 2 - H(0.75), 0.130812 nats, in the first step and 0 in the second.
    [(0.0, 0.065406), (0.1, 0.115406), (0.2, 0.2)],
)
def test_separate_losses_are_raised_to_the_free_nats_step_by_step(free, wanted):
    rssm = built_rssm(stoch=1, discrete=2)
    post = {"logit": tf.math.log([[[[0.75, 0.25]], [[0.5, 0.5]]]])}
    prior = {"logit": tf.zeros([1, 2, 1, 2])}
    losses, value = kl_losses(rssm, post, prior, free=free, separate=True)
    assert losses.keys() == {"dyn", "rep"}
    np.testing.assert_allclose(losses["dyn"], wanted, rtol=1e-5)
    np.testing.assert_allclose(losses["rep"], wanted, rtol=1e-5)
    np.testing.assert_allclose(value, [[0.130812, 0]], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("free", [0.1, 0.2])
def test_one_separate_loss_trains_the_prior_and_the_other_the_posterior(free):
    rssm, post, prior = two_states()
    trained = {"dyn": prior, "rep": post}
    # Of the KL, 0.130812 nats, by the prior's logits q - p, by the posterior's
    # p log(p / q) - p KL; none if the KL is free.
    slopes = {"dyn": [-0.25, 0.25], "rep": [0.205990, -0.205990]}
    for name in trained:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([post, prior])
            losses, _ = kl_losses(rssm, post, prior, free=free, separate=True)
        for state in (post, prior):
            slope = tape.gradient(losses[name], state["logit"])
            slope = np.zeros(2) if slope is None else slope.numpy().ravel()
            given = state is trained[name] and free == 0.1
            wanted = slopes[name] if given else [0, 0]
            np.testing.assert_allclose(slope, wanted, rtol=1e-4, atol=1e-7)


def test_the_kl_is_that_of_mixed_distributions():
    rssm = built_rssm(stoch=1, discrete=2, unimix=0.01)
    post, prior = ({"logit": tf.constant([[[x]]])} for x in ([0.0, -1e9], [-1e9, 0.0]))
    _, value = kl(rssm, post, prior)
    nats = 0.99 * (np.log(0.995) - np.log(0.005))
    np.testing.assert_allclose(value, [[nats]], rtol=1e-5)


def test_gaussian_latents_have_no_classes_to_mix():
    with pytest.raises(ValueError, match="rssm.discrete is 0.* rssm.unimix=0.01"):
        nets.EnsembleRSSM(discrete=0, unimix=0.01)


def test_gaussian_latents():
    rssm = built_rssm(discrete=0, std_act="sigmoid2", min_std=0.1)
    noise = rssm.img_noise(tf.constant([1, 2]), [2])
    state = rssm.img_step(rssm.initial(2), tf.zeros([2, 2]), noise)
    assert state["stoch"].shape == (2, 3)
    assert (state["std"].numpy() > 0.1).all() and (state["std"].numpy() < 2.1).all()
    mode = rssm.img_step(rssm.initial(2), tf.zeros([2, 2]), sample=False)
    np.testing.assert_array_equal(mode["stoch"], mode["mean"])


def test_an_unknown_activation_of_the_deviation_is_an_error():
    with pytest.raises(ValueError, match="std_act is one of.* Received: 'exp'"):
        nets.EnsembleRSSM(std_act="exp")


def test_the_entropy_loss_is_the_divergence_from_uniform_latents():
    rssm, post, _ = two_states()
    # log 2 - H(0.75): ln 2 is 0.693147, and H is 0.562335.
    np.testing.assert_allclose(rssm.entropy_loss(post), [[0.130812]], rtol=1e-5)
    uniform = {"logit": tf.fill([1, 1, 1, 2], 3.0)}
    np.testing.assert_allclose(rssm.entropy_loss(uniform), [[0]], atol=1e-6)


def test_the_entropy_loss_of_gaussian_latents_is_the_divergence_from_a_standard_one():
    rssm = built_rssm(stoch=2, discrete=0)
    post = {"mean": tf.constant([[[1.0, 0.0]]]), "std": tf.constant([[[2.0, 1.0]]])}
    # (4 + 1 - 1) / 2 - ln 2
    np.testing.assert_allclose(rssm.entropy_loss(post), [[1.306853]], rtol=1e-5)


def test_the_entropy_loss_makes_latents_less_certain():
    rssm, post, _ = two_states()
    with tf.GradientTape() as tape:
        tape.watch(post)
        loss = rssm.entropy_loss(post)[0, 0]
    slope = tape.gradient(loss, post)["logit"].numpy().ravel()
    # p log(p / 0.5) - p KL, with p of 0.75.
    np.testing.assert_allclose(slope, [0.205990, -0.205990], rtol=1e-5)

import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import nets
from dreamerv2_transfer.common.nets import rssm_loop

BATCH, LENGTH, EMBED, ACTIONS = 3, 5, 6, 2


def make_rssm(**options) -> nets.EnsembleRSSM:
    keras.utils.set_random_seed(0)
    rssm = nets.EnsembleRSSM(**{"stoch": 3, "deter": 5, "hidden": 7, **options})
    rssm.build(EMBED, ACTIONS)
    rng = np.random.default_rng(0)
    for variable in rssm.variables:  # Biases, and norms, that are not all the same.
        noise = rng.normal(0, 0.1, variable.shape).astype(np.float32)
        variable.assign(variable.value + noise)
    return rssm


def make_inputs(rssm: nets.EnsembleRSSM) -> dict:
    """A batch in whose second row an episode begins in the middle."""
    rng = np.random.default_rng(1)

    def normal(*shape):
        return tf.constant(rng.normal(size=(BATCH, *shape)), tf.float32)

    is_first = np.zeros((BATCH, LENGTH), bool)
    is_first[0, 0] = is_first[1, 3] = True
    return {
        "embed": normal(LENGTH, EMBED),
        "action": normal(LENGTH, ACTIONS),
        "is_first": tf.constant(is_first),
        "state": {k: normal(*v.shape[1:]) for k, v in rssm.initial(1).items()},
    }


def observe(rssm: nets.EnsembleRSSM, inputs: dict, seed) -> dict:
    """All states, and the gradients of a loss that depends on each of their numbers."""
    variables = [v.value for v in rssm.trainable_variables]
    sources = [inputs["embed"], inputs["action"], inputs["state"], variables]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        states = rssm.observe(**inputs, seed=seed)
        losses = [
            tf.reduce_sum(x * tf.random.stateless_normal(x.shape, [i, 0]))
            for i, x in enumerate(tf.nest.flatten(states))
        ]
    zero = tf.UnconnectedGradients.ZERO
    gradients = tape.gradient(losses, sources, unconnected_gradients=zero)
    names = ("embed", "action", "state", "variables")
    return {"states": states, **dict(zip(names, gradients, strict=True))}


@pytest.mark.parametrize("seed", [None, (1, 2)])
@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"discrete": 4},
        {"discrete": 0},
        {"discrete": 4, "ensemble": 3, "norm": "layer", "act": "silu", "unimix": 0.5},
        {"discrete": 0, "ensemble": 3, "norm": "layer"},
        {"discrete": 4, "cell": "gru", "mask_action": False},
        {"discrete": 0, "cell": "gru_layernorm", "std_act": "double_sigmoid"},
        {"discrete": 4, "cell": "gru_layernorm_dv2", "deter": 6, "gru_layers": 2},
    ],
)
def test_values_and_gradients_are_those_of_the_plain_loop(
    monkeypatch, options, graph, seed
):
    rssm = make_rssm(**{"ensemble": 1, **options})
    inputs = make_inputs(rssm)
    seed = None if seed is None else tf.constant(seed)
    made = {}
    for fast in (False, True):
        monkeypatch.setattr(rssm_loop, "applies", lambda fast=fast: fast)

        def run():
            return observe(rssm, inputs, seed)

        made[fast] = tf.function(run, autograph=False)() if graph else run()
    # Nothing that should have a gradient is without one.
    assert all(np.any(x) for x in tf.nest.flatten(made[True]["action"]))
    assert np.any(made[True]["state"]["deter"]) and np.any(made[True]["state"]["stoch"])
    # Without noise, only the first member of an ensemble is drawn.
    if seed is not None or "ensemble" not in options:
        assert all(np.any(x) for x in made[True]["variables"])
    tf.nest.assert_same_structure(made[False], made[True])
    both = zip(*map(tf.nest.flatten, (made[False], made[True])), strict=True)
    for plain, fast in both:
        np.testing.assert_allclose(fast, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("discrete", [4, 0])
def test_graphs_take_the_fast_loop_and_draw_the_same_noise(discrete):
    """The hook: eagerly `observe` runs `obs_step`, in graphs it does not."""
    rssm = make_rssm(discrete=discrete, ensemble=3)
    inputs, seed = make_inputs(rssm), tf.constant([3, 4])
    called, obs_step = [], rssm.obs_step
    rssm.obs_step = lambda *args: called.append(args) or obs_step(*args)
    eager = rssm.observe(**inputs, seed=seed)
    assert len(called) == LENGTH
    graph = tf.function(rssm.observe, autograph=False)(**inputs, seed=seed)
    assert len(called) == LENGTH
    tf.nest.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), eager, graph
    )
    silent = rssm.observe(**inputs)
    assert (silent[0]["stoch"] != eager[0]["stoch"]).numpy().any()

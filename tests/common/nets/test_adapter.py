"""Corrected kernels, compared with an RSSM whose kernels are the corrected ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import nets
from dreamerv2_transfer.common.nets import AdaptedRSSM, EnsembleRSSM

BATCH, LENGTH, EMBED, ACTIONS = 3, 4, 6, 2
RANK, SCALE = 2, 0.5
SIZES = {"ensemble": 1, "stoch": 3, "discrete": 4, "deter": 6, "hidden": 7}


def make_pair(random=True, known=0, **options) -> tuple[AdaptedRSSM, EnsembleRSSM]:
    """An adapted RSSM, and a plain one whose kernels are the corrected ones."""
    keras.utils.set_random_seed(0)
    adapter = {"rank": RANK, "scale": SCALE, "actions": known}
    adapted = nets.make_rssm({**SIZES, **options}, adapter)
    plain = nets.make_rssm({**SIZES, **options}, {**adapter, "rank": 0, "actions": 0})
    for rssm in (adapted, plain):
        rssm.build(EMBED, ACTIONS)
    values = {v.path: v.numpy() for v in adapted.variables}
    rng = np.random.default_rng(0)
    for name in values:
        if random and name.endswith((".up", ".align", "bias")):
            values[name] = rng.normal(0, 0.3, values[name].shape).astype(np.float32)
    for variable in adapted.variables:
        variable.assign(values[variable.path])
    for variable in plain.variables:
        value = values[variable.path]
        layer = variable.path.removeprefix("rssm/").removesuffix("/kernel")
        base = f"rssm/adapter.{layer.replace('/', '.')}"
        if f"{base}.down" in values:
            value = value + SCALE * values[f"{base}.down"] @ values[f"{base}.up"]
        if known and layer == "img_in":
            mixture = tf.nn.softmax(10 * values["rssm/adapter.align"])
            value = tf.concat([value[:-known], mixture @ value[-known:]], 0)
        variable.assign(value)
    return adapted, plain


def inputs() -> dict:
    rng = np.random.default_rng(1)
    is_first = np.zeros((BATCH, LENGTH), bool)
    is_first[0, 0] = is_first[1, 2] = True
    return {
        "embed": tf.constant(rng.normal(size=(BATCH, LENGTH, EMBED)), tf.float32),
        "action": tf.constant(rng.normal(size=(BATCH, LENGTH, ACTIONS)), tf.float32),
        "is_first": tf.constant(is_first),
    }


def states(rssm) -> list:
    """What each of the methods returns."""
    batch, seed = inputs(), tf.constant([1, 2])
    post, prior = rssm.observe(**batch, seed=seed)
    last = {k: v[:, -1] for k, v in post.items()}
    now = [batch[k][:, 0] for k in ("action", "embed", "is_first")]
    dreamed = rssm.img_step(rssm.indexed(last), now[0])
    dreamed.pop("index", None)  # In graphs alone.
    return [
        post,
        prior,
        rssm.imagine(batch["action"], last, seed),
        rssm.obs_step(last, *now),
        dreamed,
    ]


def compare(found, expected) -> None:
    tf.nest.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        found,
        expected,
    )


@pytest.mark.parametrize(
    "options, graph",
    [
        ({}, True),
        ({"discrete": 0, "ensemble": 2, "norm": "layer"}, False),
        ({"known": 5}, True),
        ({"cell": "gru_layernorm", "gru_layers": 2}, False),
    ],
)
def test_states_are_those_of_the_corrected_kernels(options, graph):
    adapted, plain = make_pair(**options)
    found = tf.function(states, autograph=False)(adapted) if graph else states(adapted)
    compare(found, states(plain))


def test_at_first_it_is_the_plain_model():
    adapted, plain = make_pair(random=False)
    assert all(np.any(x) for x in adapted.down)
    assert not any(np.any(x) for x in adapted.up)
    tf.nest.map_structure(np.testing.assert_array_equal, states(adapted), states(plain))


def test_gradients_are_those_of_the_corrected_kernels():
    """With the kernel's gradient g: scale * g @ up.T, and scale * down.T @ g."""
    adapted, plain = make_pair()
    by_path = {v.path: v for v in plain.variables}
    layers = [x.path.split(".")[1:-1] for x in adapted.down]
    kernels = [by_path["/".join(["rssm", *x, "kernel"])] for x in layers]

    def gradients(rssm, variables):
        with tf.GradientTape() as tape:
            post, prior = rssm.observe(**inputs(), seed=tf.constant([1, 2]))
            loss = sum(
                tf.reduce_sum(x * tf.random.stateless_normal(x.shape, [i, 0]))
                for i, x in enumerate(tf.nest.flatten([post, prior]))
            )
        return tape.gradient(loss, [v.value for v in variables])

    found = tf.function(
        lambda: gradients(adapted, [*adapted.down, *adapted.up]), autograph=False
    )()
    for i, kernel in enumerate(gradients(plain, kernels)):
        down, up = adapted.down[i].value, adapted.up[i].value
        compare(found[i], SCALE * kernel @ tf.transpose(up))
        compare(found[len(kernels) + i], SCALE * tf.transpose(down) @ kernel)


def test_corrections_have_the_names_and_ranks_of_their_kernels():
    adapted, _ = make_pair()
    shapes = {v.path: tuple(v.shape) for v in adapted.variables if "adapter" in v.path}
    assert shapes["rssm/adapter.img_in.down"] == (3 * 4 + ACTIONS, RANK)
    assert shapes["rssm/adapter.cell.layer.up"] == (RANK, 3 * 6)
    assert shapes["rssm/adapter.obs_out.down"] == (6 + EMBED, RANK)
    assert shapes["rssm/adapter.scale"] == ()
    layers = ("img_in", "cell.layer", "img_out_0", "img_dist_0", "obs_out", "obs_dist")
    names = {f"rssm/adapter.{x}.{y}" for x in layers for y in ("down", "up")}
    assert set(shapes) == {*names, "rssm/adapter.scale"}


def test_without_a_rank_it_is_the_plain_class():
    rssm = nets.make_rssm(SIZES, {"rank": 0, "scale": 1.0, "actions": 0})
    assert type(rssm) is EnsembleRSSM

"""Vectors of games, compared with a plain RSSM whose actions hold them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import nets
from dreamerv2_transfer.common.nets import GAME, ConditionedRSSM

BATCH, LENGTH, EMBED, ACTIONS, SIZE = 3, 4, 6, 2, 5
SIZES = {"ensemble": 1, "stoch": 3, "discrete": 4, "deter": 6, "hidden": 7}
PLAIN = {"rank": 0, "scale": 1.0, "actions": 0}
GAMES = ("asterix", "gym_ALE/Pong-v5", "Cart Pole")


def make(adapter=PLAIN, learned=GAMES, **options) -> ConditionedRSSM:
    keras.utils.set_random_seed(0)
    games = {"games": GAMES, "size": SIZE, "learned": learned, "game": GAMES[2]}
    rssm = nets.make_rssm({**SIZES, **options}, adapter, games)
    rssm.build(EMBED, ACTIONS)
    rng = np.random.default_rng(0)
    for vector in rssm.task_embed.vectors.values():
        vector.assign(rng.normal(0, 0.5, SIZE))
    return rssm


def inputs() -> dict:
    rng = np.random.default_rng(1)
    is_first = np.zeros((BATCH, LENGTH), bool)
    is_first[:, 0] = is_first[1, 2] = True
    return {
        "embed": tf.constant(rng.normal(size=(BATCH, LENGTH, EMBED)), tf.float32),
        "action": tf.constant(rng.normal(size=(BATCH, LENGTH, ACTIONS)), tf.float32),
        "is_first": tf.constant(is_first),
    }


def states(rssm, start, action) -> list:
    """What each of the methods returns."""
    batch, seed = {**inputs(), "action": action}, tf.constant([1, 2])
    post, prior = rssm.observe(**batch, state=start, seed=seed)
    last = {k: v[:, -1] for k, v in post.items()}
    now = [batch[k][:, 0] for k in ("action", "embed", "is_first")]
    dreamed = rssm.img_step(rssm.indexed(last), now[0])
    dreamed.pop("index", None)  # In graphs alone.
    imagined = rssm.imagine(action, last, seed)
    return [post, prior, imagined, rssm.obs_step(last, *now), dreamed]


@pytest.mark.parametrize(
    ("options", "graph"),
    [({}, True), ({"discrete": 0, "ensemble": 2, "norm": "layer"}, False)],
)
def test_states_are_those_of_a_plain_model_whose_actions_begin_with_the_vector(
    options, graph
):
    rssm = make(**options)
    plain = nets.make_rssm({**SIZES, **options, "mask_action": False}, PLAIN)
    plain.build(EMBED, SIZE + ACTIONS)
    values = {v.path: v for v in rssm.variables}
    for variable in plain.variables:
        variable.assign(values[variable.path].value)
    game = tf.constant([0, 2, 1])
    start = {**rssm.initial(BATCH), GAME: game}
    action = inputs()["action"]
    call = tf.function(states, autograph=False) if graph else states
    found = call(rssm, start, action)
    # The vector of each row; the action is masked where an episode begins.
    vector = tf.repeat(rssm.task_embed(game)[:, None], LENGTH, 1)
    keep = 1.0 - tf.cast(inputs()["is_first"], tf.float32)[..., None]
    told = tf.concat([vector, action * keep], -1)
    expected = states(plain, plain.initial(BATCH), told)
    for parts in (*found[:3], *found[3], found[4]):
        assert parts[GAME].shape == parts["deter"].shape[:-1]
        rows = parts.pop(GAME)
        np.testing.assert_array_equal(rows if rows.ndim == 1 else rows[:, -1], game)
    # The dream's actions are not masked.
    expected[2] = plain.imagine(
        tf.concat([vector, action], -1),
        {k: v[:, -1] for k, v in expected[0].items()},
        tf.constant([1, 2]),
    )
    first = tf.concat([vector, action], -1)[:, 0]
    last = {k: v[:, -1] for k, v in expected[0].items()}
    expected[4] = plain.img_step(last, first)
    tf.nest.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        found,
        expected,
    )


def test_gradients_of_vectors_are_the_same_in_graphs():
    rssm = make({**PLAIN, "rank": 2})
    start = {**rssm.initial(BATCH), GAME: tf.constant([0, 2, 0])}

    def gradients():
        with tf.GradientTape() as tape:
            post, prior = rssm.observe(
                **inputs(), state=start, seed=tf.constant([1, 2])
            )
            loss = sum(
                tf.reduce_sum(x * tf.random.stateless_normal(x.shape, [i, 0]))
                for i, x in enumerate([post["deter"], post["logit"], prior["logit"]])
            )
        vectors = rssm.task_embed.vectors.values()
        return tape.gradient(loss, [v.value for v in vectors])

    eager, graph = gradients(), tf.function(gradients, autograph=False)()
    for one, other in zip(eager, graph, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    is_zero = [not np.any(x) for x in eager]
    assert is_zero == [False, True, False]  # No row is of the second game.


def test_vectors_have_a_norm_of_one_at_most():
    rssm = make()
    values = ([3, 4, 0, 0, 0], [0.3, 0.4, 0, 0, 0], [0] * 5)
    for vector, value in zip(rssm.task_embed.vectors.values(), values, strict=True):
        vector.assign(value)
    found = rssm.task_embed(tf.constant([0, 1, 2])).numpy()[:, :2].tolist()
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.3, 0.4], [0, 0]], rtol=1e-6)


def test_vectors_have_the_names_of_games_and_those_of_others_do_not_learn():
    rssm = make(learned=GAMES[2:])
    learns = {v.path: v.trainable for v in rssm.variables if "task_embed" in v.path}
    assert learns == {
        "rssm/task_embed/asterix": False,
        "rssm/task_embed/gym_ALE%2FPong-v5": False,
        "rssm/task_embed/Cart%20Pole": True,
    }
    assert rssm.img_in.kernel.shape == (3 * 4 + SIZE + ACTIONS, 7)
    assert rssm.initial(2)[GAME].numpy().tolist() == [2, 2]

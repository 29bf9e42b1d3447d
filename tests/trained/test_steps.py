import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.trained.steps import Steps, arguments
from tests.trained import small


def test_an_observation_keeps_its_name_where_that_is_an_argument():
    keys = ["image", "a/b", "a b", "step", "höhe", "3d", "class"]
    assert arguments(keys) == {
        "image": "image",
        "a/b": "a_b",
        "a b": "a_b_",
        "step": "observation_step",
        "höhe": "h_he",
        "3d": "observation_3d",
        "class": "observation_class",
    }


def test_without_an_agent_nothing_acts():
    found = Steps(small.make_model(has_agent=False)).all()
    assert [*found] == [
        "initial_state",
        "observe",
        "dream",
        "observe_mode",
        "dream_mode",
    ]


def test_gaussian_latents_and_continuous_actions_have_shapes_of_their_own():
    steps = Steps(small.make_model(discrete=False, **{"rssm.discrete": 0}))
    found = steps.all()
    shapes = {k: v.shape.as_list() for k, v in found["act"].inputs.items()}
    assert shapes["stoch"] == [None, 4] and shapes["action"] == [None, 2]
    start = steps.initial_state({"batch": tf.constant(2)})
    after = steps.dream({**start, "action": tf.ones([2, 2])})
    assert sorted(after) == [
        *("deter", "discount", "image", "mean", "reward", "std", "stoch")
    ]
    np.testing.assert_array_equal(after["mean"], after["stoch"])  # The mode.


CONTINUOUS = ("auto", "normal", "tanh_normal", "squashed_normal", "normal_tanh")


@pytest.mark.parametrize("dist", CONTINUOUS)
def test_continuous_actions_are_drawn_for_a_batch_of_any_size(dist):
    steps = Steps(small.make_model(discrete=False, **{"actor.dist": dist}))
    step = steps.all()["act_sample"]

    def function(**inputs):
        return step.function(inputs)

    graph = tf.function(function, autograph=False).get_concrete_function(**step.inputs)
    given = {
        name: tf.zeros([3, *spec.shape[1:]], spec.dtype)
        for name, spec in step.inputs.items()
        if name != "seed"
    }
    drawn = graph(**given, seed=tf.constant([1, 2]))["action"]
    assert drawn.shape == [3, 2]
    alone = {name: value[:1] for name, value in given.items()}
    eager = step.function({**alone, "seed": tf.constant([1, 2])})["action"]
    np.testing.assert_allclose(drawn[:1], eager, atol=1e-5)

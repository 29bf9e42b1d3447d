import json

import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import blocks, tfutils
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.distributed import replicas
from tests import runs

# Free nats above the KL, a running norm and percentiles are not linear in the rows.
DISCRETE = ["kl.free=5", "reward_norm.momentum=0.5"]
DISCRETE += ["return_norm.kind=percentile", "return_norm.limit=0.001"]
CONTINUOUS = ["continuous=1", "rssm.discrete=0", "model_opt.opt=sgd"]
LOSSES = ["kl.separate=True", "loss_balance=harmony", "loss_scales.post_ent=0.1"]
EAGER = ["jit=False", *LOSSES]


def two_devices(*changes):
    """Returns the results of updates on one device and on two."""
    done = runs.run("-m", "tests.two_devices", *changes)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout.splitlines()[-1])
    return made["none"], made["mirrored"]


@pytest.mark.parametrize(
    "changes", [DISCRETE, CONTINUOUS, EAGER], ids=["discrete", "box", "eager"]
)
def test_two_devices_make_the_updates_of_one(changes):
    one, two = two_devices(*changes)
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert len(one["metrics"]) == 4  # Three updates and an evaluation.
    for wanted, got in zip(one["metrics"], two["metrics"], strict=True):
        # An error is a loss without the Normals' constants, a difference of hundreds.
        for name, value in wanted.items():
            at = wanted[name.replace("error", "loss")]
            limit = 1e-5 * np.maximum(np.abs(at), 1)
            assert np.all(np.abs(np.subtract(got[name], value)) < limit), name
    assert one["values"].keys() == two["values"].keys()
    for name, value in one["values"].items():
        np.testing.assert_allclose(two["values"][name], value, atol=1e-5, err_msg=name)
    if changes is DISCRETE:
        assert one["metrics"][0]["kl_loss"] == 5.0
        assert one["values"]["reward_mag"] != 1.0
        assert one["metrics"][0]["return_scale"] > 0.001


def make_config(**changes):
    config = blocks.load_config(["minatar", "debug", "pretrain"])
    return config.update({"jit": True, **changes})


class Two:
    num_replicas_in_sync = 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset.batch": 5}, "dataset.batch must be a multiple of 2. Received: 5"),
        ({"actor.dist": "tanh_normal"}, "Received: tanh_normal"),
    ],
)
def test_what_replicas_cannot_do_is_named(monkeypatch, changes, message):
    monkeypatch.setattr(replicas, "strategy", lambda kind: Two())
    replicas.check(make_config(strategy="mirrored"))
    with pytest.raises(ConfigError, match=message):
        replicas.check(make_config(strategy="mirrored", **changes))


def test_an_unknown_strategy_is_named():
    with pytest.raises(ConfigError, match="mirrored.*Received.*mirored"):
        make_config(strategy="mirored")


def test_without_a_strategy_an_update_is_the_function_itself():
    batch, state = {"x": tf.ones([2])}, tf.zeros([2])
    made = replicas.update("none", lambda b, s: (b, s), batch, state)
    assert made[0] is batch and made[1] is state
    assert replicas.count() == 1


@pytest.mark.parametrize("jit", [False, True])
def test_a_single_replica_computes_in_the_precision_of_the_run(precision, jit):
    """TensorFlow runs it in a thread, and Keras keeps the precision by thread."""
    precision("mixed_bfloat16")

    def update(batch, state):
        return state, tf.zeros([], tfutils.compute_dtype())

    def both(batch, state):
        return replicas.update("mirrored", update, batch, state)

    both = tf.function(both, autograph=False) if jit else both
    _, made = both({"x": tf.zeros([2])}, {"y": tf.zeros([2])})
    assert made.dtype == tf.bfloat16

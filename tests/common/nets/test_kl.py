import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from dreamerv2_transfer.common import nets
from dreamerv2_transfer.common.nets import dists, kl


def test_the_divergence_of_latents_is_summed_over_them():
    one, other = (
        dists.OneHotDist(probs=[[p, 1 - p]] * 2, event_dims=2) for p in (0.75, 0.5)
    )
    # Twice 0.75 ln 1.5 + 0.25 ln 0.5.
    np.testing.assert_allclose(kl.kl_divergence(one, other), 0.261624, rtol=1e-5)
    one, other = (tfd.Independent(tfd.Normal([m, m], 1.0), 1) for m in (0.0, 2.0))
    np.testing.assert_allclose(kl.kl_divergence(one, other), 4, rtol=1e-6)


def test_free_nats():
    value = tf.constant([[0.5, 3.5]])
    assert float(nets.free_nats(value, 1.0, free_avg=True)) == 2
    assert float(nets.free_nats(value, 1.0, free_avg=False)) == 2.25
    assert float(nets.free_nats(value, 5.0, free_avg=True)) == 5


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"free_avg": True, "balance": 0.8, "separate": False}, True),
        ({"free_avg": False, "balance": 0.8, "separate": False}, False),
        ({"free_avg": True, "balance": 0.5, "separate": False}, False),
        ({"free_avg": True, "balance": 0.8, "separate": True}, False),
    ],
)
def test_what_the_free_nats_are_compared_with(options, wanted):
    assert nets.frees_average(**options, free=1.0, forward=False) == wanted

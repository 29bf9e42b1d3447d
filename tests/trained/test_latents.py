import numpy as np
import pytest

from dreamerv2_transfer.trained.latents import Latents

PARTS = {"deter": np.arange(12.0).reshape(2, 3, 2), "stoch": np.ones((2, 3, 4, 5))}


def test_the_state_of_a_step_is_picked_from_each_sequence_of_a_batch():
    state = Latents(PARTS, is_batch=True, is_sequence=True).at(-1)
    assert state["deter"].tolist() == [[4, 5], [10, 11]]
    assert (state.is_batch, state.is_sequence, state.steps) == (True, False, 1)


def test_features_are_the_flat_latents_and_the_recurrent_state():
    state = Latents(PARTS, is_batch=True, is_sequence=True)
    assert state.features.shape == (2, 3, 22)
    assert state.features[1, 2].tolist() == [1.0] * 20 + [10.0, 11.0]


def test_a_single_state_can_start_a_batch():
    single = Latents({k: v[0, 0] for k, v in PARTS.items()})
    batch = single.repeated(3)
    assert batch.is_batch
    assert batch["deter"].tolist() == [[0, 1]] * 3


def test_a_single_state_is_its_own_last_step():
    single = Latents({k: v[0, 0] for k, v in PARTS.items()})
    assert single.at(-1) is single
    with pytest.raises(IndexError, match="no step 2"):
        single.at(2)


def test_a_batch_of_one_becomes_a_single_state():
    batch = {k: v[:1, 0] for k, v in PARTS.items()}
    assert Latents.of(batch, is_batch=False)["deter"].tolist() == [0, 1]
    assert Latents.of(batch, is_batch=True)["deter"].tolist() == [[0, 1]]


def test_shapes_are_shown():
    assert repr(Latents(PARTS)) == "Latents(deter (2, 3, 2), stoch (2, 3, 4, 5))"

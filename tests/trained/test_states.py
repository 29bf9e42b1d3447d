import numpy as np
import pytest

from dreamerv2_transfer.common.errors import ModelError
from dreamerv2_transfer.trained.latents import Latents
from dreamerv2_transfer.trained.states import States
from tests import models


@pytest.fixture(scope="module")
def states() -> States:
    world_model = models.make_agent().wm
    return States(world_model, models.act_space()["action"], seed=0)


def test_the_first_state_is_zeros(states):
    assert not any(value.any() for value in states.initial(None).values())
    assert states.initial(3)["deter"].shape[0] == 3


def test_a_seed_gives_the_same_noise_each_time(states):
    assert states.noise(5).tolist() == states.noise(5).tolist()
    assert states.noise(None).tolist() != states.noise(None).tolist()
    assert states.noise(5, sample=False) is None


@pytest.mark.parametrize("seed", [-1, 0.5, True, "a", 2**63])
def test_a_seed_is_a_whole_number(states, seed):
    with pytest.raises(ModelError, match="whole number from 0"):
        states.noise(seed)


def test_the_state_of_another_model_is_refused(states):
    with pytest.raises(ModelError, match="another model's"):
        states.last(Latents({"deter": np.zeros(3)}))
    with pytest.raises(ModelError, match="Received: ndarray"):
        states.last(np.zeros(3))


def test_a_state_that_is_not_finite_is_refused(states):
    parts = {k: np.full_like(v, np.nan) for k, v in states.zeros.items()}
    with pytest.raises(ModelError, match="is not a number"):
        states.last(Latents(parts))


def test_each_sequence_needs_a_state(states):
    with pytest.raises(ModelError, match="2 states for 3 sequences"):
        states.start(states.initial(2), 3)
    with pytest.raises(ModelError, match="2 states for a single sequence"):
        states.start(states.initial(2), None)

"""Open-loop predictions of a small model."""

import contextlib

import numpy as np
import pytest

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.analysis import dreams, frames, players, sequences
from dreamerv2_transfer.analysis.frames import Frames
from dreamerv2_transfer.common import blocks, envs

CONFIG = blocks.load_config(["minatar", "debug", "finetune"]).update(precision="32")
TASK = "minatar_breakout"


@pytest.fixture(scope="module")
def played():
    """An agent, and frames of its game."""
    with contextlib.closing(envs.make_vector_env(TASK, 3)) as env:
        player = players.random(env, TASK, 0)
        made = frames.play(env, player.policy, 200, player.seeds)
        spaces = envs.obs_space(env), envs.act_space(env)
    return agent_lib.make_agent(CONFIG, *spaces), made


def draw(played, most=5):
    rng = np.random.default_rng(0)
    return sequences.draw(played.episode, 2, 3, most, rng)


@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_the_truth_is_between_zero_and_one(dtype):
    image = np.zeros((480, 2, 2, 1), dtype)
    image[5] = 255 if dtype is np.uint8 else True
    made = Frames({"image": image}, {}, {}, np.repeat(np.arange(40), 12))
    found = dreams.truth(made, draw(made, most=100), "image")
    assert found.dtype == np.float32 and found.max() == 1 and found.min() == 0


def test_predictions_are_images_drawn_with_a_seed(played):
    agent, made = played
    pieces, counts = draw(made), []

    def predict(seed):
        return dreams.predict(
            agent.wm, made, pieces, "image", CONFIG, seed, counts.append
        )

    ours, same, other = predict(0), predict(0), predict(1)
    assert ours.shape == (5, 5, 10, 10, 10) and counts == [5, 5, 5]
    assert ours.min() >= 0 and ours.max() <= 1
    np.testing.assert_array_equal(ours, same)
    assert not np.array_equal(ours, other)


def test_an_actor_dreams_on_from_what_the_model_sees(played):
    agent, made = played
    pieces = draw(made)
    ours, same, other = (
        dreams.act(agent, made, pieces, "image", CONFIG, seed) for seed in (0, 0, 1)
    )
    assert ours.shape == (5, 5, 10, 10, 10)
    assert ours.min() >= 0 and ours.max() <= 1
    np.testing.assert_array_equal(ours, same)
    assert not np.array_equal(ours, other)


def test_more_sequences_than_a_batch_are_all_predicted(played, monkeypatch):
    monkeypatch.setattr(dreams, "BATCH", 4)
    agent, made = played
    pieces, counts = draw(made, most=6), []
    found = dreams.predict(agent.wm, made, pieces, "image", CONFIG, 0, counts.append)
    assert len(found) == 6 and counts == [4, 2]


def test_the_image_is_the_first_that_is_predicted(played):
    agent, _ = played
    assert dreams.image_key(agent.wm) == "image"

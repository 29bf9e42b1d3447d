import types

import numpy as np
import pytest

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.trained import preview
from dreamerv2_transfer.trained.load import load
from tests import fakes, runs
from tests.trained import small


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(preview, "LENGTH", 7)


def test_a_world_model_dreams_beside_its_game():
    model = small.make_model(has_agent=False, tasks=["minatar_breakout"])
    frames = preview.draw(model)
    assert frames.shape[0] == 7 and frames.shape[-1] == 3
    np.testing.assert_array_equal(frames, preview.draw(small.reseeded(model, 0)))


def test_a_dream_stands_alone_where_no_game_can_be_made():
    model = small.make_model(stage="finetune", task="gym_evil:Game-v0")
    assert preview.draw(model).shape == (7, 160, 160, 3)


def test_a_dqn_plays_its_game():
    player = load(runs.ROOT / "models/minatar_dqn_breakout")
    assert preview.draw(player).shape == (7, 160, 160, 3)


def test_a_model_that_sees_rewards_gets_those_of_its_game():
    changes = {"encoder.reward_planes": True, "tasks": ["minatar_breakout"]}
    model = small.make_model(**changes)
    assert preview.draw(model).shape[0] == 7
    game = preview._games(model)["minatar_breakout"]
    rows = preview.play(model, game, seed=0, name="minatar_breakout")
    assert rows["reward"].shape == (7,) and rows["is_terminal"].dtype == bool


def test_random_actions_keep_to_the_masks_of_a_game():
    fit = envs.Fit("image", (10, 10), mask=True)
    game = envs.make_env(fakes.Gate, fit=fit)  # It fails at what is not allowed.
    model = types.SimpleNamespace(action_space=game.action_space, has_agent=False)
    rows = preview.play(model, game, seed=0, name="gate")
    chosen, allowed = rows["action"][1:], rows["action_mask"][:-1]
    assert (chosen * allowed).sum(-1).tolist() == [1, 1, 1, 1, 1, 1]


def test_actions_are_those_that_led_to_what_was_seen():
    model = small.make_model(tasks=["minatar_breakout"])
    name = "minatar_breakout"
    rows = preview.play(model, preview._games(model)[name], seed=0, name=name)
    assert rows["is_first"][0] and not rows["action"][0].any()
    assert (rows["action"][1:].sum(-1) == 1).all()

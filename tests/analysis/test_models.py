"""The models of an analysis, loaded from a run's folder."""

import contextlib
import pathlib

import numpy as np
import pytest

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.analysis import models
from dreamerv2_transfer.common import blocks, envs
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import tensors
from dreamerv2_transfer.transfer import weights

CONFIG = blocks.load_config(["minatar", "debug", "finetune"]).update(precision="32")


def load(logdir: pathlib.Path) -> models.Models:
    with contextlib.closing(envs.make_vector_env("minatar_breakout", 1)) as env:
        return models.load(CONFIG, logdir, env)


@pytest.fixture(scope="module")
def agent():
    with contextlib.closing(envs.make_env("minatar_breakout")) as env:
        spaces = envs.obs_space(env), envs.act_space(env)
    return agent_lib.make_agent(CONFIG.update(seed=7), *spaces)


def values(model):
    return np.asarray(model.rssm.trainable_variables[0])


def test_a_model_is_that_of_the_file_and_the_other_has_learned_nothing(agent, tmp_path):
    path = tmp_path / weights.WORLD_MODEL
    weights.save_weights(path, agent.wm.components)
    found = load(tmp_path)
    np.testing.assert_array_equal(values(found.trained), values(agent.wm))
    assert np.abs(values(found.untrained) - values(agent.wm)).max() > 0.01
    assert found.agent is None


@pytest.mark.parametrize("is_published", [False, True])
def test_an_actor_comes_with_its_agent(agent, tmp_path, is_published):
    behavior = agent.task_behavior.components
    weights.save_weights(tmp_path / weights.WORLD_MODEL, agent.wm.components)
    weights.save_weights(tmp_path / weights.ACTOR_CRITIC, behavior)
    for file in [*tmp_path.iterdir()] if is_published else []:
        name = file.name.replace(".weights.h5", ".safetensors")
        tensors.save(tmp_path / name, weights.read_weights(file), {})
        file.unlink()
    found = load(tmp_path)
    assert found.agent.wm is found.trained
    ours = found.agent.task_behavior.actor.trainable_variables[0]
    theirs = agent.task_behavior.actor.trainable_variables[0]
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_the_highest_seed_has_one_after_it(agent, tmp_path):
    weights.save_weights(tmp_path / weights.WORLD_MODEL, agent.wm.components)
    config = CONFIG.update(seed=2**32 - 1)
    with contextlib.closing(envs.make_vector_env("minatar_breakout", 1)) as env:
        found = models.load(config, tmp_path, env)
    assert np.abs(values(found.untrained) - values(agent.wm)).max() > 0.01


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        load(tmp_path)

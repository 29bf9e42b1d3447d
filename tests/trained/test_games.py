import json

import gymnasium
import pytest
from gymnasium import spaces

from dreamerv2_transfer.common.errors import EnvError, ModelError
from dreamerv2_transfer.trained import games
from dreamerv2_transfer.transfer import weights
from tests import models

LAYOUT = {
    "image": {"shape": [64, 64, 1], "dtype": "uint8"},
    "vector": {"shape": [3], "dtype": "float32"},
    "reward": {"shape": [], "dtype": "float32"},
    "action": {"shape": [4], "dtype": "float32", "n": 4},
}


def find(folder, **changes):
    config = models.make_config(stage="finetune", **changes)
    return games.find(config, folder / "world_model.weights.h5")


def test_the_game_of_the_configuration_tells_its_spaces(tmp_path):
    seen, act = find(tmp_path, task="minatar_breakout")
    assert seen["image"].shape == (10, 10, 10)
    assert act["action"] == spaces.Discrete(6)


def test_the_manifest_of_the_dataset_tells_them_first(tmp_path):
    folder = tmp_path / "dataset" / "minatar_breakout"
    folder.mkdir(parents=True)
    kinds = {**LAYOUT, **{k: {"shape": [], "dtype": "bool"} for k in flags()}}
    (folder / "manifest.json").write_text(json.dumps({"spaces": kinds}))
    seen, act = find(tmp_path, task="minatar_breakout")
    assert seen["image"].shape == (64, 64, 1)
    assert act["action"] == spaces.Discrete(4)


def flags():
    return ("is_first", "is_last", "is_terminal")


def test_no_module_is_imported_that_a_file_names(tmp_path):
    with pytest.raises(ModelError, match="runs the code of the Python module 'evil'"):
        find(tmp_path, task="gym_evil:Game-v0")


def test_a_function_that_was_trained_on_needs_its_environment(tmp_path):
    with pytest.raises(ModelError, match=r"load\(..., env=gymnasium.make\(ID\)\)"):
        find(tmp_path, task="make_env")


def test_an_environment_can_be_passed(tmp_path):
    config = models.make_config()
    with gymnasium.make("CartPole-v1") as env:
        seen, act = games.find(config, tmp_path / "any", env)
    assert seen["vector"].shape == (4,)
    assert act["action"] == spaces.Discrete(2)
    with pytest.raises(EnvError):
        games.find(config, tmp_path / "any", "minatar_nothing")


def test_weights_tell_what_their_model_observes(tmp_path):
    agent = models.make_agent(discrete=False)
    weights.save_world_model(tmp_path, agent.wm)
    seen, act = find(tmp_path, task="gym_evil:Game-v0")
    assert seen["image"] == models.obs_space()["image"]
    assert act["action"] == models.act_space(discrete=False)["action"]

import numpy as np
import pytest

from dreamerv2_transfer.common.errors import ModelError
from dreamerv2_transfer.dqn import agents
from dreamerv2_transfer.trained import player
from dreamerv2_transfer.trained.load import load
from tests import runs
from tests.trained import small

FOLDER = runs.ROOT / "models/minatar_dqn_breakout"


@pytest.mark.parametrize("name", ["", "model_1000000.safetensors"])
def test_a_dqn_takes_the_action_of_the_highest_value(name):
    model = load(FOLDER / name)
    network = agents.load(FOLDER / "model_1000000.weights.h5", "minatar_breakout")
    images = small.images(5)
    expected = network(images).argmax(1).tolist()
    assert model.agent.act({"image": images})[0].tolist() == expected
    assert model.agent.act(images[0]) == (expected[0], None)
    assert repr(model).endswith("minatar_breakout)")


def test_a_dqn_dreams_nothing():
    model = load("minatar_dqn_breakout")
    assert model.tasks == ("minatar_breakout",)
    with pytest.raises(ModelError, match="is a DQN: it acts, but it dreams nothing"):
        model.imagine(None, [1])
    with pytest.raises(ModelError, match="must have the shape"):
        model.agent.act(np.zeros((3, 3), bool))


def test_the_longest_trained_player_of_a_folder_is_loaded(tmp_path):
    for name in ("model_9.weights.h5", "model_10.safetensors", "model_10.weights.h5"):
        (tmp_path / name).touch()
    assert player.newest(tmp_path).name == "model_10.weights.h5"
    assert player.newest(tmp_path / "none") is None


def test_a_dqn_of_atari_is_refused(tmp_path):
    with pytest.raises(ModelError, match="see four raw screens"):
        player.Player(tmp_path, "atari_pong", small.make_model().config, "x")

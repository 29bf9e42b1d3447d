import pathlib
import shutil

import numpy as np
import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.errors import CheckpointError, ModelError
from dreamerv2_transfer.common.files import hdf5
from dreamerv2_transfer.trained import load
from dreamerv2_transfer.transfer import weights
from tests.trained import small

EARLIER = pathlib.Path(__file__).parents[1] / "earlier_layout"


@pytest.fixture
def run(tmp_path) -> pathlib.Path:
    """A run of an earlier version, without its checkpoints."""
    shutil.copytree(EARLIER / "finetune", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    monkeypatch.setitem(load.SETTINGS, "jit", False)


def test_a_run_of_an_earlier_version_acts(run):
    model = load.load(run)
    assert model.tasks == ("minatar_space_invaders",)
    assert model.agent.act(small.images())[0] in range(6)


def test_nothing_is_added_to_what_the_actor_chooses(run):
    file = run / "config.yaml"
    noisy = {"expl_noise": 0.3, "eval_noise": 0.3}
    blocks.load_old(file)[0].update(noisy).save(file)
    network = load.load(run).agent.network.config
    assert (network.expl_noise, network.eval_noise) == (0, 0)


def test_a_file_of_weights_is_loaded_with_the_configuration_beside_it(run):
    one, other = load.load(run), load.load(run / "world_model.weights.h5")
    dreams = [x.imagine(one.initial(), [1], seed=0) for x in (one, other)]
    np.testing.assert_array_equal(*(x["image"] for x in dreams))


def test_a_run_of_pretraining_has_no_agent():
    model = load.load(EARLIER / "pretrain" / "world_model.weights.h5")
    with pytest.raises(ModelError, match="pretrain trains a world model alone"):
        _ = model.agent


def test_weights_without_a_configuration_are_refused(run):
    (run / "config.yaml").unlink()
    with pytest.raises(ModelError, match="no config.yaml beside it"):
        load.load(run)


def test_weights_of_another_configuration_are_refused(run):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("deter: 16", "deter: 24"))
    with pytest.raises(CheckpointError, match="does not fit the model"):
        load.load(run)


def test_keys_of_a_later_version_are_named(run):
    config = run / "config.yaml"
    config.write_text(config.read_text() + "dreams: lucid\n")
    with pytest.warns(UserWarning, match="key 'dreams' is not known today"):
        load.load(run)


def test_a_configuration_of_a_later_version_is_refused(run):
    file, config = run / "world_model.weights.h5", run / "config.yaml"
    hdf5.save(file, weights.read_weights(file), {"version": "9.2.0"})
    assert load.load(run).config.rssm.deter == 16
    config.write_text(config.read_text() + "dreams: lucid\n")
    with pytest.raises(ModelError, match=r"is of version 9.2.0.*Upgrade.*'dreams'"):
        load.load(run)

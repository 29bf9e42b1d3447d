import json
import pathlib
import pickle
import shutil

import numpy as np
import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common import config as configs
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.files import logdir as logdir_lib
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.porting import old
from dreamerv2_transfer.porting.pickles import PortError

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "data"
ATARI, PROPRIO = GOLDEN / "dreamerv2_atari", GOLDEN / "dreamerv2_proprio"


@pytest.fixture
def logdir(tmp_path) -> pathlib.Path:
    """An old logdir of an agent with two vectors, without episodes."""
    shutil.copy(PROPRIO / "variables.pkl", tmp_path)
    shutil.copy(PROPRIO / "config.json", tmp_path)
    return tmp_path


def change(path: pathlib.Path, **changes) -> None:
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, **changes}))


def test_the_configuration_beside_the_variables_is_read(logdir):
    read = old.read(logdir)
    assert read.path == logdir / "variables.pkl"
    assert (read.config.rssm.deter, read.config.stage) == (20, "scratch")
    assert (read.actions, read.discrete, len(read.arrays)) == (6, False, 55)
    assert read.episodes is None


def test_vectors_get_names_if_nothing_tells_them(logdir):
    change(logdir / "config.json", task="dmc_unknown_task")
    read = old.read(logdir)
    assert read.obs == {"vector0": (14,), "vector1": (9,)}
    assert "--obs" in read.notes[0] and "vector0 (14), vector1 (9)" in read.notes[0]


def test_observations_can_be_named(logdir):
    change(logdir / "config.json", task="dmc_unknown_task")
    read = old.read(logdir, obs=["velocity:9", "arm:14"], actions="continuous:6")
    assert list(read.obs.items()) == [("velocity", (9,)), ("arm", (14,))]
    assert read.notes == ()
    obs_space, act_space = read.spaces
    assert obs_space["arm"].shape == (14,) and act_space["action"].shape == (6,)


def test_names_come_from_the_pattern_that_lists_them(logdir):
    change(logdir / "config.json", task="dmc_unknown_task")
    keys = {"mlp_keys": "velocity|^arm$", "cnn_keys": "$^", "mlp_layers": [16, 16]}
    for part in ("encoder", "decoder"):
        config = json.loads((logdir / "config.json").read_text())
        change(logdir / "config.json", **{part: {**config[part], **keys}})
    assert old.read(logdir).obs == {"arm": (14,), "velocity": (9,)}


def test_names_come_from_the_old_episodes(logdir):
    folder = logdir / "train_episodes"
    folder.mkdir()
    flags = {k: np.zeros(3, bool) for k in store.FLAGS}
    flags["is_first"][0] = flags["is_last"][-1] = True
    seen = {"speed": np.zeros((3, 9)), "joints": np.zeros((3, 14))}
    numbers = {"action": np.zeros((3, 6)), "reward": np.zeros(3)}
    store.save_episode(folder, {**seen, **numbers, **flags})
    (folder / "20000101T000000-a-9.npz").write_bytes(b"damaged")
    read = old.read(logdir)
    assert list(read.obs.items()) == [("speed", (9,)), ("joints", (14,))]
    assert read.episodes == folder and read.notes == ()


def test_an_image_has_the_channels_of_the_first_kernel():
    read = old.read(ATARI / "variables.pkl")
    assert read.obs == {"image": (64, 64, 1)}
    assert (read.actions, read.discrete) == (6, True)
    assert read.config.atari_all_actions is False


def test_another_agent_than_the_configuration_says(logdir):
    rssm = json.loads((logdir / "config.json").read_text())["rssm"]
    change(logdir / "config.json", rssm={**rssm, "deter": 200})
    message = r"rssm.deter is 200 in the configuration and 20 in the file"
    with pytest.raises(PortError, match=message):
        old.read(logdir)
    assert old.read(logdir, argv=["--rssm.deter", "20"]).config.rssm.deter == 20


def test_without_a_configuration_it_is_asked_for(logdir):
    (logdir / "config.json").unlink()
    with pytest.raises(PortError, match=r"--config FILE.*--configs"):
        old.read(logdir)


def test_without_a_configuration_sizes_come_from_the_arrays(logdir):
    (logdir / "config.json").unlink()
    read = old.read(logdir, blocks=["dmc_proprio"])
    config = read.config
    assert (config.rssm.deter, config.rssm.stoch, config.rssm.discrete) == (20, 4, 0)
    assert config.encoder.mlp_layers == config.decoder.mlp_layers == (16, 16)
    assert (config.actor.layers, config.critic.units) == (2, 16)
    assert config.pred_discount is False and config.slow_target is True


def test_latents_whose_sizes_are_ambiguous_are_asked_for(tmp_path):
    shutil.copy(ATARI / "variables.pkl", tmp_path)
    with pytest.raises(PortError, match=r"rssm.stoch x rssm.discrete.*24 in the file"):
        old.read(tmp_path, blocks=["atari"])
    given = ["--rssm.stoch", "4", "--rssm.discrete", "6"]
    config = old.read(tmp_path, blocks=["atari"], argv=given).config
    assert (config.rssm.stoch, config.rssm.discrete) == (4, 6)


def test_what_the_original_called_otherwise(logdir):
    config = json.loads((logdir / "config.json").read_text())
    config["num_envs"], config["precision"] = 3, 16
    config["envs_parallel"] = "thread"
    (logdir / "config.json").write_text(json.dumps({**config, "train_gifs": True}))
    read = old.read(logdir)
    assert (read.config.envs, read.config.precision) == (3, "auto")
    assert read.config.envs_parallel == "none"
    told = " ".join(read.notes)
    for word in ("'num_envs' is called 'envs'", "train_gifs", "precision", "thread"):
        assert word in told


def test_flags_go_over_sizes_that_were_read_off(logdir):
    (logdir / "config.json").unlink()
    with pytest.raises(PortError, match="rssm.deter is 600 in the configuration"):
        old.read(logdir, blocks=["dmc_proprio"], argv=["--rssm.deter", "600"])


def test_blocks_beside_a_configuration_are_refused(logdir):
    with pytest.raises(PortError, match="--configs is for agents without"):
        old.read(logdir, blocks=["atari"])


def test_one_image_or_more_is_not_known():
    read = old.read(ATARI, argv=["--encoder.cnn_keys", ".*", "--task", "gym_None-v0"])
    assert "one image or more" in read.notes[0]


@pytest.mark.parametrize("block", ["atari", "crafter", "dmc_vision"])
def test_an_agent_of_a_block_goes_on_by_the_name_of_the_block(block):
    """The stage does not change what the original's block says."""
    of_block = blocks.load_config([block])
    task = ["--task", of_block.task]
    ported = blocks.with_stage(of_block.update(precision="auto"), "scratch")
    started = blocks.load_config([block, "scratch"], task)
    ignored = (*logdir_lib.MAY_CHANGE, "tasks", "task_weights", "collect")
    assert configs.difference(ported, started, ignored) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"obs": ["image"]}, "image:64x64x1.*Received: --obs image"),
        ({"obs": ["image:64x64"]}, "Received: --obs image:64x64"),
        ({"actions": "6"}, "discrete:6.*Received: --actions 6"),
        ({"argv": ["--rssm.detre", "20"]}, "rssm.deter"),
    ],
)
def test_bad_options_are_named(logdir, options, message):
    with pytest.raises((PortError, ConfigError), match=message):
        old.read(logdir, **options)


def test_a_folder_without_an_agent(tmp_path):
    with pytest.raises(PortError, match="has no variables.pkl"):
        old.read(tmp_path)


def test_arrays_of_something_else(tmp_path):
    path = tmp_path / "variables.pkl"
    path.write_bytes(pickle.dumps((np.int32(1), np.zeros((2, 3)), np.zeros(3))))
    with pytest.raises(PortError, match="do not belong to an agent: array 3 should"):
        old.read(path, config=ATARI / "config.json")

import dataclasses
import json
import os
import pathlib
import shutil

import numpy as np
import pytest

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import checkpoint, envs
from dreamerv2_transfer.common.blocks import load_config
from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.porting import old, pickles, port
from dreamerv2_transfer.porting.pickles import PortError
from dreamerv2_transfer.transfer import weights

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "data"
FOLDERS = sorted(x.name for x in GOLDEN.iterdir() if x.is_dir())


def make(read: old.Old) -> agent_lib.Agent:
    return agent_lib.make_agent(read.config.update(jit=False), *read.spaces)


@pytest.fixture(scope="module")
def read() -> old.Old:
    return old.read(GOLDEN / "dreamerv2_proprio", obs=["arm:14", "velocity:9"])


@pytest.fixture
def agent(read) -> agent_lib.Agent:
    return make(read)


def values(agent) -> list[np.ndarray]:
    return [variable.numpy() for variable in port.variables(agent).values()]


def test_fills_every_variable(agent, read):
    named = port.variables(agent)
    ours = {v.path for c in agent.components.values() for v in c.variables}
    assert ours | set(agent.state) == set(named)
    port.fill(agent, read.arrays, read.path)
    for value, array in zip(values(agent), read.arrays, strict=True):
        np.testing.assert_array_equal(value, array)


def test_arrays_that_do_not_fit_are_named_and_change_nothing(agent, read):
    before = values(agent)
    arrays = list(read.arrays)
    with pytest.raises(PortError, match="holds 54 arrays, but .* has 55"):
        port.fill(agent, arrays[:-1], "old.pkl")
    arrays[2] = arrays[2].T
    message = r"old.pkl.*array 2 has shape \(16, 24\) and target_critic/dense0/kernel"
    with pytest.raises(PortError, match=message):
        port.fill(agent, arrays, "old.pkl")
    arrays[2] = np.full_like(read.arrays[2], np.nan)
    with pytest.raises(PortError, match=r"array 2, target_critic/dense0/kernel"):
        port.fill(agent, arrays, "old.pkl")
    for a, b in zip(before, values(agent), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("folder", FOLDERS)
def test_there_and_back_again(tmp_path, folder):
    read = old.read(GOLDEN / folder)
    agent = make(read)
    port.fill(agent, read.arrays, read.path)
    port.write(agent, read, tmp_path / "run")
    number = port.reverse(tmp_path / "run", tmp_path / "again.pkl")
    again = pickles.load_variables(tmp_path / "again.pkl")
    assert number == len(again) == len(read.arrays)
    for a, b in zip(again, read.arrays, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_corrections_are_merged_on_the_way_back(tmp_path, read):
    config = read.config.update({"adapter.rank": 2})
    adapted = dataclasses.replace(read, config=config)
    agent = make(adapted)
    for variable in agent.wm.rssm.up:
        variable.assign(np.ones(variable.shape))
    port.write(agent, adapted, tmp_path / "run", port.Extra(table={}))
    assert port.reverse(tmp_path / "run", tmp_path / "old.pkl") == len(read.arrays)
    assert load_config([str(tmp_path / "old.yaml")]).adapter.rank == 0
    plain = make(read)
    port.fill(plain, pickles.load_variables(tmp_path / "old.pkl"), "old.pkl")
    rssm, found = agent.wm.rssm, plain.wm.rssm.obs_dist.kernel.numpy()
    down = next(v for v in rssm.down if "obs_dist" in v.path).numpy()
    expected = rssm.obs_dist.kernel.numpy() + down.sum(1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_port_is_a_whole_folder(tmp_path, agent, read):
    (tmp_path / "run").mkdir()
    port.fill(agent, read.arrays, read.path)
    port.write(agent, read, tmp_path / "run")
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == [
        "actor_critic.weights.h5",
        "config.yaml",
        "ported.json",
        "ported.weights.h5",
        "world_model.weights.h5",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    told = json.loads((tmp_path / "run" / "ported.json").read_text())
    assert list(told["arrays"].items())[2] == ("target_critic/dense0/kernel", "24x16")
    with pytest.raises(PortError, match="run is not empty"):
        port.write(agent, read, tmp_path / "run")


def test_what_a_killed_port_left_behind_is_removed(tmp_path, agent, read, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(os, "getpid", lambda: 2**22 + 1)  # No process has this number.
        left = atomic.temporary_for(tmp_path / "run")
    (left / "train_episodes").mkdir(parents=True)
    (tmp_path / ".run.tmp").mkdir()  # Somebody's own.
    port.write(agent, read, tmp_path / "run")
    assert {path.name for path in tmp_path.iterdir()} == {"run", ".run.tmp"}
    assert not (tmp_path / "run" / "train_episodes").exists()


def test_the_old_episodes_come_along(tmp_path):
    logdir = tmp_path / "old"
    shutil.copytree(GOLDEN / "dreamerv2_proprio", logdir)
    (logdir / "train_episodes").mkdir()
    flags = {k: np.zeros(3, bool) for k in store.FLAGS}
    flags["is_first"][0] = flags["is_last"][-1] = True
    seen = {"arm": np.zeros((3, 14)), "velocity": np.ones((3, 9))}
    numbers = {"action": np.zeros((3, 6)), "reward": np.zeros(3)}
    path = store.save_episode(
        logdir / "train_episodes", {**seen, **numbers, **flags}, "abc"
    )
    read = old.read(logdir)
    port.write(make(read), read, tmp_path / "run")
    copy = tmp_path / "run" / "train_episodes" / path.name
    assert copy.read_bytes() == path.read_bytes()
    assert (store.load_episode(copy)["velocity"] == 1).all()


def test_a_run_that_the_original_cannot_express(tmp_path, agent, read):
    port.write(agent, read, tmp_path / "run")
    config = read.config.update({"encoder.cnn_strides": [1, 1, 1, 1]})
    config.save(tmp_path / "run" / "config.yaml")
    with pytest.raises(PortError, match=r"encoder.cnn_strides=\[1, 1, 1, 1\]"):
        port.reverse(tmp_path / "run", tmp_path / "again.pkl")
    assert not (tmp_path / "again.pkl").exists()


def test_joined_actions_are_refused(tmp_path, read):
    actions = {"action": envs.Joined([(1, 3), (2, 0)])}
    config = read.config.update(jit=False)
    port.write(
        agent_lib.make_agent(config, read.spaces[0], actions), read, tmp_path / "run"
    )
    with pytest.raises(PortError, match=r"Joined\(1 x 3 classes, 2 numbers\), so"):
        port.reverse(tmp_path / "run", tmp_path / "again.pkl")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slow_target": False}, "has target_critic/"),
        ({"pred_discount": True}, "lacks discount"),
        ({"decoder.cnn_dist": "binary"}, "cnn_dist=binary"),
        ({"critic.dist": "symlog_twohot"}, "critic.dist=symlog_twohot"),
        ({"rssm.unimix": 0.01}, "rssm.unimix=0.01"),
        ({"encoder.symlog": True}, "encoder.symlog=True"),
        ({"return_norm.kind": "percentile"}, "return_norm.kind=percentile"),
        ({"obs.action_mask": True}, "obs.action_mask=True"),
    ],
)
def test_a_configuration_of_another_agent(tmp_path, agent, read, changes, message):
    port.write(agent, read, tmp_path / "run")
    read.config.update(changes).save(tmp_path / "run" / "config.yaml")
    with pytest.raises(PortError, match=message):
        port.reverse(tmp_path / "run", tmp_path / "again.pkl")
    assert not (tmp_path / "again.pkl").exists()


def test_nothing_is_written_over(tmp_path, agent, read, monkeypatch):
    port.write(agent, read, tmp_path / "run")
    (tmp_path / "old.pkl").write_bytes(b"precious")
    with pytest.raises(PortError, match="old.pkl exists already"):
        port.reverse(tmp_path / "run", tmp_path / "old.pkl")
    assert (tmp_path / "old.pkl").read_bytes() == b"precious"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert port.reverse(tmp_path / "run", ".") == 55
    assert sorted(x.name for x in (tmp_path / "here").iterdir()) == [
        "variables.pkl",
        "variables.yaml",
    ]


def test_counters_are_integers(agent, read):
    arrays = [np.float64(1.5), *read.arrays[1:]]
    with pytest.raises(PortError, match="array 0, tfstep, is of type float64"):
        port.fill(agent, arrays, "old.pkl")


def test_a_run_without_an_actor_is_named(tmp_path, agent, read):
    port.write(agent, read, tmp_path / "run")
    (tmp_path / "run" / weights.ACTOR_CRITIC).unlink()
    with pytest.raises(checkpoint.CheckpointError, match="actor_critic.weights.h5"):
        port.reverse(tmp_path / "run", tmp_path / "again.pkl")

"""What is wrong with a file is named, and no code of it runs."""

import gzip
import pickle

import numpy as np
import pytest

from dreamerv2_transfer.dqn import agents
from tests import dqn_files, fakes


def refused(path, task=dqn_files.BREAKOUT):
    """Returns the error text, which names the file."""
    with pytest.raises(agents.DqnError) as error:
        agents.load(path, task)
    assert str(path) in str(error.value)
    return str(error.value)


def without(weights, name):
    return {k: v for k, v in weights.items() if k != name}


def test_another_architecture_is_refused(tmp_path):
    path, w = tmp_path / "model_1.weights.h5", dqn_files.own_weights("mlp")
    dqn_files.write_own(path, without(w, "layer2/bias"))
    assert "lacks layer2/bias" in refused(path)
    dqn_files.write_own(path, w | {"layer4/bias": np.zeros(3)})
    assert "layer4/bias in addition" in refused(path)
    dqn_files.write_own(path, w | {"layer2/bias": np.zeros(64, np.float32)})
    assert "layer2/bias has shape (64,), not (128,)" in refused(path)
    dqn_files.write_own(path, w | {"layer2/bias": np.zeros(128, np.int64)})
    assert "layer2/bias holds int64" in refused(path)
    dqn_files.write_own(path, w, "transformer")
    assert "network=transformer" in refused(path)
    dqn_files.write_own(path, w, "conv")
    assert "lacks conv/kernel" in refused(path)


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300])
def test_numbers_that_are_not_finite_are_refused(tmp_path, number):
    w = dqn_files.own_weights("mlp")
    w["layer3/bias"] = np.full(6, number)
    path = dqn_files.write_own(tmp_path / "model_1.weights.h5", w)
    assert "layer3/bias that are not finite" in refused(path)


def test_our_player_of_another_game_is_refused(tmp_path):
    path = tmp_path / "model_1.weights.h5"
    dqn_files.write_own(path, dqn_files.own_weights("mlp"), task="minatar_asterix")
    assert "task=minatar_asterix, not for minatar_breakout" in refused(path)


def test_a_pytorch_player_of_another_game_is_refused(tmp_path):
    state = dqn_files.minatar_state(7)
    path = dqn_files.write_torch(tmp_path / "model_1.pt", state)
    assert "layer1.weight has shape (128, 700), not (128, 400)" in refused(path)
    assert agents.load(path, "minatar_freeway").actions == 6
    state = dqn_files.minatar_state(4, actions=3)
    path = dqn_files.write_torch(tmp_path / "model_2.pt", state)
    assert "layer3.weight has shape (3, 128), not (6, 128)" in refused(path)


@pytest.mark.parametrize("support", [False, True])
def test_an_atari_player_of_another_game_is_refused(tmp_path, support):
    state = {"estimator_state": dqn_files.atari_state(support=support)}
    path = dqn_files.write_torch(tmp_path / "model_1.gz", state)
    outputs = "(204, 512), not (306, 512)" if support else "(4, 512), not (6, 512)"
    assert f"head.2.weight has shape {outputs}" in refused(path, "atari_pong")


def test_a_support_of_other_atoms_is_refused(tmp_path):
    state = dqn_files.atari_state(support=True)
    state["_AtariNet__support"] = state["_AtariNet__support"][:21]
    path = dqn_files.write_torch(tmp_path / "model_1.gz", state)
    assert "__support has shape (21,), not (51,)" in refused(path, "atari_breakout")


def test_an_atari_player_without_its_head_is_refused(tmp_path):
    state = without(dqn_files.atari_state(), "_AtariNet__head.2.bias")
    path = dqn_files.write_torch(tmp_path / "model_1.gz", {"estimator_state": state})
    assert "lacks _AtariNet__head.2.bias" in refused(path, "atari_breakout")


@pytest.mark.parametrize("cut", [0, 4, 100, 5000, -1])
@pytest.mark.parametrize("kind", ["own", "minatar", "atari"])
def test_truncated_files_are_refused(tmp_path, kind, cut):
    task = "atari_breakout" if kind == "atari" else dqn_files.BREAKOUT
    if kind == "own":
        path = dqn_files.write_own(
            tmp_path / "model_1.weights.h5", dqn_files.own_weights("mlp")
        )
    elif kind == "minatar":
        path = dqn_files.write_torch(tmp_path / "model_1.pt", dqn_files.minatar_state())
    else:
        path = dqn_files.write_torch(tmp_path / "model_1.gz", dqn_files.atari_state())
    agents.load(path, task)
    path.write_bytes(path.read_bytes()[:cut])
    refused(path, task)


@pytest.mark.parametrize("name", ["model_1.pt", "model_1.gz"])
def test_a_hostile_pickle_runs_nothing(tmp_path, name):
    path, target = tmp_path / name, tmp_path / "touched"
    content = pickle.dumps({"estimator_state": fakes.Touch(target)})
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    task = "atari_breakout" if path.suffix == ".gz" else dqn_files.BREAKOUT
    assert "None of it was run" in refused(path, task)
    assert not target.exists()
    pickle.loads(content)  # It is hostile indeed.
    assert target.exists()

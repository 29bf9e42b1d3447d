import dataclasses
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks, checkpoint
from dreamerv2_transfer.common.files import torch_file
from dreamerv2_transfer.porting import pydreamer, pydreamer_port
from dreamerv2_transfer.porting.pickles import PortError
from dreamerv2_transfer.transfer import weights
from tests.porting.test_pydreamer import GOLDEN, changed


def make(theirs) -> agent_lib.Agent:
    return agent_lib.Agent(theirs.config.update(jit=False), *theirs.spaces, rng=None)


def with_moments(folder) -> pydreamer.Pydreamer:
    """The reference agent with optimizers: each moment is its parameter's weight."""
    path = changed(folder)
    content = torch_file.read(path)
    state = content["model_state_dict"]
    for i, prefix in enumerate(("wm.", "probe_", "ac.actor.", "ac.critic.")):
        names = [k for k in state if k.startswith(prefix)]
        states = {
            j: {"step": 7, "exp_avg": state[k], "exp_avg_sq": state[k] ** 2}
            for j, k in enumerate(names)
        }
        content[f"optimizer_{i}_state_dict"] = {"state": states}
    torch_file.write(path, content)
    return pydreamer.read(path)


def test_there_and_back_again_with_the_optimizers(tmp_path):
    theirs = with_moments(tmp_path / "theirs")
    assert pydreamer_port.port(theirs, tmp_path / "run")
    table = json.loads((tmp_path / "run" / "ported.json").read_text())
    assert table["step"] == 5
    img_in = "wm.core.cell.z_mlp.weight wm.core.cell.z_mlp.bias "
    img_in += "wm.core.cell.a_mlp.weight"
    assert table["arrays"]["rssm/img_in/kernel"] == img_in
    agent = make(theirs)
    weights.load_ported(tmp_path / "run" / weights.PORTED, agent)
    assert int(agent.tfstep) == 5
    moments = weights.moments(agent)
    variables = {v.path: v for x in agent.components.values() for v in x.variables}
    for name, moment in moments.items():
        kind, _, path = name.partition("/")[2].partition("/")
        if kind == "iterations":
            assert int(moment) == 7
        else:
            wanted = np.asarray(variables[path].value) ** (1 if kind == "m" else 2)
            np.testing.assert_array_equal(moment, wanted)
    number = pydreamer_port.reverse(tmp_path / "run", tmp_path / "back.pt")
    again = pydreamer.read(tmp_path / "back.pt")
    assert number == len(theirs.arrays) + 1 and again.epoch == 5
    assert again.config == theirs.config
    probe = again.optimizers.pop(1), theirs.optimizers.pop(1)
    assert probe[0]["state"] == {}
    for ours, before in zip(again.optimizers, theirs.optimizers, strict=True):
        assert ours["state"].keys() == before["state"].keys()
        for i, kept in before["state"].items():
            for key, value in kept.items():
                np.testing.assert_array_equal(ours["state"][i][key], value)
    for name, array in theirs.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)


def test_steps_that_the_run_logged_come_along(tmp_path):
    theirs = pydreamer.read(changed(tmp_path / "theirs"))
    assert theirs.steps == 0
    folder = tmp_path / "theirs" / "metrics" / "train"
    folder.mkdir(parents=True)
    (folder / "data_steps").write_text("1 3022 0\n2 nan 1\n3\n4 4100 1000\n")
    theirs = pydreamer.read(tmp_path / "theirs")
    assert theirs.summary().startswith("an agent of 5 updates and 4100 steps that")
    pydreamer_port.port(theirs, tmp_path / "run")
    table = json.loads((tmp_path / "run" / "ported.json").read_text())
    assert (table["step"], table["updates"]) == (4100, 5)
    pydreamer_port.reverse(tmp_path / "run", tmp_path / "back.pt")
    assert pydreamer.read(tmp_path / "back.pt").epoch == 5


def test_what_a_run_learned_goes_back_with_its_updates(tmp_path):
    run, theirs = tmp_path / "run", with_moments(tmp_path / "theirs")
    pydreamer_port.port(theirs, run)
    agent = make(theirs)
    agent.task_behavior.updates.assign(3)
    optimizers = {"model": agent.wm.model_opt, **agent.task_behavior.optimizers}
    named = {}
    for name, optimizer in optimizers.items():
        optimizer.moments["iterations"].assign(9)
        named |= checkpoint.named_variables(f"{name}_opt", optimizer.variables)
    bias = agent.wm.model_opt.moments["m/rssm/obs_dist/bias"]
    bias.assign(tf.range(24.0))
    named["more"] = tf.Variable(1.0)
    checkpoint.Checkpoint(run / "checkpoints", named, {}).save(3)
    weights.save_agent(run, agent, step=3)
    pydreamer_port.reverse(run, tmp_path / "back.pt")
    again = pydreamer.read(tmp_path / "back.pt")
    assert again.epoch == 5 + 3
    names = [k for k in again.arrays if k.startswith("wm.")]
    kept = again.optimizers[0]["state"][names.index("wm.core.cell.post_mlp.bias")]
    assert kept["step"] == 9 and kept["exp_avg"].tolist() == [*range(24)]


def test_arrays_that_do_not_fit_are_named_and_change_nothing(tmp_path):
    name = "wm.core.cell.gru.layers.0.weight_hh"
    other = {name: np.zeros((9, 3), np.float32), "wm.more": np.zeros(1, np.float32)}
    theirs = pydreamer.read(changed(tmp_path / "run", **other))
    agent = make(theirs)
    before = [np.asarray(v.value) for v in agent.wm.variables]
    with pytest.raises(PortError) as error:
        pydreamer_port.fill(agent, theirs)
    assert "it has wm.more besides" in str(error.value)
    text = f"{name} has shape (9, 3), the configuration makes (60, 20)"
    assert text in str(error.value) and "--config" in str(error.value)
    for value, variable in zip(before, agent.wm.variables, strict=True):
        np.testing.assert_array_equal(value, variable.value)


def test_a_missing_module_and_moments_that_are_not_finite_are_named(tmp_path):
    whole = with_moments(tmp_path / "whole")
    agent, name = make(whole), "wm.core.cell.prior_mlp.bias"
    arrays = {k: v for k, v in whole.arrays.items() if k != name}
    with pytest.raises(PortError, match=f"configuration: it lacks {name}. Name the"):
        pydreamer_port.fill(agent, dataclasses.replace(whole, arrays=arrays))
    state = whole.optimizers[0]["state"][0]
    state["exp_avg_sq"] = np.full_like(state["exp_avg_sq"], np.inf)
    with pytest.raises(PortError, match="optimizer's model_opt/v/encoder.* not finite"):
        pydreamer_port.fill_optimizers(agent, whole)
    assert not int(agent.wm.model_opt.moments["iterations"])


def test_a_configuration_of_another_size_is_told(tmp_path):
    text = (GOLDEN / "config.yaml").read_text().replace("deter_dim: 20", "deter_dim: 8")
    pathlib.Path(tmp_path / "other.yaml").write_text(text)
    theirs = pydreamer.read(GOLDEN, tmp_path / "other.yaml")
    message = r"weight_ih has shape \(60, 24\), the configuration makes \(24, 24\)"
    with pytest.raises(PortError, match=message):
        pydreamer_port.fill(make(theirs), theirs)


@pytest.mark.parametrize(
    ("key", "value"), [("rssm.act", "silu"), ("obs.action_mask", True)]
)
def test_an_agent_that_pydreamer_would_misread_is_refused(tmp_path, key, value):
    theirs = pydreamer.read(changed(tmp_path / "theirs"))
    pydreamer_port.port(theirs, tmp_path / "run")
    config = blocks.load_old(tmp_path / "run" / "config.yaml")[0]
    config.update({key: value}).save(tmp_path / "run" / "config.yaml")
    with pytest.raises(PortError, match=f"Received: {key}={value}, where pydreamer"):
        pydreamer_port.reverse(tmp_path / "run", tmp_path / "back.pt")

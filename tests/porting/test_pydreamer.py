import pathlib
import shutil

import numpy as np
import pytest

from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.files import torch_file
from dreamerv2_transfer.porting import pydreamer
from dreamerv2_transfer.porting.pickles import PortError

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "data_pydreamer" / "minatar"


def changed(folder, **changes) -> pathlib.Path:
    """A copy of the reference agent whose weights are changed."""
    folder.mkdir()
    shutil.copy(GOLDEN / "config.yaml", folder)
    found = torch_file.read(GOLDEN / "latest.pt")
    state = {**found["model_state_dict"], **changes}
    torch_file.write(folder / "latest.pt", {"epoch": 5, "model_state_dict": state})
    return folder / "latest.pt"


def test_reads_what_an_agent_observes_and_does():
    theirs = pydreamer.read(GOLDEN)
    assert theirs.epoch == 1234 and theirs.obs == {"image": (10, 10, 11)}
    assert not theirs.continuous and theirs.config.task == "minatar_breakout"
    assert theirs.config.minatar_view == "collapsed"
    assert theirs.spaces[0]["image"].dtype == bool
    assert theirs.notes == () and len(theirs.optimizers) == 4
    assert theirs.summary() == (
        "an agent of 1234 updates that observes image (10x10x11) and has 6 discrete "
        "actions"
    )


@pytest.mark.parametrize("place", pydreamer.PLACES)
def test_finds_the_checkpoint_of_a_run_and_its_parameters(tmp_path, place):
    file = tmp_path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(GOLDEN / "latest.pt", file)
    (tmp_path / "params").mkdir()
    for name, value in pydreamer.read(GOLDEN).conf.items():
        (tmp_path / "params" / name).write_text(str(value))
    assert pydreamer.is_checkpoint(tmp_path)
    theirs = pydreamer.read(tmp_path)
    assert theirs.path == file and theirs.config == pydreamer.read(GOLDEN).config


def test_probe_heads_are_named_and_left_out(tmp_path):
    one = np.ones(1, np.float32)
    parts = {"probe_model.net.weight": one, "wm.ac_aux.actor.model.0.weight": one}
    theirs = pydreamer.read(changed(tmp_path / "run", **parts))
    assert not {*parts} & {*theirs.arrays}
    assert theirs.notes[0] == "Left out: the probe heads (1 arrays of probe_model.*)."
    assert "auxiliary critic" in theirs.notes[1]


def test_weights_that_are_not_finite_are_named(tmp_path):
    name = "wm.core.cell.z_mlp.bias"
    path = changed(tmp_path / "run", **{name: np.full(24, np.nan, np.float32)})
    with pytest.raises(PortError, match=f"latest.pt is damaged, .*: {name} has values"):
        pydreamer.read(path)


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(PortError, match=r"has no latest.pt. Name the checkpoint"):
        pydreamer.read(tmp_path)
    torch_file.write(tmp_path / "latest.pt", {"weights": 1})
    with pytest.raises(PortError, match=r"There is no configuration beside .*--config"):
        pydreamer.read(tmp_path)
    with pytest.raises(PortError, match=r"latest.pt is no checkpoint of pydreamer"):
        pydreamer.read(tmp_path, GOLDEN / "config.yaml")


def test_a_game_that_imports_a_module_must_be_trusted(tmp_path):
    path = changed(tmp_path / "run")
    config = path.parent / "config.yaml"
    text = config.read_text().replace("MinAtar/Breakout-v0", "procgen:procgen-v0")
    config.write_text(text)
    with pytest.raises(ConfigError, match="module 'procgen'"):
        pydreamer.read(path)
    theirs = pydreamer.read(path, trust=True)
    assert theirs.config.task == "gym_procgen:procgen-v0"

import json
import pathlib

import numpy as np
import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.porting import pickles, shapes

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "data"
FLAGS = ("is_first", "is_last", "is_terminal")


def read(name: str) -> tuple[list[tuple[int, ...]], dict]:
    arrays = pickles.load_variables(GOLDEN / name / "variables.pkl")
    config = json.loads((GOLDEN / name / "config.json").read_text())
    return [array.shape for array in arrays], config


def find(name: str) -> shapes.Found:
    known, config = read(name)
    explores = config["expl_behavior"] != "greedy"
    return shapes.find(
        known,
        config["expl_behavior"],
        config["disag_models"],
        config["slow_target"] if explores else None,
    )


@pytest.mark.parametrize(
    "folder", sorted(x.name for x in GOLDEN.iterdir() if x.is_dir())
)
def test_finds_all_sizes_of_agents_of_the_original(folder):
    found, inputs = find(folder), np.load(GOLDEN / folder / "inputs.npz")
    config, _ = blocks.load_old(GOLDEN / folder / "config.json")
    assert shapes.differences(found, config) == []
    assert len(found.config) > 15
    sizes = {k: inputs[k].shape[2:] for k in sorted(inputs) if k not in FLAGS}
    assert found.actions == sizes.pop("action")[0]
    assert found.channels == sum(x[2] for x in sizes.values() if len(x) == 3)
    assert found.vectors == tuple(x[0] for x in sizes.values() if len(x) == 1)
    expected = np.load(GOLDEN / folder / "expected.npz")
    assert found.discrete == ("actor_logits" in expected)


def test_says_what_a_configuration_would_need_to_be():
    config, _ = blocks.load_old(GOLDEN / "dreamerv2_atari" / "config.json")
    other = config.update({"rssm.deter": 600, "rssm.stoch": 32, "pred_discount": False})
    told = shapes.differences(find("dreamerv2_atari"), other)
    assert sorted(told) == [
        "pred_discount is False in the configuration and True in the file",
        "rssm.deter is 600 in the configuration and 20 in the file",
        "rssm.stoch x rssm.discrete is 32 x 6 in the configuration and 24 in the file",
    ]


def test_names_the_first_array_that_no_agent_has_there():
    known, _ = read("dreamerv2_atari")
    with pytest.raises(
        pickles.PortError, match=r"array 0 should be the step counter.*\(3,\)"
    ):
        shapes.find([(3,), *known])
    with pytest.raises(
        pickles.PortError, match=r"array 20 should be the magnitude of rewards"
    ):
        shapes.find([*known[:20], *known[21:]])
    with pytest.raises(pickles.PortError, match=r"array 39 .*there is none"):
        shapes.find(known[:39])
    with pytest.raises(
        pickles.PortError, match=r"array \d+ should be the layers of an rssm"
    ):
        shapes.find(known[:-2])


def test_a_head_of_one_normed_layer_is_no_cell():
    known, _ = read("dreamerv2_atari")
    # The arrays from the reward's head on: dense0, norm0 and out of 300 units.
    head = [(44, 300), (300,), (300,), (300,), (300, 1), (1,)]
    found = shapes.find([*known[:45], *head, *known[51:]])
    assert found.config["reward_head.layers"] == 1
    assert found.config["reward_head.norm"] == "layer"
    assert found.config["pred_discount"] is True

import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.porting import observations
from dreamerv2_transfer.porting.pickles import PortError
from dreamerv2_transfer.porting.shapes import Found


def found(channels=0, vectors=()) -> Found:
    return Found({}, channels, vectors, actions=6, discrete=True, latent=16)


def config(block, **keys):
    return blocks.load_config([block]).update({"task": "gym_None-v0", **keys})


def test_reads_names_and_sizes():
    parsed = observations.parse(["image:64x64x1", "position:8"])
    assert parsed == {"image": (64, 64, 1), "position": (8,)}
    with pytest.raises(PortError, match="Received: --obs image:64x64"):
        observations.parse(["image:64x64"])
    with pytest.raises(PortError, match="Received: --obs :8"):
        observations.parse([":8"])


def test_reads_actions():
    assert observations.parse_actions("discrete:6") == (6, True)
    assert observations.parse_actions("continuous:2") == (2, False)
    assert observations.parse_actions("") is None
    with pytest.raises(PortError, match="Received: --actions discrete:0"):
        observations.parse_actions("discrete:0")


def test_spaces_are_those_of_the_shapes():
    obs, actions = observations.make_spaces({"a": (8, 8, 3), "b": (2,)}, 5, False)
    assert (obs["a"].shape, obs["a"].dtype.name) == ((8, 8, 3), "uint8")
    assert (obs["b"].shape, obs["b"].dtype.name) == ((2,), "float32")
    assert {"reward", "is_first", "is_last", "is_terminal"} <= obs.keys()
    assert actions["action"].shape == (5,)


def test_a_pattern_of_one_name_tells_it():
    notes = []
    atari = config("atari", **{"encoder.cnn_keys": "screen$"})
    assert observations.infer(atari, found(channels=1), None, notes) == {
        "screen": (64, 64, 1)
    }
    assert notes == []


def test_names_are_invented_where_any_will_do():
    notes = []
    proprio = config("dmc_proprio")
    seen = observations.infer(proprio, found(vectors=(14, 9)), None, notes)
    assert seen == {"vector0": (14,), "vector1": (9,)}
    assert len(notes) == 1 and "vector0 (14), vector1 (9)" in notes[0]


def test_names_that_a_pattern_hides_are_asked_for():
    proprio = config("dmc_proprio", **{"decoder.mlp_keys": "joint_.*"})
    with pytest.raises(PortError, match=r"observes 2 of kind vector.*joint_.*--obs"):
        observations.infer(proprio, found(vectors=(14, 9)), None, [])


def test_the_game_tells_names_if_its_sizes_are_those_of_the_arrays():
    discrete = config("dmc_vision", task="dummy_discrete").update(
        {"encoder.mlp_keys": ".*", "decoder.mlp_keys": ".*"}
    )
    notes = []
    seen = observations.infer(discrete, found(3, (3,)), None, notes)
    assert seen == {"image": (64, 64, 3), "vector": (3,)} and notes == []
    seen = observations.infer(discrete, found(3, (4,)), None, notes)
    assert seen == {"image": (64, 64, 3), "vector0": (4,)} and len(notes) == 2

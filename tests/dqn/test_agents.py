import numpy as np
import pytest

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.dqn import agents

BREAKOUT = "minatar_breakout"


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("model_1.pkl", BREAKOUT, "with .pt or .weights.h5"),
        ("model_1.gz", BREAKOUT, "with .pt or .weights.h5"),
        ("model_1.pt", "atari_pong", "with .gz"),
        ("model_1.pt", BREAKOUT, "No such file"),
        ("model_1.weights.h5", BREAKOUT, "No such file"),
    ],
)
def test_other_files_are_refused(tmp_path, name, task, message):
    with pytest.raises(agents.DqnError) as error:
        agents.load(tmp_path / name, task)
    assert message in str(error.value) and str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("minatar_brekout", "Did you mean minatar_breakout"),
        ("atari_beamrider", "Did you mean atari_beam_rider"),
        ("gym_CartPole-v1", "MinAtar and Atari"),
    ],
)
def test_an_unknown_game_is_refused(tmp_path, task, message):
    for call in agents.load, agents.find:
        with pytest.raises(agents.DqnError, match=message):
            call(tmp_path, task)


# Where the players are.


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(folder, task):
    return [x.relative_to(folder).as_posix() for x in agents.find(folder, task)]


def test_finds_the_players_of_a_game_in_the_order_of_their_steps(tmp_path):
    touch(
        tmp_path,
        "breakout/model_1000.pt",
        "breakout/model_100.pt",
        "breakout/model_10000.pt",
        "breakout/seed1/model_20.weights.h5",
        "breakout/.model_7.pt.tmp",
        "breakout/model_best.pt",
        "breakout/metrics.jsonl",
        "asterix/model_1.pt",
        "minatar_Breakout/model_5.weights.h5",
    )
    assert found(tmp_path, BREAKOUT) == [
        "breakout/model_100.pt",
        "breakout/model_1000.pt",
        "breakout/model_10000.pt",
        "breakout/seed1/model_20.weights.h5",
        "minatar_Breakout/model_5.weights.h5",
    ]


def test_finds_published_atari_players_below_their_algorithm(tmp_path):
    touch(
        tmp_path,
        "DQN_modern/BeamRider/0/model_50000000.gz",
        "DQN_modern/BeamRider/0/model_00250000.gz",
        "C51_classic/BeamRider/10/model_1.gz",
        "C51_classic/BeamRider/2/model_1.gz",
        "MDQN_modern/Jamesbond/0/model_1.gz",
        "beam_rider/model_3.gz",
        "atari_beam_rider/model_3.gz",
        "beam_rider/model_3.pt",
    )
    assert found(tmp_path, "atari_beam_rider") == [
        "C51_classic/BeamRider/2/model_1.gz",
        "C51_classic/BeamRider/10/model_1.gz",
        "DQN_modern/BeamRider/0/model_00250000.gz",
        "DQN_modern/BeamRider/0/model_50000000.gz",
        "atari_beam_rider/model_3.gz",
        "beam_rider/model_3.gz",
    ]
    for task in "atari_jamesbond", "atari_james_bond":
        assert found(tmp_path, task) == ["MDQN_modern/Jamesbond/0/model_1.gz"]


def test_games_of_two_suites_with_one_name_are_not_mixed(tmp_path):
    touch(tmp_path, "breakout/model_1.pt", "breakout/model_2.gz")
    assert found(tmp_path, BREAKOUT) == ["breakout/model_1.pt"]
    assert found(tmp_path, "atari_breakout") == ["breakout/model_2.gz"]
    touch(tmp_path / "other", "minatar_breakout/model_2.gz")
    with pytest.raises(agents.DqnError):
        agents.find(tmp_path / "other", "atari_breakout")


def test_follows_links_but_not_in_circles(tmp_path):
    touch(tmp_path / "a", "model_1.pt")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "breakout").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "back").symlink_to(tmp_path / "b")
    assert found(tmp_path / "b", BREAKOUT) == ["breakout/model_1.pt"]


def test_says_which_games_there_are_instead(tmp_path):
    touch(
        tmp_path,
        "DQN_modern/Seaquest/0/model_1.gz",
        "asterix/model_1.pt",
        "breakthrough/model_1.pt",
    )
    with pytest.raises(agents.DqnError) as error:
        agents.find(tmp_path, BREAKOUT)
    assert "breakout/**/model_STEPS with .pt or .weights.h5" in str(error.value)
    assert "breakthrough (.pt), Seaquest (.gz), asterix (.pt)." in str(error.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(agents.DqnError, match="no players at all"):
        agents.find(tmp_path / "empty", BREAKOUT)
    with pytest.raises(agents.DqnError, match="There is no folder .*none"):
        agents.find(tmp_path / "none", BREAKOUT)


# The actions of a game.


def test_minimal_actions_among_all_18_of_ale():
    assert agents.full_actions("atari_breakout") == (0, 1, 3, 4)
    assert agents.full_actions("atari_pong") == (0, 1, 3, 4, 11, 12)
    assert agents.full_actions("atari_private_eye") == tuple(range(18))
    assert agents.full_actions("atari_james_bond") == tuple(range(18))
    with pytest.raises(agents.DqnError, match="task=minatar_breakout"):
        agents.full_actions(BREAKOUT)


def test_a_minimal_action_is_the_full_one_that_it_maps_to():
    minimal = envs.make_env("atari_beam_rider")
    full = envs.make_env("atari_beam_rider", all_actions=True)
    mapped = agents.full_actions("atari_beam_rider")
    assert len(mapped) == minimal.action_space.n == 9
    minimal.reset(seed=0)
    full.reset(seed=0)
    for step in range(90):
        one, *_ = minimal.step(step // 10)
        other, *_ = full.step(mapped[step // 10])
        np.testing.assert_array_equal(one["image"], other["image"])


@pytest.mark.parametrize(
    ("task", "actions"),
    [(BREAKOUT, 6), ("minatar_freeway", 6), ("atari_breakout", 4), ("atari_pong", 6)],
)
def test_number_of_actions(task, actions):
    assert agents.minimal_actions(task) == actions
    assert envs.make_env(task).action_space.n == actions


def test_a_missing_rom_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    with pytest.raises(agents.DqnError, match="ROM of atari_tennis cannot be used"):
        agents.minimal_actions("atari_tennis")

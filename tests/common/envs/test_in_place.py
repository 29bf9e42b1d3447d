import numpy as np
import pytest

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.envs import in_place


def played(env, actions, seed=3):
    """Observations, rewards and flags of some actions, a copy's own seed each."""
    obs, _ = env.reset(seed=seed)
    found = [(obs["image"], None, None, None)]
    for action in actions:
        obs, reward, terminated, truncated, _ = env.step(action)
        found.append((obs["image"], reward, terminated, truncated))
    return found


@pytest.mark.parametrize("task", ["minatar_seaquest", "atari_pong"])
def test_copies_play_as_those_of_gymnasium(task):
    ours = envs.make_vector_env(task, 2)
    theirs = envs.make_vector_env(task, 2, restart=True)  # Which is not in place.
    assert isinstance(ours, in_place.InPlaceVectorEnv)
    assert not isinstance(theirs, in_place.InPlaceVectorEnv)
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.action_space == theirs.action_space
    actions = np.random.default_rng(0).integers(6, size=(12, 2))
    for one, other in zip(played(ours, actions), played(theirs, actions), strict=True):
        assert all(map(np.array_equal, one, other))
        assert one[0].dtype == other[0].dtype


def test_observations_are_not_changed_afterwards():
    env = envs.make_vector_env("minatar_breakout", 2)
    first, _ = env.reset(seed=0)
    kept = first["image"].copy()
    env.step(np.array([1, 3]))
    assert np.array_equal(first["image"], kept)


def test_an_episode_that_ended_waits_for_its_reset():
    env = envs.make_vector_env("minatar_breakout", 2, time_limit=2)
    assert env.metadata[in_place.WAITING]
    env.reset(seed=0)
    env.reset(seed=[1, None], options={"reset_mask": np.array([True, False])})
    env.step(np.zeros(2, int))
    obs, _, terminated, truncated, _ = env.step(np.zeros(2, int))
    assert (terminated.tolist(), truncated.tolist()) == ([False] * 2, [True] * 2)
    env.reset(seed=[1, None], options={"reset_mask": np.array([True, False])})
    after, reward, _, truncated, _ = env.step(np.zeros(2, int))
    assert np.array_equal(after["image"][1], obs["image"][1])
    assert not np.array_equal(after["image"][0], obs["image"][0])
    assert truncated.tolist() == [False, False]


def test_copies_are_made_when_they_are_needed():
    made = []

    def make():
        made.append(envs.make_env("minatar_breakout"))
        return made[-1]

    env = in_place.InPlaceVectorEnv(make, 3)
    assert len(env.twins()) == 3 and len(made) == 1
    env.reset(seed=0)
    assert env.envs == made and len(made) == 3
    env.close()


@pytest.mark.parametrize("task", ["minatar_seaquest", "atari_beam_rider"])
def test_twins_take_turns_as_if_each_were_alone(task):
    first = envs.make_env(task)
    twins, alone = [first, first.twin()], [envs.make_env(task) for _ in range(2)]
    actions = np.random.default_rng(0).integers(6, size=12).tolist()
    shape = first.observation_space["image"].shape
    for turn in (actions[:4], actions[4:8], actions[8:]):
        for number in range(2):
            seen = [np.zeros(shape, bool if "minatar" in task else np.uint8)] * 2
            for i, games in enumerate((twins, alone)):
                seen[i] = np.zeros_like(seen[i])
                if turn == actions[:4]:
                    games[number].begin(number, (seen[i],))
                results = [games[number].advance(x, (seen[i],)) for x in turn]
                seen[i] = seen[i].tobytes(), results
            assert seen[0] == seen[1]


def stream(game, other=None, turn=37):
    """A stream's rewards and images; after each turn, `other` plays for 5 steps."""
    rng, its_rng = np.random.default_rng(3), np.random.default_rng(99)
    seen, its = (np.zeros((64, 64, 1), np.uint8) for _ in range(2))
    game.begin(3, (seen,))
    if other:
        other.begin(7, (its,))
    for step in range(1, 2 * turn):
        result = game.advance(int(rng.integers(9)), (seen,))
        yield result, seen.tobytes()
        if other and step % turn == 0:
            for action in its_rng.integers(9, size=5).tolist():
                other.advance(action, (its,))


def test_a_game_that_ale_saves_incompletely_has_a_console_of_its_own():
    task = "atari_tic_tac_toe_3d"  # It thinks for longer than a frame.
    game = envs.make_env(task, all_actions=True)
    alone = envs.make_env(task, all_actions=True)
    assert [*stream(game.twin(), game)] == [*stream(alone)]


def test_frames_that_are_read_at_once_are_not_those_of_a_shared_console():
    for repeat, shares in ((1, False), (2, False), (3, True)):
        game = envs.make_env("atari_pong", action_repeat=repeat)
        assert (game.twin()._console is game._console) == shares


def test_seeds_count_on_from_the_first_and_a_mask_says_whom_to_reset():
    seeds, mask = in_place.resets(3, 7, None)
    assert (seeds, mask.tolist()) == ([7, 8, 9], [True, True, True])
    seeds, mask = in_place.resets(2, None, {"reset_mask": np.array([False, True])})
    assert (seeds, mask.tolist()) == ([None, None], [False, True])
    assert in_place.resets(2, [5, None], None)[0] == [5, None]

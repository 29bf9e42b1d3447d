import numpy as np
import pytest
from gymnasium import spaces

from dreamerv2_transfer.common import driver, envs
from dreamerv2_transfer.common.envs import Joined
from dreamerv2_transfer.data import policies
from dreamerv2_transfer.data.policies import MixedPolicy, Schedule
from tests import fakes


def player(space, schedule=None, actors=(None,), number=1, is_masked=False, **kwargs):
    vector = envs.make_vector_env(lambda: envs.Dummy(space), number)
    vector.metadata = {**vector.metadata, envs.IS_MASKED: is_masked}
    schedule = schedule or Schedule((1.0,), 10, (5,))
    made = MixedPolicy(vector, schedule, actors, [(0, 0)] * number, **kwargs)
    for worker in range(number):
        made.start(worker)
    return made


def test_a_turn_lasts_an_interval():
    schedule = Schedule((0.5, 0.5), 7, (3,))
    who = [schedule.at(2, step) for step in range(700)]
    assert {len(set(who[i : i + 7])) for i in range(0, 700, 7)} == {1}
    assert 0.3 < np.mean(who) < 0.7


def test_draws_depend_on_key_stream_and_turn():
    drawn = [
        [Schedule((0.5, 0.5), 1, (key,)).at(stream, step) for step in range(64)]
        for key, stream in [(3, 0), (3, 0), (4, 0), (3, 1)]
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert drawn[0] != drawn[3]


def test_shares_are_those_of_the_turns():
    schedule = Schedule((0.2, 0.5, 0.3), 1, (0,))
    counts = np.bincount([schedule.at(0, step) for step in range(5000)])
    assert np.abs(counts / 5000 - [0.2, 0.5, 0.3]).max() < 0.02


def test_counts_are_those_of_the_steps():
    schedule = Schedule((0.4, 0.6), 6, (1,))
    for steps in (0, 1, 6, 47):
        who = [schedule.at(3, step) for step in range(steps)]
        counted = [who.count(0), who.count(1)]
        assert schedule.counts(3, steps).tolist() == counted


@pytest.mark.parametrize(
    ("weights", "agents", "wanted"),
    [
        ((0.2, 0.8), ["a", "b"], [0.2, 0.4, 0.4]),
        ((1, 3), ["a"], [0.25, 0.75]),
        ((0.2, 0.8), [], [1.0]),
        ((0, 1), ["a", "b"], [0.0, 0.5, 0.5]),
    ],
)
def test_agents_share_their_weight(weights, agents, wanted):
    random, dqn = weights
    assert policies.shares({"random": random, "dqn": dqn}, agents) == wanted


@pytest.mark.parametrize("weights", [(0, 0), (-1, 2)])
def test_weights_that_are_none(weights):
    random, dqn = weights
    with pytest.raises(ValueError, match="Received"):
        policies.shares({"random": random, "dqn": dqn}, [])


def test_actions_without_bounds_are_drawn_as_the_agents():
    low = np.array([-np.inf, 0, -1, 2], np.float32)
    high = np.array([np.inf, np.inf, 1, 4], np.float32)
    # What has bounds on both sides arrives rescaled to -1 and 1.
    play = player(spaces.Box(low, high, dtype=np.float32))
    actions = np.concatenate([play({}, None)[0]["action"] for _ in range(500)])
    assert actions.shape == (500, 4)
    assert (np.abs(actions) <= 1).all()
    assert np.abs(actions.mean(0)).max() < 0.1
    assert np.abs(actions.std(0) - 3**-0.5).max() < 0.05


def test_joined_actions_are_drawn_by_part():
    policy = player(Joined([(2, 3), (1, 0)]))
    drawn = np.array([policy({}, None)[0]["action"][0] for _ in range(300)])
    assert policy._space.is_onehot(drawn).all()
    np.testing.assert_allclose(drawn[:, :6].mean(0), 1 / 3, atol=0.1)
    assert len(np.unique(drawn[:, 6])) == 300


@pytest.mark.parametrize("space", [spaces.Discrete(3), Joined([(1, 3)])])
def test_random_play_keeps_to_masks(space):
    policy = player(space, number=2, is_masked=True)
    masks = np.float32([[0, 1, 1], [1, 0, 0]])
    drawn = [policy({"action_mask": masks}, None)[0]["action"] for _ in range(100)]
    means = np.mean(drawn, 0)
    assert means[1].tolist() == [1, 0, 0] and means[0, 0] == 0
    np.testing.assert_allclose(means[0, 1:], 0.5, atol=0.2)


@pytest.mark.parametrize("space", [spaces.Discrete(3), Joined([(1, 3)])])
def test_an_observation_called_action_mask_is_not_a_mask_by_default(space):
    seen = {"action_mask": np.zeros((1, 5), np.float32)}
    drawn = [player(space)(obs, None)[0]["action"].tolist() for obs in (seen, {})]
    assert drawn[0] == drawn[1]


def test_an_episode_is_seeded_by_its_stream_and_number():
    play = player(spaces.Discrete(6), number=2)
    seeds = [play.start(0), play.start(0), play.start(1)]
    assert len(set(seeds)) == 3
    again = player(spaces.Discrete(6), number=2)
    assert [again.start(0), again.start(0), again.start(1)] == seeds


@pytest.mark.parametrize("together", [1, 4])
def test_actors_act_in_the_rows_whose_turn_it_is(monkeypatch, together):
    monkeypatch.setattr(policies, "TOGETHER", together)
    seen = []

    def actor(images, screens):
        seen.append(images)
        return np.full(len(images), 4)

    schedule = Schedule((0.5, 0.5), 1, (0,))
    play = player(spaces.Discrete(6), schedule, (None, actor), number=3)
    images = np.arange(3)[:, None]
    for step in range(20):
        turns = [schedule.at(worker, step) for worker in range(3)]
        seen.clear()
        outputs, _ = play({"image": images}, None)
        rows = np.flatnonzero(turns)
        assert np.array_equal(outputs["action"][rows].argmax(1), [4] * len(rows))
        alone = [[[row]] for row in rows.tolist()]
        if together == 1 and alone:
            alone = [sum(alone, [])]
        assert [image.tolist() for image in seen] == alone
    assert play.acted(0).tolist() == [-1, *(schedule.at(0, i) for i in range(20))]
    assert play.steps == [20, 20, 20]


def test_screens_are_stacked_since_the_episodes_start():
    seen = []

    def actor(images, screens):
        seen.append(screens[:, :, 0, 0].tolist())
        return np.zeros(len(images), int)

    play = player(spaces.Discrete(6), actors=(actor,))
    for number, is_first in [(1, True), (2, False), (3, True), (4, False), (5, False)]:
        screen = np.full((1, 84, 84), number, np.uint8)
        obs = {"image": np.zeros((1, 1)), "log_screen": screen}
        play(obs | {"is_first": np.array([is_first])}, None)
    assert seen == [
        [[0, 0, 0, 1]],
        [[0, 0, 1, 2]],
        [[0, 0, 0, 3]],
        [[0, 0, 3, 4]],
        [[0, 3, 4, 5]],
    ]


def test_stream_goes_on_where_it_is_told():
    schedule = Schedule((0.5, 0.5), 1, (0,))
    play = player(spaces.Discrete(6), schedule, (None, None))
    play.seek(0, 7, 100)
    seed = play.start(0)
    play({}, None)
    assert play.acted(0).tolist() == [-1, schedule.at(0, 100)]
    other = player(spaces.Discrete(6), schedule, (None, None))
    for _ in range(6):
        other.start(0)
    assert other.start(0) == seed


def test_driver_keeps_no_screens():
    def make():
        keys = {"image": fakes.FLOATS, "log_screen": fakes.FLOATS}
        value = {key: fakes.GOOD for key in keys}
        return fakes.Scripted(
            steps=[value] * 3, space=spaces.Dict(keys), first=value, done=True
        )

    vector = envs.make_vector_env(make, 1)
    drive = driver.Driver(vector, unkept=("log_screen",))
    episodes, seen = [], []
    drive.on_episode(lambda episode, worker: episodes.append(episode))

    def policy(obs, state):
        seen.append("log_screen" in obs)
        return {"action": np.eye(2)[[0]]}, state

    drive(policy, episodes=1)
    assert seen == [True]
    assert "image" in episodes[0]
    assert "log_screen" not in episodes[0]

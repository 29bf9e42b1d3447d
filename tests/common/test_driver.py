import json

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dreamerv2_transfer.common import driver, envs, errors
from tests import fakes


def onehot(obs, state):
    """Takes action 0, 1, 2, ... in all environments, and counts its calls."""
    state = (state or 0) + 1
    action = np.zeros((len(obs["reward"]), 6), np.float32)
    action[:, (state - 1) % 6] = 1
    return {"action": action}, state


def drive(number=2, task="dummy_discrete", policy=onehot, time_limit=0, **amount):
    env = envs.make_vector_env(task, number, time_limit=time_limit)
    made = {"step": [], "reset": [], "episode": []}
    drive = driver.Driver(env)
    drive.on_step(lambda tran, worker: made["step"].append((worker, tran)))
    drive.on_reset(lambda tran, worker: made["reset"].append((worker, tran)))
    drive.on_episode(lambda ep, worker: made["episode"].append((worker, ep)))
    drive(policy, **amount)
    return made


def test_episode_holds_every_observation_and_no_phantom_step():
    made = drive(episodes=4)
    assert [worker for worker, _ in made["episode"]] == [0, 1, 0, 1]
    for _, episode in made["episode"]:
        assert episode["vector"][:, 0].tolist() == list(range(11))
        assert episode["image"][:, 0, 0, 0].tolist() == list(range(11))
        assert episode["reward"].tolist() == list(range(11))
        assert episode["is_first"].tolist() == [True] + [False] * 10
        assert episode["is_last"].tolist() == [False] * 10 + [True]
        assert episode["is_terminal"].tolist() == [False] * 10 + [True]
    assert len(made["step"]) == 40
    assert len(made["reset"]) == 4


def test_action_stands_beside_the_observation_it_led_to():
    _, episode = drive(episodes=1)["episode"][0]
    assert not episode["action"][0].any()
    assert episode["action"][1:].argmax(1).tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    assert episode["action"].sum(1).tolist() == [0] + [1] * 10


def test_types_are_those_of_stored_episodes():
    _, episode = drive(episodes=1)["episode"][0]
    types = {key: value.dtype.name for key, value in episode.items()}
    assert types == {
        "image": "uint8",
        "vector": "float32",
        "reward": "float32",
        "is_first": "bool",
        "is_last": "bool",
        "is_terminal": "bool",
        "action": "float32",
    }


def test_time_limit_is_last_but_not_terminal():
    _, episode = drive(episodes=1, time_limit=4)["episode"][0]
    assert episode["is_last"].tolist() == [False] * 4 + [True]
    assert not episode["is_terminal"].any()


def test_steps_are_counted_over_all_environments():
    assert len(drive(number=3, steps=7)["step"]) == 9
    assert len(drive(number=3, steps=9)["step"]) == 9


def test_policy_sees_first_flags_and_keeps_its_state_between_calls():
    seen = []

    def policy(obs, state):
        seen.append((obs["is_first"].tolist(), obs["reward"].tolist(), state))
        return onehot(obs, state)

    drive = driver.Driver(envs.make_vector_env("dummy_discrete", 2))
    drive(policy, steps=4)
    drive(policy, steps=18)
    assert seen[:2] == [([True, True], [0, 0], None), ([False, False], [1, 1], 1)]
    assert seen[10] == ([True, True], [0, 0], 10)


def test_environments_end_at_different_times():
    games = envs.make_vector_env("minatar_breakout", 4)
    drive, episodes = driver.Driver(games, seeds=lambda worker: worker), {}
    drive.on_episode(lambda ep, worker: episodes.setdefault(worker, []).append(ep))
    drive(onehot, episodes=30)
    assert sorted(episodes) == [0, 1, 2, 3]
    for made in episodes.values():
        for episode in made:
            assert episode["is_first"].tolist().index(True) == 0
            assert episode["is_first"].sum() == episode["is_last"].sum() == 1
            assert episode["is_last"][-1]
            assert np.array_equal(episode["image"][0], made[0]["image"][0])


def test_episodes_are_not_changed_afterwards():
    first = drive(episodes=1)["episode"][0][1]
    more = drive(episodes=5)["episode"][0][1]
    assert np.array_equal(first["image"], more["image"])


@pytest.mark.parametrize(
    "action", [[1, 1, 0, 0, 0, 0], [0, 0.5, 0, 0, 0, 0], [0] * 6, [1, -1, 0, 0, 0, 0]]
)
def test_invalid_actions_are_refused(action):
    with pytest.raises(ValueError, match="one-hot"):
        drive(policy=lambda obs, state: ({"action": [action] * 2}, state), steps=1)


def test_policy_sees_the_reward_of_those_that_go_on_at_a_reset():
    seen = []

    def policy(obs, state):
        seen.append((obs["reward"].tolist(), obs["is_first"].tolist()))
        return onehot(obs, state)

    actions = gymnasium.spaces.Discrete(6)
    made = [lambda: envs.Dummy(actions, 3), lambda: envs.Dummy(actions, 10)]
    mode = gymnasium.vector.AutoresetMode.DISABLED
    env = gymnasium.vector.SyncVectorEnv(made, autoreset_mode=mode)
    driver.Driver(env)(policy, steps=8)
    assert seen[2:] == [([2, 2], [False, False]), ([0, 3], [True, False])]


def test_continuous_actions_pass_through():
    action = np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 6)
    made = drive(
        task="dummy_continuous",
        policy=lambda obs, state: ({"action": action}, state),
        steps=2,
    )
    assert np.array_equal(made["step"][1][1]["action"], action[1])


def test_environments_that_reset_by_themselves_are_refused():
    env = gymnasium.vector.SyncVectorEnv([lambda: envs.make_env("dummy_discrete")])
    with pytest.raises(ValueError, match="autoreset_mode"):
        driver.Driver(env)


def random_actions(number, skip=0):
    """Returns a policy of random actions that skips those of the first calls."""
    rng = np.random.default_rng(0)
    actions = np.eye(6, dtype=np.float32)[rng.integers(6, size=(3000, number))]

    def policy(obs, state):
        position = skip if state is None else state
        return {"action": actions[position]}, position + 1

    return policy


def seeded(task, number, begun=0, make=envs.make_vector_env):
    """Returns a driver with a seed per episode, and what its callbacks receive."""
    calls = []
    seeds = iter(range(begun, 10_000))
    drive = driver.Driver(make(task, number), seeds=lambda worker: next(seeds))
    for name in ("reset", "step", "restore"):
        add = getattr(drive, f"on_{name}")
        add(lambda tran, worker, name=name: calls.append((name, worker, tran)))
    drive.on_episode(lambda ep, worker: calls.append(("episode", worker, ep)))
    drive.on_drop(lambda worker: calls.append(("drop", worker, {})))
    return drive, calls


def assert_same_calls(one, other):
    assert [call[:2] for call in one] == [call[:2] for call in other]
    for (*_, left), (*_, right) in zip(one, other, strict=True):
        assert left.keys() == right.keys()
        for key in left:
            assert np.array_equal(left[key], right[key]), key
            assert left[key].dtype == right[key].dtype


def named(calls, *names):
    return [call for call in calls if call[0] in names]


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize(
    ("task", "before"),
    [
        ("dummy_discrete", 14),
        ("dummy_discrete", 20),
        ("minatar_seaquest", 200),
        ("minatar_space_invaders", 333),
    ],
)
def test_goes_on_in_fresh_environments(task, before, number):
    drive, calls = seeded(task, number)
    drive(random_actions(number), steps=before * number)
    state = json.loads(json.dumps(drive.state()))
    begun = len(named(calls, "reset"))
    made = len(calls)
    drive(random_actions(number), steps=200 * number)

    again, repeated = seeded(task, number, begun)
    again.load_state(state)
    restored = named(repeated, "restore")
    assert len(restored) == len(repeated)
    again(random_actions(number, skip=before), steps=200 * number)
    assert_same_calls(calls[made:], repeated[len(restored) :])
    for worker in range(number):
        of_worker = [x for x in calls[:made] if x[1] == worker]
        since = [i for i, call in enumerate(of_worker) if call[0] == "reset"][-1]
        ended = of_worker[-1][0] == "episode"
        expected = [] if ended else [x[2] for x in of_worker[since:]]
        actual = [x[2] for x in restored if x[1] == worker]
        assert len(actual) == len(expected)
        for left, right in zip(expected, actual, strict=True):
            assert all(np.array_equal(left[key], right[key]) for key in left)


def test_environments_of_different_ages_go_on():
    drive, calls = seeded("minatar_breakout", 3)
    policy = random_actions(3)
    while len({len(x["actions"]) for x in drive.state()["episodes"] if x}) < 3:
        drive(policy, steps=3)
    state, position = drive.state(), drive.policy_state
    begun, made = len(named(calls, "reset")), len(calls)
    drive(policy, steps=300)
    again, repeated = seeded("minatar_breakout", 3, begun)
    again.load_state(state)
    again.policy_state = position
    restored = len(repeated)
    again(policy, steps=300)
    assert_same_calls(calls[made:], repeated[restored:])


def test_continuous_actions_are_repeated():
    def policy(obs, state):
        state = state or 0
        return {"action": np.full((2, 6), state / 30, np.float32)}, state + 1

    drive, calls = seeded("dummy_continuous", 2)
    drive(policy, steps=8)
    again, repeated = seeded("dummy_continuous", 2, begun=2)
    again.load_state(json.loads(json.dumps(drive.state())))
    before = sorted(named(calls, "reset", "step"), key=lambda call: call[1])
    for (*_, left), (*_, right) in zip(before, repeated, strict=True):
        assert np.array_equal(left["action"], right["action"])
    assert again.state() == drive.state()


def test_state_tells_seed_and_actions_and_who_waits():
    drive, _ = seeded("dummy_discrete", 2)
    assert drive.state() == {"episodes": [None, None]}
    drive(onehot, steps=6)
    first, second = drive.state()["episodes"]
    assert (first["seed"], first["actions"]) == (0, [0, 1, 2])
    assert (second["seed"], second["actions"]) == (1, [0, 1, 2])
    drive(onehot, steps=14)
    assert drive.state() == {"episodes": [None, None]}


def test_a_state_can_be_taken_again_and_again():
    drive, _ = seeded("minatar_seaquest", 2)
    other, _ = seeded("minatar_seaquest", 2)
    for _ in range(5):
        drive(random_actions(2), steps=20)
        drive.state()
    other(random_actions(2), steps=20)
    for _ in range(4):
        other(random_actions(2), steps=20)
    assert drive.state() == other.state()


def test_an_episode_without_a_seed_is_dropped(capsys):
    drive = driver.Driver(envs.make_vector_env("dummy_discrete", 1))
    drive(onehot, steps=4)
    again, calls = seeded("dummy_discrete", 1)
    again.load_state(json.loads(json.dumps(drive.state())))
    assert [call[:2] for call in calls] == [("drop", 0)]
    assert "environment 0" in capsys.readouterr().out
    again(onehot, steps=1)
    assert [call[:2] for call in calls[1:]] == [("reset", 0), ("step", 0)]


class Unseeded(envs.Dummy):
    """Ends after the number of steps that the test sets, whatever the seed."""

    lengths = iter(())

    def reset(self, **kwargs):
        self._length = next(self.lengths, 10)
        return super().reset(**kwargs)


@pytest.mark.parametrize("length", [2, 4, 5])
def test_an_environment_that_is_not_deterministic_is_dropped(capsys, length):
    def make(task, number):
        actions = gymnasium.spaces.Discrete(6)
        mode = gymnasium.vector.AutoresetMode.DISABLED
        made = [lambda: envs.Dummy(actions), lambda: Unseeded(actions)]
        return gymnasium.vector.SyncVectorEnv(made, autoreset_mode=mode)

    drive, _ = seeded("", 2, make=make)
    drive(onehot, steps=10)
    again, calls = seeded("", 2, begun=2, make=make)
    Unseeded.lengths = iter([length])
    again.load_state(drive.state())
    dropped = named(calls, "drop")
    assert [call[1] for call in named(calls, "restore")] == [0] * 6
    assert [call[1] for call in dropped] == [1]
    assert "environment 1 cannot" in capsys.readouterr().out
    calls.clear()
    again(onehot, steps=2)
    assert [call[:2] for call in calls] == [("reset", 1), ("step", 0), ("step", 1)]
    assert calls[1][2]["reward"] == 6
    assert calls[2][2]["reward"] == 1


def test_another_number_of_environments_is_refused():
    drive, _ = seeded("dummy_discrete", 2)
    with pytest.raises(errors.UserError, match="envs=2. Received: envs=3"):
        seeded("dummy_discrete", 3)[0].load_state(drive.state())


def test_an_observation_called_action_mask_is_not_a_mask_by_default():
    space = spaces.Dict({"action_mask": spaces.Box(-9, 9, (5,)), "x": fakes.FLOATS})
    first = {"action_mask": np.zeros(5, np.float32), "x": fakes.GOOD}

    def make():
        return fakes.Scripted([first] * 9, space, first, spaces.MultiDiscrete([2, 2]))

    vector = envs.make_vector_env(make, 2)
    drive = driver.Driver(vector, seeds=lambda worker: worker)
    chosen = np.float32([[0, 1, 1, 0]] * 2)
    drive(lambda obs, state: ({"action": chosen}, state), steps=6)
    first_of_two = [drive.state()["episodes"][0], None]
    assert first_of_two[0]["actions"] == [[0, 1, 1, 0]] * 3
    drive.load_state({"episodes": first_of_two})
    assert drive.state()["episodes"] == first_of_two


def test_an_environment_that_waits_takes_no_forbidden_action():
    fit = envs.Fit("image", (10, 10), mask=True)
    vector = envs.make_vector_env(fakes.Gate, 2, fit=fit)
    drive = driver.Driver(vector, seeds=lambda worker: worker)

    def allowed(obs, state):
        action = np.eye(3, dtype=np.float32)[obs["action_mask"].argmax(-1)]
        return {"action": action}, state

    drive(allowed, steps=6)
    saved = drive.state()
    assert saved["episodes"][0]["actions"] == [1, 0, 0]
    drive.load_state({"episodes": [saved["episodes"][0], None]})
    assert drive.state()["episodes"][0] == saved["episodes"][0]

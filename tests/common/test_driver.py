import gymnasium
import numpy as np
import pytest

from dreamerv2_transfer.common import driver, envs


def onehot(obs, state):
    """Does action 0, 1, 2, ... in all environments; counts its calls."""
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


def test_invalid_actions_are_refused():
    with pytest.raises(ValueError, match="one-hot"):
        drive(policy=lambda obs, state: ({"action": np.ones((2, 6))}, state), steps=1)


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

import numpy as np
import pytest

from dreamerv2_transfer.common import envs, evaluation


def random_policy(seed=0):
    rng = np.random.default_rng(seed)

    def policy(obs, state):
        number = len(obs["is_first"])
        return {"action": np.eye(6)[rng.integers(6, size=number)]}, state

    return policy


def first_action(obs, state):
    return {"action": np.eye(6)[np.zeros(len(obs["is_first"]), int)]}, state


def play(policy, episodes, envs_number=1, task="minatar_breakout", **options):
    env = envs.make_vector_env(task, envs_number)
    return evaluation.evaluate(policy, env, episodes, **options)


def test_returns_and_lengths_of_whole_episodes():
    # The dummy's reward is the step's number, 1 to 10.
    played = play(first_action, 3, 2, task="dummy_discrete")
    assert played.returns == (55.0, 55.0, 55.0) and played.lengths == (10, 10, 10)
    assert played.summary() == {
        "episodes": 3,
        "return_mean": 55.0,
        "return_ci95": [55.0, 55.0],
        "length_mean": 10.0,
        "seed": 0,
    }


def test_the_same_seed_plays_the_same_episodes():
    first, again = (play(random_policy(), 5, 2, seed=3) for _ in range(2))
    assert first == again
    assert play(random_policy(), 5, 2, seed=4) != first


def test_episodes_depend_on_their_number_and_not_on_how_many_are_played_together():
    # Without noise in the policy, lengths depend only on the environment's seed.
    alone, together = (play(first_action, 8, number) for number in (1, 4))
    assert alone == together
    assert len(set(alone.lengths)) > 1


def test_short_episodes_are_not_favoured():
    numbers = [play(first_action, 2, 4).lengths, play(first_action, 8, 1).lengths[:2]]
    assert numbers[0] == numbers[1]


def test_the_first_episodes_are_kept():
    played = play(random_policy(), 3, 2, keep=2)
    assert [len(x["reward"]) - 1 for x in played.kept] == list(played.lengths[:2])
    assert played.kept[0]["image"].dtype == bool


def test_the_interval_is_that_of_the_mean():
    low, high = evaluation.bootstrap([0.0, 1.0] * 50)
    # The standard error of the mean of 100 coin flips is 0.05.
    assert low == pytest.approx(0.4, abs=0.02) and high == pytest.approx(0.6, abs=0.02)
    assert evaluation.bootstrap([3.0]) == (3.0, 3.0)


def test_metrics_are_scalars():
    metrics = play(first_action, 2, task="dummy_discrete").metrics()
    assert metrics == {
        "episodes": 2,
        "return_mean": 55.0,
        "length_mean": 10.0,
        "return_ci95_low": 55.0,
        "return_ci95_high": 55.0,
    }


def test_episodes_that_take_long_are_told_with_the_remedy(monkeypatch, capsys):
    monkeypatch.setattr(evaluation, "PATIENCE", 0.0)
    play(first_action, 1, task="dummy_discrete")
    lines = capsys.readouterr().out.splitlines()
    assert lines[8] == (
        "Evaluation: 0 of 1 episodes have ended after 9 steps each. If they never "
        "end, set --time_limit."
    )

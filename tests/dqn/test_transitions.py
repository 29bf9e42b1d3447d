import numpy as np
import pytest

from dreamerv2_transfer.dqn.transitions import Transitions

LENGTH = 4


def make(steps=2, envs=1, capacity=10, planes=4):
    return Transitions(capacity, planes, envs, steps, discount=0.5)


def image(value: int) -> np.ndarray:
    """Planes whose first cells are the binary digits of a value."""
    found = np.zeros(1000, bool)
    found[:8] = value >> np.arange(8) & 1
    return found.reshape(10, 10, 10)


def value(planes: np.ndarray) -> np.ndarray:
    digits = planes.reshape(*planes.shape[:-3], -1)[..., :8]
    return (digits * 2 ** np.arange(8)).sum(-1)


def episode(terminal: bool, first: int = 1, length: int = LENGTH) -> list[dict]:
    """States 1, 2, 3, ...; action t and reward 10**t led to state 1+t."""
    return [
        {
            "image": image(first + t),
            "action": np.eye(6, dtype=np.float32)[t % 6] * (t > 0),
            "reward": np.float32(10**t if t else 0),
            "is_first": np.bool_(t == 0),
            "is_last": np.bool_(t == length),
            "is_terminal": np.bool_(terminal and t == length),
        }
        for t in range(length + 1)
    ]


def play(replay: Transitions, steps: list[dict], worker: int = 0) -> None:
    for step in steps:
        replay.add_step(step, worker=worker)


def kept(replay: Transitions) -> list[tuple]:
    """State, action, return, discount and next state of what was kept, in order."""
    rows = np.arange(len(replay))

    class InOrder:
        def integers(self, high, size):
            assert high == len(rows) == size
            return rows

    drawn = replay.sample(InOrder(), 1, len(rows))
    columns = (
        value(drawn["planes"][0]),
        drawn["action"][0],
        drawn["return"][0],
        drawn["discount"][0],
        value(drawn["next_planes"][0]),
    )
    return [tuple(row) for row in zip(*(c.tolist() for c in columns), strict=True)]


def test_a_terminated_episode_is_not_bootstrapped():
    replay = make()
    play(replay, episode(terminal=True))
    assert kept(replay) == [
        (1, 1, 10 + 100 / 2, 0.25, 3),
        (2, 2, 100 + 1000 / 2, 0.25, 4),
        (3, 3, 1000 + 10000 / 2, 0.0, 5),
        (4, 4, 10000, 0.0, 5),
    ]


def test_a_truncated_episode_is_bootstrapped_from_its_last_state():
    replay = make()
    play(replay, episode(terminal=False))
    assert kept(replay)[2:] == [(3, 3, 6000, 0.25, 5), (4, 4, 10000, 0.5, 5)]


def test_single_steps():
    replay = make(steps=1)
    play(replay, episode(terminal=True))
    assert kept(replay) == [
        (1, 1, 10, 0.5, 2),
        (2, 2, 100, 0.5, 3),
        (3, 3, 1000, 0.5, 4),
        (4, 4, 10000, 0.0, 5),
    ]


def test_an_episode_shorter_than_n_steps():
    replay = make(steps=5)
    play(replay, episode(terminal=False, length=2))
    assert kept(replay) == [(1, 1, 60, 0.25, 3), (2, 2, 100, 0.5, 3)]


def test_episodes_do_not_run_into_each_other():
    replay = make()
    play(replay, episode(terminal=True) + episode(terminal=True, first=11))
    assert [row[::4] for row in kept(replay)] == [
        (1, 3),
        (2, 4),
        (3, 5),
        (4, 5),
        (11, 13),
        (12, 14),
        (13, 15),
        (14, 15),
    ]


def test_an_episode_that_breaks_off_leaves_nothing_open():
    replay = make()
    play(replay, episode(terminal=True)[:3] + episode(terminal=True, first=11)[:3])
    assert kept(replay) == [(1, 1, 60, 0.25, 3), (11, 1, 60, 0.25, 13)]


def test_environments_are_kept_apart():
    replay = make(envs=2)
    both = zip(episode(True), episode(True, first=11), strict=True)
    for a, b in both:
        replay.add_step(a, worker=0)
        replay.add_step(b, worker=1)
    assert {row[::4] for row in kept(replay)} == {
        *((1, 3), (2, 4), (3, 5), (4, 5)),
        *((11, 13), (12, 14), (13, 15), (14, 15)),
    }


def test_the_oldest_make_room():
    replay = make(capacity=3)
    play(replay, episode(terminal=True))
    assert len(replay) == 3
    assert [row[0] for row in kept(replay)] == [4, 2, 3]


def test_only_the_planes_of_the_game_are_kept():
    replay = make(planes=4)
    steps = episode(terminal=True)
    for step in steps:
        step["image"] = np.ones((10, 10, 10), bool)
    play(replay, steps)
    drawn = replay.sample(np.random.default_rng(0), 3, 5)
    assert drawn["planes"].shape == drawn["next_planes"].shape == (3, 5, 10, 10, 4)
    assert drawn["planes"].dtype == np.uint8 and drawn["planes"].min() == 1
    assert replay.arrays["planes"].shape == (10, 50)
    assert drawn["action"].shape == (3, 5) and drawn["action"].dtype == np.int32
    assert drawn["return"].shape == (3, 5) and drawn["return"].dtype == np.float32


def test_every_transition_is_drawn_as_often():
    replay = make(capacity=100)
    play(replay, episode(terminal=True))
    drawn = value(replay.sample(np.random.default_rng(0), 4, 1000)["planes"])
    assert np.bincount(drawn.ravel())[1:] == pytest.approx([1000] * 4, abs=100)


@pytest.mark.parametrize("done", [1, 2, 3, 4, 5])
def test_goes_on_from_its_state_as_if_it_had_not_stopped(done):
    steps = episode(terminal=True)
    whole, before, after = make(), make(), make()
    play(whole, steps + steps)
    play(before, steps + steps[:done])
    for key, array in before.arrays.items():
        after.arrays[key][:] = array
    after.load_state(before.state())
    if done < 5:  # An episode in progress is played again.
        for step in steps[:done]:
            after.restore_step(step, worker=0)
    play(after, steps[done:])
    assert kept(after) == kept(whole)

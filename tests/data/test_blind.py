import hashlib

import numpy as np
import pytest

from dreamerv2_transfer.common import driver, envs
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.data import blind
from dreamerv2_transfer.data.collection import Collection, Recipe
from dreamerv2_transfer.data.policies import MixedPolicy, Schedule

ATARI = dict(action_repeat=4, size=(64, 64), grayscale=True, all_actions=True)
MINATAR = dict(time_limit=300, sticky=0.1, ramping=True)


def digest(folder):
    """Number of a folder's episodes, and a digest of their names and all arrays."""
    result, found = hashlib.blake2b(digest_size=16), {}
    for path in folder.glob("*.npz"):
        with np.load(path, allow_pickle=False) as file:
            found[path.name.split("-", 1)[1]] = {key: file[key] for key in file.files}
    for name in sorted(found):
        result.update(name.encode())
        for key, value in sorted(found[name].items()):
            result.update(f"{key} {value.dtype.str} {value.shape};".encode())
            result.update(np.ascontiguousarray(value))
    return len(found), result.hexdigest()


# What commit 00f3381 wrote, which played through Gymnasium's layers.
@pytest.mark.parametrize(
    ("task", "limit", "steps", "expected"),
    [
        ("atari_pong", 40, 160, (4, "cc4d134d413eb31793fad31eed3f32c3")),
        ("atari_beam_rider", 40, 160, (4, "38ede0c4556acd990bd194e15cb9c2fd")),
        ("atari_riverraid", 0, 300, (2, "cffae6c9f77635521262941c0f5f0b55")),
        ("atari_phoenix", 40, 160, (4, "79fd2fbf0bb6d3bf46188f8b318e09b8")),
    ],
)
def test_atari_episodes_are_those_of_the_first_version(
    tmp_path, task, limit, steps, expected
):
    recipe = Recipe(5, 2, {"time_limit": limit, **ATARI})
    Collection(tmp_path, task, recipe).fill(steps, envs.make_vector_env)
    assert digest(tmp_path) == expected


@pytest.mark.parametrize(
    ("game", "expected"),
    [
        ("asterix", (15, "9f0f670be1ee1919dd46bc63a4a767ca")),
        ("breakout", (90, "f9bba0281eaa77455073ec36737a3c26")),
        ("freeway", (6, "017f939457351f451a752d0c53bc4ea2")),
        ("seaquest", (46, "b204741cece395fef9e90ce6389c12d4")),
        ("space_invaders", (20, "d0eebefd0981d74bb234289bb6f73f83")),
    ],
)
def test_minatar_episodes_are_those_of_the_first_version(tmp_path, game, expected):
    recipe = Recipe(5, 3, MINATAR)
    Collection(tmp_path, f"minatar_{game}", recipe).fill(1000, envs.make_vector_env)
    assert digest(tmp_path) == expected


def play(make_driver, task="minatar_breakout", number=2, calls=((400, 0),), **settings):
    env = envs.make_vector_env(task, number, **settings)
    policy = MixedPolicy(env, Schedule((1.0,), 10, (5,)), [None], [(0, 0)] * number)
    drive, episodes = make_driver(env, policy), [[] for _ in range(number)]
    drive.on_episode(lambda episode, worker: episodes[worker].append(episode))
    for steps, wanted in calls:
        drive(policy, steps=steps, episodes=wanted)
    return episodes, policy, drive


def looking(env, policy):
    return driver.Driver(env, policy.start)


@pytest.mark.parametrize("settings", [{}, {"time_limit": 7}])
@pytest.mark.parametrize("calls", [((400, 0),), ((90, 0),) * 3, ((0, 6), (1, 0))])
def test_it_plays_as_the_driver_that_looks(settings, calls):
    ours, *_ = play(blind.BlindDriver, calls=calls, **settings)
    theirs, *_ = play(looking, calls=((2000, 0),), **settings)
    assert min(map(len, ours)) > 1
    for worker in range(2):
        for one, other in zip(ours[worker], theirs[worker], strict=False):
            assert [*one] == [*other]
            for key in one:
                assert np.array_equal(one[key], other[key])
                assert one[key].dtype == other[key].dtype


def test_an_episode_outgrows_the_rows(monkeypatch):
    monkeypatch.setattr(blind, "FIRST_ROWS", 3)
    few, *_ = play(blind.BlindDriver)
    monkeypatch.undo()
    many, *_ = play(blind.BlindDriver)
    assert max(store.eplen(x) for x in few[0]) > 6
    assert all(map(np.array_equal, few[0][0].values(), many[0][0].values()))


def make_mixed(env):
    return MixedPolicy(env, Schedule((1.0,), 10, (5,)), [None], [(0, 0)] * 2)


def play_until_the_first_has_two(drive, policy):
    """Plays 400 steps; stops the first stream at its second end. Returns who ended."""
    ended = []

    def finish(episode, worker):
        ended.append(worker)
        if ended.count(0) == 2:
            drive.stop(0)

    drive.on_episode(finish)
    drive(policy, steps=400)
    return ended


def test_a_stream_stops_while_others_play():
    env = envs.make_vector_env("minatar_breakout", 2)
    policy = make_mixed(env)
    drive = blind.BlindDriver(env, policy)
    ended = play_until_the_first_has_two(drive, policy)
    assert ended.count(0) == 2 < ended.count(1)
    drive.stop(1)
    drive(policy, episodes=1)  # Nothing is left to play.
    assert ended.count(0) == 2


def test_a_stream_of_the_driver_that_looks_stops_too():
    for settings in ({}, {"restart": True}):
        env = envs.make_vector_env("minatar_breakout", 2, **settings)
        policy = make_mixed(env)
        drive = driver.Driver(env, policy.start)
        ended = play_until_the_first_has_two(drive, policy)
        assert ended.count(0) == 2 < ended.count(1)


def test_keys_that_are_not_kept_are_not_in_episodes():
    env = envs.make_vector_env("minatar_breakout", 1)
    policy = MixedPolicy(env, Schedule((1.0,), 10, (5,)), [None], [(0, 0)])
    drive, found = blind.BlindDriver(env, policy, unkept=("image",)), []
    drive.on_episode(lambda episode, worker: found.append(episode))
    drive(policy, episodes=1)
    assert [*found[0]] == [*store.REQUIRED[1:], "action"]


def test_only_random_play_in_place_is_blind():
    env = envs.make_vector_env("minatar_breakout", 1)
    other = envs.make_vector_env("dummy_discrete", 1)
    schedule = Schedule((0.5, 0.5), 10, (5,))
    random = MixedPolicy(env, Schedule((1.0,), 10, (5,)), [None], [(0, 0)])
    mixed = MixedPolicy(env, schedule, [None, lambda *x: [0]], [(0, 0)])
    assert isinstance(blind.make_driver(env, random), blind.BlindDriver)
    assert isinstance(blind.make_driver(other, random), driver.Driver)
    assert isinstance(blind.make_driver(env, mixed), driver.Driver)

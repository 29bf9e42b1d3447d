import json
import shutil

import numpy as np
import pytest

from dreamerv2_transfer.common import driver, envs, replay
from dreamerv2_transfer.common.replay import layout, online, store
from tests import fakes, names, replays
from tests.replays import add, contents, fill, save, spans


def numbers(target, batches=20):
    """Numbers of the episodes that are drawn from."""
    drawn = [target.batch(8, 16)["reward"] // 1000 for _ in range(batches)]
    return np.unique(drawn).astype(int).tolist()


def counts(target):
    return replays.counts(target.stats)


def resume(folder, copy, state, **options):
    """A replay in a copy of the folder, at a state that went through JSON."""
    shutil.copytree(folder, copy)
    resumed = replay.Replay(copy, **options)
    resumed.load_state(json.loads(json.dumps(state)))
    return resumed


def assert_same_batches(one, other, number=20, size=(8, 16)):
    for _ in range(number):
        left, right = one.batch(*size), other.batch(*size)
        assert left.keys() == right.keys()
        for key in left:
            assert np.array_equal(left[key], right[key]), key
            assert left[key].dtype == right[key].dtype


def test_episodes_are_saved_and_counted(tmp_path):
    target = replay.Replay(tmp_path / "new" / "episodes")
    assert counts(target) == (0, 0, 0, 0)
    fill(target, [3, 5])
    assert counts(target) == (8, 2, 8, 2)
    files = sorted((tmp_path / "new" / "episodes").iterdir(), key=store.parse_name)
    assert sorted(store.parse_name(path)[1] for path in files) == [3, 5]
    rewards = sorted(store.load_episode(x)["reward"].tolist() for x in files)
    assert rewards == [[0, 1, 2, 3], [1000, 1001, 1002, 1003, 1004, 1005]]


@pytest.mark.parametrize("name", names.ODD)
def test_any_name_of_a_folder_works(tmp_path, name):
    fill(replay.Replay(tmp_path / name / "train_episodes"), [3, 5])
    assert counts(replay.Replay(tmp_path / name / "train_episodes")) == (8, 2, 8, 2)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_batch_shapes_and_types(tmp_path):
    target = replay.Replay(tmp_path)
    fill(target, [3, 5, 40])
    assert {k: (v.shape, v.dtype.name) for k, v in target.batch(6, 16).items()} == {
        "image": ((6, 16, 10, 10, 10), "bool"),
        "action": ((6, 16, 6), "float32"),
        "reward": ((6, 16), "float32"),
        "is_first": ((6, 16), "bool"),
        "is_last": ((6, 16), "bool"),
        "is_terminal": ((6, 16), "bool"),
    }


def test_all_keys_are_of_the_same_step(tmp_path):
    target = replay.Replay(tmp_path)
    lengths = np.array([3, 5, 40])
    fill(target, lengths)
    for _ in range(10):
        batch = target.batch(6, 16)
        value = batch["reward"].astype(int)
        digits = batch["image"].reshape(6, 16, -1)[..., :16]
        assert np.array_equal(digits @ (1 << np.arange(16)), value)
        start = value % 1000 == 0
        assert np.array_equal(batch["action"].argmax(-1)[~start], value[~start] % 6)
        assert not batch["action"][start].any()
        at_end = value % 1000 == lengths[value // 1000]
        assert np.array_equal(batch["is_last"], at_end)
        assert np.array_equal(batch["is_terminal"], at_end)


@pytest.mark.parametrize(
    "options", [{}, {"maxlen": 7}, {"minlen": 3, "maxlen": 12, "prioritize_ends": True}]
)
def test_steps_follow_each_other_unless_a_piece_starts(tmp_path, options):
    target, end = replay.Replay(tmp_path, **options), None
    fill(target, [3, 5, 40])
    for length in [16, 5, 16, 1, 30] * 6:
        batch = target.batch(6, length)
        value, goes_on = batch["reward"], ~batch["is_first"]
        assert (np.diff(value)[goes_on[:, 1:]] == 1).all()
        assert end is not None or not goes_on[:, 0].any()
        for row in np.flatnonzero(goes_on[:, 0]):
            assert value[row, 0] == end[row] + 1
        end = value[:, -1]


def test_another_number_of_rows_begins_anew(tmp_path):
    target = replay.Replay(tmp_path)
    fill(target, [200])
    assert target.batch(4, 10)["is_first"][:, 0].all()
    assert not target.batch(4, 10)["is_first"].any()
    assert target.batch(3, 10)["is_first"][:, 0].all()


def test_pieces_are_whole_episodes_with_minlen_one(tmp_path):
    target = replay.Replay(tmp_path)
    fill(target, [3, 5])
    batch = target.batch(4, 50)
    assert (batch["reward"][batch["is_first"]] % 1000 == 0).all()
    assert np.array_equal(batch["is_first"][:, 1:], batch["is_last"][:, :-1])


def test_pieces_have_lengths_between_minlen_and_maxlen(tmp_path):
    target = replay.Replay(tmp_path, minlen=4, maxlen=9)
    fill(target, [30])
    first = np.concatenate([target.batch(1, 50)["is_first"][0] for _ in range(40)])
    assert sorted(set(np.diff(np.flatnonzero(first)))) == [6, 7, 8, 9]


@pytest.mark.parametrize(("prioritize", "share"), [(False, 1 / 7), (True, 6 / 12)])
def test_ends_are_likelier_if_prioritized(tmp_path, prioritize, share):
    # Pieces of 5 of 11 transitions have 7 starts; 5 more all mean the last one.
    options = dict(minlen=5, maxlen=5, prioritize_ends=prioritize)
    target = replay.Replay(tmp_path, **options)
    fill(target, [10])
    drawn = target.batch(2000, 5)["reward"][:, 0]
    assert set(drawn) == {0, 1, 2, 3, 4, 5, 6}
    assert np.mean(drawn == 6) == pytest.approx(share, abs=0.04)


def test_each_episode_is_as_likely_as_another(tmp_path):
    target = replay.Replay(tmp_path)
    fill(target, [2, 90])
    first = target.batch(2000, 1)["reward"][:, 0]
    assert np.mean(first == 0) == pytest.approx(0.5, abs=0.04)


def test_each_step_is_as_likely_as_another_if_steps_are_drawn(tmp_path):
    # Of pieces of up to 3: the first episode is one piece, the second has 91 steps.
    target = replay.Replay(tmp_path, maxlen=3, draw="steps")
    fill(target, [2, 90])
    drawn = target.batch(3000, 3)["reward"]
    assert np.mean(drawn < 1000) == pytest.approx(3 / 94, abs=0.01)


def with_rewards(steps, *rewarded):
    made = fakes.episode(steps)
    made["reward"] = np.isin(np.arange(steps + 1), rewarded).astype(np.float32)
    return made


@pytest.mark.parametrize(
    ("share", "expected"), [(0, 1 / 40), (0.5, 0.5 + 0.5 / 40), (1, 1)]
)
def test_a_share_of_the_pieces_holds_a_reward(tmp_path, share, expected):
    """Pieces of one step: of two episodes of 20 transitions, one holds one reward."""
    target = replay.Replay(tmp_path, maxlen=1, rewarded=share)
    add(target, with_rewards(19))
    add(target, with_rewards(19, 7))
    drawn = target.batch(4000, 1)["reward"]
    assert np.mean(drawn) == pytest.approx(expected, abs=0.02)


def test_episodes_in_progress_hold_rewards_too(tmp_path):
    target = replay.Replay(tmp_path, maxlen=2, rewarded=1.0, ongoing=True)
    add(target, with_rewards(9))
    add(target, with_rewards(30, 4, 25), worker=1, stop=11)
    assert target.batch(100, 2)["reward"].any(1).all()
    drop = target.batch(100, 2)["reward"]
    target.drop_ongoing(1)
    assert drop.any() and not target.batch(101, 2)["reward"].any()


def test_without_a_reward_it_is_said_once_and_drawn_as_without(tmp_path, capsys):
    target = replay.Replay(tmp_path / "a", maxlen=9, rewarded=0.5)
    plain = replay.Replay(tmp_path / "b", maxlen=9)
    for one in (target, plain):
        add(one, with_rewards(40))
    capsys.readouterr()
    assert_same_batches(target, plain)
    printed = capsys.readouterr().out
    assert printed.count("No episode of the replay holds a reward yet.") == 1
    add(target, with_rewards(40, 3))
    assert target.batch(50, 9)["reward"].any()


def test_short_episodes_are_not_kept(tmp_path, capsys):
    target = replay.Replay(tmp_path, minlen=4)
    fill(target, [3, 4])
    assert "Skipping short episode of length 3." in capsys.readouterr().out
    assert counts(target) == (4, 1, 4, 1)
    assert [store.parse_name(x)[1] for x in tmp_path.iterdir()] == [4]
    assert numbers(target) == [1]


def test_without_an_episode_there_is_an_error(tmp_path):
    with pytest.raises(store.DatasetError, match="no episode of at least minlen=3"):
        replay.Replay(tmp_path, minlen=3).batch(2, 2)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"capacity": -1}, "capacity=-1"),
        ({"minlen": 0}, "minlen=0"),
        ({"minlen": 5, "maxlen": 4}, "minlen=5, maxlen=4"),
    ],
)
def test_impossible_limits_are_refused(tmp_path, options, named):
    with pytest.raises(store.DatasetError, match=f"Received: {named}"):
        replay.Replay(tmp_path, **options)


def test_unfinished_episodes_are_drawn_from_only_if_ongoing(tmp_path):
    for ongoing, drawn in [(False, [0]), (True, [0, 1, 2])]:
        target = replay.Replay(tmp_path / str(ongoing), ongoing=ongoing, minlen=3)
        add(target, fakes.episode(9, 0))
        add(target, fakes.episode(9, 1), worker=2, stop=4)
        add(target, fakes.episode(9, 2), worker=0, stop=5)
        add(target, fakes.episode(9, 3), worker=1, stop=3)
        assert numbers(target) == drawn
        assert counts(target) == (9, 1, 9, 1)


def test_a_piece_of_an_unfinished_episode_has_its_steps(tmp_path):
    target = replay.Replay(tmp_path, ongoing=True, maxlen=3)
    add(target, fakes.episode(50, 0), stop=20)
    batch = target.batch(500, 3)
    assert (np.diff(batch["reward"]) == 1).all()
    assert set(batch["reward"][:, 0]) == set(range(18))


def test_a_reset_drops_what_was_in_progress(tmp_path):
    target = replay.Replay(tmp_path)
    add(target, fakes.episode(9, 0), stop=5)
    add(target, fakes.episode(4, 1))
    assert counts(target) == (4, 1, 4, 1)


def test_a_step_without_a_reset_is_refused(tmp_path):
    with pytest.raises(ValueError, match="worker=3"):
        add(replay.Replay(tmp_path), fakes.episode(4), worker=3, start=1)


def test_a_row_finishes_the_episode_that_was_dropped(tmp_path):
    target = replay.Replay(tmp_path, capacity=60)
    fill(target, [50])
    assert target.batch(1, 10)["reward"][0, -1] == 9
    fill(target, [50], first=1)
    assert target.batch(1, 41)["reward"][0].tolist() == list(range(10, 51))
    assert numbers(target) == [1]


def test_an_old_folder_is_used_as_it_stands(tmp_path):
    save(tmp_path, [8, 3, 9])
    target = replay.Replay(tmp_path)
    assert counts(target) == (20, 3, 20, 3)
    assert numbers(target) == [0, 1, 2]


def test_short_files_are_counted_but_not_used(tmp_path):
    save(tmp_path, [8, 3, 9])
    target = replay.Replay(tmp_path, minlen=4)
    assert counts(target) == (20, 3, 17, 2)
    assert numbers(target) == [0, 2]


def test_episodes_of_other_shapes_are_refused(tmp_path):
    save(tmp_path, [8])
    old = store.save_episode(tmp_path, fakes.episode(5, image_shape=(10, 10, 4)))
    with pytest.raises(store.DatasetError, match="image is bool") as error:
        replay.Replay(tmp_path).stats  # noqa: B018
    for text in (str(old), "(10, 10, 4)", "(10, 10, 10)"):
        assert text in str(error.value)


def test_a_run_continues_with_episodes_that_have_more_keys(tmp_path, capsys):
    # The original's Atari environment recorded `ram`.
    ram = {"ram": np.zeros((9, 128), np.uint8)}
    store.save_episode(tmp_path, fakes.episode(8) | ram)
    expected = layout.describe(fakes.episode(3))
    target = replay.Replay(tmp_path, expected=expected)
    add(target, fakes.episode(5, 1))
    assert replays.counts(target.stats) == (13, 2, 13, 2)
    assert {*target.batch(4, 6)} == {*expected}
    assert capsys.readouterr().out.count("ram") == 1


def test_a_new_episode_that_could_not_be_loaded_is_refused(tmp_path):
    stamp = {"stamp": 2**40 + np.arange(6)}
    with pytest.raises(store.DatasetError, match="stamp holds 1099511627781, which"):
        add(replay.Replay(tmp_path), fakes.episode(5) | stamp)
    assert list(tmp_path.iterdir()) == []


def test_a_new_episode_of_other_shapes_is_refused_and_not_saved(tmp_path):
    save(tmp_path, [8])
    with pytest.raises(store.DatasetError, match="new episode"):
        add(replay.Replay(tmp_path), fakes.episode(5, image_shape=(10, 10, 4)))
    assert len(list(tmp_path.iterdir())) == 1


def test_the_seed_decides_what_is_drawn(tmp_path):
    save(tmp_path, [30, 40, 50])
    made = [replay.Replay(tmp_path, seed=seed, maxlen=8) for seed in (0, 0, 1)]
    batches = [x.batch(8, 16)["reward"] for x in made]
    assert np.array_equal(batches[0], batches[1])
    assert not np.array_equal(batches[0], batches[2])


# Recorded from commit 00f3381: two batches, the state after them, and the next batch.
# "3033+6" are 6 steps of episode 3, from step 33 on.
RECORDED = [
    ["4002+10 1000+2", "4000+8 11+4", "3009+9 20+3"],
    ["1002+4 11+8", "15+5 1002+4 2001+3", "23+5 2000+7"],
    ["19+2 3030+7 1001+3", "2004+6 3033+6", "2007+3 1000+4 24+5"],
]
RECORDED_STATE = {
    "random": {
        "bit_generator": "PCG64",
        "state": {
            "state": 73898375494991111454392436701687788072,
            "inc": 222003063171874261427395693950637096479,
        },
        "has_uint32": 0,
        "uinteger": 3168989166,
    },
    "next": 5,
    "total_episodes": 4,
    "total_steps": 84,
    "episodes": [
        "0000287be8258a7cd0d3f0a5b99092c0",
        "34e4270471c9f52e6b3ea5e60634af15",
        "f58e5ecfeafd0ede3f0def31b6844205",
        "5c78ee546b30774102f42f1600e82587",
    ],
    "rows": [
        ["0000287be8258a7cd0d3f0a5b99092c0", 19, 21],
        ["f58e5ecfeafd0ede3f0def31b6844205", 4, 10],
        ["f58e5ecfeafd0ede3f0def31b6844205", 7, 10],
    ],
    "ongoing": [[1, 4, "5de0ae4de89327a233fb50be06ed3ac8"]],
}


def as_recorded(folder):
    """An empty replay with the recorded options, and the episode in progress."""
    options = dict(minlen=4, maxlen=10, prioritize_ends=True, ongoing=True, seed=3)
    time = {k: v[:18] for k, v in fakes.episode(25, 4).items()}
    steps = [{k: v[i] for k, v in time.items()} for i in range(18)]
    return replay.Replay(folder, **options), steps


def test_a_seed_draws_the_recorded_batches(tmp_path):
    target, steps = as_recorded(tmp_path)
    fill(target, [30, 5, 9, 40])
    for step in steps:
        target.add_step(step, worker=1)
    assert [spans(target.batch(3, 12)) for _ in range(2)] == RECORDED[:2]
    assert target.state() == RECORDED_STATE
    assert spans(target.batch(3, 12)) == RECORDED[2]


@pytest.mark.parametrize("ongoing", [RECORDED_STATE["ongoing"], [[1, 4]]])
def test_a_recorded_state_is_resumed(tmp_path, ongoing):
    """Also one of version 0.1, which has no identifiers of episodes in progress."""
    fill(as_recorded(tmp_path)[0], [30, 5, 9, 40])
    target, steps = as_recorded(tmp_path)
    target.load_state({**RECORDED_STATE, "ongoing": ongoing})
    for step in steps:
        target.restore_step(step, worker=1)
    assert target.state() == RECORDED_STATE
    assert spans(target.batch(3, 12)) == RECORDED[2]


OPTIONS = [
    {},
    {"maxlen": 7, "minlen": 4, "prioritize_ends": True},
    {"capacity": 60, "maxlen": 20},
    {"ongoing": True, "maxlen": 20},
    {"draw": "steps", "maxlen": 20, "capacity": 60},
    {"draw": "steps", "rewarded": 0.5, "minlen": 4, "maxlen": 7, "ongoing": True},
    {"rewarded": 0.3, "capacity": 60, "maxlen": 9, "prioritize_ends": True},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_resumed_run_draws_the_same_batches(tmp_path, options):
    folder, copy = tmp_path / "a", tmp_path / "b"
    save(folder, [30, 3, 40])
    target = replay.Replay(folder, **options)
    fill(target, [20, 5, 7, 30], first=3)
    unfinished = fakes.episode(45, 7), fakes.episode(25, 8)
    add(target, unfinished[0], worker=1, stop=30)
    add(target, unfinished[1], worker=0, stop=12)
    target.batch(8, 16)
    state = json.loads(json.dumps(target.state()))
    expected = counts(target)
    # What the run does before it is killed.
    first = [target.batch(8, 16) for _ in range(3)]
    add(target, unfinished[0], worker=1, start=30)
    fill(target, [33, 12], first=9)
    there = contents(folder)

    resumed = resume(folder, copy, state, **options)
    for worker, stop in [(1, 30), (0, 12)]:
        for time in range(stop):
            steps = unfinished[1 - worker].items()
            resumed.restore_step({k: v[time] for k, v in steps}, worker=worker)
    assert counts(resumed) == expected
    for batch in first:
        again = resumed.batch(8, 16)
        assert all(np.array_equal(batch[key], again[key]) for key in batch)
    add(resumed, unfinished[0], worker=1, start=30)
    fill(resumed, [33, 12], first=9)
    assert contents(copy) == there
    for one in (target, resumed):
        fill(one, [14], first=11)
        add(one, unfinished[1], worker=0, stop=20)
    assert counts(resumed) == counts(target)
    assert_same_batches(target, resumed)
    assert resumed.damaged == ()


def test_a_state_can_be_taken_at_once_from_a_resumed_run(tmp_path):
    target = replay.Replay(tmp_path / "a", maxlen=20)
    fill(target, [30, 40])
    target.batch(8, 16)
    state = target.state()
    resumed = resume(tmp_path / "a", tmp_path / "b", state, maxlen=20)
    assert resumed.state() == state


def test_later_episodes_are_no_part_of_the_state(tmp_path):
    target = replay.Replay(tmp_path / "a")
    fill(target, [10, 20])
    state = target.state()
    fill(target, [30, 40], first=2)
    resumed = resume(tmp_path / "a", tmp_path / "b", state)
    assert counts(resumed) == (30, 2, 30, 2)
    assert numbers(resumed) == [0, 1]


def test_an_episode_that_comes_out_differently_is_kept_beside_the_former(tmp_path):
    target = replay.Replay(tmp_path / "a")
    fill(target, [10])
    state = target.state()
    fill(target, [30], first=1)
    resumed = resume(tmp_path / "a", tmp_path / "b", state)
    before = contents(tmp_path / "b")
    fill(resumed, [25], first=2)
    after = contents(tmp_path / "b")
    assert len(after) == 3
    assert before.items() <= after.items()
    assert counts(resumed) == (65, 3, 65, 3)
    assert numbers(resumed) == [0, 1, 2]
    # And once more, from the state before: the third time finds two of them.
    again = resume(tmp_path / "b", tmp_path / "c", state)
    fill(again, [25], first=2)
    assert contents(tmp_path / "c") == after
    assert counts(again) == (65, 3, 65, 3)
    # And the state after it tells of all three.
    later = resume(tmp_path / "b", tmp_path / "d", resumed.state())
    assert_same_batches(resumed, later)


def test_a_run_without_a_state_uses_what_it_left_and_does_not_double_it(tmp_path):
    fill(replay.Replay(tmp_path), [10, 20])
    before = contents(tmp_path)
    again = replay.Replay(tmp_path)
    fill(again, [10, 20, 30])
    assert counts(again) == (60, 3, 60, 3)
    assert before.items() <= contents(tmp_path).items()


def test_the_end_of_a_dropped_episode_is_taken_in(tmp_path):
    """A killed run reported it; the environment cannot bring it back."""
    target = replay.Replay(tmp_path / "run")
    fill(target, [5])
    add(target, fakes.episode(7, 1), stop=3)
    state = target.state()
    add(target, fakes.episode(7, 1), start=3)
    resumed = resume(tmp_path / "run", tmp_path / "copy", state)
    assert counts(resumed) == (5, 1, 5, 1)
    resumed.drop_ongoing()
    assert counts(resumed) == (12, 2, 12, 2) and numbers(resumed) == [0, 1]
    fill(resumed, [4], first=2)
    assert counts(resumed) == (16, 3, 16, 3)


def test_a_row_stays_in_its_attempt_of_an_episode(tmp_path):
    """Two kills, and play that differs after the first one."""
    game, other = fakes.episode(60, 0), fakes.episode(60, 5)
    target = replay.Replay(tmp_path / "a", ongoing=True)
    add(target, game, stop=40)
    state = target.state()
    add(target, game, start=40)
    resumed = resume(tmp_path / "a", tmp_path / "b", state, ongoing=True)
    for time in range(40):
        resumed.restore_step({k: v[time] for k, v in game.items()})
    add(resumed, other, start=40, stop=58)
    resumed.batch(8, 3)
    add(resumed, other, start=58)
    again = resume(tmp_path / "b", tmp_path / "c", resumed.state(), ongoing=True)
    assert_same_batches(resumed, again, size=(8, 3))


@pytest.mark.parametrize("other", [0, 5])
def test_an_ongoing_episode_of_a_number_that_has_files_is_not_mixed_up(tmp_path, other):
    """A run without a state plays on beside what it left, again or differently."""
    fill(replay.Replay(tmp_path / "a"), [60])
    target = replay.Replay(tmp_path / "a", ongoing=True)
    episode = fakes.episode(60, other)
    add(target, episode, stop=50)
    target.batch(16, 3)
    state = target.state()
    add(target, episode, start=50)
    later = resume(tmp_path / "a", tmp_path / "b", target.state(), ongoing=True)
    again = resume(tmp_path / "a", tmp_path / "c", state, ongoing=True)
    for time in range(50):
        again.restore_step({k: v[time] for k, v in episode.items()})
    add(again, episode, start=50)
    for _ in range(20):
        one, two, three = (x.batch(16, 3)["reward"] for x in (target, later, again))
        assert np.array_equal(one, two) and np.array_equal(one, three)


def test_missing_and_damaged_files_are_named_at_resume(tmp_path, capsys):
    target = replay.Replay(tmp_path / "a")
    fill(target, [50, 60, 70])
    target.batch(30, 10)
    state = target.state()
    by_steps = {store.parse_name(x)[1]: x for x in (tmp_path / "a").iterdir()}
    by_steps[50].unlink()
    by_steps[60].write_bytes(b"damaged")
    resumed = resume(tmp_path / "a", tmp_path / "b", state)
    assert counts(resumed) == (180, 3, 70, 1)
    lost = store.parse_name(by_steps[50])[0]
    assert resumed.damaged == (by_steps[60].name, lost)
    assert numbers(resumed) == [2]
    printed = capsys.readouterr().out
    assert by_steps[60].name in printed
    assert f"lacks episode {lost}" in printed


def test_a_row_in_a_dropped_episode_begins_anew(tmp_path, capsys):
    target = replay.Replay(tmp_path / "a", ongoing=True)
    add(target, fakes.episode(60, 0), worker=1, stop=40)
    target.batch(4, 10)
    fill(target, [30], first=1)
    resumed = resume(tmp_path / "a", tmp_path / "b", target.state(), ongoing=True)
    resumed.drop_ongoing(worker=1)
    batch = resumed.batch(4, 10)
    assert batch["is_first"][:, 0].all()
    assert (batch["reward"] // 1000 == 1).all()
    assert "cannot be resumed: another one is drawn" in capsys.readouterr().out


def play(target, workers, seed=0):
    """A driver that feeds a replay, with a seed for each episode."""
    seeds = iter(range(seed, seed + 1000))
    games = envs.make_vector_env("minatar_seaquest", workers)
    drive = driver.Driver(games, seeds=lambda worker: next(seeds))
    drive.on_reset(target.add_step)
    drive.on_step(target.add_step)
    drive.on_restore(target.restore_step)
    drive.on_drop(target.drop_ongoing)
    return drive


class Actions:
    """A random policy whose position can be set."""

    def __init__(self, workers, drawn=0):
        self.drawn = drawn
        actions = np.random.default_rng(0).integers(6, size=(2000, workers))
        self._actions = np.eye(6, dtype=np.float32)[actions]

    def __call__(self, obs, state):
        self.drawn += 1
        return {"action": self._actions[self.drawn - 1]}, state


def test_a_game_goes_on_after_a_kill(tmp_path):
    options = dict(ongoing=True, maxlen=30, capacity=400)
    target = replay.Replay(tmp_path / "a", **options)
    drive, policy = play(target, 3), Actions(3)
    drive(policy, steps=900)
    target.batch(8, 16)
    state = json.dumps([target.state(), drive.state()])
    begun = json.loads(state)[0]["next"]
    drive(policy, steps=300)

    shutil.copytree(tmp_path / "a", tmp_path / "b")
    resumed = replay.Replay(tmp_path / "b", **options)
    again = play(resumed, 3, seed=begun)
    resumed.load_state(json.loads(state)[0])
    again.load_state(json.loads(state)[1])
    again(Actions(3, drawn=300), steps=300)
    assert counts(resumed) == counts(target)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    # The uninterrupted run has drawn no batch meanwhile, nor has the resumed one.
    assert_same_batches(target, resumed)


def test_rows_of_known_games_come_last_in_each_batch(tmp_path):
    fill(replay.Replay(tmp_path / "episodes"), [20, 30, 40])

    def make(**options):
        return replay.Replay(tmp_path / "episodes", seed=1, **options)

    def known():
        return replays.dataset(batch=4, length=5)

    plain, others, mixed = make(), known(), make(mix=0.25, known=known())
    for _ in range(3):
        batch, own, theirs = mixed.batch(4, 5), plain.batch(3, 5), others.next()
        expected = {k: np.concatenate([v, theirs[k][:1]]) for k, v in own.items()}
        assert replays.same(batch, expected)
    resumed = make(mix=0.25, known=known())
    resumed.load_state(json.loads(json.dumps(mixed.state())))
    assert replays.same(mixed.batch(4, 5), resumed.batch(4, 5))


@pytest.mark.parametrize("mix, rows", [(0.25, 4), (0.1, 2), (0.02, 0), (1.0, 16)])
def test_the_share_is_a_number_of_whole_rows(mix, rows):
    assert online.known_rows(mix, 16) == rows


def test_rows_have_the_number_of_their_game_in_the_model(tmp_path):
    known = replays.dataset(batch=6, indices=[7, 4])
    target = replay.Replay(tmp_path, mix=0.5, known=known, index=2)
    fill(target, [20])
    batch = target.batch(6, 16)
    found = batch["game_index"].tolist()
    assert found[:3] == [2] * 3 and set(found[3:]) <= {4, 7}

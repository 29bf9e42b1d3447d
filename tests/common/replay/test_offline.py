import json

import numpy as np
import pytest
from gymnasium import spaces

from dreamerv2_transfer.common import config
from dreamerv2_transfer.common.replay import layout, offline, packed, store
from tests import fakes
from tests.replays import dataset as make
from tests.replays import on_disk, pack, same, spans, two_games

MIB = 2**20


def numbers(batch):
    return np.unique(batch["reward"] // 1000).astype(int)


def test_batch_shapes_and_types():
    batch = make().next()
    assert {k: (v.shape, v.dtype.name) for k, v in batch.items()} == {
        "image": ((6, 16, 10, 10, 10), "bool"),
        "action": ((6, 16, 6), "float32"),
        "reward": ((6, 16), "float32"),
        "is_first": ((6, 16), "bool"),
        "is_last": ((6, 16), "bool"),
        "is_terminal": ((6, 16), "bool"),
        "task": ((6,), "int32"),
    }


@pytest.mark.parametrize(
    "options", [{}, {"maxlen": 7}, {"minlen": 3, "maxlen": 12, "prioritize_ends": True}]
)
def test_steps_follow_each_other_unless_a_piece_starts(options):
    dataset, end = make(**options), None
    for _ in range(50):
        batch = dataset.next()
        value = batch["reward"]
        goes_on = ~batch["is_first"][:, 1:]
        assert (np.diff(value)[goes_on] == 1).all()
        for row in np.flatnonzero(~batch["is_first"][:, 0]):
            assert value[row, 0] == end[row] + 1
        end = value[:, -1]


def test_all_keys_are_of_the_same_step():
    batch = make().next()
    value = batch["reward"].astype(int)
    digits = batch["image"].reshape(6, 16, -1)[..., :16]
    assert np.array_equal(digits @ (1 << np.arange(16)), value)
    start = value % 1000 == 0
    assert np.array_equal(batch["action"].argmax(-1)[~start], value[~start] % 6)
    assert not batch["action"][start].any()
    lengths = np.array([3, 5, 9] * 10 + [60] * 20)
    at_end = value % 1000 == lengths[value // 1000]
    assert np.array_equal(batch["is_last"], at_end)
    assert np.array_equal(batch["is_terminal"], at_end)


def test_each_row_is_of_one_game():
    dataset, games = make(), set()
    for _ in range(20):
        batch = dataset.next()
        of_long = batch["reward"] >= 40_000
        assert np.array_equal(of_long, np.repeat(batch["task"][:, None], 16, 1) == 1)
        games.add(tuple(batch["task"]))
    assert len(games) > 10


@pytest.mark.parametrize(
    ("weights", "share"), [(None, 0.5), ([1, 3], 0.75), ([1, 0], 0.0)]
)
def test_games_are_drawn_by_weight(weights, share):
    dataset = make(batch=32, weights=weights)
    drawn = np.mean([dataset.next()["task"].mean() for _ in range(200)])
    assert drawn == pytest.approx(share, abs=0.02)


def test_a_row_that_changes_its_game_starts_a_piece():
    dataset, before, changed = make(), None, 0
    for _ in range(30):
        batch = dataset.next()
        if before is not None:
            change = batch["task"] != before
            assert batch["is_first"][change, 0].all()
            changed += change.sum()
        before = batch["task"]
    assert changed > 20


def test_a_row_that_keeps_its_game_goes_on():
    dataset = make({"long": pack([60] * 4)}, length=20, batch=2)
    starts = [dataset.next()["is_first"][:, 0].tolist() for _ in range(4)]
    assert starts == [[True, True], [False, False], [False, False], [False, False]]


def test_pieces_are_whole_episodes_with_minlen_one():
    dataset = make({"short": pack([3, 5, 9])}, length=40)
    batch = dataset.next()
    ends = batch["is_last"][:, :-1]
    assert np.array_equal(batch["is_first"][:, 1:], ends)
    assert (batch["reward"][batch["is_first"]] % 1000 == 0).all()


def test_episodes_are_drawn_uniformly_whatever_their_length():
    dataset = make({"mixed": pack([2, 2, 2, 40])}, length=100, batch=50)
    batch = dataset.next()
    started = batch["reward"][batch["is_first"]] // 1000
    assert np.mean(started == 3) == pytest.approx(0.25, abs=0.05)


def test_same_seed_same_batches():
    one, other, third = make(seed=3), make(seed=3), make(seed=4)
    drawn = [(one.next(), other.next(), third.next()) for _ in range(5)]
    assert all(same(a, b) for a, b, _ in drawn)
    assert not any(same(a, c) for a, _, c in drawn)


# Recorded from commit 00f3381: two batches, the state after them, and the next batch.
# "43014+8" are 8 steps of episode 43, from step 14 on.
RECORDED = [
    ["19000+6 7000+6", "1002+4 28002+4 10001+4", "48050+8 49016+4"],
    ["43014+8 41016+4", "10005+1 25002+4 2002+7", "2003+7 5000+5"],
    ["41020+5 44022+7", "47054+7 49011+5", "40002+10 47042+2"],
]
RECORDED_STATE = {
    "dataset": {
        "tasks": ["short", "long"],
        "short": "30 episodes, 170 steps, e1b16cc025e410854ba525958f2e80ab",
        "long": "10 episodes, 600 steps, 8fea0b2a132823763b836cfbcd811fb3",
        "batch": 3,
        "length": 12,
        "minlen": 4,
        "maxlen": 10,
        "prioritize_ends": True,
        "weights": [1.0, 2.0],
        "holdout": 0,
    },
    "rows": {
        "rng": {
            "bit_generator": "PCG64",
            "state": {
                "state": 281638006158572881254357368501689174465,
                "inc": 222003063171874261427395693950637096479,
            },
            "has_uint32": 0,
            "uinteger": 2824594737,
        },
        "game": [1, 0, 0],
        "next": [508, 91, 9],
        "left": [5, 1, 5],
    },
}


def as_recorded(**kwargs):
    options = dict(minlen=4, maxlen=10, prioritize_ends=True, weights=[1, 2])
    return make(batch=3, length=12, seed=3, **{**options, **kwargs})


def test_a_seed_draws_the_recorded_batches():
    dataset = as_recorded()
    assert [spans(dataset.next()) for _ in range(3)] == RECORDED


def test_a_recorded_state_is_resumed():
    dataset = as_recorded()
    dataset.load_state(RECORDED_STATE)
    assert dataset.state() == RECORDED_STATE
    assert spans(dataset.next()) == RECORDED[2]


def test_evaluation_has_the_recorded_batches():
    dataset = as_recorded(minlen=1, maxlen=0, prioritize_ends=False, holdout=3)
    assert [spans(x) for x in dataset.eval_batches("long", 2)] == [
        ["47000+12", "44000+12", "47000+12"],
        ["47012+12", "44012+12", "47012+12"],
    ]


def test_stream_goes_on_from_its_state():
    dataset = make(maxlen=12, minlen=2)
    for _ in range(7):
        dataset.next()
    state = json.loads(json.dumps(dataset.state()))
    expected = [dataset.next() for _ in range(5)]
    resumed = make(maxlen=12, minlen=2)
    resumed.load_state(state)
    assert all(same(batch, resumed.next()) for batch in expected)


LAWS = [
    {"draw": "steps", "maxlen": 12},
    {"rewarded": 0.5, "maxlen": 12, "minlen": 2},
    {"draw": "steps", "rewarded": 1.0, "maxlen": 7, "holdout": 4},
]


@pytest.mark.parametrize("law", LAWS)
def test_each_law_goes_on_from_its_state(law):
    dataset = make(weights=[1, 2], **law)
    for _ in range(3):
        dataset.next()
    state = json.loads(json.dumps(dataset.state()))
    expected = [dataset.next() for _ in range(5)]
    resumed = make(weights=[1, 2], **law)
    resumed.load_state(state)
    assert all(same(batch, resumed.next()) for batch in expected)


@pytest.mark.parametrize(
    ("law", "named"),
    [
        ({"draw": "steps"}, "draw was episodes, now it is steps"),
        ({"rewarded": 0.5}, "rewarded was 0.0, now it is 0.5"),
    ],
)
def test_a_state_of_another_law_is_refused(law, named):
    assert not {"draw", "rewarded"} & make().state()["dataset"].keys()
    with pytest.raises(packed.DatasetError, match=named):
        make(**law).load_state(make().state())
    with pytest.raises(packed.DatasetError, match="resumed"):
        make().load_state(make(**law).state())


def sparse(*episodes):
    """Episodes of the given steps, with a reward of 1 at the given transitions."""
    made = []
    for number, (steps, rewarded) in enumerate(episodes):
        episode = fakes.episode(steps, number)
        episode["reward"] = np.isin(np.arange(steps + 1), rewarded).astype(np.float32)
        made.append(packed.PackedEpisodes.from_episode(episode, f"{number}"))
    return packed.PackedEpisodes.join(made, "some folder")


@pytest.mark.parametrize(
    ("law", "share"),
    [
        ({}, 1 / 3 / 50 + 1 / 3 / 10),
        ({"draw": "steps"}, 2 / 110),
        ({"rewarded": 0.5}, 0.5 + 0.5 * (1 / 3 / 50 + 1 / 3 / 10)),
        ({"rewarded": 1.0}, 1),
    ],
)
def test_rewards_are_presented_as_often_as_the_law_says(law, share):
    """Pieces of one step of episodes of 10, 50 and 50, two of which hold one reward."""
    tasks = {"a": sparse((9, [9]), (49, [20]), (49, []))}
    dataset = make(tasks, maxlen=1, batch=200, length=20, **law)
    drawn = np.mean([dataset.next()["reward"] for _ in range(20)])
    assert drawn == pytest.approx(share, abs=0.006)


def test_rewards_of_other_games_and_of_held_out_episodes_are_not_drawn(capsys):
    tasks = {"none": sparse((9, []), (20, [])), "some": pack([9, 9, 9, 9])}
    tasks["some"].arrays["reward"][:] = 0
    tasks["some"].arrays["reward"][[3, 15]] = 1, 2  # The first episode is held out.
    dataset = make(tasks, maxlen=2, rewarded=1.0, holdout=4, batch=50, length=2)
    printed = capsys.readouterr().out
    assert printed.count("none: no episode to train on holds a reward") == 1
    assert "some:" not in printed
    for _ in range(10):
        batch = dataset.next()
        rewards, task = batch["reward"], batch["task"]
        assert not rewards[task == 0].any() and 1 not in rewards
        assert (rewards[task == 1] == 2).any(1).all()
    plain = make({"none": tasks["none"]}, maxlen=2, holdout=4)
    chosen = make({"none": tasks["none"]}, maxlen=2, holdout=4, rewarded=0.5)
    assert all(same(plain.next(), chosen.next()) for _ in range(5))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            {"tasks": {**two_games(), "long": pack([60] * 9, 40)}},
            "long was 10 episodes",
        ),
        ({"tasks": dict(reversed(two_games().items()))}, "tasks was"),
        ({"holdout": 20}, "holdout was 0, now it is 20"),
        ({"batch": 7}, "batch was 6, now it is 7"),
    ],
)
def test_state_of_another_dataset_is_refused(change, named):
    state = make().state()
    with pytest.raises(packed.DatasetError, match=named):
        make(**change).load_state(state)


def test_every_so_manieth_episode_is_held_out_and_never_trained_on():
    source = pack([4] * 45)
    dataset = make({"game": source}, holdout=20, batch=16)
    held = [int(source.episode(i)["reward"][0]) // 1000 for i in (0, 20, 40)]
    assert dataset.held_out("game") == 3
    trained = set()
    for _ in range(100):
        trained.update(numbers(dataset.next()))
    assert sorted(trained) == sorted(set(range(45)) - set(held))
    evaluated = np.concatenate([numbers(x) for x in dataset.eval_batches("game", 4)])
    assert sorted(set(evaluated)) == sorted(held)


def test_windows_hold_each_held_out_step_once_and_leave_training_alone():
    tasks = {"a": pack([9] * 6), "b": pack([8, 12] * 15, first=40)}
    one, other = make(tasks, holdout=5), make(tasks, holdout=5, seed=7)
    batches = list(one.eval_windows("b", 100, 7, 2))
    held = [one._packed[1].episode(i)["reward"] for i in range(0, 30, 5)]
    counted = np.concatenate([x["reward"][x["weight"] > 0] for x in batches])
    # All but the first two of each episode.
    assert sorted(counted) == sorted(np.concatenate([x[2:] for x in held]))
    assert {*np.unique(np.concatenate([x["weight"] for x in batches]))} == {0, 1}
    assert {x["reward"].shape for x in batches} == {(6, 7)}
    assert all((x["task"] == 1).all() for x in batches)
    again = other.eval_windows("b", 100, 7, 2)
    assert all(same(a, b) for a, b in zip(batches, again, strict=True))
    fresh = make(tasks, holdout=5)
    assert same(one.next(), fresh.next())


def test_two_episodes_are_one_to_train_on_and_one_held_out():
    dataset = make({"game": pack([4, 4])}, holdout=20)
    trained, held = numbers(dataset.next()), numbers(dataset.eval_batches("game", 1)[0])
    assert sorted([*trained, *held]) == [0, 1]


def test_a_single_episode_is_trained_on(capsys):
    dataset = make({"game": pack([40])}, holdout=20)
    assert numbers(dataset.next()).tolist() == [0]
    assert "no episode to hold out" in capsys.readouterr().out
    assert dataset.eval_batches("game", 2) == []
    assert list(dataset.eval_windows("game", 9, 5, 2)) == []
    assert dataset.video_batch("game", 2, 10) is None


def test_evaluation_is_fixed_and_leaves_training_alone():
    tasks = {"a": pack([9] * 30), "b": pack([50] * 30, first=40)}
    one, other = make(tasks, holdout=5), make(tasks, holdout=5)
    first = one.eval_batches("b", 3)
    one.next()
    assert all(same(a, b) for a, b in zip(first, one.eval_batches("b", 3), strict=True))
    other.next()
    assert same(one.next(), other.next())
    seeded = make(tasks, holdout=5, seed=7).eval_batches("b", 3)
    assert all(same(a, b) for a, b in zip(first, seeded, strict=True))
    assert (first[0]["task"] == 1).all()
    assert (first[0]["reward"] >= 40_000).all()
    end = first[0]["reward"][:, -1]
    goes_on = ~first[1]["is_first"][:, 0]
    assert goes_on.any()
    assert (first[1]["reward"][goes_on, 0] == end[goes_on] + 1).all()


def test_video_shows_the_longest_uninterrupted():
    dataset = make({"game": pack([25, 8, 70, 9, 30, 8])}, holdout=2)
    source = pack([25, 8, 70, 9, 30, 8])
    held = sorted(source.lengths[::2], reverse=True)
    batch = dataset.video_batch("game", 2, 8)
    assert batch["image"].shape == (2, 8, 10, 10, 10)
    assert batch["is_first"].tolist() == [[True] + [False] * 7] * 2
    assert (np.diff(batch["reward"]) == 1).all()
    lengths = np.array([25, 8, 70, 9, 30, 8])[
        (batch["reward"][:, 0] // 1000).astype(int)
    ]
    assert (lengths + 1).tolist() == held[:2]
    assert same(batch, dataset.video_batch("game", 2, 8))


def test_video_of_one_long_episode_goes_on_in_it():
    dataset = make({"game": pack([40, 40])}, holdout=2)
    batch = dataset.video_batch("game", 3, 10)
    assert (batch["reward"][:, 0] % 1000).tolist() == [0, 10, 20]
    assert dataset.video_batch("game", 9, 10)["reward"].shape == (9, 10)


def test_video_joins_short_episodes():
    dataset = make({"game": pack([4] * 10)}, holdout=2)
    batch = dataset.video_batch("game", 2, 12)
    assert batch["is_first"][0].tolist() == [x % 5 == 0 for x in range(12)]
    assert (np.diff(batch["reward"])[~batch["is_first"][:, 1:]] == 1).all()


def test_short_episodes_are_not_used_and_said(capsys):
    dataset = make({"game": pack([3, 9, 9])}, minlen=5)
    for _ in range(20):
        assert not (dataset.next()["reward"] < 1000).any()
    assert "game: 1 episodes of under 5 steps" in capsys.readouterr().out


def test_no_usable_episode_is_an_error():
    with pytest.raises(packed.DatasetError, match="some folder.*minlen=50"):
        make({"game": pack([3, 9])}, minlen=50)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"minlen": 8, "maxlen": 7}, "minlen=8, maxlen=7"),
        ({"minlen": 0}, "minlen=0"),
        ({"batch": 0}, "batch=0"),
        ({"holdout": 1}, "holdout=1"),
        ({"weights": [1]}, "task_weights"),
        ({"weights": [1, -1]}, "task_weights"),
        ({"weights": [0, 0]}, "task_weights"),
    ],
)
def test_bad_options_are_named(options, named):
    with pytest.raises(packed.DatasetError, match=named):
        make(**options)


def test_tasks_of_other_shapes_are_refused():
    tasks = {"a": pack([9]), "b": pack([9], image_shape=(10, 10, 4))}
    with pytest.raises(packed.DatasetError, match=r"\(10, 10, 4\)"):
        make(tasks)


def test_batches_may_be_changed_by_their_owner():
    tasks = two_games()
    first = make(tasks).next()
    for value in first.values():
        value[:] = 1
    assert same(make(tasks).next(), make().next())


def test_short_episodes_are_evaluated_on_all_the_same():
    tasks = {"game": pack([4] * 10 + [30] * 10)}
    dataset = make(tasks, minlen=10, holdout=2)
    assert dataset.held_out("game") == 10
    assert len(dataset.eval_batches("game", 2)) == 2


FRAMES = {"image_shape": (64, 64, 1), "dtype": np.uint8}


@pytest.mark.parametrize("kwargs", [{}, FRAMES])
def test_batches_are_the_same_under_a_memory_cap(tmp_path, kwargs):
    free = make(on_disk(tmp_path, 0, **kwargs), holdout=3, minlen=2, maxlen=12)
    capped = make(on_disk(tmp_path, MIB, **kwargs), holdout=3, minlen=2, maxlen=12)
    for _ in range(20):
        one, other = free.next(), capped.next()
        assert same(one, other)
        assert all(one[key].dtype == other[key].dtype for key in one)
    for task in ("short", "long"):
        evals = free.eval_batches(task, 3), capped.eval_batches(task, 3)
        assert all(same(a, b) for a, b in zip(*evals, strict=True))
        assert same(free.video_batch(task, 2, 8), capped.video_batch(task, 2, 8))


def test_stream_goes_on_under_another_memory_cap(tmp_path):
    dataset = make(on_disk(tmp_path, 0))
    for _ in range(3):
        dataset.next()
    resumed = make(on_disk(tmp_path, MIB))
    resumed.load_state(json.loads(json.dumps(dataset.state())))
    assert all(same(dataset.next(), resumed.next()) for _ in range(5))
    # It has drawn the next batch already, to read ahead; its state is before that.
    assert resumed.state() == dataset.state()
    resumed.load_state(dataset.state())
    assert same(dataset.next(), resumed.next())


def test_actions_that_are_one_hot_by_chance_are_kept_under_a_cap(tmp_path):
    for task, action in {"one": None, "two": 0.25}.items():
        (tmp_path / task).mkdir()
        episode = fakes.episode(9, actions=2)
        if action:
            episode["action"][:] = action
        store.save_episode(tmp_path / task, episode)
    free, capped = (
        make(packed.open_dataset(tmp_path, ["one", "two"], tmp_path / "x", None, cap))
        for cap in (0, MIB)
    )
    for _ in range(5):
        one, other = free.next(), capped.next()
        assert same(one, other)
        assert (one["action"][one["task"] == 1] == 0.25).all()


def settings(memory):
    return config.Config(
        seed=0,
        task_weights=[1.0],
        dataset=dict(
            batch=16, length=50, holdout=0, memory=memory, draw="episodes", rewarded=0.0
        ),
        replay=dict(minlen=2, maxlen=50, prioritize_ends=True),
        task_embed=dict(size=0),
    )


def test_a_law_is_the_same_under_a_cap(tmp_path):
    law = {"draw": "steps", "rewarded": 0.5, "maxlen": 12}
    free, capped = (make(on_disk(tmp_path, cap), **law) for cap in (0, MIB))
    assert all(same(free.next(), capped.next()) for _ in range(5))


def test_the_index_of_rewards_counts_for_the_cap():
    tasks = {"a": pack([60] * 500)}  # 488 KB of it: all but one step have rewards.
    wanted = settings(0.0011).update({"dataset.rewarded": 0.5})
    with pytest.raises(packed.DatasetError, match="dataset.memory=0.0011"):
        offline.make_dataset(wanted, tasks)
    offline.make_dataset(wanted.update({"dataset.rewarded": 0.0}), tasks)


def test_the_cap_is_in_gib():
    assert offline.memory_cap(settings(0.0)) == 0
    assert offline.memory_cap(settings(0.25)) == 268_435_456


def test_a_cap_smaller_than_a_batch_is_named(tmp_path):
    tasks = on_disk(tmp_path, MIB, **FRAMES)
    # 16 x 50 steps of 2 * 4096 bytes and a little are 6.3 MiB.
    with pytest.raises(packed.DatasetError, match="16 x 50.*dataset.memory=0.006"):
        offline.make_dataset(settings(0.006), tasks)
    batch = offline.make_dataset(settings(0.0063), tasks).next()
    assert batch["image"].shape == (16, 50, 64, 64, 1)


@pytest.mark.parametrize("cap", [-1.0, float("inf"), float("nan")])
def test_a_cap_that_is_no_size_is_named(cap):
    with pytest.raises(packed.DatasetError, match=f"dataset.memory={cap}"):
        offline.memory_cap(settings(cap))


def test_rows_have_the_number_of_their_game_in_the_model():
    dataset = make(indices=[7, 4], holdout=3)
    batches = [dataset.next(), *dataset.eval_batches("long", 1)]
    batches += [dataset.video_batch("long", 2, 8)]
    for batch in batches:
        assert batch["game_index"].dtype == np.int32
        assert batch["game_index"].tolist() == [[7, 4][i] for i in batch["task"]]
    assert "game_index" not in make().next()


def test_actions_are_numbered_as_the_manifest_says(tmp_path):
    on_disk(tmp_path, 0)
    names = ("short", "long")

    def opened():
        return make({x: packed.open_task(tmp_path / x) for x in names})

    assert opened().act_space == {"action": spaces.Discrete(6)}
    keys = {key: {"shape": [], "dtype": "bool"} for key in store.FLAGS}
    keys["reward"] = {"shape": [], "dtype": "float32"}
    keys["image"] = {"shape": [10, 10, 10], "dtype": "bool"}
    keys["action"] = {"shape": [6], "dtype": "float32", "n": 6, "start": -1}
    for name in names:
        store.write_manifest(tmp_path / name, {"spaces": keys})
    assert opened().act_space == {"action": spaces.Discrete(6, start=-1)}


@pytest.mark.parametrize("count", [1, 300])
def test_actions_are_discrete_if_the_manifest_says_so(tmp_path, count):
    """One action looks like a number, and 300 do not fit into a byte."""
    (tmp_path / "game").mkdir()
    for seed in range(2):
        one = fakes.episode(5, seed)
        one["action"] = np.eye(count, dtype=np.float32)[np.arange(6) % count]
        one["action"][0] = 0
        store.save_episode(tmp_path / "game", one)
    keys = layout.describe(one)
    keys["action"]["n"] = count
    store.write_manifest(tmp_path / "game", {"spaces": keys})
    dataset = make({"game": packed.open_task(tmp_path / "game")})
    assert dataset.act_space == {"action": spaces.Discrete(count)}
    assert dataset.next()["action"].shape[2:] == (count,)

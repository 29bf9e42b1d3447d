import shutil

import numpy as np
import pytest

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.replay import packed, shards, store
from dreamerv2_transfer.data import collection, policies
from dreamerv2_transfer.data.collection import Collection, Recipe
from dreamerv2_transfer.data.policies import Policy
from tests import fakes

GAME = "minatar_breakout"
MIXED = (
    Policy("random", 0.2),
    Policy("dqn/a1", 0.4, "a1"),
    Policy("dqn/b2", 0.4, "b2"),
)


def fill(folder, steps=300, make=envs.make_vector_env, packs=False, **recipe):
    """Fills a folder with 3 environments and seed 5, unless told otherwise."""
    folder.mkdir(exist_ok=True)
    recipe = Recipe(**{"envs": 3, "seed": 5, **recipe})
    made = Collection(folder, GAME, recipe, packs)
    made.fill(steps, make)
    return made


def dummy(task, number, **settings):
    return envs.make_vector_env("dummy_discrete", number, **settings)


def names(folder):
    """What a file is, without when it was written."""
    return sorted(x.name.split("-", 1)[1] for x in folder.glob("*.npz"))


def acted(folder):
    """Which policies acted, by episode, as the files tell."""
    found = []
    for path in sorted(folder.glob("*.npz"), key=lambda x: x.name[16:]):
        with np.load(path, allow_pickle=False) as file:
            found.append(file["log_policy"])
    return found


class Fixed:
    """Always takes the same action: the last digit of its file's name."""

    def __init__(self, path, task, actions):
        self._action = int(path.name[-1])

    def __call__(self, images, screens):
        return np.full(len(images), self._action)


@pytest.fixture
def mixed(monkeypatch):
    """Random play and two players, which take action 1 and action 2 alone."""
    monkeypatch.setattr("dreamerv2_transfer.dqn.actors.Player", Fixed)
    return {"policies": MIXED, "interval": 20}


def test_the_last_episodes_complete_the_steps(tmp_path):
    made = fill(tmp_path)
    episodes, steps = store.count_episodes(tmp_path)
    assert made.steps == steps >= 300
    assert made.summary() == (
        f"Collected {GAME}: {episodes} episodes, {steps} steps in {tmp_path}."
    )


def test_streams_have_equal_shares_of_the_steps(tmp_path):
    made = fill(tmp_path, 42, dummy, settings={"time_limit": 7})
    assert packed.open_task(tmp_path).lengths.tolist() == [8] * 6
    assert [(x.episodes, x.steps) for x in made.streams] == [(2, 14)] * 3


@pytest.mark.parametrize("task", ["dummy_discrete", "dummy_continuous"])
def test_environments_come_from_a_factory(tmp_path, task):
    def factory(name, number, **settings):
        return envs.make_vector_env(task, number, **settings)

    fill(tmp_path, 45, factory, envs=2, settings={"time_limit": 7})
    opened = packed.open_task(tmp_path)
    assert opened.lengths.tolist() == [8] * 8
    assert opened.episode(0)["vector"][:, 0].tolist() == list(range(8))
    assert len({opened.episode(i)["action"].tobytes() for i in range(8)}) == 8


def test_progress_is_reported_up_to_the_steps(tmp_path):
    reports = []
    made = Collection(tmp_path, GAME, Recipe(envs=2, settings={"time_limit": 30}))
    made.fill(400, envs.make_vector_env, lambda *report: reports.append(report))
    assert reports[0] == (0, 400) and reports[-1] == (400, 400)
    assert [x for x, _ in reports] == sorted(x for x, _ in reports)


def test_a_stop_leaves_whole_episodes(tmp_path):
    turns = []
    made = Collection(tmp_path, GAME, Recipe(envs=2))
    made.fill(
        10_000,
        envs.make_vector_env,
        stopped=lambda: turns.append(None) or len(turns) > 3,
    )
    assert 0 < made.steps < 10_000
    assert packed.open_task(tmp_path).steps == made.steps


def test_policies_take_turns_at_regular_intervals(tmp_path, mixed):
    fill(tmp_path, 3000, envs=1, **mixed)
    found = {}
    for path in tmp_path.glob("*.npz"):
        with np.load(path) as file:
            assert file["log_policy"].dtype == np.int32
            assert file["log_policy"][0] == -1
            found[path.name.split("-")[1]] = file["log_policy"][1:], file["action"][1:]
    # The order of the episodes is in the order of the identifiers' numbers.
    made = Collection(tmp_path, GAME, Recipe(5, 1, {}, MIXED, 20))
    order = [made._identifier(0, i) for i in range(len(found))]
    who = np.concatenate([found[x][0] for x in order])
    actions = np.concatenate([found[x][1] for x in order]).argmax(1)
    assert (actions[who == 1] == 1).all()
    assert (actions[who == 2] == 2).all()
    assert len(set(actions[who == 0])) == 6
    turns = [set(who[i : i + 20]) for i in range(0, len(who), 20)]
    assert {len(x) for x in turns} == {1}
    assert 0.05 < np.mean(who == 0) < 0.4


def test_manifest_counts_the_steps_of_each_policy(tmp_path, mixed):
    fill(tmp_path, 600, **mixed)
    who = np.concatenate(acted(tmp_path))
    manifest = store.read_manifest(tmp_path)
    assert [x["name"] for x in manifest["policies"]] == ["random", "dqn/a1", "dqn/b2"]
    counts = [int((who == i).sum()) for i in range(3)]
    assert [x["steps"] for x in manifest["policies"]] == counts
    assert min(counts) > 0


def test_mixed_collection_goes_on_as_if_nothing_had_happened(tmp_path, mixed):
    fill(tmp_path / "a", 200, **mixed)
    fill(tmp_path / "a", 600, **mixed)
    fill(tmp_path / "b", 600, **mixed)
    assert names(tmp_path / "a") == names(tmp_path / "b")
    one, other = (acted(tmp_path / x) for x in "ab")
    assert all(map(np.array_equal, one, other))


def test_other_players_are_another_collection(tmp_path, mixed):
    fill(tmp_path, **mixed)
    other = (Policy("random", 0.5), Policy("dqn/a1", 0.5, "a1", "other content"))
    with pytest.raises(packed.DatasetError, match="policies=") as error:
        fill(tmp_path, policies=other, interval=20)
    assert "policies=[['random', 0.2, ''], ['dqn/a1', 0.4, '']" in str(error.value)


def test_only_the_policies_that_differ_are_named(tmp_path, mixed):
    fill(tmp_path, **mixed)
    other = (*MIXED[:2], Policy("dqn/b2", 0.4, "b2", "other content"))
    with pytest.raises(packed.DatasetError) as error:
        fill(tmp_path, policies=other, interval=20)
    assert "policies=[['dqn/b2', 0.4, '']]. Received: policies=[['dqn/b2'" in str(
        error.value
    )


def test_epsilon_makes_a_players_actions_random(tmp_path, mixed):
    mixed["policies"] = (Policy("random", 0.0), Policy("dqn/a1", 1.0, "a1"))
    fill(tmp_path, 2000, epsilon=0.5, **mixed)
    counts = packed.open_task(tmp_path).arrays["action"]
    counts = np.bincount(counts, minlength=7)[:6]
    # A random action is the player's own once in six times.
    assert abs(counts[1] / counts.sum() - (0.5 + 0.5 / 6)) < 0.05


def test_episodes_from_elsewhere_count_and_keep_their_policies(tmp_path):
    for number in range(3):
        store.save_episode(tmp_path, fakes.episode(50, number))
    before = {"random": {"seed": 0, "episodes": 3, "steps": 150}}
    store.write_manifest(tmp_path, {"policies": before})
    assert fill(tmp_path, 300).others == 150
    _, steps = store.count_episodes(tmp_path)
    assert 300 <= steps < 450
    listed = store.read_manifest(tmp_path)["policies"]
    assert listed[0] == {"name": "random", "seed": 0, "episodes": 3, "steps": 150}
    assert listed[1]["steps"] == steps - 150
    ours = [x for x in tmp_path.glob("*.npz") if "log_policy" in np.load(x).files]
    assert set(np.load(ours[0])["log_policy"][1:]) == {1}
    fill(tmp_path, 400)
    assert len(store.read_manifest(tmp_path)["policies"]) == 2


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 6}, "seed=5"),
        ({"settings": {"sticky": 0.0}}, "settings="),
        ({"envs": 4}, "envs=3"),
        ({"interval": 20}, "interval=500"),
    ],
)
def test_folder_of_another_collection_is_refused(tmp_path, change, named):
    fill(tmp_path, settings={"sticky": 0.1})
    with pytest.raises(packed.DatasetError, match=named) as error:
        fill(tmp_path, 600, **{"settings": {"sticky": 0.1}, **change})
    assert str(tmp_path) in str(error.value)


def test_manifest_tells_what_was_collected(tmp_path):
    fill(tmp_path, settings={"sticky": 0.25})
    manifest = store.read_manifest(tmp_path)
    episodes, steps = store.count_episodes(tmp_path)
    assert manifest["task"] == "minatar_breakout"
    assert (manifest["episodes"], manifest["steps"]) == (episodes, steps)
    assert manifest["recipe"]["seed"] == 5
    listed = {"name": "random", "share": 1.0, "steps": steps, "file": ""}
    assert manifest["policies"] == [listed]
    assert manifest["settings"] == {"sticky": 0.25}
    assert manifest["spaces"]["image"] == {"shape": [10, 10, 10], "dtype": "bool"}
    assert manifest["spaces"]["action"]["n"] == 6
    assert "gymnasium" in manifest["versions"]


def test_a_recipe_comes_back_from_its_manifest():
    policies = (MIXED[0], Policy("dqn/a1", 0.8, "a1", "digest"))
    recipe = Recipe(7, 2, {"sticky": 0.25}, policies, 20, 0.1)
    assert Recipe.from_manifest({"recipe": recipe.identity()}) == recipe
    assert Recipe.from_manifest({}) == Recipe()


def test_written_episodes_are_not_played_again(tmp_path, monkeypatch):
    fill(tmp_path, 100)
    written = names(tmp_path)
    start, played = policies.MixedPolicy.start, []

    def record(policy, worker):
        played.append((worker, policy._episodes[worker]))
        return start(policy, worker)

    monkeypatch.setattr(policies.MixedPolicy, "start", record)
    fill(tmp_path, 300)
    assert len(names(tmp_path)) > len(written)
    assert len(written) == sum(min(n for w, n in played if w == i) for i in range(3))


def test_a_collection_continues_where_its_shards_were_imported_as_files(tmp_path):
    (tmp_path / "a").mkdir()
    recipe, copy = Recipe(envs=3, seed=5), tmp_path / "copy"
    once = Collection(tmp_path / "a", GAME, recipe, shard_steps=30)
    once.fill(200, envs.make_vector_env)
    copy.mkdir()
    shutil.copy(tmp_path / "a" / "manifest.json", copy)
    for path in (tmp_path / "a").glob("*.npz"):
        name = store.name_of(path)
        for i, steps in enumerate(shards.lengths(path) if name.episodes > 1 else []):
            (copy / f"T-{name.identifier}n{i}-{steps}.npz").touch()
        if name.episodes == 1:
            shutil.copy(path, copy)
    assert any("n1-" in x.name for x in copy.iterdir())  # There was a shard.
    made = Collection(copy, GAME, recipe)
    assert [x.steps for x in made.streams] == [x.steps for x in once.streams]
    assert [x.episodes for x in made.streams] == [x.episodes for x in once.streams]
    assert (made.steps, made.others) == (once.steps, 0)
    made.refresh_manifest()
    assert store.read_manifest(copy)["steps"] == once.steps


def test_new_episodes_are_kept_to_be_packed(tmp_path, monkeypatch):
    made = fill(tmp_path / "a", packs=True)
    joined = packed.PackedEpisodes.join(made.packed, "new")
    assert joined.fingerprint == packed.open_task(tmp_path / "a").fingerprint
    assert fill(tmp_path / "a", 600, packs=True).packed == []  # Not all are new.
    monkeypatch.setattr(collection, "PACKED_BYTES", 1000)
    assert fill(tmp_path / "b", packs=True).packed == []  # They take too much memory.


def test_episodes_that_never_end_are_told_with_the_remedy(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(collection, "PATIENCE", 0.0)
    made = Collection(tmp_path, "gym_Endless-v0", Recipe(envs=2))
    turns = iter(range(4))

    def endless(task, number, **settings):
        return envs.make_vector_env(fakes.Scripted, number)

    made.fill(200, endless, stopped=lambda: next(turns) == 3)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [  # 64 steps a turn, so that two turns play the 100 of each.
        f"gym_Endless-v0: all steps are played, but 2 episodes have not ended, the "
        f"longest after {steps} steps. Only whole episodes count. If they never end, "
        "stop, and set --time_limit."
        for steps in (128, 192)
    ]
    assert store.count_episodes(tmp_path) == (0, 0)


def shared(folder, steps, shard_steps=40, **recipe):
    folder.mkdir(exist_ok=True)
    made = Collection(
        folder, GAME, Recipe(envs=3, seed=5, **recipe), False, shard_steps
    )
    made.fill(steps, envs.make_vector_env)
    return made


def by_identifier(folder):
    """Identifier and steps of each file, by how many episodes it has."""
    return sorted(store.written(folder).values())


def test_short_episodes_share_files(tmp_path):
    made = shared(tmp_path / "a", 600)
    fill(tmp_path / "b", 600)
    files = by_identifier(tmp_path / "a")
    assert max(x.episodes for x in files) > 1
    assert len(files) < len(names(tmp_path / "b")) / 2
    assert store.count_episodes(tmp_path / "a") == store.count_episodes(tmp_path / "b")
    one, other = (packed.open_task(tmp_path / x) for x in "ab")
    assert one.fingerprint == other.fingerprint
    manifest = store.read_manifest(tmp_path / "a")
    assert (manifest["episodes"], manifest["steps"]) == (len(one), made.steps)
    # Each but the last of a stream is full.
    assert sum(x.steps < 40 for x in files) <= 3


def test_lost_shards_are_made_again(tmp_path):
    shared(tmp_path, 900)
    files = by_identifier(tmp_path)
    for name in files[::3]:
        next(tmp_path.glob(f"*-{name.identifier}-*")).unlink()
    shared(tmp_path, 900)
    assert by_identifier(tmp_path) == files


def test_a_folder_of_single_episodes_goes_on_with_shards(tmp_path):
    fill(tmp_path / "a", 200)
    before = set(names(tmp_path / "a"))
    shared(tmp_path / "a", 600)
    fill(tmp_path / "b", 600)
    assert before < set(names(tmp_path / "a"))
    one, other = (packed.open_task(tmp_path / x) for x in "ab")
    assert one.fingerprint == other.fingerprint


def test_a_stop_saves_the_episodes_that_wait(tmp_path):
    (tmp_path / "a").mkdir()
    made = Collection(tmp_path / "a", GAME, Recipe(envs=3, seed=5), False, 10_000)
    turns = iter(range(9))
    made.fill(9000, envs.make_vector_env, stopped=lambda: next(turns) == 2)
    assert {x.episodes > 1 for x in by_identifier(tmp_path / "a")} == {True}
    assert 0 < made.steps < 9000
    shared(tmp_path / "a", 3000)
    shared(tmp_path / "b", 3000)
    one, other = (packed.open_task(tmp_path / x) for x in "ab")
    assert one.fingerprint == other.fingerprint


def test_players_fill_a_gap_of_one_stream_while_the_others_are_done(tmp_path, mixed):
    fill(tmp_path, 600, **mixed)
    before, content = names(tmp_path), acted(tmp_path)
    next(tmp_path.glob("*.npz")).unlink()
    fill(tmp_path, 600, **mixed)
    assert names(tmp_path) == before
    assert all(map(np.array_equal, acted(tmp_path), content))

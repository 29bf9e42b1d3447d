import dataclasses
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dreamerv2_transfer import collect
from dreamerv2_transfer.common import blocks, config, driver, envs, errors
from dreamerv2_transfer.common.replay import packed, store
from dreamerv2_transfer.data import collection, disk, policies
from dreamerv2_transfer.data.collection import Recipe
from dreamerv2_transfer.data.policies import Policy
from tests import fakes

GAMES = ["minatar_breakout", "minatar_seaquest"]
RECIPE = [x.name for x in dataclasses.fields(Recipe)]


def run(folder, tasks=GAMES, steps=300, **kwargs):
    """Collects with 3 environments and seed 5, unless told otherwise."""
    recipe = {"envs": 3, "seed": 5}
    recipe |= {k: kwargs.pop(k) for k in RECIPE if k in kwargs}
    recipes = {task: Recipe(**recipe) for task in tasks}
    return collect.collect(folder, recipes, steps=steps, **kwargs)


def names(folder):
    """What a file is, without when it was written."""
    return sorted(x.name.split("-", 1)[1] for x in folder.rglob("*.npz"))


def dummy(task, number, **settings):
    return envs.make_vector_env("dummy_discrete", number, **settings)


def told(folder):
    """Who acted, by episode, as the files tell."""
    acted = []
    for path in sorted(folder.glob("*.npz"), key=lambda x: x.name[16:]):
        with np.load(path, allow_pickle=False) as file:
            acted.append(file["log_policy"])
    return acted


def fingerprints(folder, tasks=GAMES):
    opened = packed.open_dataset(folder, tasks)
    return {task: x.fingerprint for task, x in opened.items()}


def test_tasks_have_their_steps(tmp_path):
    assert run(tmp_path)
    for task in GAMES:
        lengths = packed.open_task(tmp_path / task).lengths - 1
        assert lengths.sum() >= 300
        episodes, steps = store.count_episodes(tmp_path / task)
        assert (episodes, steps) == (len(lengths), lengths.sum())


def test_episodes_are_whole(tmp_path):
    run(tmp_path, GAMES[:1], steps=60)
    for path in (tmp_path / GAMES[0]).glob("*.npz"):
        episode = store.load_episode(path)
        assert episode["image"].shape[1:] == (10, 10, 10)
        assert episode["image"].dtype == bool
        assert episode["is_first"].tolist().index(True) == 0
        assert episode["is_last"][-1]
        assert episode["is_last"].sum() == episode["is_first"].sum() == 1
        assert not episode["action"][0].any()
        assert (episode["action"][1:].sum(1) == 1).all()


def test_play_is_random_over_all_actions(tmp_path):
    run(tmp_path, GAMES[:1], steps=2000)
    counts = packed.open_task(tmp_path / GAMES[0]).arrays["action"]
    counts = np.bincount(counts, minlength=7)[:6]
    assert (np.abs(counts / counts.sum() - 1 / 6) < 0.04).all()


def test_streams_have_equal_shares_of_the_steps(tmp_path):
    run(tmp_path, ["any"], 42, make_vector_env=dummy, settings={"time_limit": 7})
    assert packed.open_task(tmp_path / "any").lengths.tolist() == [8] * 6


def test_processes_do_not_matter(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "PARALLEL_FROM", 0)
    run(tmp_path / "a", processes=1)
    run(tmp_path / "b", processes=2)
    assert names(tmp_path / "a") == names(tmp_path / "b")
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")


def test_another_seed_makes_other_episodes(tmp_path):
    run(tmp_path / "a")
    run(tmp_path / "b", seed=6)
    assert not set(names(tmp_path / "a")) & set(names(tmp_path / "b"))
    assert fingerprints(tmp_path / "a") != fingerprints(tmp_path / "b")


def test_more_steps_keep_what_is_there(tmp_path):
    run(tmp_path / "a", steps=100)
    first = {x.name for x in (tmp_path / "a").rglob("*.npz")}
    run(tmp_path / "a", steps=300)
    assert first < {x.name for x in (tmp_path / "a").rglob("*.npz")}
    run(tmp_path / "b", steps=300)
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")


def test_written_episodes_are_not_played_again(tmp_path, monkeypatch):
    run(tmp_path, GAMES[:1], steps=100)
    written = names(tmp_path)
    start, played = policies.MixedPolicy.start, []

    def record(player, worker):
        if len(player.steps) == 3:  # Not the short play of the estimate.
            played.append((worker, player._episodes[worker]))
        return start(player, worker)

    monkeypatch.setattr(policies.MixedPolicy, "start", record)
    run(tmp_path, GAMES[:1], steps=300)
    assert len(names(tmp_path)) > len(written)
    assert len(written) == sum(min(n for w, n in played if w == i) for i in range(3))


def test_complete_collection_plays_nothing(tmp_path):
    run(tmp_path)
    run(tmp_path, make_vector_env=None)


def test_missing_episodes_are_made_again(tmp_path):
    run(tmp_path)
    before, complete = names(tmp_path), fingerprints(tmp_path)
    for task in GAMES:
        lost = sorted((tmp_path / task).glob("*.npz"), key=lambda x: x.name[16:])[:3]
        for path in lost:
            path.unlink()
        (tmp_path / task / ".half.npz.99.tmp").write_bytes(b"half")
    assert names(tmp_path) != before
    run(tmp_path)
    assert names(tmp_path) == before
    assert fingerprints(tmp_path) == complete
    assert not list(tmp_path.rglob("*.tmp"))


def test_killed_collection_goes_on_as_if_nothing_had_happened(tmp_path):
    code = (
        "import sys; from dreamerv2_transfer.collect import collect, Recipe;"
        "collect(sys.argv[1], {x: Recipe(5, 3) for x in sys.argv[2:]}, steps=3000)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a"), *GAMES]
    root = pathlib.Path(collect.__file__).parents[1]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(names(tmp_path)) < 20 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed_at = len(names(tmp_path))
    run(tmp_path / "a", steps=3000)
    run(tmp_path / "b", steps=3000)
    assert 20 <= killed_at < len(names(tmp_path / "b"))
    assert names(tmp_path / "a") == names(tmp_path / "b")
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")


def test_interrupted_collection_leaves_no_half_file(tmp_path, monkeypatch):
    save, saved = store.save_episode, []

    def interrupt(*args):
        saved.append(save(*args))
        if len(saved) == 4:
            raise KeyboardInterrupt
        return saved[-1]

    monkeypatch.setattr(store, "save_episode", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert len(packed.open_task(tmp_path / GAMES[0])) == 4
    monkeypatch.undo()
    run(tmp_path)
    run(tmp_path / "b")
    assert fingerprints(tmp_path) == fingerprints(tmp_path / "b")


def test_full_disk_is_named_and_the_command_goes_on(tmp_path, monkeypatch):
    replace = os.replace

    def full(source, target):
        if store.count_episodes(pathlib.Path(target).parent)[0] == 5:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(packed.DatasetError, match="No space left") as error:
        run(tmp_path)
    assert str(tmp_path / GAMES[0]) in str(error.value)
    assert "5 episodes there are intact" in str(error.value)
    assert not list(tmp_path.rglob("*.tmp"))
    monkeypatch.undo()
    run(tmp_path)
    run(tmp_path / "b")
    assert fingerprints(tmp_path) == fingerprints(tmp_path / "b")


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.UserError, match="file"):
        run(tmp_path / "file")


def test_manifest_tells_what_was_collected(tmp_path):
    run(tmp_path, GAMES[:1], settings={"sticky": 0.25})
    manifest = store.read_manifest(tmp_path / GAMES[0])
    episodes, steps = store.count_episodes(tmp_path / GAMES[0])
    assert manifest["task"] == "minatar_breakout"
    assert (manifest["episodes"], manifest["steps"]) == (episodes, steps)
    assert manifest["recipe"]["seed"] == 5
    told = {"name": "random", "share": 1.0, "steps": steps, "file": ""}
    assert manifest["policies"] == [told]
    assert manifest["settings"] == {"sticky": 0.25}
    assert manifest["spaces"]["image"] == {"shape": [10, 10, 10], "dtype": "bool"}
    assert manifest["spaces"]["action"]["n"] == 6
    assert "gymnasium" in manifest["versions"]


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
    run(tmp_path, settings={"sticky": 0.1})
    with pytest.raises(packed.DatasetError, match=named) as error:
        run(tmp_path, **{"steps": 600, "settings": {"sticky": 0.1}, **change})
    assert str(tmp_path / GAMES[0]) in str(error.value)


def test_dataset_opens_from_its_index(tmp_path, monkeypatch):
    run(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(store, "load_episode", None)
        before = packed.open_dataset(tmp_path, GAMES)
    for folder in tmp_path.rglob(".packed"):
        shutil.rmtree(folder)
    for task, after in packed.open_dataset(tmp_path, GAMES).items():
        assert before[task].fingerprint == after.fingerprint
        assert all(
            np.array_equal(before[task].arrays[k], after.arrays[k])
            for k in ("image", "action", "reward", "is_last", "is_terminal")
        )


def test_new_episodes_are_packed_without_being_read(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "load_episode", None)
    run(tmp_path)
    assert len(fingerprints(tmp_path)) == 2


def test_under_a_cap_episodes_are_packed_from_disk(tmp_path):
    run(tmp_path / "a")
    run(tmp_path / "b", memory=2**20)
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")


@pytest.mark.parametrize("task", ["dummy_discrete", "dummy_continuous"])
def test_environments_come_from_a_factory(tmp_path, task):
    def factory(name, number, **settings):
        return envs.make_vector_env(task, number, **settings)

    options = {"envs": 2, "settings": {"time_limit": 7}, "make_vector_env": factory}
    run(tmp_path, ["any"], 45, **options)
    opened = packed.open_task(tmp_path / "any")
    assert opened.lengths.tolist() == [8] * 8
    assert opened.episode(0)["vector"][:, 0].tolist() == list(range(8))
    assert len({opened.episode(i)["action"].tobytes() for i in range(8)}) == 8


def test_progress_and_result_are_said(tmp_path, capsys):
    run(tmp_path, GAMES[:1])
    said = capsys.readouterr()
    assert "Collecting 300 steps into" in said.out
    assert "GiB are free" in said.out
    assert "Collected minatar_breakout:" in said.out
    assert "step/s" in said.err


class Fixed:
    """Acts always in the same way."""

    def __init__(self, path, task, actions):
        self._action = int(path.name[-1])

    def __call__(self, images, screens):
        return np.full(len(images), self._action)


MIXED = (
    Policy("random", 0.2),
    Policy("dqn/a1", 0.4, "a1"),
    Policy("dqn/b2", 0.4, "b2"),
)


@pytest.fixture
def agents(monkeypatch):
    """Policies of which one does action 1 only, another action 2 only."""
    monkeypatch.setattr("dreamerv2_transfer.dqn.actors.Player", Fixed)
    return {"policies": MIXED, "interval": 20}


def test_policies_take_turns_at_regular_intervals(tmp_path, agents):
    run(tmp_path, GAMES[:1], 3000, envs=1, **agents)
    folder = tmp_path / GAMES[0]
    acted = {}
    for path in folder.glob("*.npz"):
        with np.load(path) as file:
            assert file["log_policy"].dtype == np.int32
            assert file["log_policy"][0] == -1
            acted[path.name.split("-")[1]] = file["log_policy"][1:], file["action"][1:]
    # The order of the episodes is in the order of the identifiers' numbers.
    made = collection.Collection(folder, GAMES[0], Recipe(5, 1, {}, MIXED, 20))
    order = [made._identifier(0, i) for i in range(len(acted))]
    who = np.concatenate([acted[x][0] for x in order])
    actions = np.concatenate([acted[x][1] for x in order]).argmax(1)
    assert (actions[who == 1] == 1).all()
    assert (actions[who == 2] == 2).all()
    assert len(set(actions[who == 0])) == 6
    turns = [set(who[i : i + 20]) for i in range(0, len(who), 20)]
    assert {len(x) for x in turns} == {1}
    assert 0.05 < np.mean(who == 0) < 0.4


def test_manifest_counts_the_steps_of_each_policy(tmp_path, agents):
    run(tmp_path, GAMES[:1], 600, **agents)
    who = np.concatenate(told(tmp_path / GAMES[0]))
    manifest = store.read_manifest(tmp_path / GAMES[0])
    assert [x["name"] for x in manifest["policies"]] == ["random", "dqn/a1", "dqn/b2"]
    counts = [int((who == i).sum()) for i in range(3)]
    assert [x["steps"] for x in manifest["policies"]] == counts
    assert min(counts) > 0


def test_mixed_collection_goes_on_as_if_nothing_had_happened(tmp_path, agents):
    run(tmp_path / "a", GAMES[:1], 200, **agents)
    run(tmp_path / "a", GAMES[:1], 600, **agents)
    run(tmp_path / "b", GAMES[:1], 600, **agents)
    assert names(tmp_path / "a") == names(tmp_path / "b")
    one, other = (told(tmp_path / x / GAMES[0]) for x in "ab")
    assert all(map(np.array_equal, one, other))


def test_other_agents_are_another_collection(tmp_path, agents):
    run(tmp_path, GAMES[:1], **agents)
    fewer = (Policy("random", 0.5), Policy("dqn/a1", 0.5, "a1", "other content"))
    with pytest.raises(packed.DatasetError, match="policies="):
        run(tmp_path, GAMES[:1], policies=fewer, interval=20)


def test_epsilon_makes_an_agents_actions_random(tmp_path, agents):
    agents["policies"] = (Policy("random", 0.0), Policy("dqn/a1", 1.0, "a1"))
    run(tmp_path, GAMES[:1], 2000, epsilon=0.5, **agents)
    counts = packed.open_task(tmp_path / GAMES[0]).arrays["action"]
    counts = np.bincount(counts, minlength=7)[:6]
    # A random action is the agent's own once in six times.
    assert abs(counts[1] / counts.sum() - (0.5 + 0.5 / 6)) < 0.05


def test_episodes_from_elsewhere_count_and_keep_their_policies(tmp_path):
    folder = tmp_path / GAMES[0]
    folder.mkdir()
    for number in range(3):
        store.save_episode(folder, fakes.episode(50, number))
    before = {"random": {"seed": 0, "episodes": 3, "steps": 150}}
    store.write_manifest(folder, {"policies": before})
    run(tmp_path, GAMES[:1], 300)
    _, steps = store.count_episodes(folder)
    assert 300 <= steps < 450
    listed = store.read_manifest(folder)["policies"]
    assert listed[0] == {"name": "random", "seed": 0, "episodes": 3, "steps": 150}
    assert listed[1]["steps"] == steps - 150
    ours = [x for x in folder.glob("*.npz") if "log_policy" in np.load(x).files]
    assert set(np.load(ours[0])["log_policy"][1:]) == {1}
    run(tmp_path, GAMES[:1], 400)
    assert len(store.read_manifest(folder)["policies"]) == 2


def test_second_collector_of_a_folder_is_refused(tmp_path):
    run(tmp_path)
    with open(tmp_path / GAMES[0] / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(packed.DatasetError, match="Another process is collecting"):
            run(tmp_path, steps=600)
    assert run(tmp_path, steps=600)


def test_stop_saves_what_is_whole_and_goes_on(tmp_path, monkeypatch, capsys):
    play, turns = driver.Driver.__call__, []

    def interrupted(drive, *args, **kwargs):
        play(drive, *args, **kwargs)
        turns.append(drive)
        if len(turns) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(driver.Driver, "__call__", interrupted)
    assert not run(tmp_path, steps=2000)
    assert "run the same command to resume" in capsys.readouterr().out
    stopped_at = len(names(tmp_path))
    monkeypatch.undo()
    assert run(tmp_path, steps=2000)
    run(tmp_path / "b", steps=2000)
    assert 0 < stopped_at < len(names(tmp_path / "b"))
    assert fingerprints(tmp_path) == fingerprints(tmp_path / "b")


def test_budget_is_looked_at_before_anything_is_played(tmp_path):
    with pytest.raises(packed.DatasetError, match=r"collect.disk=1e-06"):
        run(tmp_path, steps=10_000, disk=1e-6)
    assert not list(tmp_path.rglob("*.npz"))


def test_dataset_that_grows_beyond_its_budget_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "INTERVAL", 0.0)
    monkeypatch.setattr(disk, "bytes_per_step", lambda *args: 0.0)
    with pytest.raises(packed.DatasetError, match="raise collect.disk") as error:
        run(tmp_path, steps=10_000, disk=20 * 4096 / 2**30)
    assert str(tmp_path) in str(error.value)
    assert 20 <= len(names(tmp_path)) < 1000
    assert packed.open_task(tmp_path / GAMES[0]).damaged == ()


def test_estimate_is_near_what_it_takes(tmp_path, capsys):
    run(tmp_path, GAMES[1:], 5000)
    said = float(capsys.readouterr().out.split("about ")[1].split(" GiB")[0])
    taken = disk.used(tmp_path) / 2**30
    assert 0.5 < said / taken < 2


def test_recipe_of_a_configuration(tmp_path):
    settings = blocks.load_config(["minatar", "collect"], ["--seed", "4"])
    recipe = collect.make_recipe(settings, "minatar_asterix")
    assert (recipe.seed, recipe.envs, recipe.interval) == (4, 8, 500)
    assert recipe.policies == (Policy("random", 1.0),)
    wanted = {"time_limit": 27000, "sticky": 0.1, "ramping": True}
    assert recipe.settings == wanted


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("dqn.epsilon", "7"),
        ("policies.random", "0"),
        ("collect.disk", "inf"),
        ("collect.envs", "0"),
        ("dqn.interval", "0"),
        ("policies.dqn", "-1"),
    ],
)
def test_numbers_out_of_range_name_their_key(flag, value):
    settings = blocks.load_config(["minatar", "collect"], [f"--{flag}", value])
    with pytest.raises(config.ConfigError, match=f"{flag} "):
        collect.make_recipe(settings, "minatar_asterix")


def test_actions_are_not_repeated_where_no_environment_does():
    settings = blocks.load_config(["minatar", "collect"], ["--action_repeat", "4"])
    with pytest.raises(config.ConfigError, match="minatar_asterix does not repeat"):
        collect.make_recipe(settings, "minatar_asterix")


def test_complete_dataset_needs_no_agents_and_gets_its_manifest_right(tmp_path):
    flags = ["--tasks", GAMES[0], "--dqn.checkpoints", str(tmp_path / "gone")]
    settings = blocks.load_config(["minatar", "debug", "collect"], flags)
    run(tmp_path, GAMES[:1], 300, policies=MIXED[:1])
    manifest = store.read_manifest(tmp_path / GAMES[0])
    policy = {**manifest["policies"][0], "steps": 1}
    stale = {**manifest, "episodes": 1, "steps": 1, "policies": [policy]}
    store.write_manifest(tmp_path / GAMES[0], stale)
    assert collect.complete(settings, tmp_path)
    assert store.read_manifest(tmp_path / GAMES[0]) == manifest
    with pytest.raises(errors.UserError, match="gone"):
        collect.complete(settings.update({"collect.steps": 5000}), tmp_path)


def test_new_episodes_that_take_much_memory_are_packed_from_disk(tmp_path, monkeypatch):
    run(tmp_path / "a")
    monkeypatch.setattr(collection, "PACKED_BYTES", 1000)
    run(tmp_path / "b")
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")

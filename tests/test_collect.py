import dataclasses
import fcntl
import functools
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
from dreamerv2_transfer.common import blocks, config, envs, errors, interrupt
from dreamerv2_transfer.common.replay import packed, shards, store
from dreamerv2_transfer.data import blind, collection, disk
from dreamerv2_transfer.data.collection import Recipe
from dreamerv2_transfer.data.policies import Policy
from dreamerv2_transfer.dqn import actors

GAMES = ["minatar_breakout", "minatar_seaquest"]
RECIPE = [x.name for x in dataclasses.fields(Recipe)]


def run(folder, tasks=GAMES, steps=300, **kwargs):
    """Collects with 3 environments and seed 5, unless told otherwise."""
    recipe = {"envs": 3, "seed": 5}
    recipe |= {k: kwargs.pop(k) for k in RECIPE if k in kwargs}
    recipes = {task: Recipe(**recipe) for task in tasks}
    return collect.collect(folder, recipes, steps=steps, **kwargs)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Makes episodes share files, but few of them a file."""
    monkeypatch.setattr(collection, "SHARD_STEPS", 40)


def names(folder):
    """What a file is, without when it was written."""
    return sorted(x.name.split("-", 1)[1] for x in folder.rglob("*.npz"))


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
    for episode in shards.intact(*(tmp_path / GAMES[0]).glob("*.npz")):
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


def test_processes_do_not_matter(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "SHARD_STEPS", 512)  # As in other processes.
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
        "from dreamerv2_transfer.data import collection; collection.SHARD_STEPS = 40;"
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
    save, saved = store.write, []

    def interrupt(*args):
        saved.append(save(*args))
        if len(saved) == 4:
            raise KeyboardInterrupt
        return saved[-1]

    monkeypatch.setattr(store, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert len(names(tmp_path / GAMES[0])) == 4
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


def test_dataset_opens_from_its_index(tmp_path, monkeypatch):
    run(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shards, "parts", None)
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
    monkeypatch.setattr(shards, "parts", None)
    run(tmp_path)
    assert len(fingerprints(tmp_path)) == 2


def test_under_a_cap_episodes_are_packed_from_disk(tmp_path):
    run(tmp_path / "a")
    run(tmp_path / "b", memory=2**20)
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")


def test_progress_and_result_are_said(tmp_path, capsys):
    run(tmp_path, GAMES[:1])
    said = capsys.readouterr()
    assert "Collecting 300 steps into" in said.out
    assert "GiB are free" in said.out
    assert "Collected minatar_breakout:" in said.out
    assert "step/s" in said.err


def test_second_collector_of_a_folder_is_refused(tmp_path):
    run(tmp_path)
    with open(tmp_path / GAMES[0] / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(packed.DatasetError, match="Another process is collecting"):
            run(tmp_path, steps=600)
    assert run(tmp_path, steps=600)


def test_stop_saves_what_is_whole_and_goes_on(tmp_path, monkeypatch, capsys):
    play, turns = blind.BlindDriver.__call__, []

    def interrupted(drive, *args, **kwargs):
        play(drive, *args, **kwargs)
        turns.append(drive)
        if len(turns) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(blind.BlindDriver, "__call__", interrupted)
    monkeypatch.setattr(collection, "BLIND_STEPS_A_TURN", 64)
    assert not run(tmp_path, steps=2000)
    assert "run the same command to resume" in capsys.readouterr().out
    stopped_at = len(names(tmp_path))
    monkeypatch.undo()
    assert run(tmp_path, steps=2000)
    run(tmp_path / "b", steps=2000)
    assert 0 < stopped_at < len(names(tmp_path / "b"))
    assert fingerprints(tmp_path) == fingerprints(tmp_path / "b")


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("number", interrupt.SIGNALS)
def test_random_play_stops_and_goes_on_too(tmp_path, monkeypatch, capsys, number):
    play = blind.BlindDriver.__call__

    def interrupted(drive, *args, **kwargs):
        play(drive, *args, **kwargs)
        os.kill(os.getpid(), number)

    def prefill():
        make_envs = functools.partial(envs.make_vector_env, GAMES[0])
        options = dict(envs=2, seed=0, make_envs=make_envs, settings={})
        return collect.prefill(tmp_path, GAMES[0], steps=1000, **options)

    with monkeypatch.context() as patch:
        patch.setattr(blind.BlindDriver, "__call__", interrupted)
        patch.setattr(collection, "BLIND_STEPS_A_TURN", 64)
        assert not prefill()
    printed = capsys.readouterr().out
    assert "steps in" in printed and "run the same command to resume" in printed
    assert 0 < store.count_episodes(tmp_path)[1] < 1000
    assert prefill() and prefill()
    assert store.count_episodes(tmp_path)[1] >= 1000


def test_dataset_that_grows_beyond_its_budget_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "INTERVAL", 0.0)
    monkeypatch.setattr(disk, "bytes_per_step", lambda *args: 0.0)
    with pytest.raises(packed.DatasetError, match="raise collect.disk") as error:
        run(tmp_path, steps=10_000, disk=20 * 4096 / 2**30)
    assert str(tmp_path) in str(error.value)
    assert 20 <= len(names(tmp_path)) < 1000
    assert packed.open_task(tmp_path / GAMES[0]).damaged == ()


def test_recipe_of_a_configuration(tmp_path):
    settings = blocks.load_config(["minatar", "collect"], ["--seed", "4"])
    recipe = collect.make_recipe(settings, "minatar_asterix")
    assert (recipe.seed, recipe.envs, recipe.interval) == (4, 8, 500)
    assert recipe.policies == (Policy("random", 1.0),)
    wanted = {"time_limit": 27000, "sticky": 0.1, "ramping": True}
    assert recipe.settings == wanted


def test_players_that_would_see_categories_for_planes_are_refused():
    folder = pathlib.Path(__file__).parents[1] / "results" / "minatar_dqn"
    flags = ["--minatar_view", "collapsed", "--dqn.checkpoints", str(folder)]
    settings = blocks.load_config(["minatar", "collect"], flags)
    with pytest.raises(config.ConfigError, match="minatar_view=collapsed for minatar_"):
        collect.make_recipe(settings, "minatar_breakout")
    at_random = settings.update({"policies.dqn": 0})
    recipe = collect.make_recipe(at_random, "minatar_breakout")
    assert recipe.settings["view"] == "collapsed"


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


def test_a_recipe_records_the_backend_where_it_changes_the_episodes():
    flags = ["--policies.dqn", "0", "--collect.backend"]
    made = {
        name: collect.make_recipe(
            blocks.load_config(["atari", "collect"], [*flags, name]), "atari_pong"
        )
        for name in ("python", "native")
    }
    assert made["native"].settings == {**made["python"].settings, "backend": "native"}
    assert "backend" not in made["python"].settings


@pytest.mark.parametrize("suite", ["minatar", "atari"])
def test_the_native_backend_plays_atari_at_random_alone(suite, monkeypatch, tmp_path):
    flags = ["--collect.backend", "native"]
    if suite == "atari":
        flags += ["--dqn.checkpoints", str(tmp_path)]
        described = [("model.gz", "digest")]
        monkeypatch.setattr(actors, "describe", lambda folder, task: described)
    settings = blocks.load_config([suite, "collect"], flags)
    with pytest.raises(config.ConfigError, match="native cannot collect.*=python"):
        collect.make_recipe(settings, f"{suite}_breakout")


def test_actions_are_not_repeated_where_no_environment_does():
    settings = blocks.load_config(["minatar", "collect"], ["--action_repeat", "4"])
    with pytest.raises(config.ConfigError, match="minatar_asterix does not repeat"):
        collect.make_recipe(settings, "minatar_asterix")


def test_complete_dataset_needs_no_agents_and_gets_its_manifest_right(tmp_path):
    flags = ["--tasks", GAMES[0], "--dqn.checkpoints", str(tmp_path / "gone")]
    settings = blocks.load_config(["minatar", "debug", "collect"], flags)
    run(tmp_path, GAMES[:1], 300, policies=(Policy("random", 0.2),))
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

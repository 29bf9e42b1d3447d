"""Runs, datasets and weights by URL, through the commands and the stages."""

import functools
import shutil
import signal
import time

import h5py
import numpy as np
import pytest

from dreamerv2_transfer import collect
from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common import checkpoint, errors
from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.common.replay import offline, store
from dreamerv2_transfer.plotting import runs as runs_lib
from dreamerv2_transfer.transfer import weights
from tests import fakes, runs

DEBUG = ["--configs", "minatar", "debug"]
TASK = "minatar_asterix"

train = functools.partial(runs.start, "launch/train.py")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / TASK
    folder.mkdir(parents=True)
    for number in range(4):
        store.save_episode(folder, fakes.episode(40, number))
    return folder.parent


def make_config(*blocks, **changes):
    return blocks_lib.load_config(["minatar", "debug", *blocks]).update(changes)


def wait_for(path):
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_run_on_a_store_goes_on_on_another_machine(tmp_path, cache, data):
    run = [*DEBUG, "pretrain", "--tasks", TASK, "--steps", 8, "--eval_every", 4]
    run += ["--dataset.batch", 4, "--video.rows", 1, "--checkpoint_every", 3]
    whole = ["--dataset.directory", data, "--logdir", tmp_path / "a"]
    runs.finish(train(*run, *whole))
    by_url = ["--dataset.directory", data.as_uri()]
    by_url += ["--logdir", (tmp_path / "b").as_uri()]
    killed = train(*run, *by_url)
    wait_for(tmp_path / "b" / "checkpoints" / "ckpt-3.index")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    shutil.rmtree(cache / "dreamerv2_transfer" / "remote")
    output = runs.finish(train(*run, *by_url))
    assert "resumed from step 3" in output or "resumed from step 6" in output
    assert runs.rows(tmp_path / "a") == runs.rows(tmp_path / "b")
    names = [x.name for x in (tmp_path / "b" / "checkpoints").glob("*.index")]
    assert sorted(names) == ["ckpt-3.index", "ckpt-6.index", "ckpt-8.index"]
    assert (tmp_path / "b" / "world_model.weights.h5").exists()
    assert not (tmp_path / "b" / "packed").exists()
    (found,), _ = runs_lib.find([(tmp_path / "b").as_uri()])
    assert (found.name, found.config.steps) == ("b", 8)


def test_a_collection_goes_on_from_what_the_store_has(tmp_path, cache):
    url = (tmp_path / "data").as_uri()
    options = ["--configs", "minatar", "debug", "collect", "--tasks", TASK]
    options += ["--dataset.directory", url, "--collect.steps"]
    runs.finish(runs.start("launch/collect.py", *options, 300))
    before = store.count_episodes(tmp_path / "data" / TASK)
    shutil.rmtree(cache)
    runs.finish(runs.start("launch/collect.py", *options, 600))
    after = store.count_episodes(tmp_path / "data" / TASK)
    assert 300 <= before[1] < 600 <= after[1]
    info = runs.run("launch/dataset.py", "info", url).stdout
    assert f"{TASK}: {after[0]} episodes, {after[1]} steps" in info


def test_a_collection_is_uploaded_after_each_game(tmp_path):
    config = make_config("collect", tasks=[TASK, "minatar_breakout"])
    config = config.update({"collect.steps": 100, "collect.envs": 2})
    there = []
    with remote.opened((tmp_path / "data").as_uri()) as folder:

        def push():
            folder.push()
            there.append(sorted(x.name for x in (tmp_path / "data").glob("m*")))

        assert collect.complete(config, folder.path, push)
    assert there == [[TASK], [TASK, "minatar_breakout"]]


def test_a_dataset_by_url_has_the_batches_of_the_folder(data):
    config = make_config("pretrain", **{"dataset.batch": 2, "dataset.length": 5})
    opened = [
        offline.open_dataset(config, where, [TASK], None)
        for where in (data, data.as_uri())
    ]
    one, two = (dataset.next() for dataset in opened)
    np.testing.assert_array_equal(one["reward"], two["reward"])
    assert opened[0].state() == opened[1].state()


def test_weights_by_url_are_those_of_the_run_or_file(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (weights.WORLD_MODEL, weights.ACTOR_CRITIC):
        with h5py.File(folder / name, "w") as file:
            file["rssm/kernel"] = np.arange(3)
    (folder / "config.yaml").write_text("")
    (folder / "large.npz").write_text("")
    url = folder.as_uri()
    of_run = weights.find_weights(url)
    of_file = weights.find_weights(f"{url}/{weights.WORLD_MODEL}")
    assert of_run == of_file and of_run.is_relative_to(remote.local_folder(url))
    assert weights.read_weights(of_run)["rssm/kernel"].tolist() == [0, 1, 2]
    beside = {path.name for path in of_run.parent.iterdir()}
    assert beside == {"config.yaml", weights.WORLD_MODEL, weights.ACTOR_CRITIC}
    with pytest.raises(checkpoint.CheckpointError, match="nosuch.weights.h5"):
        weights.find_weights(f"{url}/nosuch.weights.h5")


def test_agents_by_url_play_as_those_of_the_folder(tmp_path):
    folder = tmp_path / "agents" / "asterix"
    folder.mkdir(parents=True)
    (folder / "model_100.weights.h5").write_bytes(b"damaged")
    config = make_config("collect")
    for where in (tmp_path / "agents", (tmp_path / "agents").as_uri()):
        there = config.update({"dqn.checkpoints": str(where)})
        with pytest.raises(errors.UserError, match="model_100.weights.h5 cannot be"):
            collect.make_recipe(there, TASK)


@pytest.mark.parametrize(
    ("script", "args", "message"),
    [
        ("train.py", [*DEBUG, "pretrain", "--logdir", "nosuch://x"], "nosuch"),
        (
            "evaluate.py",
            ["--logdir", "file:///no/where"],
            "nothing at file:///no/where",
        ),
    ],
)
def test_a_url_that_is_no_use_is_named(script, args, message):
    process = runs.run(f"launch/{script}", *args)
    assert process.returncode == 2
    assert message in process.stderr and "Traceback" not in process.stderr

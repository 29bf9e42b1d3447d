"""The command that looks after datasets."""

import pathlib
import subprocess

import numpy as np
import pytest

from dreamerv2_transfer import commands
from dreamerv2_transfer.commands import dataset as command
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.data import imports
from tests import fakes, runs


@pytest.fixture
def launch(capsys):
    def run(*args) -> subprocess.CompletedProcess:
        status = commands.main(["dataset", *map(str, args)])
        return subprocess.CompletedProcess(args, status, *capsys.readouterr())

    return run


@pytest.fixture
def dataset(tmp_path) -> pathlib.Path:
    for task, number in (("minatar_breakout", 2), ("minatar_freeway", 1)):
        folder = tmp_path / "d" / task
        folder.mkdir(parents=True)
        for i in range(number):
            store.save_episode(folder, fakes.episode(4, i))
    return tmp_path / "d"


def test_info_prints_and_draws(dataset, launch):
    done = launch("info", dataset)
    assert done.returncode == 0, done.stderr
    assert "minatar_breakout: 2 episodes, 8 steps" in done.stdout
    assert "minatar_freeway: 1 episodes, 4 steps" in done.stdout
    assert (dataset / "contact_sheet.png").read_bytes()[1:4] == b"PNG"


def test_info_takes_the_keys_by_which_training_draws(dataset, launch):
    # All 5 transitions of the episodes hold a reward, but for the first one's reset.
    done = launch("info", dataset, "--dataset.rewarded", 1, "--replay.maxlen", 1)
    assert "at 0.9 of the steps, 1 of those that are drawn" in done.stdout
    done = launch("info", dataset, "--dataset.draw", "rows")
    assert done.returncode == 2 and "one of episodes, steps. Received" in done.stderr
    done = launch("info", dataset, "--dataset.rewarded", "1.5")
    assert done.returncode == 2 and "at most 1" in done.stderr


def test_verify_ends_with_1_where_a_file_is_damaged(dataset):
    done = runs.run("launch/dataset.py", "verify", dataset)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == (
        "3 intact episodes of 12 steps in 2 task folders; none is damaged."
    )
    bad = sorted((dataset / "minatar_breakout").glob("*.npz"))[0]
    bad.write_bytes(bad.read_bytes()[:-50])
    done = runs.run("launch/dataset.py", "verify", dataset)
    assert done.returncode == 1
    assert sum(str(bad) in line for line in done.stdout.splitlines()) == 1
    assert done.stdout.splitlines()[-1].endswith("; 1 damaged.")


def test_every_format_that_can_be_imported_may_be_named():
    assert ("auto", *imports.FORMATS) == command.FORMATS


def test_export_and_import(dataset, tmp_path, launch):
    pytest.importorskip("minari")
    done = launch("export", dataset, "--target", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "Exported 2 episodes of minatar_breakout" in done.stdout
    source = tmp_path / "out" / "minatar_freeway"
    done = launch("import", tmp_path / "new", "--source", source)
    assert done.returncode == 0, done.stderr
    assert "Imported 1 episodes of 4 steps" in done.stdout
    assert store.count_episodes(tmp_path / "new" / "minatar_freeway") == (1, 4)


def test_import_of_several_games(tmp_path, launch):
    first = np.array([True, False, True, False, False])
    np.savez(
        tmp_path / "ep000000_000001-0-r0-3.npz",
        image=np.zeros((5, 10, 10), int),
        action=np.eye(6)[[0, 1, 0, 1, 1]],
        reward=np.zeros(5),
        terminal=np.zeros(5, bool),
        reset=first,
        env_id=[0, 0, 1, 1, 1],
    )
    tasks = "minatar_breakout,minatar_freeway"
    new = tmp_path / "new"
    done = launch("import", new, "--source", tmp_path, "--tasks", tasks)
    assert done.returncode == 0, done.stderr
    assert store.count_episodes(new / "minatar_breakout") == (1, 1)
    assert store.count_episodes(new / "minatar_freeway") == (1, 2)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["inform", "d"], "info, verify, import, export"),
        (["info"], "Name a dataset"),
        (["info", "--picture", "x.png"], "Name a dataset"),
        (["verify", "/nowhere/at/all"], "/nowhere/at/all"),
        (["import", "d", "--task", "a"], "--source SOURCE"),
        (["import", "d", "--source", "/nowhere", "--task", "a"], "/nowhere"),
        (["import", "d", "--source", ".", "--format", "zip"], "auto, dreamerv2"),
        (["export", "d"], "--target TARGET"),
        (["verify", "d", "--pictur", "x"], "pictur"),
    ],
)
def test_bad_input_is_one_line_that_names_it(args, message, launch):
    done = launch(*args)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_a_task_that_is_not_there_is_named(dataset, launch):
    done = launch("export", dataset, "--target", "x-v0", "--task", "minatar_asterix")
    assert done.returncode == 2 and "minatar_breakout, minatar_freeway" in done.stderr


def test_index_lets_training_read_a_url_by_ranges(
    dataset, tmp_path, launch, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "minatar_freeway: packed 1 episodes, 4 steps." in (
        launch("index", dataset).stdout
    )
    url = tmp_path / "store"
    source = ("--source", dataset / "minatar_breakout", "--task", "breakout")
    assert launch("import", url.as_uri(), *source).returncode == 0
    done = launch("index", url.as_uri())
    assert done.returncode == 0, done.stderr
    assert "breakout: packed 2 episodes, 8 steps; uploaded" in done.stdout
    assert len([*url.glob("breakout/.packed/*/index.json")]) == 1


def test_index_takes_the_dataset_not_a_task(dataset, launch):
    done = launch("index", dataset / "minatar_freeway")
    assert done.returncode == 2 and "Name the dataset, the folder" in done.stderr

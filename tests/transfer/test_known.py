"""The dataset of the games that a loaded model knows."""

import re

import fsspec
import gymnasium
import pytest

from dreamerv2_transfer import collect
from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.errors import CheckpointError
from dreamerv2_transfer.common.replay.store import DatasetError
from dreamerv2_transfer.data.collection import Recipe
from dreamerv2_transfer.transfer import known

GAMES = ("minatar_asterix", "minatar_freeway")


def make_config(folder, **changes):
    config = blocks.load_config(["minatar", "debug", "finetune"])
    paths = {"init.path": str(folder / "model"), "logdir": str(folder / "run")}
    return config.update({**paths, "replay.mix": 0.5, "dataset.batch": 4, **changes})


@pytest.fixture
def save_model(tmp_path):
    """Writes the files of a pre-training, as far as they are read."""

    def save(**changes):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "world_model.weights.h5").touch()
        config = blocks.load_config(["minatar", "debug", "pretrain"])
        config = config.update({"tasks": GAMES, **changes})
        config.save(tmp_path / "model" / "config.yaml")
        return make_config(tmp_path)

    return save


def test_dataset_and_games_are_those_of_the_model(save_model):
    found = known.resolved(save_model(**{"dataset.directory": "data"})).known
    assert (found.directory, found.tasks) == ("data", GAMES)


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        (20, 10, "held out 1 in 20 .* holds out 1 in 10, .* Use --dataset.holdout 20"),
        (0, 20, "held out no episodes, this run holds out 1 in 20, .* has learned.$"),
        (10, 20, "^$"),  # Each of these was held out before, too.
        (20, 20, "^$"),
        (20, 0, "^$"),
    ],
)
def test_a_holdout_that_exposes_learned_episodes_prints_a_warning(
    save_model, capsys, theirs, ours, said
):
    config = save_model(**{"dataset.directory": "data", "dataset.holdout": theirs})
    known.resolved(config.update({"dataset.holdout": ours}))
    assert re.search(said, capsys.readouterr().out.strip())


def test_the_model_may_have_a_dataset_of_its_own(save_model, tmp_path):
    config = save_model()
    with pytest.raises(ConfigError, match="--known.directory"):
        known.resolved(config)
    (tmp_path / "model" / "dataset").mkdir()
    found = known.resolved(config).known.directory
    assert found == str(tmp_path / "model" / "dataset")


def test_what_is_named_counts_and_what_is_off_reads_nothing(save_model, tmp_path):
    config = save_model(**{"dataset.directory": "data"})
    named = config.update({"known.directory": "other"})
    found = known.resolved(named).known
    assert (found.directory, found.tasks) == ("other", GAMES)
    named = named.update({"known.tasks": GAMES[:1], "init.path": "nowhere"})
    assert known.resolved(named) is named
    off = make_config(tmp_path, **{"replay.mix": 0.0, "init.path": "nowhere"})
    assert known.resolved(off) is off
    assert known.open_dataset(off, tmp_path, {}, {}) is None


def test_a_run_that_resumes_needs_no_model(save_model, tmp_path):
    config = known.resolved(save_model(**{"dataset.directory": "data"}))
    (tmp_path / "run").mkdir()
    config.save(tmp_path / "run" / "config.yaml")
    gone = make_config(tmp_path, **{"init.path": "nowhere"})
    assert known.resolved(gone).known.flat == config.known.flat


def test_a_run_at_a_url_that_resumes_needs_no_model(save_model, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = known.resolved(save_model(**{"dataset.directory": "data"}))
    gone = make_config(tmp_path, **{"init.path": "nowhere", "logdir": "memory://k/run"})
    with pytest.raises(CheckpointError, match="nowhere"):
        known.resolved(gone)
    config.save(tmp_path / "config.yaml")
    fsspec.filesystem("memory").pipe(
        "/k/run/config.yaml", (tmp_path / "config.yaml").read_bytes()
    )
    assert known.resolved(gone).known.flat == config.known.flat


def test_a_game_of_the_model_cannot_import_a_module(save_model):
    config = save_model(**{"dataset.directory": "data", "tasks": ["gym_evil:Game-v0"]})
    with pytest.raises(ConfigError, match="evil"):
        known.resolved(config)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"init.path": ""}, "Only fine-tuning, .* replay.mix=0.5 and known.evaluate=F"),
        ({"stage": "offline"}, "Only fine-tuning"),
        ({"replay.mix": 0.01}, "at least one of the new game .* Received: 0.01"),
        ({"replay.mix": 1.0}, "dataset.batch=4 sequences at least one of the new game"),
        ({"strategy": "mirrored"}, "replay.mix=0.5 and strategy=mirrored"),
        ({"known.evaluate": True, "dataset.holdout": 0}, "dataset.holdout=0, which"),
    ],
)
def test_what_cannot_be_mixed_is_refused(tmp_path, changes, message):
    known.check(make_config(tmp_path))
    with pytest.raises(ConfigError, match=message):
        known.check(make_config(tmp_path, **changes))


def test_known_games_are_played_like_the_new_one(tmp_path):
    collect.collect(tmp_path / "data", {GAMES[0]: Recipe(seed=3)}, steps=60)
    named = {"known.directory": str(tmp_path / "data"), "known.tasks": GAMES[:1]}
    config = make_config(tmp_path, **named, **{"replay.minlen": 1})
    box = gymnasium.spaces.Box
    spaces = {"image": box(0, 1, (10, 10, 10), bool)}
    actions = {"action": gymnasium.spaces.Discrete(6)}
    dataset = known.open_dataset(config, tmp_path / "run", spaces, actions)
    assert dataset.tasks == GAMES[:1]
    with pytest.raises(DatasetError, match=r"shape \(6,\), n=6 there and"):
        fewer = {"action": gymnasium.spaces.Discrete(3)}
        known.open_dataset(config, tmp_path / "run", spaces, fewer)

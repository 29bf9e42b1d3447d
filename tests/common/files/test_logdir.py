import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common import config as config_lib
from dreamerv2_transfer.common.files import logdir
from dreamerv2_transfer.common.files.paths import PathError


def make_config(path, **changes):
    config = blocks.load_config(["minatar", "debug", "pretrain"])
    return config.update({"logdir": str(path), **changes})


def test_saves_the_configuration(tmp_path):
    config = make_config(tmp_path / "run")
    with logdir.opened(config) as folder:
        path = folder.path
    assert path == tmp_path / "run"
    assert config_lib.Config.load(path / "config.yaml").flat == config.flat


def test_another_configuration_is_named_key_by_key(tmp_path):
    with logdir.opened(make_config(tmp_path)):
        pass
    changed = make_config(tmp_path, **{"rssm.deter": 24, "seed": 3})
    with pytest.raises(logdir.LogdirError) as error, logdir.opened(changed):
        pass
    assert "rssm.deter was 16 and is 24 now" in str(error.value)
    assert "seed was 0 and is 3 now" in str(error.value)
    assert "another --logdir" in str(error.value)
    saved = config_lib.Config.load(tmp_path / "config.yaml")
    assert saved.rssm.deter == 16


def test_a_start_that_failed_can_be_corrected(tmp_path):
    mistyped, corrected = (make_config(tmp_path, seed=seed) for seed in (1, 2))
    with pytest.raises(ZeroDivisionError), logdir.opened(mistyped):
        raise ZeroDivisionError
    assert not (tmp_path / "config.yaml").exists()
    with logdir.opened(corrected):
        pass
    # It is a run now, and so is a folder in which a start that failed left a file.
    with pytest.raises(ZeroDivisionError), logdir.opened(corrected):
        raise ZeroDivisionError
    assert config_lib.Config.load(tmp_path / "config.yaml").seed == 2
    other = make_config(tmp_path / "other")
    with pytest.raises(ZeroDivisionError), logdir.opened(other):
        (tmp_path / "other" / "metrics.jsonl").touch()
        raise ZeroDivisionError
    assert (tmp_path / "other" / "config.yaml").exists()


def test_a_run_may_be_made_longer_and_moved(tmp_path):
    with logdir.opened(make_config(tmp_path / "a")):
        pass
    (tmp_path / "a").rename(tmp_path / "b")
    changes = {"steps": 1000, "eval_every": 7, "outputs": ["jsonl", "wandb"]}
    with logdir.opened(make_config(tmp_path / "b", **changes)):
        pass
    assert config_lib.Config.load(tmp_path / "b" / "config.yaml").steps == 1000


def test_a_run_may_begin_to_evaluate_known_games_but_not_to_learn_them(tmp_path):
    with logdir.opened(make_config(tmp_path)):
        pass
    changes = {"known.evaluate": True, "known.tasks": ["a"], "known.directory": "b"}
    with logdir.opened(make_config(tmp_path, **changes)):
        pass
    mixed = make_config(tmp_path, **changes, **{"replay.mix": 0.25})
    with pytest.raises(logdir.LogdirError, match="replay.mix"), logdir.opened(mixed):
        pass


def test_one_process_at_a_time(tmp_path):
    config = make_config(tmp_path)
    with (
        logdir.opened(config),
        pytest.raises(logdir.LogdirError, match="Another process is using"),
        logdir.opened(config),
    ):
        pass
    with logdir.opened(config):
        pass


def test_a_damaged_configuration_is_named(tmp_path):
    (tmp_path / "config.yaml").write_text("rssm: [")
    config = make_config(tmp_path)
    with (
        pytest.raises(config_lib.ConfigError, match="config.yaml"),
        logdir.opened(config),
    ):
        pass


def test_a_logdir_that_is_empty_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = blocks.load_config(["minatar", "debug", "pretrain"]).update(logdir="")
    with pytest.raises(PathError, match="^logdir is empty"), logdir.opened(config):
        pass
    assert not any(tmp_path.iterdir())

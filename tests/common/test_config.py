import errno
import json
import os
import pickle
import subprocess
import sys

import pytest

from dreamerv2_transfer.common import config as configs
from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic


@pytest.fixture
def config():
    return Config(
        seed=0,
        lr=1e-4,
        jit=True,
        task="atari_pong",
        precision="auto",
        actor_ent=2e-3,
        kernels=[4, 4],
        keys=["image"],
        rssm={"deter": 1024, "norm": "none"},
        encoder={"norm": "none"},
    )


def test_values_are_reached_by_dots_attributes_and_nesting(config):
    assert config.rssm.deter == 1024
    assert config["rssm.deter"] == 1024
    assert config["rssm"]["deter"] == 1024
    assert config.get("rssm.deter") == 1024
    assert config.get("rssm.units", 3) == 3
    assert "rssm.deter" in config
    assert "rssm.units" not in config
    assert "rssm.deter.units" not in config


def test_flat_and_nested_forms_are_one_config():
    nested = Config({"a": {"b": {"c": 1}}, "d": [1, 2]})
    assert nested == Config({"a.b.c": 1, "d": (1, 2)})
    assert nested.flat == {"a.b.c": 1, "d": (1, 2)}
    assert dict(nested) == {"a": {"b": {"c": 1}}, "d": (1, 2)}
    assert dict(**nested.a.b) == {"c": 1}


def test_unknown_attribute_names_the_nearest(config):
    with pytest.raises(AttributeError, match=r"'sed'.*'seed'"):
        _ = config.sed


@pytest.mark.parametrize(
    "change",
    [
        lambda c: setattr(c, "seed", 1),
        lambda c: c.__setitem__("seed", 1),
        lambda c: c.__delitem__("seed"),
        lambda c: c.__ior__({"seed": 1}),
        lambda c: c.pop("seed"),
        lambda c: c.setdefault("new", 1),
        lambda c: c.clear(),
    ],
)
def test_config_is_immutable(config, change):
    with pytest.raises(AttributeError, match="immutable"):
        change(config)
    assert config.seed == 0


def test_update_leaves_the_old_config_alone(config):
    new = config.update({"rssm": {"deter": 8}}, seed=3)
    assert (new.rssm.deter, new.seed, new.rssm.norm) == (8, 3, "none")
    assert (config.rssm.deter, config.seed) == (1024, 0)


def test_update_by_pattern(config):
    new = config.update({r".*\.norm": "layer"})
    assert (new.rssm.norm, new.encoder.norm) == ("layer", "layer")


def test_a_pattern_that_matches_whole_keys_leaves_longer_ones_alone():
    config = Config({"model_opt": {"lr": 1.0, "lr_by": {"rssm": 1.0}}, "lr": 1.0})
    new = config.update({r"(model|actor)_opt\.lr": 0.5})
    assert (new.model_opt.lr, new.model_opt.lr_by.rssm, new.lr) == (0.5, 1.0, 1.0)
    new = config.update({r"(model|actor)_opt": 0.5})
    assert (new.model_opt.lr, new.model_opt.lr_by.rssm, new.lr) == (0.5, 0.5, 1.0)


def test_a_pattern_below_a_group_stays_in_it():
    config = Config({"rssm": {"norm": "none"}, "rssm_norm": "none"})
    new = config.update({"rssm": {"no.*": "layer"}})
    assert (new.rssm.norm, new.rssm_norm) == ("layer", "none")


@pytest.mark.parametrize(
    "key, value, expected",
    [
        ("seed", 5e4, 50000),
        ("seed", "5e4", 50000),
        ("seed", 123456789012345678901, 123456789012345678901),
        ("lr", 1, 1.0),
        ("lr", "3e-4", 3e-4),
        ("jit", False, False),
        ("jit", "false", False),
        ("jit", "True", True),
        ("task", "1e8", "1e8"),
        ("kernels", [3.0, 2], (3, 2)),
        ("keys", ["a", "b", "c"], ("a", "b", "c")),
        ("actor_ent", "linear(1,0.1,1e5)", "linear(1,0.1,1e5)"),
        ("actor_ent", "warmup(1e4, 0.1)", "warmup(1e4, 0.1)"),
        ("actor_ent", "exp(1,0.1,1e5)", "exp(1,0.1,1e5)"),
        ("actor_ent", "horizon(1,0.1,1e5)", "horizon(1,0.1,1e5)"),
        ("actor_ent", 1, 1.0),
        ("precision", 16, "16"),
        ("precision", "bf16", "bf16"),
    ],
)
def test_update_keeps_the_type(config, key, value, expected):
    result = config.update({key: value})[key]
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    "key, value, wanted",
    [
        ("seed", 1.5, "int"),
        ("seed", "many", "int"),
        ("seed", True, "int"),
        ("seed", float("inf"), "int"),
        ("seed", None, "int"),
        ("seed", [1], "int"),
        ("lr", "linear(1,0.1,1e5)", "float"),
        ("lr", True, "float"),
        ("lr", float("nan"), "float"),
        ("jit", 1, "bool"),
        ("jit", "yes", "bool"),
        ("task", 3, "str"),
        ("kernels", 3, "list of ints"),
        ("kernels", [], "list of ints"),
        ("kernels", [1.5], "int"),
        ("actor_ent", "linear(1,0.1)", "schedule"),
        ("actor_ent", "linear(1,0.1,x)", "schedule"),
        ("actor_ent", "cosine(1,0.1,1e5)", "schedule"),
        ("precision", 8, "auto, 32, 16, bf16"),
        ("precision", "float16", "auto, 32, 16, bf16"),
    ],
)
def test_wrong_type_names_key_value_and_wanted_type(config, key, value, wanted):
    with pytest.raises(ConfigError) as error:
        config.update({key: value})
    message = str(error.value)
    assert f"'{key}'" in message
    assert wanted in message
    assert "Received: " + key in message


def test_float_returns_after_a_schedule(config):
    scheduled = config.update(actor_ent="linear(1,0.1,1e5)")
    assert scheduled.update(actor_ent="3e-4").actor_ent == 3e-4


def test_unknown_key_names_the_nearest(config):
    with pytest.raises(ConfigError, match=r"'rssm.deterr'.*'rssm.deter'"):
        config.update({"rssm.deterr": 5})
    with pytest.raises(ConfigError, match=r"'rssm' is a group.*rssm.deter"):
        config.update(rssm=5)
    with pytest.raises(ConfigError, match="matches no key"):
        config.update({r".*\.size": 5})
    with pytest.raises(ConfigError, match="not a regular expression"):
        config.update({"*": 5})


@pytest.mark.parametrize(
    "mapping, message",
    [
        ({"a": {"b": None}}, "'a.b'"),
        ({"a": []}, "'a'.*non-empty"),
        ({"a": [1, 2.0]}, "'a'.*one type"),
        ({"a": [[1]]}, "'a'"),
        ({"a": object()}, "'a'"),
        ({"a*": 1}, "pattern"),
        ({1: 2}, "string"),
        ({"a": 1, "a.b": 2}, "'a.b'"),
        ({"a.b": 2, "a": 1}, "'a'"),
        ({"stage": "x", "stages": {"pretrain": {"steps": 1}}}, "'' or one of pretrain"),
    ],
)
def test_a_config_refuses_bad_keys_and_values(mapping, message):
    with pytest.raises(ConfigError, match=message):
        Config(mapping)


def test_errors_are_for_people():
    assert issubclass(ConfigError, UserError)


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_files_bring_back_values_and_types(tmp_path, suffix):
    values = {
        "ints": [1, 2],
        "floats": [1.0, 1e8, 1e-5, 1e16, 5e-324, float("inf")],
        "strs": ["16", "1e8", "true", "null", "", "^$", "$^", ".*", "a: b", "on", "é"],
        "bools": [True, False],
        "rssm": {"deter": 200, "min_std": 0.1, "norm": "none"},
        "actor_ent": "linear(1,0.1,1e5)",
    }
    saved = Config(values)
    saved.save(tmp_path / f"config{suffix}")
    loaded = Config.load(tmp_path / f"config{suffix}")
    assert list(loaded.flat) == list(saved.flat)
    assert repr(loaded.flat) == repr(saved.flat)


def test_a_reader_of_the_old_file_sees_all_of_it(tmp_path, config):
    path = tmp_path / "config.yaml"
    config.save(path)
    before = path.read_text()
    with path.open() as reader:
        config.update(seed=1).save(path)
        assert reader.read() == before
    assert Config.load(path).seed == 1


def test_saving_is_whole_or_not_at_all(tmp_path, config, monkeypatch):
    path = tmp_path / "config.yaml"
    config.save(path)

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(atomic.OutputError, match=r"config.yaml: No space left"):
        config.update(seed=1).save(path)
    assert Config.load(path).seed == 0
    assert os.listdir(tmp_path) == ["config.yaml"]


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("c.yaml", "a: [1", "not a yaml file"),
        ("c.yaml", "a: 1\na: 2", "not a yaml file"),
        ("c.yaml", "- 1", "has no keys"),
        ("c.yaml", "", "has no keys"),
        ("c.yaml", "a:\n  b:\n", "'a.b'"),
        ("c.yaml", "a: !!python/object/apply:os.getcwd []", "not a yaml file"),
        ("c.json", "{", "not a json file"),
        ("c.json", '{"a": null}', "'a'"),
        ("c.txt", "a: 1", "ends in .yaml"),
    ],
)
def test_a_bad_file_is_named(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        Config.load(path)
    assert str(path) in str(error.value)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere.yaml: No such file"):
        Config.load(tmp_path / "nowhere.yaml")
    (tmp_path / "c.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match=r"c.yaml is not"):
        Config.load(tmp_path / "c.yaml")


def test_a_file_of_the_original_loads(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"precision": 16, "steps": 5e7, "kl": {"free": 1.0}})
    )
    config = Config.load(tmp_path / "config.json")
    assert config.flat == {"precision": "16", "steps": 5e7, "kl.free": 1.0}


def test_config_pickles(config):
    assert pickle.loads(pickle.dumps(config)) == config


def test_text_is_a_table():
    text = str(Config({"a": {"bc": 1}, "lists": [1.5, 2.0]}))
    assert text.splitlines() == [
        "Config:",
        "a.bc:   1           (int)",
        "lists:  [1.5, 2.0]  (floats)",
    ]
    assert str(Config()) == "Config:"


def test_difference_names_what_differs():
    old = Config({"seed": 0, "a": {"b": 1, "c": 2}, "gone": 1, "video": {"fps": 10}})
    new = Config({"seed": 0, "a": {"b": 1, "c": 3}, "new": "x", "video": {"fps": 5}})
    assert configs.difference(old, new, ["video"]) == {
        "a.c": (2, 3),
        "gone": (1, None),
        "new": (None, "x"),
    }
    assert configs.difference(old, new, ["video", "a", "gone", "new"]) == {}
    assert "video.fps" in configs.difference(old, new, ["vid"])


def test_configuration_needs_no_tensorflow():
    code = "import sys, dreamerv2_transfer.common.flags; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    modules = subprocess.check_output(command, text=True, env=environment).split()
    assert "dreamerv2_transfer.common.config" in modules
    assert "tensorflow" not in modules


def test_a_name_that_is_not_known_gets_a_suggestion():
    configs.check_names("section", ["games"], ("games", "arms"), "Help.")
    with pytest.raises(ConfigError, match=r"Unknown section 'game'\. .*games.* Help\."):
        configs.check_names("section", ["game"], ("games", "arms"), "Help.")

"""A configuration that a stranger wrote: a result or a named error, and no code runs.

The command line of `train`, `evaluate` and so on may name a module that makes an
environment; a file may not.
"""

import json
import pathlib
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamerv2_transfer import commands
from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.config import Config, ConfigError, read_mapping
from dreamerv2_transfer.data import imports

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEFAULTS = {
    **{"task": "minatar_breakout", "tasks": ["minatar_breakout"], "stage": ""},
    **{"steps": 1e8, "seed": 0, "jit": True, "precision": "auto", "actor_ent": 2e-3},
    **{"encoder.cnn_keys": ".*", "encoder.cnn_kernels": [4, 4], "rssm.deter": 8},
    **{"envs": 1, "replay.capacity": 2e6, "grad_heads": ["decoder"], "logdir": "x"},
}
KEYS = [*DEFAULTS, "num_envs", "replay_size", "encoder.depth", "encoder", "replay"]
TASK = "gym_stranger_code:Game-v0"

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=20),
    st.text(st.characters(categories=["Cs", "Cc", "Zs"]), max_size=3),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=9), inner)
    ),
    max_leaves=8,
)
mappings = st.dictionaries(
    st.sampled_from(KEYS) | st.from_regex(r"[a-z._*]{1,9}"), values
)


@pytest.fixture(scope="module")
def configs(tmp_path_factory) -> pathlib.Path:
    """A file of blocks with few keys, which is read fast."""
    path = tmp_path_factory.mktemp("configs") / "configs.json"
    path.write_text(json.dumps({"defaults": DEFAULTS}))
    return path


def load(path: pathlib.Path, content: bytes, configs: pathlib.Path) -> Config | None:
    """Loads a file as each reader of a run does; None where it is refused by name."""
    path.write_bytes(content)
    try:
        config, notes = blocks.load_old(path, configs)
    except ConfigError as error:
        assert str(path) in str(error)
        assert len(str(error)) < 2000
        return None
    assert all(str(path) in note for note in notes)
    return config


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path, configs, content):
    load(tmp_path / "config.yaml", content, configs)
    load(tmp_path / "config.json", content, configs)


@given(st.text("abs:{}[]&*!<>-|%@'\"#,?\n 01.", max_size=80))
def test_any_text_that_looks_like_yaml(tmp_path, configs, text):
    load(tmp_path / "config.yaml", text.encode(), configs)


@given(mappings)
def test_any_mapping(tmp_path, configs, mapping):
    load(tmp_path / "config.json", json.dumps(mapping).encode(), configs)


@given(mappings)
def test_what_is_loaded_can_be_saved_and_read_again(tmp_path, configs, mapping):
    config = load(tmp_path / "config.json", json.dumps(mapping).encode(), configs)
    if config:
        config.save(tmp_path / "again.yaml")
        assert Config.load(tmp_path / "again.yaml").flat == config.flat


@pytest.mark.parametrize("value", [False, 3, "image", [1]])
def test_a_list_that_is_translated_may_be_something_else(tmp_path, configs, value):
    content = json.dumps({"grad_heads": value, "encoder.keys": value}).encode()
    assert load(tmp_path / "config.json", content, configs) is None


def test_a_value_in_a_message_is_cut(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"steps: [{', '.join(['[x]'] * 5000)}]")
    with pytest.raises(ConfigError, match="must be a non-empty list") as caught:
        Config.load(path)
    assert len(str(caught.value)) < 500


def test_a_file_of_any_size_is_refused_by_name(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(f"a: '{'x' * 2**18}'")
    with pytest.raises(ConfigError, match="Cannot read .*more than 262,144 bytes"):
        read_mapping(path)


# Code.


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose task imports a module, which would leave a file."""
    monkeypatch.delitem(sys.modules, "stranger_code", raising=False)
    (tmp_path / "stranger_code.py").write_text(
        f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()"
    )
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "run"
    config = blocks.load_config(["minatar", "debug", "scratch"])
    folder.mkdir()
    config.update(task=TASK, tasks=[TASK]).save(folder / "config.yaml")
    return folder


def started(run: pathlib.Path, *args: object) -> bool:
    """Runs a command and returns whether the module was imported."""
    assert commands.main([*map(str, args)]) == 2
    return (run.parent / "ran").exists()


def attempts(run: pathlib.Path) -> dict[str, list]:
    to = ["--logdir", run.parent / "new"]
    configs = ["--configs", run / "config.yaml"]
    return {
        "evaluate": ["evaluate", "--logdir", run],
        "analyze": ["analyze", "--logdir", run],
        "train": ["train", *configs, "scratch", "--action_repeat", 1, *to],
        "pretrain": ["train", *configs, "pretrain", *to],
        "collect": ["collect", *configs, "collect", *to],
        "train-dqn": ["train-dqn", *configs, "dqn", *to],
    }


@pytest.mark.parametrize(
    "name", ["evaluate", "analyze", "train", "pretrain", "collect", "train-dqn"]
)
def test_a_file_runs_code_only_if_the_user_says_so(run, name, capsys):
    args = attempts(run)[name]
    assert not started(run, *args)
    error = capsys.readouterr().err
    assert f"{run / 'config.yaml'} names task={TASK}" in error
    assert "module 'stranger_code'" in error and "--trust" in error
    assert not (run.parent / "new").exists()
    if name != "analyze":  # It would import TensorFlow.
        assert started(run, *args, "--trust")


@pytest.mark.parametrize("key", ["task", "tasks"])
def test_what_a_stage_of_a_file_sets_runs_no_code(run, capsys, key):
    value = f"[{TASK}]" if key == "tasks" else TASK
    file = run.parent / "stage.yaml"
    file.write_text(f"stages: {{offline: {{{key}: {value}}}}}\n")
    args = ["train", "--configs", "minatar", file, "offline", "--init", run]
    args += ["--dataset.directory", run, "--logdir", run.parent / "new"]
    assert not started(run, *args)
    assert "module 'stranger_code'" in capsys.readouterr().err
    started(run, *args, "--trust")
    assert "module 'stranger_code'" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["evaluate", "train"])
def test_the_command_line_may_name_the_task(run, name):
    given = ["--task", TASK] + (["--tasks", TASK] if name == "train" else [])
    assert started(run, *attempts(run)[name], *given)


def test_a_later_block_may_name_another_task(run):
    given = ["--configs", run / "config.yaml", "minatar", "scratch"]
    block = blocks.resolve([*map(str, given[1:])], [])
    assert block.config.task == "minatar_space_invaders"


def test_a_script_may_trust_a_file(run):
    with pytest.raises(ConfigError, match="stranger_code"):
        blocks.load_config([str(run / "config.yaml")])
    config = blocks.load_config([str(run / "config.yaml")], trust=True)
    assert config.task == TASK


def test_a_file_cannot_trust_itself(run, tmp_path):
    with open(run / "config.yaml", "a") as file:
        file.write("trust: True\n")
    assert not started(run, "evaluate", "--logdir", run)


def test_the_configuration_of_an_old_agent_runs_no_code(run, capsys):
    from dreamerv2_transfer.porting import pickles

    pickles.save_variables(run / "variables.pkl", [])
    args = ["port", run, "--to", run.parent / "ported"]
    assert not started(run, *args)
    assert "names task=gym_stranger_code" in capsys.readouterr().err


def test_the_task_in_a_minari_dataset_runs_no_code(run, monkeypatch):
    opened = types.SimpleNamespace(manifest={"task": TASK}, path=run)
    monkeypatch.setattr(
        imports.minari_io, "open_source", lambda source, exclude: opened
    )
    with pytest.raises(ConfigError, match="stranger_code"):
        imports.import_minari(run / "dataset", "stranger/dataset-v0")
    assert not (run.parent / "ran").exists() and not (run / "dataset").exists()

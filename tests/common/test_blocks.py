import json

import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.config import Config, ConfigError
from dreamerv2_transfer.common.files.paths import PathError

YAML = """
defaults:
  logdir: /dev/null
  seed: 0
  steps: 1e8
  log_every: 1e4
  checkpoint_every: 1000
  stage: ''
  precision: auto
  rssm: {deter: 1024, norm: none}
  critic: {norm: none}
  stages:
    pretrain: {steps: 5, log_every: 2}
    scratch: {steps: 7, checkpoint_every: 3}
big:
  rssm.deter: 2048
  stages.pretrain.steps: 50
seeded:
  seed: 1
big seeded:
  seed: 2
normed:
  .*\\.norm: layer
pretrain:
  stage: pretrain
empty:
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "configs.yaml"
    path.write_text(YAML)
    return path


def test_blocks_merge_in_order(path):
    config = blocks.load_config(["big", "normed"], [], path)
    assert config.rssm.deter == 2048
    assert (config.rssm.norm, config.critic.norm) == ("layer", "layer")
    assert blocks.load_config([], [], path).rssm.deter == 1024


@pytest.mark.parametrize(
    "names, seed, origin",
    [
        (["seeded"], 1, "seeded"),
        (["seeded", "big"], 1, "seeded"),
        (["big", "seeded"], 2, "big seeded"),
        (["big", "pretrain", "seeded", "normed"], 2, "big seeded"),
    ],
)
def test_a_block_of_two_names_follows_the_second(path, names, seed, origin):
    resolved = blocks.resolve(names, [], path)
    assert (resolved.config.seed, resolved.origins["seed"]) == (seed, origin)


def test_flags_come_last(path):
    config = blocks.load_config(["big"], ["--rssm.deter", "3"], path)
    assert config.rssm.deter == 3


@pytest.mark.parametrize(
    "names, argv, steps, log_every, checkpoint_every",
    [
        ([], [], 1e8, 1e4, 1000),
        (["pretrain"], [], 5, 2, 1000),
        (["pretrain", "big"], [], 50, 2, 1000),
        (["big", "pretrain"], [], 50, 2, 1000),
        (["pretrain"], ["--stage", "scratch"], 7, 1e4, 3),
        (["pretrain"], ["--steps", "3000"], 3000, 2, 1000),
        (["pretrain"], ["--stages.pretrain.steps", "6"], 6, 2, 1000),
        (["pretrain"], ["--stage="], 1e8, 1e4, 1000),
    ],
)
def test_stage_sets_steps_and_intervals(
    path, names, argv, steps, log_every, checkpoint_every
):
    config = blocks.load_config(names, argv, path)
    assert config.steps == steps
    assert config.log_every == log_every
    assert config.checkpoint_every == checkpoint_every


@pytest.mark.parametrize(
    "names, argv, logdir",
    [
        ([], [], "logdir/defaults"),
        (["big", "pretrain"], [], "logdir/big_pretrain"),
        (["pretrain", "big"], [], "logdir/big_pretrain"),
        (["big"], ["--logdir", "here"], "here"),
        (["big"], ["--logdir", "/dev/null"], "/dev/null"),
    ],
)
def test_default_logdir_is_named_for_the_blocks(path, names, argv, logdir):
    assert blocks.load_config(names, argv, path).logdir == logdir


def test_unknown_and_empty_blocks_are_named(path):
    with pytest.raises(
        ConfigError, match=r"'bigg'.*'big'.*Known blocks: defaults, big"
    ):
        blocks.load_config(["bigg"], [], path)
    with pytest.raises(ConfigError, match="block 'empty' has no keys"):
        blocks.load_config(["empty"], [], path)


def test_a_bad_key_names_file_and_block(path):
    path.write_text(YAML + "bad: {rssm.detre: 3}\n")
    with pytest.raises(ConfigError, match=r"configs.yaml, block 'bad': .*'rssm.detre'"):
        blocks.load_config(["bad"], [], path)


def test_old_files_are_completed_and_their_unknown_keys_noted(path, tmp_path):
    old = tmp_path / "config.json"
    old.write_text(json.dumps({"precision": 32, "rssm": {"deter": 20}, "gone": 3}))
    config, notes = blocks.load_old(old, path)
    assert (config.rssm.deter, config.precision, config.steps) == (20, "32", 1e8)
    assert len(notes) == 1
    assert "'gone'" in notes[0] and str(old) in notes[0]
    old.write_text(json.dumps({"rssm": {"deter": "x"}}))
    with pytest.raises(ConfigError, match=r"config.json: .*'rssm.deter'"):
        blocks.load_old(old, path)


def test_a_file_of_a_run_is_a_block(path, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    file = tmp_path / "run" / "config.json"
    file.write_text(json.dumps({"logdir": "there", "rssm": {"deter": 20}, "gone": 3}))
    config = blocks.load_config(["big", str(file), "pretrain"], [], path)
    assert (config.rssm.deter, config.steps, config.stage) == (20, 50, "pretrain")
    assert config.logdir == "logdir/big_run_pretrain"
    assert "'gone'" in capsys.readouterr().out


@pytest.mark.parametrize(
    "names, argv, kept",
    [
        ([], [], (500, 10)),
        ([], ["--steps", "7"], (7, 10)),
        ([], ["--stages.offline.steps", "8"], (8, 10)),
        (["small"], [], (5000, 50)),
        (["offline"], [], (500, 10)),
        (["scratch"], [], (5000, 50)),
    ],
)
def test_a_file_of_a_run_has_what_flags_set(tmp_path, names, argv, kept):
    """Another stage, or a later block of sizes, sets its own again."""
    flags = ["--steps", "500", "--log_every", "10"]
    run = blocks.load_config(["minatar", "small", "offline"], flags)
    run.save(tmp_path / "config.yaml")
    found = blocks.load_config([str(tmp_path / "config.yaml"), *names], argv)
    assert (found.steps, found.log_every) == kept


def test_the_games_of_a_run_are_in_its_file(tmp_path):
    file = tmp_path / "config.yaml"
    blocks.load_config(["minatar", "scratch"], ["--tasks", "a", "b"]).save(file)
    assert blocks.learned_games(blocks.load_config([str(file)])) == ("a", "b")
    alone = blocks.load_config([str(file)], ["--task", "c"])
    assert blocks.learned_games(alone) == ("c",)
    blocks.load_config(["minatar", "offline"], ["--task", "a"]).save(file)
    assert blocks.load_config([str(file)]).task == "a"
    for flag in ("--tasks", "--stages.offline.tasks"):
        other = blocks.load_config([str(file)], [flag, "b"])
        assert (other.task, other.tasks) == ("", ("b",))


def test_keys_that_were_called_otherwise():
    """Those of the original's first release."""
    defaults = blocks.load_config(["defaults"])
    assert set(blocks.RENAMED.values()) <= set(defaults.flat)
    assert not set(blocks.RENAMED) & set(defaults.flat)


def test_values_that_were_written_otherwise(tmp_path):
    old = tmp_path / "config.json"
    heads, encoder = ["image", "reward"], {"keys": ["image"], "depth": 7}
    old.write_text(json.dumps({"grad_heads": heads, "encoder": encoder}))
    config, notes = blocks.load_old(old)
    assert config.grad_heads == ("decoder", "reward")
    assert (config.encoder.cnn_keys, config.encoder.cnn_depth) == ("image$", 7)
    assert len(notes) == 2


def test_each_value_knows_where_it_comes_from(path, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 3\n")
    names = ["big", str(file), "normed", "pretrain"]
    resolved = blocks.resolve(names, ["--critic.norm", "none"], path)
    origins = resolved.origins
    assert origins["rssm.deter"] == "big" and origins["rssm.norm"] == "normed"
    assert origins["critic.norm"] == "--critic.norm"
    assert origins["seed"] == str(file) and origins["precision"] == "defaults"
    assert origins["steps"] == "stages.pretrain"
    assert origins["checkpoint_every"] == "defaults"
    assert origins["logdir"] == "the blocks' names"
    assert origins.keys() == resolved.config.flat.keys()
    assert resolved.config == blocks.load_config(names, ["--critic.norm", "none"], path)


PATHS_YAML = """
defaults:
  logdir: /dev/null
  init: {path: '', components: [rssm]}
  dataset: {directory: ''}
  eval_dataset: ''
  dqn: {checkpoints: ''}
  known: {directory: ''}
tuned:
  init.path: there
chained:
  eval_dataset: simplecache::s3://b/x
unnamed:
  logdir: ''
"""


@pytest.fixture
def with_paths(tmp_path):
    path = tmp_path / "configs.yaml"
    path.write_text(PATHS_YAML)
    return path


@pytest.mark.parametrize("key", [*blocks.PATHS, "init"])
def test_an_empty_path_on_the_command_line_is_a_mistake(with_paths, key):
    with pytest.raises(PathError, match=f"^--{key} is empty"):
        blocks.load_config([], [f"--{key}", ""], with_paths)


def test_an_empty_path_takes_back_what_a_block_set(with_paths):
    assert blocks.load_config(["tuned"], [], with_paths).init.path == "there"
    assert blocks.load_config(["tuned"], ["--init", ""], with_paths).init.path == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chained", "Key 'eval_dataset' is a chain of URLs"),
        ("unnamed", "Key 'logdir' is empty"),
    ],
)
def test_a_path_of_a_block_is_checked(with_paths, name, message):
    with pytest.raises(PathError, match=message):
        blocks.load_config([name], [], with_paths)


@pytest.mark.parametrize(
    ("stage", "games"),
    [
        ("pretrain", ("minatar_asterix", "minatar_breakout")),
        ("offline", ("minatar_asterix", "minatar_breakout")),
        ("finetune", ("minatar_seaquest",)),
        ("", ("minatar_seaquest",)),
    ],
)
def test_a_run_learns_the_games_that_it_mixes_or_the_one_it_plays(stage, games):
    config = Config(
        stage=stage,
        task="minatar_seaquest",
        tasks=["minatar_asterix", "minatar_breakout"],
    )
    assert blocks.learned_games(config) == games


def test_games_of_a_model_have_numbers_and_others_are_refused():
    games = {"size": 8, "games": ["minatar_asterix", "minatar_breakout"]}
    config = blocks.load_config(["minatar"]).update(task_embed=games)
    assert blocks.game_indices(config, ["minatar_breakout"]) == [1]
    with pytest.raises(ConfigError, match="no vector of minatar_freeway .* minatar_as"):
        blocks.game_indices(config, ["minatar_asterix", "minatar_freeway"])
    off = config.update({"task_embed.size": 0})
    assert blocks.game_indices(off, ["minatar_freeway"]) == []


def test_batches_hold_the_games_of_the_run_and_those_that_are_mixed_in():
    config = blocks.load_config(["minatar", "finetune"], ["--known.tasks", "one,two"])
    assert blocks.games_of_batches(config) == ("minatar_space_invaders",)
    mixed = config.update({"replay.mix": 0.5})
    assert blocks.games_of_batches(mixed) == ("minatar_space_invaders", "one", "two")


@pytest.mark.parametrize("stage", ["scratch", "finetune"])
def test_several_games_are_played_if_a_flag_names_them(stage):
    config = blocks.load_config(["minatar", stage], ["--tasks", "one,two,one"])
    assert config.multi_game and config.task == "one"
    assert blocks.learned_games(config) == ("one", "two")
    alone = blocks.load_config(["minatar", stage], ["--tasks", "one"])
    assert not alone.multi_game and blocks.learned_games(alone) == ("one",)
    block = blocks.load_config(["minatar", stage])
    assert blocks.learned_games(block) == ("minatar_space_invaders",)
    both = ["--multi_game", "True", "--task", "one"]
    assert blocks.load_config(["minatar", stage], both).multi_game
    whole = blocks.load_config(["minatar", stage], ["--multi_game"])
    assert blocks.learned_games(whole) == block.tasks and whole.task == block.tasks[0]
    with pytest.raises(ConfigError, match="not both. Received: --task a --tasks b c"):
        blocks.load_config(["minatar", stage], ["--task", "a", "--tasks", "b", "c"])

import shutil
import sys

import pytest

from dreamerv2_transfer.commands import configuration
from dreamerv2_transfer.common.config import ConfigError
from tests import runs

CONFIGS = runs.ROOT / "configs.yaml"


def load(*argv):
    return configuration.load(argv, ["pretrain"], "Name the block pretrain.")


def test_blocks_and_keys_are_read():
    config = load("--configs", "minatar", "small", "pretrain", "--seed", "4")
    assert (config.seed, config.rssm.deter, config.steps) == (4, 128, 30000)


def test_another_stage_is_refused():
    with pytest.raises(ConfigError, match="Name the block .*--configs minatar scratch"):
        load("--configs", "minatar", "scratch")


def test_a_template_is_a_block_that_flags_may_change():
    argv = ["--template", "minatar_pretrain", "--seed", "4"]
    config = load(*argv)
    assert (config.seed, config.rssm.deter, config.stage) == (4, 256, "pretrain")
    names, rest = configuration.split([*argv, "--configs", "debug"])
    folder = runs.ROOT / "logdir_templates" / "minatar_pretrain"
    assert names == (str(folder / "config.yaml"), "debug")
    assert rest == ["--seed", "4"]


def test_an_unknown_template_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'minatar_pretrain'"):
        configuration.split(["--template", "minatar_pretrian"])


def test_a_script_uses_the_file_of_its_checkout(monkeypatch, tmp_path):
    assert configuration.path() == CONFIGS
    (tmp_path / "dreamerv2_transfer").mkdir()
    (tmp_path / "launch").mkdir()
    text = CONFIGS.read_text().replace("\n  seed: 0", "\n  seed: 7")
    (tmp_path / "configs.yaml").write_text(text)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "launch" / "train.py")])
    assert load("--configs", "minatar", "pretrain").seed == 7
    source = runs.ROOT / "logdir_templates"
    shutil.copytree(source, tmp_path / "logdir_templates")
    assert configuration.templates() == tmp_path / "logdir_templates"


def test_the_printed_configuration_is_a_block_and_names_origins(capsys, tmp_path):
    argv = ["--configs", "minatar", "small", "pretrain", "--rssm.deter", "64"]
    configuration.show(argv)
    text = capsys.readouterr().out
    origins = dict(line.split(" # ") for line in text.splitlines())
    origins = {" ".join(key.split()): origin for key, origin in origins.items()}
    assert origins["rssm.deter: 64"] == "--rssm.deter"
    assert origins["rssm.stoch: 16"] == "small"
    assert origins["rssm.act: elu"] == "defaults"
    assert origins["steps: 30000.0"] == "stages.pretrain"
    assert origins["log_keys_sum: '^$'"] == "defaults"
    assert origins["logdir: logdir/minatar_small_pretrain"] == "the blocks' names"
    (tmp_path / "mine.yaml").write_text(text)
    again = configuration.resolve(["--configs", str(tmp_path / "mine.yaml")]).config
    expected = configuration.resolve(argv).config
    assert again.update(logdir="x") == expected.update(logdir="x")

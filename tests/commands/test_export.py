import pytest

from dreamerv2_transfer import commands
from dreamerv2_transfer.commands import export
from dreamerv2_transfer.common.config import ConfigError


def test_a_source_is_named_first():
    with pytest.raises(ConfigError, match="Name a logdir or a model first"):
        export.main(["--to", "x"])


def test_the_target_is_needed(tmp_path, capsys):
    assert commands.main(["export", str(tmp_path)]) == 2
    assert "--to TO is missing" in capsys.readouterr().err


def test_a_source_without_weights_leaves_nothing(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    assert commands.main(["export", str(run), "--to", str(tmp_path / "out")]) == 2
    assert "There are no weights" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]

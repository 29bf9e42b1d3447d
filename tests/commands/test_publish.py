import pytest

from dreamerv2_transfer import commands
from dreamerv2_transfer.commands import publish
from dreamerv2_transfer.common.config import ConfigError


def test_a_run_is_named_first():
    with pytest.raises(ConfigError, match="Name the run's logdir first"):
        publish.main(["--to", "x"])


def test_the_target_is_needed(tmp_path, capsys):
    assert commands.main(["publish", str(tmp_path)]) == 2
    assert "--to TO is missing" in capsys.readouterr().err


def test_a_run_without_weights_is_refused(tmp_path, capsys):
    out = tmp_path / "out"
    assert commands.main(["publish", str(tmp_path), "--to", str(out)]) == 2
    assert "There are no weights" in capsys.readouterr().err
    assert not out.exists() or not any(out.iterdir())

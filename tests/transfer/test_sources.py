import pytest

from dreamerv2_transfer.common.errors import CheckpointError
from dreamerv2_transfer.transfer import sources


def test_a_logdir_and_its_file_name_the_same_weights(tmp_path):
    file = tmp_path / "world_model.weights.h5"
    file.touch()
    assert sources.find_weights(tmp_path) == sources.find_weights(file) == file


def test_a_killed_run_without_weights_is_told_how_to_get_them(tmp_path):
    with pytest.raises(CheckpointError, match="such a file.$"):
        sources.find_weights(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "ckpt-9.index").touch()
    with pytest.raises(CheckpointError, match="If this run was killed"):
        sources.find_weights(tmp_path)

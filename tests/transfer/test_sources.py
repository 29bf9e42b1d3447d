import pytest

from dreamerv2_transfer.common.errors import CheckpointError
from dreamerv2_transfer.transfer import sources
from tests import runs


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


def test_safetensors_are_taken_where_there_is_no_hdf5(tmp_path):
    file = tmp_path / "world_model.safetensors"
    file.touch()
    assert sources.find_weights(tmp_path) == file
    (tmp_path / "world_model.weights.h5").touch()
    assert sources.find_weights(tmp_path).name == "world_model.weights.h5"


def test_a_published_model_is_found_by_its_name():
    found = sources.find_weights("minatar_small_four_games")
    assert found == runs.ROOT / "models/minatar_small_four_games" / sources.WORLD_MODEL


def test_a_folder_comes_before_a_published_model_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "minatar_small_four_games"
    folder.mkdir()
    with pytest.raises(CheckpointError, match="There are no weights"):
        sources.find_weights(folder.name)


def test_a_published_model_whose_files_changed_is_refused(tmp_path):
    (tmp_path / "world_model.safetensors").touch()
    card = "---\nlibrary_name: dreamerv2_transfer\n---\n"
    (tmp_path / "README.md").write_text(card)
    with pytest.raises(CheckpointError, match="has no sha256 of world_model.safe"):
        sources.find_weights(tmp_path)


def test_what_the_hub_gave_is_named_with_its_commit(tmp_path):
    file = tmp_path / "0123abc" / "world_model.safetensors"
    assert sources.pinned("hf://ada/b@main", file) == "hf://ada/b@0123abc"
    assert sources.pinned("logdir/run", file) == "logdir/run"

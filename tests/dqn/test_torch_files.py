import gzip
import io
import pickle
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

from dreamerv2_transfer.dqn import torch_files
from tests import fakes

torch = pytest.importorskip("torch")


def saved(checkpoint, new=True):
    """The bytes of a checkpoint in PyTorch's format of today, or the one before."""
    file = io.BytesIO()
    torch.save(checkpoint, file, _use_new_zipfile_serialization=new)
    return file.getvalue()


def state_dict():
    weight = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    return {"layer.weight": weight, "layer.bias": torch.tensor([7.0, 8.0])}


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    "checkpoint",
    [state_dict(), {"step": 3, "args": ["any", None], "estimator_state": state_dict()}],
)
def test_reads_both_formats_gzipped_or_not(tmp_path, new, pack, checkpoint):
    path = tmp_path / "model.gz"
    path.write_bytes(pack(saved(checkpoint, new)))
    arrays = torch_files.read(path)
    assert list(arrays) == ["layer.weight", "layer.bias"]
    np.testing.assert_array_equal(arrays["layer.weight"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(arrays["layer.bias"], [7, 8])


def test_reads_what_pytorch_streams_through_gzip(tmp_path):
    path = tmp_path / "model.gz"
    parameters = torch.nn.Linear(3, 2).state_dict()
    with gzip.GzipFile(path, "w") as file:
        torch.save({"step": 1, "estimator_state": parameters}, file)
    assert torch_files.read(path)["weight"].shape == (2, 3)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    "save",
    [pickle.dumps, saved, lambda checkpoint: saved(checkpoint, new=False)],
)
def test_a_hostile_pickle_runs_nothing(tmp_path, save, pack):
    path, target = tmp_path / "model.pt", tmp_path / "touched"
    path.write_bytes(pack(save({**state_dict(), "step": fakes.Touch(target)})))
    with pytest.raises(torch_files.TorchFileError, match="None of it was run") as error:
        torch_files.read(path)
    assert not target.exists()
    assert str(path) in str(error.value)
    assert "weights_only" not in str(error.value)  # No hint at how to run it.


def test_names_what_a_hostile_pickle_refers_to(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(saved({"step": np.float64(3)}))
    with pytest.raises(torch_files.TorchFileError, match="numpy.*scalar, which is"):
        torch_files.read(path)


def zipped(size):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(size))
    return file.getvalue()


@pytest.mark.parametrize(
    "bomb",
    [
        gzip.compress(bytes(2_000_000)),
        zipped(2_000_000),
        gzip.compress(zipped(2_000_000)),
        saved({"weight": torch.zeros(1).expand(500_000)}),
    ],
    ids=["gzip", "zip", "zip in gzip", "tensor"],
)
def test_what_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, bomb):
    monkeypatch.setattr(torch_files, "MAX_BYTES", 1_000_000)
    path = tmp_path / "model.gz"
    path.write_bytes(bomb)
    assert len(bomb) < 5_000
    with pytest.raises(torch_files.TorchFileError, match="more than 1,000,000 bytes"):
        torch_files.read(path)


def test_a_bomb_is_not_unpacked_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_files, "MAX_BYTES", 1_000_000)
    path = tmp_path / "model.gz"
    path.write_bytes(gzip.compress(bytes(50_000_000)))
    tracemalloc.start()
    with pytest.raises(torch_files.TorchFileError):
        torch_files.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("cut", [0, 1, 3, 40, -1000, -5])
@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_truncated_file_is_named(tmp_path, new, pack, cut):
    path = tmp_path / "model.gz"
    noise = torch.rand(40, 40)  # It does not compress, so that a cut goes through it.
    path.write_bytes(pack(saved({"weight": noise}, new))[:cut])
    with pytest.raises(torch_files.TorchFileError, match="model.gz"):
        torch_files.read(path)


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ({"weight": 1.0}, "no state dict"),
        ({"estimator_state": {"a": "text"}}, "no state dict"),
        ([torch.zeros(2)], "no state dict"),
        ({"weight": torch.zeros(2).to_sparse()}, "cannot be read"),
    ],
)
def test_what_is_no_state_dict_is_named(tmp_path, checkpoint, message):
    path = tmp_path / "model.pt"
    path.write_bytes(saved(checkpoint))
    with pytest.raises(torch_files.TorchFileError, match=message) as error:
        torch_files.read(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(torch_files.TorchFileError, match="none.pt"):
        torch_files.read(tmp_path / "none.pt")


def test_says_how_to_install_pytorch(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    path.write_bytes(saved(state_dict()))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(torch_files.TorchFileError, match=r"pip install '.\[torch\]'"):
        torch_files.read(path)

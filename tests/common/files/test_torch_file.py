import gzip
import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from dreamerv2_transfer.common.files import torch_file
from dreamerv2_transfer.common.files.torch_file import TorchFileError


def content():
    return {
        "epoch": 1234,
        "rate": 3e-4,
        "flags": [True, False, None, -1, 2**40],
        "betas": (0.9, 0.999),
        "state": {
            "kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
            "number": np.array(7.5, np.float32),
            "counts": np.arange(4),
            "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        },
    }


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return a == b and type(a) is type(b)


def zipped(program, storages=(), compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("x/data.pkl", program)
        for key, data in enumerate(storages):
            archive.writestr(f"x/data/{key}", data)
    return file.getvalue()


def streamed(program, storages=()):
    """The format of PyTorch before 1.6, of storages of float32."""
    parts = [torch_file._OLD, 1001, {"little_endian": True}]
    parts = [pickle.dumps(x, 2) for x in parts] + [program]
    parts.append(pickle.dumps([str(key) for key in range(len(storages))], 2))
    return b"".join(parts) + b"".join(
        struct.pack("<q", len(data) // 4) + data for data in storages
    )


def tensor(size, stride, offset=0, location="cuda:0", numel=4) -> bytes:
    """A pickle of one tensor, of a storage of 4 numbers that was on a GPU."""
    arrays = []
    program = torch_file._pickled(("storage",), arrays)[1:-1]
    persistent = b"(" + program + b"ctorch\nFloatStorage\n"
    persistent += torch_file._pickled(("0", location, numel), arrays)[1:-1] + b"tQ"
    rest = torch_file._pickled((offset, tuple(size), tuple(stride)), arrays)[1:-1]
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent + rest
    return b"\x80\x02" + call + b"\x89ccollections\nOrderedDict\n)RtR."


FORMATS = pytest.mark.parametrize("form", [zipped, streamed])
PACKINGS = pytest.mark.parametrize("pack", [bytes, gzip.compress])


def test_there_and_back_again(tmp_path):
    torch_file.write(tmp_path / "a.pt", content())
    assert same(torch_file.read(tmp_path / "a.pt"), content())


def test_pytorch_reads_what_is_written(tmp_path):
    torch = pytest.importorskip("torch")
    torch_file.write(tmp_path / "a.pt", content())
    read = torch.load(tmp_path / "a.pt", weights_only=True)
    state = {k: v.numpy() for k, v in read["state"].items()}
    assert same({**read, "state": state}, content())


@PACKINGS
@pytest.mark.parametrize("new", [True, False])
def test_reads_what_pytorch_writes(tmp_path, pack, new):
    torch = pytest.importorskip("torch")
    layer, file = torch.nn.Linear(3, 2), io.BytesIO()
    state = {"step": 1, "state": layer.state_dict(), "turned": torch.eye(3)[:2].T}
    torch.save(state, file, _use_new_zipfile_serialization=new)
    (tmp_path / "a.pt").write_bytes(pack(file.getvalue()))
    read = torch_file.read(tmp_path / "a.pt")
    assert list(read["state"]) == ["weight", "bias"]
    assert read["step"] == 1
    np.testing.assert_array_equal(read["state"]["weight"], layer.weight.detach())
    np.testing.assert_array_equal(read["turned"], [[1, 0], [0, 1], [0, 0]])


@PACKINGS
@FORMATS
def test_a_tensor_that_was_on_a_gpu_is_read(tmp_path, form, pack):
    numbers = np.arange(4, dtype=np.float32)
    path = tmp_path / "a.pt"
    path.write_bytes(pack(form(tensor((2, 2), (1, 2)), [numbers.tobytes()])))
    np.testing.assert_array_equal(torch_file.read(path), [[0, 2], [1, 3]])


class Code:
    def __reduce__(self):
        return print, ("run",)


@PACKINGS
@pytest.mark.parametrize("form", [zipped, streamed, bytes])
def test_code_is_named_and_not_run(tmp_path, capsys, form, pack):
    path = tmp_path / "a.pt"
    path.write_bytes(pack(form(pickle.dumps({"epoch": Code()}))))
    with pytest.raises(
        TorchFileError, match=r"a.pt .*refers to builtins.print, .* None of it was run"
    ):
        torch_file.read(path)
    assert "run" not in capsys.readouterr().out


@FORMATS
@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((5,), (1,), 0), ((2,), (1,), 3), ((2, 2), (4, 1), 0), ((10**9,), (0,), 0)],
)
def test_a_tensor_outside_of_its_storage_is_refused(
    tmp_path, form, size, stride, offset
):
    path = tmp_path / "a.pt"
    path.write_bytes(form(tensor(size, stride, offset), [bytes(16)]))
    with pytest.raises(TorchFileError, match="outside of its storage"):
        torch_file.read(path)


@pytest.mark.parametrize(
    "bomb",
    [
        gzip.compress(bytes(50_000_000)),
        gzip.compress(zipped(b"N.", [bytes(50_000_000)])),
        streamed(tensor((1,), (1,), numel=10**12)),
    ],
    ids=["gzip", "zip in gzip", "storage"],
)
def test_what_unpacks_to_too_much_is_refused_before_it_does(
    tmp_path, monkeypatch, bomb
):
    monkeypatch.setattr(torch_file, "MAX_BYTES", 1_000_000)
    path = tmp_path / "a.pt"
    path.write_bytes(bomb)
    assert len(bomb) < 100_000
    tracemalloc.start()
    with pytest.raises(TorchFileError, match="more than 1,000,000 bytes"):
        torch_file.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


@PACKINGS
@FORMATS
@pytest.mark.parametrize("cut", [0, 1, 3, 40, -100, -5])
def test_a_truncated_file_is_named(tmp_path, form, pack, cut):
    noise = np.random.default_rng(0).bytes(6400)  # Which does not compress.
    path = tmp_path / "a.pt"
    path.write_bytes(pack(form(tensor((1600,), (1,), numel=1600), [noise]))[:cut])
    with pytest.raises(TorchFileError, match=r"a\.pt"):
        torch_file.read(path)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x80\x02}r\x00\x00\x00\x08.",
        b"\x80\x02}p134217728\n.",
        b"\x80\x04\x95\x00\x00\x00\x00\x01\x00\x00\x00N.",
    ],
    ids=["LONG_BINPUT", "PUT", "FRAME"],
)
@FORMATS
def test_a_few_bytes_do_not_ask_for_gigabytes(tmp_path, form, bomb):
    path = tmp_path / "a.pt"
    path.write_bytes(form(bomb))
    with pytest.raises(TorchFileError, match="far behind|more than 67,108,864 bytes"):
        torch_file.read(path)


def test_a_storage_of_another_size_is_told(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(streamed(tensor((4,), (1,)), [bytes(12)]))
    with pytest.raises(TorchFileError, match="storage 0 has 3 numbers, not 4"):
        torch_file.read(path)


def test_other_files_are_told(tmp_path):
    path = tmp_path / "a.pt"
    for data, message in (
        (b"\x80\x02older", "a.pt cannot be read as a checkpoint"),
        (pickle.dumps({"weights": 1}), "a.pt cannot be used: it is no checkpoint"),
        (zipped(b"nonsense"), "a.pt cannot be read as a checkpoint"),
        (zipped(b"N.", compression=zipfile.ZIP_DEFLATED), "entries are compressed"),
    ):
        path.write_bytes(data)
        with pytest.raises(TorchFileError, match=message):
            torch_file.read(path)
    with pytest.raises(TorchFileError, match=r"missing.pt cannot be read"):
        torch_file.read(tmp_path / "missing.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(TorchFileError, match="it is a pipe, not a file"):
        torch_file.read(tmp_path / "pipe.pt")

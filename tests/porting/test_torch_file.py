import pickle
import zipfile

import numpy as np
import pytest

from dreamerv2_transfer.porting import torch_file
from dreamerv2_transfer.porting.pickles import PortError


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


def pack(path, program, storages=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x/data.pkl", program)
        for key, data in enumerate(storages):
            archive.writestr(f"x/data/{key}", data)
    return path


def test_there_and_back_again(tmp_path):
    torch_file.write(tmp_path / "a.pt", content())
    assert same(torch_file.read(tmp_path / "a.pt"), content())


def test_pytorch_reads_what_is_written(tmp_path):
    torch = pytest.importorskip("torch")
    torch_file.write(tmp_path / "a.pt", content())
    read = torch.load(tmp_path / "a.pt", weights_only=True)
    state = {k: v.numpy() for k, v in read["state"].items()}
    assert same({**read, "state": state}, content())


class Code:
    def __reduce__(self):
        return print, ("run",)


def test_code_is_named_and_not_run(tmp_path, capsys):
    path = pack(tmp_path / "a.pt", pickle.dumps({"epoch": Code()}))
    with pytest.raises(PortError, match=r"refers to builtins.print, .* None of it was"):
        torch_file.read(path)
    assert "run" not in capsys.readouterr().out


def tensor(size, stride, offset=0, location="cuda:0") -> bytes:
    """A pickle of one tensor, of a storage of 4 numbers that was on a GPU."""
    arrays = []
    program = torch_file._pickled(("storage",), arrays)[1:-1]
    persistent = b"(" + program + b"ctorch\nFloatStorage\n"
    persistent += torch_file._pickled(("0", location, 4), arrays)[1:-1] + b"tQ"
    rest = torch_file._pickled((offset, tuple(size), tuple(stride)), arrays)[1:-1]
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent + rest
    return b"\x80\x02" + call + b"\x89ccollections\nOrderedDict\n)RtR."


def test_a_tensor_that_was_on_a_gpu_is_read(tmp_path):
    numbers = np.arange(4, dtype=np.float32)
    path = pack(tmp_path / "a.pt", tensor((2, 2), (1, 2)), [numbers.tobytes()])
    np.testing.assert_array_equal(torch_file.read(path), [[0, 2], [1, 3]])


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((5,), (1,), 0), ((2,), (1,), 3), ((2, 2), (4, 1), 0), ((10**9,), (0,), 0)],
)
def test_a_tensor_outside_of_its_storage_is_refused(tmp_path, size, stride, offset):
    program = tensor(size, stride, offset)
    path = pack(tmp_path / "a.pt", program, [bytes(16)])
    with pytest.raises(PortError, match="outside of its storage"):
        torch_file.read(path)


def test_other_files_are_told(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(b"\x80\x02older")
    with pytest.raises(PortError, match=r"a.pt is not a checkpoint of PyTorch 1.6"):
        torch_file.read(path)
    with pytest.raises(PortError, match="a.pt cannot be read as a checkpoint"):
        torch_file.read(pack(path, b"nonsense"))
    with pytest.raises(PortError, match="entries are compressed"):
        torch_file.read(pack(path, b"N.", compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(PortError, match="cannot be read"):
        torch_file.read(tmp_path / "missing.pt")

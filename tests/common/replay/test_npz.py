import io
import os
import zipfile

import numpy as np
import pytest

from dreamerv2_transfer.common.files import memory
from dreamerv2_transfer.common.replay import npz, store
from tests import fakes


def npy(shape, dtype="<f4", values=b""):
    """The bytes of an array's file, whose header need not be true."""
    file = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + values


def archive(path, members, **kwargs):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **kwargs) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("package", ["zlib", "isal.isal_zlib"])
def test_numpy_reads_what_either_package_compressed(monkeypatch, package):
    pytest.importorskip(package)
    if package == "zlib":
        monkeypatch.setattr(npz, "isal_zlib", None)
    rng = np.random.default_rng(0)
    arrays = {
        "image": rng.integers(3, size=(300, 64, 64), dtype=np.uint8),
        "bits": rng.random((300, 5)) < 0.5,
        "nothing": np.zeros((0, 3), np.float32),
    }
    encoded = npz.encode(arrays)
    found = np.load(io.BytesIO(encoded))
    assert {*found} == {*arrays}
    assert all(np.array_equal(found[key], arrays[key]) for key in arrays)
    assert len(encoded) < 0.4 * arrays["image"].nbytes
    assert zipfile.ZipFile(io.BytesIO(encoded)).testzip() is None


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_out_as_they_went_in(tmp_path, save):
    arrays = {
        "image": np.arange(48, dtype=np.uint8).reshape(3, 4, 4),
        "bits": np.array([[True, False], [False, True]]),
        "column/major": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big_endian": np.arange(4, dtype=">i4"),
        "nothing": np.zeros((0, 3), np.float32),
        "single": np.array(3),
    }
    save(tmp_path / "a.npz", **arrays)
    found = npz.read(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for key, values in arrays.items():
        assert found[key].dtype == values.dtype
        assert np.array_equal(found[key], values)
        assert found[key].flags.writeable
    kinds = npz.kinds(tmp_path / "a.npz")
    assert kinds == {k: (v.shape, v.dtype) for k, v in arrays.items()}


def test_only_the_wanted_keys_are_looked_at(tmp_path):
    path = archive(
        tmp_path / "a.npz", {"a.npy": npy((1,), values=bytes(4)), "b.npy": b"damaged"}
    )
    assert npz.read(path, "a".__eq__)["a"].tolist() == [0]
    with pytest.raises(npz.ArchiveError, match="b.npy is no array"):
        npz.read(path)


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"a.npy": npy((2,), values=bytes(4))}, "a.npy holds 132 bytes, not"),
        ({"a.npy": npy((1,), values=bytes(8))}, "a.npy holds 136 bytes, not"),
        ({"a.npy": npy((2**40, 2**20))}, "a.npy holds 128 bytes, not"),
        ({"a.npy": npy((-1,))}, "a.npy holds 128 bytes, not"),
        ({"a.npy": npy((2,), "|O", bytes(16))}, "a.npy holds objects"),
        ({"a.npy": npy((2,), "|b1", b"\1\2")}, "booleans other than 0 and 1"),
        ({"a.npy": b""}, "a.npy is no array"),
        ({"a.npy": b"\x93NUMPY\x03\x00" + bytes(200)}, "no array of version 1.0"),
        ({"readme.txt": b"hello"}, "readme.txt in it is no array"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path, members, fault):
    path = archive(tmp_path / "a.npz", members)
    with pytest.raises(npz.ArchiveError, match=fault):
        npz.read(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_key_that_is_there_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("a.npy", npy((1,), values=bytes(4)))
        file.writestr("a.npy", npy((1,), values=b"abcd"))
    with pytest.raises(npz.ArchiveError, match="holds a twice"):
        npz.read(tmp_path / "a.npz")


def test_arrays_that_share_bytes_are_refused(tmp_path):
    values = npy((100,), "|u1", bytes(100))
    path = archive(tmp_path / "a.npz", {"a.npy": values, "b.npy": values})
    content = path.read_bytes()
    # Lets the directory's entry of the second lead to the first.
    at = content.rindex(b"b.npy") - 46
    second = int.from_bytes(content[at + 42 : at + 46], "little")
    path.write_bytes(
        content[: at + 42] + (second - 1).to_bytes(4, "little") + content[at + 46 :]
    )
    with pytest.raises(npz.ArchiveError, match="overlap"):
        npz.read(path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    shape = (100, 2**20)
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("image.npy", "w", force_zip64=True) as stream,
    ):
        stream.write(npy(shape, "|u1"))
        for _ in range(shape[0]):
            stream.write(bytes(shape[1]))
    assert path.stat().st_size < 2**22
    assert npz.unpacked_bytes(path) == 128 + 100 * 2**20
    monkeypatch.setattr(memory, "free_and_total", lambda: (2**27, 2**33))
    monkeypatch.setattr(npz, "_read_array", None)
    with pytest.raises(store.EpisodeError, match=r"0.0977 GiB unpacked.* 0.125 GiB of"):
        store.load_episode(path)


def test_a_flipped_bit_is_a_wrong_checksum(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, reward=np.arange(100.0))
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    with pytest.raises(npz.ArchiveError, match="wrong checksum of reward.npy"):
        npz.read(path)


def test_what_is_no_file_is_named_and_not_waited_for(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "gone.npz").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.npz").symlink_to(tmp_path / "loop.npz")
    (tmp_path / "device.npz").symlink_to("/dev/null")
    told = {
        "folder": "cannot be read: it is a folder, not a file",
        "pipe": "cannot be read: it is a pipe, not a file",
        "gone": f"a link to {tmp_path}/nowhere cannot be read: No such file",
        "loop": f"a link to {tmp_path}/loop.npz cannot be read: Too many levels",
        "device": "cannot be read: it is a device or a socket, not a file",
    }
    for name, fault in told.items():
        with pytest.raises(store.EpisodeError, match=f"{name}.npz.*{fault}"):
            store.load_episode(tmp_path / f"{name}.npz")


def test_a_link_to_an_episode_is_read(tmp_path):
    path = store.save_episode(tmp_path, fakes.episode(3))
    (tmp_path / "link.npz").symlink_to(path)
    assert len(store.load_episode(tmp_path / "link.npz")["reward"]) == 4

import os
import resource
import signal
import time

import h5py
import numpy as np
import pytest

from dreamerv2_transfer.common.files import atomic, hdf5

ARRAYS = {
    "rssm/cell/kernel": np.arange(40_000, dtype=np.float32).reshape(100, 400),
    "rssm/cell/bias": np.linspace(-1, 1, 400, dtype=np.float32),
    "step": np.int64(7),
    "none": np.zeros([0, 3], np.float32),
    "mask": np.array([True, False]),
}


def read(path):
    with hdf5.opened(path) as content:
        return {name: array[()] for name, array in content.arrays.items()}


def refused(path) -> str:
    with pytest.raises(hdf5.ArraysError) as error:
        read(path)
    return str(error.value)


def test_arrays_come_back_as_they_were(tmp_path):
    path = tmp_path / "x.h5"
    hdf5.save(path, ARRAYS, {"task": "minatar_breakout", "steps": 100})
    found = read(path)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)
    with hdf5.opened(path) as content:
        assert content.attributes == {"task": "minatar_breakout", "steps": 100}


def test_the_same_arrays_give_the_same_bytes(tmp_path):
    hdf5.save(tmp_path / "a.h5", ARRAYS)
    time.sleep(1.1)  # HDF5's own times count seconds.
    hdf5.save(tmp_path / "b.h5", ARRAYS)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_other_programs_read_and_change_a_file(tmp_path):
    path = tmp_path / "x.h5"
    hdf5.save(path, ARRAYS)
    with h5py.File(path, "a") as file:
        file["rssm/cell/kernel"][3] = 0
        del file["step"]
    found = read(path)
    assert found["rssm/cell/kernel"].sum() == ARRAYS["rssm/cell/kernel"].sum() - 559_800
    assert "step" not in found


def test_reads_files_without_checksums(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for name, array in ARRAYS.items():
            file[name] = array
    np.testing.assert_array_equal(read(path)["mask"], [True, False])


def external(file, tmp_path):
    (tmp_path / "private").write_bytes(b"private!")
    file.create_dataset("kernel", (2,), "f4", external=[(tmp_path / "private", 0, 8)])


def virtual(file, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["private"] = np.ones(2, np.float32)
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "private", (2,))
    file.create_virtual_dataset("kernel", layout)


def external_link(file, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["private"] = np.ones(2, np.float32)
    file["kernel"] = h5py.ExternalLink(tmp_path / "other.h5", "private")


def soft_link(file, tmp_path):
    file["kernel"] = h5py.SoftLink("/elsewhere")


def compressed(file, tmp_path):
    file.create_dataset("kernel", data=np.zeros(10**6), compression="gzip")


def unwritten(file, tmp_path):
    file.create_dataset("kernel", (2**33,), "u1")


def unwritten_chunks(file, tmp_path):
    file.create_dataset("kernel", (2**33,), "u1", chunks=(2**20,))


def large_chunk(file, tmp_path):
    file.create_dataset("kernel", (2,), "u1", chunks=(2**31,), maxshape=(None,))


def nested(file, tmp_path):
    file.create_group("/".join(["group"] * 20))


def circular(file, tmp_path):
    for i in range(10):
        file[f"loop{i}"] = file["/"]


def texts(file, tmp_path):
    file["kernel"] = ["private"]


def compound(file, tmp_path):
    file["kernel"] = np.zeros(2, [("a", "f4"), ("b", "i4")])


def reference(file, tmp_path):
    file.create_dataset("kernel", data=[file.ref], dtype=h5py.ref_dtype)


def empty(file, tmp_path):
    file["kernel"] = h5py.Empty("f4")


def named_type(file, tmp_path):
    file["kernel"] = np.dtype("f4")


def name_that_controls_the_terminal(file, tmp_path):
    file["\x1b[31m"] = 1.0


def text_that_controls_the_terminal(file, tmp_path):
    file.attrs["task"] = "\x1b[31m"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (external, "the values of kernel are in another file"),
        (virtual, "the values of kernel are in another file"),
        (external_link, "kernel is a link, possibly to another file"),
        (soft_link, "kernel is a link"),
        (compressed, "kernel is compressed; unpack it"),
        (unwritten, "does not hold as many values"),
        (unwritten_chunks, "does not hold as many values"),
        (large_chunk, "does not hold as many values"),
        (nested, "nested more than 16 deep"),
        (circular, "nested more than 16 deep"),
        (texts, "kernel holds object, not numbers"),
        (compound, "not numbers"),
        (reference, "not numbers"),
        (empty, "kernel is no array"),
        (named_type, "kernel is no array"),
        (name_that_controls_the_terminal, "odd names"),
        (text_that_controls_the_terminal, "cannot be printed"),
    ],
)
def test_more_than_plain_arrays_is_refused(tmp_path, build, message):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        build(file, tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert message in refused(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_a_missing_file_is_named(tmp_path):
    assert "No such file" in refused(tmp_path / "none.h5")


@pytest.mark.parametrize("kept", [0, 7, 100, 1000, -1])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path = tmp_path / "x.h5"
    hdf5.save(path, ARRAYS)
    path.write_bytes(path.read_bytes()[:kept])
    refused(path)


def test_damaged_names_of_a_large_group_are_refused(tmp_path):
    path = tmp_path / "x.h5"
    hdf5.save(path, {f"kernel{i}": np.float32(i) for i in range(20)})
    content = path.read_bytes()
    at = content.index(b"FHDB")  # A block of links; HDF5 failed while sorting them.
    for i in range(at + 5, at + 13):
        path.write_bytes(content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])
        assert "incorrect metadata checksum" in refused(path)


def test_a_full_disk_leaves_the_former_file_and_prints_nothing(tmp_path, capfd):
    path = tmp_path / "x.h5"
    hdf5.save(path, {"kernel": np.float32(1)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(atomic.OutputError, match=r"Cannot write .*x\.h5"):
            hdf5.save(path, ARRAYS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert list(read(path)) == ["kernel"] and list(tmp_path.iterdir()) == [path]
    assert capfd.readouterr() == ("", "")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.h5")
    with pytest.raises(hdf5.ArraysError, match="it is a pipe, not a file"):
        read(tmp_path / "a.h5")

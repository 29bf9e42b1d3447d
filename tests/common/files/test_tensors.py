import json
import pickle

import numpy as np
import pytest

from dreamerv2_transfer.common.files import tensors
from dreamerv2_transfer.common.files.hdf5 import ArraysError
from tests.fakes import Touch

ARRAYS = {"rssm/kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.fixture
def file(tmp_path):
    tensors.save(tmp_path / "x.safetensors", ARRAYS, {"step": "7"})
    return tmp_path / "x.safetensors"


def read(path):
    with tensors.opened(path) as content:
        return content


def header(file, change):
    """Writes the file again with another header."""
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    told = json.loads(content[8 : 8 + size])
    change(told)
    text = json.dumps(told).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])


def test_arrays_and_texts_come_back(file):
    content = read(file)
    assert content.attributes == {"step": "7"}
    assert content.arrays["rssm/kernel"][()].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_the_same_arrays_give_the_same_bytes(file, tmp_path):
    tensors.save(tmp_path / "y.safetensors", ARRAYS, {"step": "7"})
    assert (tmp_path / "y.safetensors").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("kept", [0, 7, 20, -1])
def test_a_truncated_file_is_refused(file, kept):
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ArraysError):
        read(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x["rssm/kernel"].update(shape=[2, 4]),
        lambda x: x["rssm/kernel"].update(shape=[2**40, 2**40]),
        lambda x: x["rssm/kernel"].update(data_offsets=[0, 2**50]),
        lambda x: x["rssm/kernel"].update(data_offsets=[-8, 16]),
        lambda x: x["rssm/kernel"].update(dtype="F64"),
        lambda x: x["rssm/kernel"].update(dtype="OBJECT"),
        lambda x: x.update({"twice": x["rssm/kernel"]}),
        lambda x: x.update({"__metadata__": {"step": [7]}}),
    ],
)
def test_a_header_that_lies_is_refused(file, change):
    header(file, change)
    with pytest.raises(ArraysError):
        read(file)


def test_a_header_longer_than_the_file_is_refused(file):
    file.write_bytes((2**60).to_bytes(8, "little") + file.read_bytes()[8:])
    with pytest.raises(ArraysError):
        read(file)


def test_a_pickle_of_that_name_runs_no_code(tmp_path):
    file, created = tmp_path / "x.safetensors", tmp_path / "created"
    file.write_bytes(pickle.dumps(Touch(created)))
    with pytest.raises(ArraysError):
        read(file)
    assert not created.exists()


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ArraysError, match="FileNotFoundError"):
        read(tmp_path / "none")


def test_odd_names_are_refused(tmp_path):
    tensors.save(tmp_path / "x", {"a\x1b[31m": np.zeros(1)})
    with pytest.raises(ArraysError, match="odd names"):
        read(tmp_path / "x")

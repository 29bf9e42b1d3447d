"""Damaged weights: reading a file fails with a sentence, or gives what was saved."""

import pathlib
import random

import h5py
import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from dreamerv2_transfer.common.checkpoint import CheckpointError
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.dqn import agents, networks
from dreamerv2_transfer.transfer import weights

GAME = "minatar_breakout"


class Layer:
    """The variables of a component."""

    def __init__(self, name, *shapes):
        rng = np.random.default_rng(0)
        self.variables = [
            Variable(f"{name}/layer{i}/kernel", rng.normal(size=x).astype(np.float32))
            for i, x in enumerate(shapes)
        ]


class Variable:
    """What Keras' variables have of interest here."""

    def __init__(self, path, value):
        self.path, self.value, self.shape = path, value, value.shape
        self.dtype = "float32"

    def assign(self, value):
        self.value = value


def components(fill=None):
    made = {
        "encoder": Layer("encoder", *[(3, 4)] * 12, (100, 120)),
        "rssm": Layer("rssm", (5,), (90, 100), ()),
    }
    for layer in made.values():
        for variable in layer.variables:
            if fill is not None:
                variable.assign(np.full(variable.shape, fill, np.float32))
    return made


def values(parts):
    return [x.value.tobytes() for layer in parts.values() for x in layer.variables]


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "world_model.weights.h5"
    weights.save_weights(path, components())
    return path.read_bytes()


def test_no_flipped_bit_of_weights_goes_unnoticed(saved, tmp_path):
    path, rng = tmp_path / "world_model.weights.h5", random.Random(0)
    noticed = 0
    for number in range(400):
        end = len(saved) if number % 2 else 8192  # HDF5's structure is at the front.
        path.write_bytes(flipped(saved, rng.randrange(8 * end)))
        target = components(0)
        try:
            weights.load_weights(path, target)
        except CheckpointError:
            noticed += 1
            assert values(target) == values(components(0))
        else:  # The bit belongs to no array and no name.
            assert values(target) == values(components())
    assert noticed > 250


def test_no_flipped_bit_of_a_player_goes_unnoticed(tmp_path):
    path, rng = tmp_path / "model_100.weights.h5", random.Random(0)
    network = networks.make_network("mlp", 4, 6, 0)
    networks.save(path, network, {"task": GAME, "steps": 100, "network": "mlp"})
    content, planes = path.read_bytes(), np.ones((1, 10, 10, 10), bool)
    expected = agents.load(path, GAME)(planes)
    for _ in range(100):
        path.write_bytes(flipped(content, rng.randrange(8 * len(content))))
        try:
            found = agents.load(path, GAME)(planes)
        except UserError:
            continue
        np.testing.assert_array_equal(found, expected)


@hypothesis.given(st.data())
def test_damaged_weights_are_refused_or_as_they_were(saved, tmp_path, data):
    content, size = saved, st.integers(0, len(saved) - 1)
    for _ in range(data.draw(st.integers(1, 4))):
        start, piece = data.draw(size), data.draw(st.binary(max_size=16))
        cut = data.draw(st.sampled_from([0, 0, 0, 1, 8, 512]))
        content = content[:start] + piece + content[start + len(piece) + cut :]
    path = tmp_path / "world_model.weights.h5"
    path.write_bytes(content)
    target = components(0)
    try:
        weights.load_weights(path, target)
    except CheckpointError as error:
        assert str(path) in str(error) and str(error).isprintable()
    else:
        assert values(target) == values(components())


@hypothesis.given(
    name=st.sampled_from(["encoder/layer0/kernel", "encoder", "rssm/layer2", "other"]),
    shape=st.lists(st.integers(0, 2**20), max_size=4).map(tuple),
    dtype=st.sampled_from(["f4", "f8", "i8", "u1", "?", "c8", "S3"]),
    is_chunked=st.booleans(),
)
def test_other_arrays_are_refused_before_they_are_read(
    saved, tmp_path, name, shape, dtype, is_chunked
):
    path = tmp_path / "world_model.weights.h5"
    path.write_bytes(saved)
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        chunks = tuple(min(x, 16) or 1 for x in shape) if is_chunked and shape else None
        hypothesis.assume(np.prod([float(x) for x in shape]) < 2**60)
        maxshape = (None,) * len(shape) if chunks else None
        file.create_dataset(name, shape, dtype, chunks=chunks, maxshape=maxshape)
    target = components(0)
    try:
        weights.load_weights(path, target)
    except CheckpointError as error:
        assert str(path) in str(error)
        assert values(target) == values(components(0))


def test_tensorflow_notices_flipped_bits_of_checkpoints(tmp_path):
    variables = {
        f"kernel{i}": tf.Variable(tf.random.normal([50, 50])) for i in range(4)
    }
    before = [x.numpy() for x in variables.values()]
    prefix = tf.train.Checkpoint(**variables).write(str(tmp_path / "ckpt"))
    files = [p for p in sorted(tmp_path.glob("ckpt*")) if p.is_file()]
    assert [p.suffix for p in files] == [".data-00000-of-00001", ".index"]
    rng, noticed = random.Random(0), 0
    for number in range(40):
        path: pathlib.Path = files[number % 2]
        content = path.read_bytes()
        path.write_bytes(flipped(content, rng.randrange(8 * len(content))))
        for variable in variables.values():
            variable.assign(tf.zeros([50, 50]))
        try:
            tf.train.Checkpoint(**variables).read(prefix).assert_consumed()
        except Exception:  # `common.checkpoint` makes a sentence of whatever it is.
            noticed += 1
        else:
            after = [x.numpy() for x in variables.values()]
            np.testing.assert_array_equal(after, before)
        path.write_bytes(content)
    assert noticed > 30

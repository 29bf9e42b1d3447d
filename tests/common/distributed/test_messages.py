import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.distributed import messages


def make_config(**changes):
    config = blocks.load_config(["minatar", "debug", "pretrain"])
    return config.update(changes)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4])
def test_a_message_of_any_length_survives_as_numbers(length):
    image = np.arange(length, dtype=np.uint8)
    message = {"a/image": image, "step": np.array(2**40), "done": np.array(True)}
    numbers = messages.pack(message)
    assert numbers.dtype == np.int32
    read = messages.unpack(numbers)
    assert list(read) == ["a/image", "step", "done"]
    np.testing.assert_array_equal(read["a/image"], image)
    assert read["a/image"].dtype == np.uint8
    assert read["step"] == 2**40 and read["done"]


def test_bfloat16_arrives_as_float32():
    half = tf.constant([1.5, -2.0], tf.bfloat16).numpy()
    read = messages.unpack(messages.pack({"carry/0": half}))["carry/0"]
    assert read.dtype == np.float32 and read.tolist() == [1.5, -2.0]


def test_a_message_runs_no_code():
    numbers = messages.pack({"x": np.array([{}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle=False"):
        messages.unpack(numbers)


def test_one_process_agrees_with_itself():
    config = make_config(strategy="mirrored")
    assert messages.agree_on_step(config, 7) == 7
    assert messages.agree_on_step(config, None) is None
    assert messages.any_stopped(config, lambda: True)() is True


def test_a_lost_process_is_told_of_several_only():
    lost = tf.errors.UnavailableError(None, None, "Socket closed")
    told = messages.naming_lost_workers(make_config(strategy="multiworker"))
    with pytest.raises(messages.WorkerError, match="Start all of them again"), told:
        raise lost
    untold = messages.naming_lost_workers(make_config())
    with pytest.raises(tf.errors.UnavailableError), untold:
        raise lost

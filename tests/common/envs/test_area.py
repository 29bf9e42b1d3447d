import cv2
import numpy as np
import pytest

from dreamerv2_transfer.common.envs import area


def frames(shape):
    """Frames that are random, of two values, and of one value."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        yield rng.integers(256, size=shape, dtype=np.uint8)
        yield rng.choice(rng.integers(256, size=2, dtype=np.uint8), size=shape)
    for value in (0, 1, 254, 255):
        yield np.full(shape, value, np.uint8)


@pytest.mark.parametrize("height", [210, 250])  # All that ALE has.
def test_frames_of_atari_become_the_same_bytes_as_by_opencv(height):
    resize = area.make((height, 160), (64, 64))
    assert isinstance(resize, area._Products)
    for frame in frames((height, 160)):
        expected = cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA)
        image = np.zeros((64, 64, 1), np.uint8)
        resize(frame, image)
        assert np.array_equal(image[..., 0], expected)


@pytest.mark.parametrize(
    "shape, size",
    [
        ((210, 160), (84, 84)),  # Of 160 : 84 = 40 : 21, means may be halves.
        ((210, 160, 3), (64, 64)),
        ((210, 160), (210, 160)),
        ((210, 160), (256, 256)),
        ((210, 160), (62, 62)),
        ((211, 161), (64, 64)),
    ],
)
def test_other_sizes_are_left_to_opencv(shape, size):
    image = np.zeros((*size, *shape[2:]), np.uint8)
    for frame in frames(shape):
        area.make(shape, size)(frame, image)
        expected = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
        assert np.array_equal(image, expected)


def test_means_are_weighted_by_the_covered_part():
    two = [[0.4, 0.4, 0.2, 0, 0], [0, 0, 0.2, 0.4, 0.4]]
    assert area._weights(5, 2).tolist() == two
    assert area._weights(3, 1).tolist() == [[1 / 3] * 3]

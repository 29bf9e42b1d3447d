import dataclasses

import numpy as np
import pytest

from dreamerv2_transfer.common.envs import minatar
from dreamerv2_transfer.common.replay.array_file import ArrayFile
from dreamerv2_transfer.common.replay.packed_episodes import (
    Field,
    PackedEpisodes,
    as_seen,
    check_kinds,
    content_digest,
    kinds,
    with_same_coding,
)
from dreamerv2_transfer.common.replay.store import DatasetError
from tests import fakes
from tests.replays import pack, same


def one(steps, number=0, **kwargs):
    return PackedEpisodes.from_episode(fakes.episode(steps, number, **kwargs), "one")


def continuous(steps):
    episode = fakes.episode(steps, 1, actions=2)
    episode["action"] = np.full((steps + 1, 2), 0.25, np.float32)
    return PackedEpisodes.from_episode(episode, "continuous")


def test_a_minatar_step_takes_132_bytes():
    packed = one(99)
    assert packed.arrays["image"].shape == (100, 125)
    assert packed.nbytes == 100 * (125 + 1 + 4 + 2)


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"image_shape": (64, 64, 1), "dtype": np.uint8},
        {"image_shape": (3, 7), "dtype": bool},
        {"image_shape": (10,), "dtype": np.float32},
    ],
)
def test_observations_keep_shape_and_type(kwargs):
    packed = pack([3, 4, 5], **kwargs)
    shape, dtype = kwargs.get("image_shape", (10, 10, 10)), kwargs.get("dtype", bool)
    assert packed.fields["image"].kind == (shape, np.dtype(dtype).name)
    for i in range(3):
        episode = packed.episode(i)
        number = int(episode["reward"][0]) // 1000
        assert same(episode, fakes.episode(3 + number, number, **kwargs))


@pytest.mark.parametrize(
    ("values", "coding"),
    [
        (np.eye(3, dtype=np.float32), "onehot"),
        (np.zeros((4, 3), np.float32), "onehot"),
        (np.full((4, 3), 0.5, np.float32), "plain"),
        (np.ones((4, 3), np.float32), "plain"),
        (np.zeros((4, 1), np.float32), "plain"),
        (np.zeros((4, 256), np.float32), "plain"),
        (np.zeros((4, 255), np.float32), "onehot"),
        (np.eye(3, dtype=np.int32), "plain"),
        (np.zeros((4, 3), bool), "bits"),
    ],
)
def test_actions_are_coded_without_a_loss(values, coding):
    field = Field.of("action", values)
    assert field.coding == coding
    stored = field.encode(values)
    assert (stored.shape[1:], stored.dtype.name) == field.stored
    decoded = field.decode(stored)
    assert decoded.dtype == values.dtype and np.array_equal(decoded, values)


def test_leading_axes_are_kept():
    values = fakes.episode(11)["image"]
    field = Field.of("image", values)
    stored = field.encode(values).reshape(3, 4, -1)
    assert np.array_equal(field.decode(stored), values.reshape(3, 4, 10, 10, 10))


def test_continuous_actions_are_kept_although_some_look_one_hot():
    parts = [one(5, actions=2), continuous(4)]
    assert [x.fields["action"].coding for x in parts] == ["onehot", "plain"]
    assert [x.fields["action"].coding for x in with_same_coding(parts)] == ["plain"] * 2
    joined = PackedEpisodes.join(parts, "both")
    expected = {5: fakes.episode(5, actions=2)["action"], 4: np.full((5, 2), 0.25)}
    for i, length in enumerate(joined.lengths):
        assert np.array_equal(joined.episode(i)["action"], expected[length - 1])


def test_episodes_are_joined_in_the_order_of_their_content():
    parts = [one(3 + i, i) for i in range(8)]
    joined, other = (PackedEpisodes.join(x, "all") for x in (parts, parts[::-1]))
    assert (len(joined), joined.steps) == (8, sum(range(3, 11)))
    assert joined.fingerprint == other.fingerprint
    assert joined.fingerprint != PackedEpisodes.join(parts[1:], "all").fingerprint
    assert joined.digests.tolist() == sorted(joined.digests.tolist())
    for i in range(8):
        assert same(joined.episode(i), other.episode(i))
        digest = content_digest(joined.episode(i))
        assert digest == joined.digests[i].tobytes()
        assert joined.find(digest) == [i]


def test_equal_episodes_are_all_found():
    joined = PackedEpisodes.join([one(3), one(4, 1), one(3)], "all")
    found = joined.find(content_digest(fakes.episode(3)))
    assert len(found) == 2
    assert all(joined.lengths[i] == 4 for i in found)
    assert joined.find(bytes(16)) == []


def test_damaged_files_of_all_parts_are_listed():
    parts = [dataclasses.replace(one(3), damaged=(f"{x}.npz",)) for x in "ab"]
    assert PackedEpisodes.join(parts, "all").damaged == ("a.npz", "b.npz")


def test_tables_can_do_without_arrays():
    joined = PackedEpisodes.join([one(3).without_arrays(), one(4, 1)], "all")
    tables = joined.without_arrays()
    assert tables.arrays == {} and tables.steps == 7
    assert tables.fingerprint == joined.fingerprint


def test_the_smallest_arrays_are_read_into_memory(tmp_path):
    packed = one(99)
    arrays = {}
    for key, array in packed.arrays.items():
        np.save(tmp_path / f"{key}.npy", array)
        arrays[key] = ArrayFile(tmp_path / f"{key}.npy")
    on_disk = dataclasses.replace(packed, arrays=arrays)
    assert on_disk.is_on_disk and not packed.is_on_disk
    # 100 transitions: an action and two flags of a byte, and a reward of 4 bytes.
    sizes = {k: x.nbytes for k, x in arrays.items() if k != "image"}
    assert sum(sizes.values()) == 700
    kept = on_disk.with_small_in_memory(700)
    assert isinstance(kept.arrays["image"], ArrayFile) and kept.is_on_disk
    assert all(isinstance(kept.arrays[key], np.ndarray) for key in sizes)
    assert same(kept.episode(0), packed.episode(0))
    less = on_disk.with_small_in_memory(699)
    assert isinstance(less.arrays["reward"], ArrayFile)
    assert isinstance(less.arrays["action"], np.ndarray)


def test_other_kinds_are_named():
    expected = {**kinds(one(3)), "action": ((18,), "float32")}
    message = r"one does not fit the model: action is float32 \(6,\) in the former, "
    with pytest.raises(DatasetError, match=message + r"float32 \(18,\) in the latter"):
        check_kinds(one(3), expected, "the model")
    expected = {**kinds(one(3)), "position": ((2,), "float32")}
    with pytest.raises(DatasetError, match="position is missing in the former"):
        check_kinds(one(3), expected, "the model")


def test_planes_are_collapsed_only_for_a_model_that_sees_categories():
    planes = pack([4, 6], image_shape=(10, 10, 10))
    wanted = {**kinds(planes), "image": ((10, 10, 11), "bool")}
    assert as_seen(planes, kinds(planes)) is planes and as_seen(planes, {}) is planes
    seen = as_seen(planes, wanted)
    assert kinds(seen) == wanted and seen.fingerprint == planes.fingerprint
    assert seen.arrays["image"] is planes.arrays["image"]
    for number in range(2):
        whole, image = planes.episode(number), seen.episode(number)["image"]
        np.testing.assert_array_equal(image, minatar.collapsed(whole["image"]))
    assert as_seen(seen, wanted) is seen
    # Episodes that an agent of this view played itself have another coding.
    own = pack([5], image_shape=(10, 10, 11))
    both = with_same_coding([seen, own])
    assert [part.fields["image"].coding for part in both] == ["plain", "plain"]
    for plain, coded in zip(both, (seen, own), strict=True):
        assert same(plain.episode(0), coded.episode(0))

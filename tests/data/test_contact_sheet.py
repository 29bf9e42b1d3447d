import numpy as np
from PIL import Image

from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.data import contact_sheet
from tests import fakes
from tests.replays import save_shard


def save(folder, episode):
    folder.mkdir(exist_ok=True)
    return store.save_episode(folder, episode)


def frames(folder, path):
    assert contact_sheet.save(folder, path) == path
    return np.asarray(Image.open(path))


def test_a_row_a_task_and_a_column_a_frame(tmp_path):
    save(tmp_path / "minatar_breakout", fakes.episode(50))
    small = {"image_shape": (64, 64, 1), "dtype": np.uint8}
    save(tmp_path / "atari_pong", fakes.episode(50, **small))
    picture = frames(tmp_path, tmp_path / "sheet.png")
    # Eight cells of 160 and a gap of 4; two bars of 20 above 160, or 128, and a gap.
    assert picture.shape == (20 + 20 + 160 + 20 + 20 + 128, 8 * 164, 3)


def test_frames_are_of_different_times(tmp_path):
    # The frame at time t is of grey t.
    save(tmp_path / "a", fakes.episode(199, image_shape=(64, 64, 1), dtype=np.uint8))
    picture = frames(tmp_path, tmp_path / "sheet.png")
    grey = [int(picture[100, 64 + 132 * i, 0]) for i in range(8)]
    assert grey == sorted(set(grey)) and grey[0] < 25 and grey[-1] >= 175


def test_damaged_files_leave_their_cells_out(tmp_path):
    for number in range(8):
        path = save(tmp_path / "a", fakes.episode(9, number))
    path.write_bytes(b"")
    picture = frames(tmp_path / "a", tmp_path / "sheet.png")
    assert picture.shape[1] == 7 * 164


def test_without_images_there_is_no_picture(tmp_path):
    shape = {"image_shape": (3,), "dtype": np.float32}
    save(tmp_path / "a", fakes.episode(9, **shape))
    assert contact_sheet.save(tmp_path, tmp_path / "sheet.png") is None
    assert not (tmp_path / "sheet.png").exists()


def test_frames_of_a_shard_are_those_of_its_episodes(tmp_path):
    kind = {"image_shape": (64, 64, 1), "dtype": np.uint8}
    (tmp_path / "a").mkdir()
    save_shard(tmp_path / "a", [fakes.episode(9, i, **kind) for i in range(20)], "abc")
    picture = frames(tmp_path, tmp_path / "sheet.png")
    assert picture.shape[1] == 8 * 132
    grey = [int(picture[100, 64 + 132 * i, 0]) for i in range(8)]
    assert len(set(grey)) > 4  # 1000 * number + time, modulo 256.

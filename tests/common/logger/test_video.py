import io

import matplotlib.colors
import minatar
import numpy as np
import pytest
import seaborn
from PIL import Image

from dreamerv2_transfer.common.envs import minatar as minatar_envs
from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.common.logger import video

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def game_planes(game, steps=20):
    """A game's planes after some random actions."""
    env = minatar.Environment(game)
    env.seed(0)
    env.reset()
    for action in np.random.default_rng(0).integers(6, size=steps):
        if env.act(action)[1]:
            env.reset()
    return env.state()


def minatar_picture(planes, colors):
    """The computation of `minatar.Environment.display_state`, without a window."""
    palette = [BLACK, *seaborn.color_palette("cubehelix", colors)]
    highest = np.amax(planes * (np.arange(planes.shape[-1]) + 1), 2)
    return matplotlib.colors.ListedColormap(palette)(highest, bytes=True)[..., :3]


@pytest.mark.parametrize("game", ["breakout", "space_invaders", "freeway", "seaquest"])
def test_planes_have_minatars_own_colours(game):
    planes = game_planes(game)
    channels = planes.shape[-1]
    padded = np.pad(planes, ((0, 0), (0, 0), (0, 10 - channels)))
    picture = video.planes_to_rgb(padded, scale=1, colors=channels)
    assert picture.dtype == np.uint8 and picture.any()
    assert np.array_equal(picture, minatar_picture(planes, channels))


def test_the_default_palette_has_ten_colours_for_every_game():
    planes = game_planes("breakout")
    expected = minatar_picture(planes, 10)
    assert np.array_equal(video.planes_to_rgb(planes, scale=1), expected)
    padded = np.pad(planes, ((0, 0), (0, 0), (0, 6)))
    assert np.array_equal(video.planes_to_rgb(padded, scale=1), expected)


def test_the_highest_active_plane_wins_and_uncertain_ones_are_dim():
    planes = np.zeros((1, 5, 10))
    planes[0, 0, 9] = 1  # (213, 240, 238)
    planes[0, 1, 9] = 0.5
    planes[0, 2, [3, 9]] = 1
    planes[0, 3, 3], planes[0, 3, 9] = 1, 0.5  # 3 is (60, 117, 50)
    planes[0, 4] = -2, *[0] * 8, np.nan
    assert video.planes_to_rgb(planes, scale=1)[0].tolist() == [
        [213, 240, 238],
        [106, 120, 119],
        [213, 240, 238],
        [136, 178, 144],
        [0, 0, 0],
    ]


def categories(*numbers):
    """Cells in a row, each of one of MinAtar's 11 categories."""
    return np.eye(minatar_envs.MINATAR_CATEGORIES)[None, [*numbers]]


def test_categories_have_the_colours_of_the_planes_that_they_stand_for():
    # Breakout: nothing, the paddle (plane 0), the ball (1), its trail (2), a brick (3).
    picture = video.planes_to_rgb(categories(0, 1, 2, 3, 4), 1, 4)
    planes = video.planes_to_rgb(np.eye(4)[None], 1, 4)
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert np.array_equal(picture[:, 1:], planes) and planes.any(-1).all()
    planes = np.pad(game_planes("freeway"), ((0, 0), (0, 0), (0, 3)))
    assert np.array_equal(
        video.planes_to_rgb(minatar_envs.collapsed(planes), 1, 7),
        video.planes_to_rgb(planes, 1, 7),
    )
    frames = video.episode(categories(0, 1, 2, 3, 4)[None], 1, 4)
    assert np.array_equal(frames[0], picture)


def test_an_object_in_a_cell_that_is_empty_is_invented_alone():
    truth, model = categories(0, 3, 3), categories(2, 0, 4)
    assert video.difference(truth, model)[0].tolist() == [
        [0, 255, 255],
        [255, 0, 0],
        [255, 255, 255],
    ]


def test_planes_keep_their_leading_axes_and_grow_by_the_scale():
    assert video.planes_to_rgb(np.zeros((2, 7, 10, 10, 6), bool)).shape == (
        *(2, 7),
        *(160, 160, 3),
    )


def test_upscale_repeats_pixels():
    image = np.array([[[1], [2]]])
    assert video.upscale(image, 2)[..., 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]


def test_gray_to_rgb_takes_bytes_floats_and_booleans():
    assert video.gray_to_rgb(np.uint8([[[7]]])).tolist() == [[[7, 7, 7]]]
    assert video.gray_to_rgb(np.array([[[0.5]]])).tolist() == [[[128, 128, 128]]]
    assert video.gray_to_rgb(np.array([[[True]]])).tolist() == [[[255, 255, 255]]]
    rgb = np.array([[[-1.0, 0.2, 3.0]]])
    assert video.gray_to_rgb(rgb).tolist() == [[[0, 51, 255]]]
    with pytest.raises(ValueError, match=r"shape=\(4, 4, 10\)"):
        video.gray_to_rgb(np.zeros((4, 4, 10)))


def test_grid_lays_videos_side_by_side():
    videos = np.zeros((2, 3, 1, 2, 3), np.uint8)
    videos[0], videos[1] = 10, 20
    frames = video.grid(videos, gap=1)
    assert frames.shape == (3, 1, 5, 3)
    assert frames[2, 0, :, 0].tolist() == [10, 10, 90, 20, 20]
    assert video.grid(videos, gap=0)[0, 0, :, 0].tolist() == [10, 10, 20, 20]


def test_strip_takes_every_nth_frame():
    frames = np.arange(5, dtype=np.uint8)[:, None, None, None].repeat(3, 3)
    picture = video.strip(frames, every=2)
    assert picture.shape == (1, 3 + 2 * 8, 3)
    assert picture[0, ::9, 0].tolist() == [0, 2, 4]


def panels(frame, size):
    """Rows truth, model, error of one column, as (border colour, inner pixels)."""
    height, inner = 20 + 4 + size + 4, slice(4, 4 + size)
    rows = [frame[i * height + 20 : (i + 1) * height] for i in range(3)]
    return [(tuple(row[0, 0]), row[inner, inner]) for row in rows]


def test_open_loop_shows_truth_model_and_error_and_marks_the_dream():
    truth = np.zeros((1, 3, 2, 2, 10), bool)
    truth[:, :, 0, 0, 9] = True
    model = np.zeros(truth.shape)
    model[:, :2, 0, 0, 9] = 1
    model[:, 2, 1, 1, 0] = 1
    frames = video.open_loop(truth, model, context=2, scale=40)
    assert frames.shape == (3, 3 * (20 + 8 + 80), 88, 3) and frames.dtype == np.uint8

    _, (border, seen), (_, error) = panels(frames[1], 80)
    assert border == (70, 200, 90)
    assert tuple(seen[39, 39]) == (213, 240, 238)
    assert not error.any()

    (_, true), (border, dream), (_, error) = panels(frames[2], 80)
    assert border == (240, 70, 60)
    assert tuple(true[39, 39]) == (213, 240, 238) and tuple(dream[39, 39]) == BLACK
    assert tuple(dream[40, 40]) == (25, 18, 43)
    assert tuple(error[39, 39]) == (255, 0, 0)  # missed
    assert tuple(error[40, 40]) == (0, 255, 255)  # invented


def test_open_loop_shows_the_wrong_plane_as_missed_and_invented():
    truth, model = np.zeros((2, 1, 1, 1, 1, 10))
    truth[..., 3] = model[..., 4] = 1
    _, _, (_, error) = panels(video.open_loop(truth, model, 0)[0], 160)
    assert tuple(error[0, 0]) == WHITE


def test_open_loop_of_gray_bytes_has_a_column_a_sequence():
    truth = np.full((2, 1, 64, 64, 1), 255, np.uint8)
    model = np.full(truth.shape, 0.8)
    frames = video.open_loop(truth, model, context=5)
    column = 4 + 128 + 4
    assert frames.shape == (1, 3 * (20 + column), 2 * column + 2, 3)
    (_, true), (_, dream), (_, error) = panels(frames[0], 128)
    assert (true == 255).all() and (dream == 204).all()
    assert tuple(error[0, 0]) == (51, 0, 0)


def test_open_loop_captions_say_what_is_shown():
    truth = np.zeros((1, 2, 10, 10, 10))
    observes, dreams = video.open_loop(truth, truth, context=1)[:, 188 : 188 + 20]
    assert (observes == (70, 200, 90)).all(-1).any()
    assert (dreams == (240, 70, 60)).all(-1).any()


@pytest.mark.parametrize("width", [88, 136, 400])
def test_a_caption_is_whole_above_a_narrow_picture(width):
    words = [("error", video.TEXT), ("missed", video.MISSED)]
    words += [("invented", video.INVENTED)]
    picture = video.caption(np.zeros((8, width, 3), np.uint8), words)
    assert picture.shape == (28, width, 3)
    columns = np.flatnonzero(picture[:20].any((0, 2)))
    assert columns[0] >= 4 and columns[-1] < width - 2


def test_open_loop_refuses_unequal_shapes():
    with pytest.raises(ValueError, match=r"model.shape=\(1, 3, 4, 4, 10\)"):
        video.open_loop(np.zeros((1, 2, 4, 4, 10)), np.zeros((1, 3, 4, 4, 10)), 1)


def decode(encoded):
    gif = Image.open(io.BytesIO(encoded))
    pixels, durations = [], []
    for index in range(gif.n_frames):
        gif.seek(index)
        pixels.append(np.asarray(gif.convert("RGB")))
        durations.append(gif.info["duration"])
    return np.stack(pixels), durations, gif.info["loop"]


def test_gif_keeps_up_to_256_colours_exactly():
    colors = np.random.default_rng(0).integers(256, size=(4, 200, 3), dtype=np.uint8)
    frames = colors.reshape(4, 10, 20, 3).repeat(4, 1).repeat(4, 2)
    pixels, durations, loop = decode(video.encode_gif(frames, fps=20))
    assert np.array_equal(pixels, frames)
    assert durations == [1000, 50, 50, 50]  # milliseconds
    assert loop == 0


def test_gif_keeps_rare_colours_among_many():
    random = np.random.default_rng(0)
    frame = random.integers(20, size=(1, 100, 100, 3), dtype=np.uint8)
    frame[0, ::10, 0, 0] = [30, 55, 80, 105, 130, 155, 180, 205, 230, 255]
    pixels, _, _ = decode(video.encode_gif(frame, fps=20))
    assert np.abs(pixels.astype(int) - frame).max() <= 10


def test_gif_takes_gray_frames_and_never_outruns_a_browser():
    frames = np.linspace(0, 1, 3).reshape(3, 1, 1, 1) * np.ones((3, 4, 4, 1))
    pixels, durations, _ = decode(video.encode_gif(frames, fps=1000))
    assert pixels[:, 0, 0, 0].tolist() == [0, 128, 255]
    assert durations[1:] == [20, 20]


def test_saved_pictures_can_be_read_back(tmp_path):
    frames = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1) * np.ones(
        (4, 5, 6, 3), np.uint8
    )
    video.save_gif(tmp_path / "a" / "film.gif", frames, fps=10)
    video.save_png(tmp_path / "a" / "photo.png", frames[3])
    assert Image.open(tmp_path / "a" / "film.gif").n_frames == 4
    photo = np.asarray(Image.open(tmp_path / "a" / "photo.png"))
    assert np.array_equal(photo, frames[3])
    assert len(list((tmp_path / "a").iterdir())) == 2


def test_a_picture_that_cannot_be_saved_is_named(tmp_path):
    (tmp_path / "folder").write_text("not a folder")
    with pytest.raises(atomic.OutputError, match="folder/photo.png"):
        video.save_png(tmp_path / "folder" / "photo.png", np.zeros((2, 2, 3)))


def test_videos_of_tasks_and_keys_with_a_slash_lie_beside_the_others(tmp_path):
    path = video.gif_path(tmp_path, "openl_eye/left_gym_ALE/Pong-v5")
    assert path == tmp_path / "videos" / "openl_eye@left_gym_ALE@Pong-v5.gif"


@pytest.mark.parametrize(
    ("channels", "wanted"),
    [
        ([7], [7]),
        ([7, 9, 11], [7, 9, 11]),
        ([1, 250], [126]),
        ([1, 250, 250, 250], [188]),
        ([0, 10, 20, 100, 30, 40], [50, 20, 30]),
    ],
)
def test_stacked_frames_are_drawn_by_their_mean(channels, wanted):
    assert video.merged(np.uint8([[channels]])).tolist() == [[wanted]]
    halves = np.float32([[channels]]) / 255
    assert np.allclose(video.merged(halves) * 255, [[wanted]], atol=0.51)


def test_bytes_of_four_channels_are_drawn_as_bright_as_they_are():
    drawn = [
        video.episode(np.full((1, 200, 200, 4), value, np.uint8), 16, None)
        for value in (1, 250)
    ]
    assert [np.unique(frames).tolist() for frames in drawn] == [[1], [250]]

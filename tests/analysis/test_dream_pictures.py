"""Pictures of dreams."""

import numpy as np

from dreamerv2_transfer.analysis import dream_errors, dream_pictures
from tests.analysis.drawn import Drawn

TASK = "minatar_breakout"


def planes(sequences=2, steps=8):
    return np.zeros((sequences, steps, 10, 10, 10), np.float32)


def test_a_dream_is_an_animation_and_a_strip():
    album = Drawn()
    dream_pictures.draw(album, TASK, planes(), planes(), context=3)
    frames, image = album.added.values()
    assert list(album.added) == [f"{TASK}_dream.gif", f"{TASK}_dream.png"]
    assert frames.shape[0] == 8 and frames.dtype == np.uint8
    assert image.ndim == 3 and image.shape[1] > image.shape[0] > 3 * 160
    _, caption = album.texts[f"{TASK}_dream.gif"]
    assert caption.startswith("The model sees 3 frames and dreams the next 5 ")


def test_a_dream_of_the_actor_has_no_truth_beside_it():
    album = Drawn()
    dream_pictures.draw_acting(album, TASK, planes(), context=3)
    frames, image = album.added.values()
    assert list(album.added) == [f"{TASK}_actor.gif", f"{TASK}_actor.png"]
    assert frames.shape[0] == 8 and 160 < image.shape[0] < 2 * 160


def test_a_strip_shows_ever_more_distant_frames():
    frames = np.arange(50, dtype=np.uint8)[:, None, None, None].repeat(3, 3)
    image = dream_pictures.strip(frames, context=5)
    shown = image[0, ::9, 0].tolist()
    assert shown == [3, 4, 5, 7, 11, 21, 49]


def test_an_error_far_above_the_baselines_is_not_drawn():
    flat = {"mean": [2.0, 2.0], "low": [1.0, 1.0], "high": [3.0, 3.0]}
    far = {"mean": [70.0, 80.0], "low": [60.0, 60.0], "high": [90.0, 90.0]}
    curves = {
        "model": flat,
        "untrained model": far,
        dream_errors.LAST_FRAME: flat,
        dream_errors.MEAN_FRAME: flat,
    }
    album = Drawn()
    dream_pictures.draw_errors(album, TASK, curves, 7)
    (place,) = album.added[f"{TASK}_error.png"].axes
    names = [text.get_text() for text in place.get_legend().get_texts()]
    assert names[1] == "untrained model: 70, not drawn"
    lengths = [len(line.get_xdata()) for line in place.lines]
    assert lengths == [2, 0, 2, 2] and len(place.collections) == 3
    assert place.get_ylabel() == "squared error (wrong cells an image)"
    assert album.texts[f"{TASK}_error.png"][1].startswith("Squared error of 7 ")

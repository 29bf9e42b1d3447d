import numpy as np
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer import collect, validation
from dreamerv2_transfer.common import blocks, logger
from dreamerv2_transfer.common.counter import Counter
from dreamerv2_transfer.common.logger import video
from dreamerv2_transfer.common.replay import offline, packed
from dreamerv2_transfer.data.collection import Recipe

TASK = "minatar_breakout"


def test_dreams_show_what_the_model_predicts_after_the_context(tmp_path):
    directory = tmp_path / "dataset"
    collect.collect(directory, {TASK: Recipe(seed=3)}, steps=200)
    config = blocks.load_config(["minatar", "debug", "scratch"])
    config = config.update(
        {"video.context": 3, "dataset.holdout": 3, "replay.minlen": 1}
    )
    dataset = offline.make_dataset(config, packed.open_dataset(directory, [TASK]))
    wm = agent_lib.WorldModel(config, dataset.obs_space, dataset.act_space, rng=None)
    found = []
    log = logger.Logger(Counter(), [found.extend])
    dreams = validation.Dreams(wm, config, log, tmp_path)
    batch = dataset.video_batch(TASK, 2, 7)
    inputs = {k: tf.constant(v) for k, v in batch.items()}
    truth, model = dreams.predict(inputs)["image"]
    np.testing.assert_array_equal(truth, batch["image"])
    assert model.shape == (2, 7, 10, 10, 10)
    dreams.log(batch, TASK, planes=4, name="openl")
    log.write()
    ((_, name, frames),) = found
    assert name == f"openl_image/{TASK}" and frames.dtype == np.uint8
    # The model's border is green for as long as it observes, then red.
    green, red = (
        [(frame == color).all(-1).sum() for frame in frames]
        for color in (video.OBSERVED, video.DREAMED)
    )
    assert [x > 0 for x in green] == [True] * 3 + [False] * 4
    assert [x > 0 for x in red] == [False] * 3 + [True] * 4
    gif = tmp_path / "videos" / f"openl_image_{TASK}.gif"
    assert gif.read_bytes()[:4] == b"GIF8"
    # Nothing is left to dream of sequences of 3 steps.
    short = {k: v[:, :3] if v.ndim > 1 else v for k, v in batch.items()}
    dreams.log(short, TASK, planes=4, name="short")
    log.write()
    assert len(found) == 1

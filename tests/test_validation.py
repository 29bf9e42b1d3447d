import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer import collect, train, validation
from dreamerv2_transfer.common import blocks, logger
from dreamerv2_transfer.common.counter import Counter
from dreamerv2_transfer.common.logger import video
from dreamerv2_transfer.common.logger.averages import Averages
from dreamerv2_transfer.common.replay import offline, packed
from dreamerv2_transfer.data.collection import Recipe

TASK = "minatar_breakout"
CONFIG = blocks.load_config(["minatar", "debug", "scratch"]).update(
    {
        "task": TASK,
        "replay.minlen": 1,
        "dataset.holdout": 3,
        "eval_batches": 2,
        "task_weights": [1.0, 2.0],  # Of other games, those of a pre-training.
    }
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset")
    collect.collect(path, {TASK: Recipe(seed=3)}, steps=200)
    return path


def test_losses_are_the_means_over_batches_of_held_out_episodes(directory, tmp_path):
    config = CONFIG.update(eval_dataset=str(directory))
    dataset = train.open_eval_dataset(config, tmp_path)
    spaces = dataset.obs_space, dataset.act_space
    wm = agent_lib.WorldModel(CONFIG, *spaces, rng=None)
    losses = validation.HeldOut(wm, CONFIG, dataset).losses(TASK)
    state, errors, rewards = wm.rssm.initial(CONFIG.dataset.batch), [], []
    for batch in dataset.eval_batches(TASK, 2):
        batch = {k: tf.constant(v) for k, v in batch.items()}
        _, state, outputs, metrics = wm.loss(batch, state)
        errors.append(float(metrics["model_error"]))
        predicted = wm.heads["reward"](outputs["feat"]).mode().numpy()
        rewards += predicted[batch["reward"].numpy() > 0].tolist()
    assert losses["model_error"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert losses["rewarded"] == pytest.approx(
        len(rewards) / (2 * np.size(batch["reward"]))
    )
    assert losses["rewarded_pred"] == pytest.approx(np.mean(rewards), abs=1e-5)
    assert losses["rewarded_true"] == pytest.approx(np.tanh(1))


def test_rewards_are_told_where_there_are_any_and_where_there_are_none():
    averages = Averages()
    true = np.array([[0, 0.5, 0], [0, 0, 1.0]])
    validation.add_rewards(averages, true, np.array([[0.1, 0.2, 0.3], [0, 0, 0.6]]))
    validation.add_rewards(averages, np.zeros([1, 6]), np.full([1, 6], 0.2))
    assert averages.result() == {
        "rewarded": pytest.approx(1 / 6),
        "rewarded_true": pytest.approx(0.75),
        "rewarded_pred": pytest.approx(0.4),
        "unrewarded_pred": pytest.approx(0.16),
    }


def test_nothing_held_out_gives_no_losses(directory):
    config = CONFIG.update({"dataset.holdout": 0, "task_weights": [1.0]})
    dataset = offline.make_dataset(config, packed.open_dataset(directory, [TASK]))
    wm = agent_lib.WorldModel(config, dataset.obs_space, dataset.act_space, rng=None)
    assert validation.HeldOut(wm, config, dataset).losses(TASK) == {}


def test_dreams_show_what_the_model_predicts_after_the_context(directory, tmp_path):
    config = CONFIG.update({"video.context": 3, "task_weights": [1.0]})
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

import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer import collect, train, validation
from dreamerv2_transfer.common import blocks
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
    metrics = validation.HeldOut(wm, CONFIG, dataset).metrics(TASK)
    state, errors = wm.rssm.initial(CONFIG.dataset.batch), []
    for batch in dataset.eval_batches(TASK, 2):
        batch = {k: tf.constant(v) for k, v in batch.items()}
        _, state, _, losses = wm.loss(batch, state)
        errors.append(float(losses["model_error"]))
    assert metrics["model_error"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert metrics["reward_events"] > 0
    assert 0 < metrics["reward_auc"] < 1 and 0 < metrics["discount_auc_dreamed"] < 1


def test_nothing_held_out_gives_no_figures(directory):
    config = CONFIG.update({"dataset.holdout": 0, "task_weights": [1.0]})
    dataset = offline.make_dataset(config, packed.open_dataset(directory, [TASK]))
    wm = agent_lib.WorldModel(config, dataset.obs_space, dataset.act_space, rng=None)
    assert validation.HeldOut(wm, config, dataset).metrics(TASK) == {}

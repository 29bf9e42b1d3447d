"""What is published under results/ can be loaded and does what it says."""

import contextlib
import importlib.util
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer import collect
from dreamerv2_transfer.common import blocks, envs
from dreamerv2_transfer.common.replay import offline, packed
from dreamerv2_transfer.data.collection import Recipe
from dreamerv2_transfer.transfer import weights as weights_lib

RESULTS = pathlib.Path(__file__).parents[1] / "results"


def model_error(config, wm, directory) -> float:
    episodes = packed.open_dataset(directory, ["minatar_breakout"])
    dataset = offline.make_dataset(config, episodes)
    batch = {k: tf.constant(v) for k, v in dataset.next().items()}
    return float(wm.loss(batch)[3]["model_error"])


@pytest.mark.parametrize("folder", ["minatar_small_pretrain"])
def test_a_published_world_model_knows_breakout(tmp_path, folder):
    config = blocks.load_old(RESULTS / folder / "config.yaml")[0]
    with contextlib.closing(envs.make_env("minatar_breakout")) as env:
        spaces = envs.obs_space(env), envs.act_space(env)
    wm = agent_lib.make_world_model(config, *spaces)
    # Episodes of a seed that the model was not trained on.
    recipes = {"minatar_breakout": Recipe(seed=12345)}
    collect.collect(tmp_path, recipes, steps=300)
    untrained = model_error(config, wm, tmp_path)
    weights = RESULTS / folder / "world_model.weights.h5"
    weights_lib.load_weights(weights, wm.components)
    trained = model_error(config, wm, tmp_path)
    assert np.isfinite(untrained) and trained < 0.2 * untrained


def test_the_tables_of_the_small_study_are_those_of_its_files():
    folder = RESULTS / "minatar_small"
    spec = importlib.util.spec_from_file_location("x", folder / "readme_tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    told = {line.strip() for line in (folder / "README.md").read_text().splitlines()}
    assert [x for table in tables.TABLES for x in table() if x not in told] == []

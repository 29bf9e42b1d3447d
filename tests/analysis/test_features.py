"""The features of frames."""

import contextlib

import numpy as np
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.analysis import features, frames, players
from dreamerv2_transfer.common import blocks, envs


def test_features_are_those_of_the_policy_step_by_step(monkeypatch):
    monkeypatch.setattr(features, "CHUNK", 8)  # Less than an episode.
    settings = blocks.load_config(["minatar", "debug", "pretrain"])
    task = "minatar_breakout"
    with contextlib.closing(envs.make_vector_env(task, 3)) as env:
        policy, seeds, _ = players.random(env, task, 0)
        played = frames.play(env, policy, 70, seeds)
        # Without noise, so that two ways of computing can be compared.
        wm = agent_lib.WorldModel(
            settings, envs.obs_space(env), envs.act_space(env), rng=None
        )
    found = features.posterior(wm, played, settings, seed=0)
    assert found.shape == (len(played), 32) and found.dtype == np.float32
    state = wm.rssm.initial(1)
    for time in range(len(played)):
        obs = {k: tf.constant(v[time][None]) for k, v in played.data.items()}
        embed = wm.encoder(wm.preprocess(obs))
        state, _ = wm.rssm.obs_step(state, obs["action"], embed, obs["is_first"])
        wanted = tf.convert_to_tensor(wm.rssm.get_feat(state))[0]
        np.testing.assert_allclose(found[time], wanted, atol=1e-5)


def test_the_layout_keeps_episodes_whole_and_rows_even():
    episode = np.repeat([0, 1, 2, 3], [5, 2, 3, 4])
    index, real = features.layout(episode, rows=2, multiple=4)
    assert index.shape == real.shape == (2, 8)
    assert index[real].size == 14 and set(index[real]) == set(range(14))
    # 5 + 2 in a row and 4 + 3 in the other.
    assert [row[there].tolist() for row, there in zip(index, real, strict=True)] == [
        [0, 1, 2, 3, 4, 5, 6],
        [10, 11, 12, 13, 7, 8, 9],
    ]


def test_there_are_no_more_rows_than_episodes():
    index, real = features.layout(np.array([0, 0, 1]), rows=64, multiple=1)
    assert index.shape == (2, 2) and real.sum() == 3

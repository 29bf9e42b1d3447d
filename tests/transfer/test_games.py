"""The games of a model with vectors, and the new ones that fine-tuning adds."""

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.errors import CheckpointError
from dreamerv2_transfer.transfer import games, weights
from tests import models

KNOWN = ("minatar_asterix", "minatar_breakout", "minatar_freeway")
NEW = "gym_New/Game-v0"
SIZE = {"task_embed.size": 3}
MODEL = ("encoder", "rssm", "decoder", "reward", "discount")


def make_config(*names, **changes):
    config = blocks.load_config(["minatar", "debug", *names])
    return config.update({"imag_horizon": 3, "jit": False, **SIZE, **changes})


def make_agent(config) -> agent_lib.Agent:
    rng = tf.random.Generator.from_seed(0)
    return agent_lib.Agent(config, models.obs_space(), models.act_space(), rng)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a model of three games."""
    folder = tmp_path_factory.mktemp("model")
    config = games.resolved(make_config("pretrain", tasks=KNOWN, logdir=str(folder)))
    agent = make_agent(config)
    for vector, value in zip(
        agent.wm.rssm.task_embed.vectors.values(),
        ([1, 0, 0], [0, 1, 0], [0, 1, 3]),
        strict=True,
    ):
        vector.assign(value)
    weights.save_agent(folder, agent)
    return folder


def finetune(saved, tmp_path, **changes):
    given = {"init.path": str(saved), "logdir": str(tmp_path / "run"), "task": NEW}
    return make_config("finetune", **{**given, **changes})


def values(agent) -> dict:
    return {v.path: v.numpy() for v in agent.wm.variables}


def test_games_are_those_of_the_model_and_then_the_runs(saved, tmp_path):
    assert (
        games.resolved(make_config(tasks=KNOWN, stage="pretrain")).task_embed.games
        == KNOWN
    )
    config = finetune(saved, tmp_path)
    assert games.resolved(config).task_embed.games == (*KNOWN, NEW)
    known = config.update(task=KNOWN[1])
    assert games.resolved(known).task_embed.games == KNOWN
    alone = config.update({"init.components": ["encoder"], "init.path": "nowhere"})
    assert games.resolved(alone).task_embed.games == (NEW,)
    off = config.update({"task_embed.size": 0, "init.path": "nowhere"})
    assert games.resolved(off) is off


def test_a_run_that_resumes_needs_no_model(saved, tmp_path):
    config = games.resolved(finetune(saved, tmp_path))
    (tmp_path / "run").mkdir()
    config.save(tmp_path / "run" / "config.yaml")
    gone = finetune(saved, tmp_path, **{"init.path": "nowhere"})
    assert games.resolved(gone).task_embed.games == (*KNOWN, NEW)


def test_a_model_of_another_size_or_none_is_refused(saved, tmp_path):
    with pytest.raises(ConfigError, match=r"size=3. Received: task_embed.size=4. Use"):
        games.resolved(finetune(saved, tmp_path, **{"task_embed.size": 4}))
    damaged = tmp_path / "bad.weights.h5"
    damaged.write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="Cannot read weights from .*bad"):
        games.resolved(finetune(damaged, tmp_path))


def test_without_vectors_the_model_does_not_fit(saved):
    plain = make_agent(make_config(**{"task_embed.size": 0}))
    with pytest.raises(CheckpointError, match=r"task_embed.size or the latents"):
        weights.initialize(saved, plain.wm.components, MODEL)


def test_vectors_of_games_that_a_run_learns_are_not_left_out(saved, tmp_path):
    games.check(games.resolved(finetune(saved, tmp_path)))
    games.check(make_config("scratch", **{"task_embed.size": 0}))
    config = finetune(saved, tmp_path, **{"task_embed.games": KNOWN})
    with pytest.raises(ConfigError, match=f"lacks {NEW}, .* Received: minatar_ast"):
        games.check(games.resolved(config))


def test_a_new_game_starts_at_the_mean_and_all_else_is_loaded(saved, tmp_path):
    config = games.resolved(finetune(saved, tmp_path))
    agent = make_agent(config)
    loaded = weights.initialize(saved, agent.components, MODEL)
    after = values(agent)
    file = weights.read_weights(saved / "world_model.weights.h5")
    new = "rssm/task_embed/gym_New%2FGame-v0"
    assert after.keys() - file.keys() == {new}
    for name, value in file.items():
        np.testing.assert_array_equal(after[name], value, name)
    np.testing.assert_allclose(after[new], [1 / 3, 2 / 3, 1])
    assert f"The vector of {NEW} starts at the mean of the others" in loaded.text
    assert new not in loaded.paths


def test_shrinking_leaves_vectors_alone_that_never_learn(saved, tmp_path):
    changes = {"replay.mix": 0.5, "known.tasks": KNOWN[:1]}
    agent = make_agent(games.resolved(finetune(saved, tmp_path, **changes)))
    before = values(agent)
    weights.initialize(saved, agent.components, MODEL, shrink=0.5)
    after = values(agent)
    first = f"rssm/task_embed/{KNOWN[0]}"
    np.testing.assert_allclose(after[first], 0.5 * before[first] + [0.5, 0, 0])
    assert after[f"rssm/task_embed/{KNOWN[1]}"].tolist() == [0, 1, 0]
    assert after[f"rssm/task_embed/{KNOWN[2]}"].tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    ("names", "changes", "learning"),
    [
        (["freeze_world_model"], {}, {"gym_New%2FGame-v0"}),
        (
            [],
            {"replay.mix": 0.5, "known.tasks": KNOWN[:1]},
            {"minatar_asterix", "gym_New%2FGame-v0"},
        ),
        ([], {"task_embed.freeze": True}, set()),
    ],
)
def test_only_vectors_of_games_in_the_batches_learn(
    saved, tmp_path, names, changes, learning
):
    changes = {**changes, "dataset.batch": 2, "model_opt.wd": 0.1}
    config = finetune(saved, tmp_path, **changes)
    flags = blocks.load_config(["finetune", *names]).freeze
    config = games.resolved(config.update(freeze=flags))
    agent = make_agent(config)
    weights.initialize(saved, agent.components, MODEL)
    before, state = values(agent), agent.wm.rssm.initial(models.BATCH)
    batch = models.make_batch()
    batch["game_index"] = tf.constant(blocks.game_indices(config, [NEW, NEW, KNOWN[0]]))
    agent.update(batch, state)
    changed = {k for k, v in values(agent).items() if not np.array_equal(v, before[k])}
    vectors = {
        k.removeprefix(games.PREFIX) for k in changed if k.startswith(games.PREFIX)
    }
    assert vectors == learning
    if names:  # The vector alone: all else is bit-identical, decay included.
        assert len(changed) == 1
    else:
        assert "rssm/img_in/kernel" in changed


def test_games_of_other_actions_keep_the_rows_of_their_vectors(saved, tmp_path):
    config = games.resolved(finetune(saved, tmp_path, **{"init.adapt": ["actions"]}))
    rng = tf.random.Generator.from_seed(0)
    spaces = models.obs_space(), {"action": gymnasium.spaces.Discrete(3)}
    agent = agent_lib.Agent(config, *spaces, rng)
    weights.initialize(saved, agent.components, MODEL, ("actions",))
    kernel = weights.read_weights(saved / "world_model.weights.h5")[
        "rssm/img_in/kernel"
    ]
    rows = 4 * 4 + 3  # Latents and vector.
    found = agent.wm.rssm.img_in.kernel.numpy()
    assert found.shape[0] == rows + 3 and kernel.shape[0] == rows + 6
    np.testing.assert_array_equal(found[:rows], kernel[:rows])

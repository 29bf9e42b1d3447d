import functools
import json
import os
import shutil
import signal
import types

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer import collect, finetune, train
from dreamerv2_transfer.common import (
    blocks,
    checkpoint,
    envs,
    logger,
    replay,
    updates,
)
from dreamerv2_transfer.common.counter import Counter
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.data.collection import Recipe
from dreamerv2_transfer.transfer import weights as weights_lib
from tests import fakes, graphs, replays
from tests.runs import rows, series

TASK = "minatar_breakout"


def make_config(*names, **changes):
    config = blocks.load_config(["minatar", "debug", *(names or ["scratch"])])
    defaults = {
        "task": TASK,
        "prefill": 40,
        "steps": 4,
        "log_every": 1,
        "eval_every": 0,
        "checkpoint_every": 2,
        "train_every": 6,
        "imag_horizon": 3,
        "dataset.batch": 2,
        "dataset.length": 6,
        "video.context": 2,
        "replay.minlen": 1,
    }
    return config.update({**defaults, **changes})


def run(
    logdir,
    config,
    make_agent=agent_lib.make_agent,
    make_envs=None,
    known=None,
    **options,
):
    make_envs = make_envs or functools.partial(
        envs.make_vector_env, config.task, time_limit=config.time_limit
    )
    env = make_envs(1)
    spaces = envs.obs_space(env), envs.act_space(env)
    folder = logdir / "train_episodes"
    collect.prefill(
        folder,
        config.task,
        steps=config.prefill,
        envs=1,
        seed=config.seed,
        make_envs=make_envs,
        settings={},
    )
    agent = make_agent(config, *spaces)
    if not (logdir / "checkpoints").exists():
        train.load_initial_weights(config, logdir, agent)
    return finetune.finetune(
        config,
        logdir,
        make_envs,
        replay.Replay(folder, **config.replay, known=known, seed=config.seed),
        agent,
        logger.make_logger(logdir, Counter()),
        known=known,
        **options,
    )


def quick_agent(*args) -> agent_lib.Agent:
    """Returns a real agent whose updates only check their inputs, and count."""
    agent = agent_lib.make_agent(*args)

    def train(data, state):
        assert data["image"].shape == (2, 6, 10, 10, 10) and data["image"].dtype == bool
        assert data["action"].shape == (2, 6, 6) and state["deter"].shape == (2, 16)
        assert {"reward", "is_first", "is_last", "is_terminal"} <= data.keys()
        agent.task_behavior.updates.assign_add(1)
        loss = tf.reduce_mean(data["reward"])
        return state, {"model_loss": loss, "reward_loss": loss}

    agent.update = train
    return agent


# Long enough for episodes to end between the updates. Most of the time goes to acting.
SHORT = {"train_every": 12, "time_limit": 10}
WHOLE = {"steps": 6, "eval_every": 3, **SHORT}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The logdir of an uninterrupted run."""
    logdir = tmp_path_factory.mktemp("whole")
    assert run(logdir, make_config(**WHOLE))
    return logdir


def test_a_run_leaves_metrics_videos_weights_and_checkpoints(whole):
    logged = rows(whole)
    names = {k for row in logged for k in row}
    assert {"model_loss", "model_error", "actor_loss", "critic_loss"} <= names
    assert {"reward_dreamed", "reward_replayed", "reward_played"} <= names
    assert {"train_return", "train_length", "train_total_steps"} <= names
    assert {"eval_return_mean", "eval_length_mean", "eval_episodes"} <= names
    assert series(whole, "eval_episodes") == [2, 2]
    files = {str(p.relative_to(whole)) for p in whole.rglob("*") if p.is_file()}
    assert {
        "world_model.weights.h5",
        "actor_critic.weights.h5",
        "checkpoints/ckpt-6.index",
        "videos/eval_policy_image.gif",
        "videos/train_openl_image_minatar_breakout.gif",
    } <= files


def test_steps_and_updates_keep_their_ratio(tmp_path):
    config = make_config(steps=5, train_every=6, checkpoint_every=1)
    run(tmp_path, config, quick_agent, evaluates=False)
    saved = [checkpoint_state(tmp_path, step)["steps"]["value"] for step in (3, 4, 5)]
    # The first update comes before acting, the second with the first step.
    assert np.diff(saved).tolist() == [6, 6]


def checkpoint_state(logdir, step) -> dict:
    reader = tf.train.load_checkpoint(str(logdir / "checkpoints" / f"ckpt-{step}"))
    names = [n for n in reader.get_variable_to_shape_map() if "py_state" in n]
    return json.loads(reader.get_tensor(names[0]))


def test_several_environments_share_the_ratio(tmp_path):
    config = make_config(steps=7, train_every=2, envs=3, checkpoint_every=1)
    run(tmp_path, config, quick_agent, evaluates=False)
    saved = [checkpoint_state(tmp_path, step)["steps"]["value"] for step in (5, 6, 7)]
    # Three steps are made at once, and every second one brings an update.
    assert saved[2] - saved[0] in (3, 6)


EXPLORING = {
    "expl_behavior": "Plan2Explore",
    "expl_extr_scale": 1.0,
    "expl_reward_norm.momentum": 0.9,
    "disag_models": 2,
    "(reward_head|critic)\\.dist": "symlog_twohot",
    "(rssm|actor)\\.unimix": 0.01,
    "return_norm.kind": "percentile",
    "task_embed": {"size": 3, "games": [TASK, "minatar_freeway"]},
}


LOCKED = {
    "obs.action_mask": True,
    "expl_noise": 0.1,
    "(encoder|decoder)\\.mlp_keys": "vector",
    "(encoder|decoder)\\.cnn_keys": "$^",
}


@pytest.mark.parametrize(
    ("number", "changes", "task"),
    [
        (1, {}, TASK),
        (1, EXPLORING, TASK),
        (2, {"overlap": True}, TASK),
        (2, LOCKED, fakes.Locks),
    ],
)
def test_a_resumed_run_is_an_uninterrupted_one(tmp_path, number, changes, task):
    """Also if episodes ended after the checkpoint, and one is in progress."""
    config = make_config(steps=6, envs=number, **SHORT, **changes)
    options = {"evaluates": number == 1 and not changes}
    if task is not TASK:
        fit = envs.fit(config)
        options["make_envs"] = functools.partial(envs.make_vector_env, task, fit=fit)
    run(tmp_path / "a", config, **options)
    run(tmp_path / "b", config, **options)
    # The state after a kill between updates 4 and 6.
    for path in (tmp_path / "b" / "checkpoints").glob("ckpt-6.*"):
        path.unlink()
    before = count_episodes(tmp_path / "b")
    run(tmp_path / "b", config, **options)
    assert before > checkpoint_state(tmp_path / "b", 4)["replay"]["total_episodes"]
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    names = [
        sorted(store.parse_name(p) for p in (tmp_path / x).rglob("*.npz")) for x in "ab"
    ]
    assert names[0] == names[1]
    for name in ("world_model.weights.h5", "actor_critic.weights.h5"):
        assert weights(tmp_path / "a" / name) == weights(tmp_path / "b" / name)


def test_a_resumed_fine_tuning_is_an_uninterrupted_one(whole, tmp_path):
    changes = {
        "init.path": str(whole),
        r"freeze\.rssm\..*": True,
        "adapter.rank": 2,
        "model_opt.wd_start": 0.1,
        "replay.mix": 0.5,
        "eval_every": 2,
    }
    for name, steps in (("a", 4), ("b", 2), ("b", 4)):
        config = make_config("finetune", **SHORT, **changes, steps=steps)
        games = {"minatar_asterix": replays.pack([9, 12] * 3)}
        known = replays.dataset(games, batch=2, length=6, holdout=3)
        run(tmp_path / name, config, evaluates=False, known=known)
    assert rows(tmp_path / "a")[-1] == rows(tmp_path / "b")[-1]
    for name in ("world_model.weights.h5", "actor_critic.weights.h5"):
        assert weights(tmp_path / "a" / name) == weights(tmp_path / "b" / name)
    assert series(tmp_path / "a", "model_start_distance")[-1] > 0
    errors = series(tmp_path / "b", "eval_known_model_error/minatar_asterix")
    assert len(errors) == 3  # Before the first update, and after two and four.
    forgotten = series(tmp_path / "b", "eval_forgetting")
    np.testing.assert_allclose(forgotten, [x - errors[0] for x in errors], atol=1e-5)


def test_a_run_on_a_game_of_other_actions_and_planes_resumes_exactly(whole, tmp_path):
    changes = {
        "task": "gym_MinAtar/Breakout-v1",
        "init.path": str(whole),
        "init.adapt": ["actions", "image"],
        "adapter.actions": 6,
        "freeze.rssm.img_in": True,
        "model_opt.lr_by.rssm": 0.1,
    }
    for name, steps in (("a", 4), ("b", 2), ("b", 4)):
        config = make_config("finetune", **SHORT, **changes, steps=steps)
        games = functools.partial(
            envs.make_vector_env, config.task, fit=envs.fit(config)
        )
        run(tmp_path / name, config, evaluates=False, make_envs=games)
    assert rows(tmp_path / "a")[-1] == rows(tmp_path / "b")[-1]
    for name in ("world_model.weights.h5", "actor_critic.weights.h5"):
        assert weights(tmp_path / "a" / name) == weights(tmp_path / "b" / name)
    before = weights_lib.read_weights(whole / "world_model.weights.h5")
    after = weights_lib.read_weights(tmp_path / "a" / "world_model.weights.h5")
    align, img_in = after["rssm/adapter.align"], "rssm/img_in/kernel"
    assert align.shape == (3, 6) and np.abs(align).min() > 0  # It has learned.
    np.testing.assert_array_equal(after[img_in], before[img_in])
    assert after["encoder/conv0/kernel"].shape[2] == 4


def test_videos_show_none_of_the_known_games():
    batch = {"is_first": np.zeros((4, 6)), "image": np.eye(4, 6)}
    shown = []
    trainer = types.SimpleNamespace(
        config=make_config("finetune", **{"replay.mix": 0.75}),
        _batch=batch,
        _games=("minatar_breakout",),
        _dreams=types.SimpleNamespace(log=lambda cut, *_: shown.append(cut["image"])),
    )
    finetune.Trainer._log_dreams(trainer)
    (images,) = shown
    assert (images == batch["image"][:1, : images.shape[1]]).all() and len(images) == 1


def count_episodes(logdir) -> int:
    return store.count_episodes(logdir / "train_episodes")[0]


def weights(path) -> dict[str, bytes]:
    arrays = weights_lib.read_weights(path)
    return {name: value.tobytes() for name, value in arrays.items()}


def test_totals_are_right_after_resume(whole, tmp_path):
    copy = shutil.copytree(whole, tmp_path / "copy")
    run(copy, make_config(**{**WHOLE, "steps": 7}))
    before, after = (
        series(whole, "train_total_steps"),
        series(copy, "train_total_steps"),
    )
    assert after[:6] == before and after[6] >= before[5]
    episodes, steps = store.count_episodes(copy / "train_episodes")
    assert (after[6], rows(copy)[-1]["step"]) == (steps, 7) and episodes > 1


def test_fine_tuning_starts_from_the_given_model(whole, tmp_path, capsys):
    config = make_config("finetune", "freeze_world_model", **{"init.path": str(whole)})
    run(tmp_path, config, evaluates=False)
    assert "Loaded encoder, rssm, decoder, reward, discount from" in (
        capsys.readouterr().out
    )
    name = "world_model.weights.h5"
    assert weights(tmp_path / name) == weights(whole / name)
    name = "actor_critic.weights.h5"
    assert weights(tmp_path / name) != weights(whole / name)


def test_exploration_starts_fresh_from_weights_without_it(whole, tmp_path, capsys):
    changes = {"init.path": str(whole), "init.components": ["rssm", "actor", "critic"]}
    exploring = {**EXPLORING, "(reward_head|critic)\\.dist": "mse"}
    exploring["task_embed.size"] = 0  # The model has no vectors.
    config = make_config("finetune", **changes, **exploring, steps=1)
    run(tmp_path, config, evaluates=False)
    assert "left fresh: encoder, decoder, reward, discount, disag0, disag1, " in (
        capsys.readouterr().out
    )
    kept = weights(tmp_path / "actor_critic.weights.h5")
    assert {"disag1", "actor", "expl_actor", "expl_target_critic"} < {
        name.split("/")[0] for name in kept
    }


def test_a_game_with_other_actions_or_channels_is_named(whole):
    env = envs.make_vector_env(TASK, 1)
    obs_space, act_space = envs.obs_space(env), envs.act_space(env)
    fewer = {"action": gymnasium.spaces.Discrete(4)}
    box = gymnasium.spaces.Box(0, 1, (10, 10, 7), bool)
    for spaces, message in (
        ((obs_space, fewer), "another number of actions"),
        (({**obs_space, "image": box}, act_space), "another number of channels"),
    ):
        agent = agent_lib.make_agent(make_config(), *spaces)
        with pytest.raises(checkpoint.CheckpointError, match=message):
            weights_lib.initialize(whole, agent.components, ["encoder", "rssm"])


def test_other_sizes_are_not_taken_for_another_game(whole):
    env = envs.make_vector_env(TASK, 1)
    config = make_config(**{"encoder.cnn_depth": 3})
    agent = agent_lib.make_agent(config, envs.obs_space(env), envs.act_space(env))
    with pytest.raises(checkpoint.CheckpointError) as caught:
        weights_lib.initialize(whole, agent.components, ["encoder"])
    assert "encoder/conv0/kernel has shape" in str(caught.value)
    assert "number of channels" not in str(caught.value)


def test_freezing_survives_resume(whole, tmp_path):
    changes = {"init.path": str(whole), "freeze.encoder": True}
    run(tmp_path, make_config("finetune", **changes, steps=2), evaluates=False)
    run(tmp_path, make_config("finetune", **changes, steps=4), evaluates=False)
    before = weights(whole / "world_model.weights.h5")
    after = weights(tmp_path / "world_model.weights.h5")
    same = {k for k in after if after[k] == before[k]}
    assert same == {k for k in after if k.startswith("encoder/")}


def test_the_world_model_stops_to_learn_after_wm_steps(tmp_path):
    config = make_config(steps=4, wm_steps=2, checkpoint_every=0)
    snapshots = []

    def make_agent(*args):
        agent = agent_lib.make_agent(*args)
        for name in ("update", "update_behavior"):
            inner = getattr(agent, name)

            def spy(*inputs, name=name, inner=inner):
                result = inner(*inputs)
                kernel = agent.wm.rssm.img_in.kernel.numpy()
                actor = agent.task_behavior.actor.variables[0].numpy()
                snapshots.append((name, kernel, actor))
                return result

            setattr(agent, name, spy)
        return agent

    run(tmp_path, config, make_agent, evaluates=False)
    called, kernels, actors = zip(*snapshots, strict=True)
    assert called == ("update", "update", "update_behavior", "update_behavior")
    assert not np.array_equal(kernels[0], kernels[1])
    assert np.array_equal(kernels[1], kernels[3])
    assert not np.array_equal(actors[1], actors[3])


def test_exploration_until_a_step_then_the_training_policy(tmp_path):
    modes = []

    def make_agent(*args):
        agent = quick_agent(*args)
        policy = agent.policy

        def spy(obs, state, mode):
            modes.append(mode)
            return policy(obs, state, mode)

        agent.policy = spy
        return agent

    # 50 steps are there when acting begins; 6 more each update.
    config = make_config(steps=5, expl_until=58)
    run(tmp_path, config, make_agent, evaluates=False)
    assert modes[0] == "explore" and modes[-1] == "train"
    assert modes == sorted(modes)


def test_evaluation_does_not_disturb_training(tmp_path):
    run(tmp_path / "often", make_config(steps=4, eval_every=1, **SHORT))
    run(tmp_path / "never", make_config(steps=4, **SHORT), evaluates=False)
    often, never = (series(tmp_path / x, "model_loss") for x in ("often", "never"))
    assert often == never
    assert series(tmp_path / "often", "train_return") == series(
        tmp_path / "never", "train_return"
    )


def test_graph_and_eager_runs_agree(tmp_path):
    run(tmp_path / "eager", make_config(steps=1), evaluates=False)
    run(tmp_path / "graph", make_config(steps=1, jit=True), evaluates=False)
    eager, graph = (rows(tmp_path / name)[0] for name in ("eager", "graph"))
    for name, value in eager.items():
        assert graph[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name


def test_several_updates_in_a_call_are_those_of_single_calls(tmp_path, monkeypatch):
    """Also if such a run is killed; no graph is traced twice."""
    # Three updates at once, then two after each step until 5, when all is saved.
    config = make_config(
        jit=True,
        steps=9,
        wm_steps=5,
        pretrain=3,
        train_steps=2,
        log_every=9,
        eval_every=5,
        checkpoint_every=5,
    )
    run(tmp_path / "a", config, evaluates=False)
    config = config.update(steps_per_call=2)
    # Updates with and without the world model; the policy has two modes.
    for expected in ({"_one_fn": [1, 0], "_several_fn": [1, 1]}, LATER):
        made = graphs.record(monkeypatch)
        run(tmp_path / "b", config)
        counts = {"_policy": [2], "predict": [1], **UNUSED, **expected}
        assert graphs.traces(made) == counts
        monkeypatch.undo()
        logged = rows_of_updates(tmp_path / "b")
        assert logged == rows_of_updates(tmp_path / "a") and len(logged) == 1
        for name in ("world_model.weights.h5", "actor_critic.weights.h5"):
            assert weights(tmp_path / "a" / name) == weights(tmp_path / "b" / name)
        # The state after a kill after update 5.
        for path in (tmp_path / "b" / "checkpoints").glob("ckpt-9.*"):
            path.unlink()


LATER = {"_one_fn": [0, 0], "_several_fn": [0, 1]}
UNUSED = {"update": [0], "update_behavior": [0]}


def rows_of_updates(logdir) -> list[dict]:
    return [row for row in rows(logdir) if "model_loss" in row]


def test_a_run_that_goes_on_longer_is_an_uninterrupted_one(tmp_path):
    """Also if its end falls between updates that are due at once."""
    config = make_config(steps=9, envs=3, train_every=1)
    run(tmp_path / "a", config, quick_agent, evaluates=False)
    run(tmp_path / "b", config.update(steps=5), quick_agent, evaluates=False)
    run(tmp_path / "b", config, quick_agent, evaluates=False)
    whole, extended = (
        [row for row in rows(tmp_path / x) if "model_loss" in row] for x in "ab"
    )
    assert whole == extended and whole[-1]["step"] == 9


def test_what_is_left_of_an_interval_is_logged_at_the_end(tmp_path):
    run(tmp_path, make_config(steps=3, log_every=2), quick_agent, evaluates=False)
    assert [row["step"] for row in rows(tmp_path) if "model_loss" in row] == [2, 3]


def test_what_is_saved_is_told(tmp_path):
    told = []

    def saved():
        files = [*tmp_path.glob("checkpoints/*.index"), *tmp_path.glob("*.h5")]
        told.append(sorted(path.name for path in files))

    config = make_config(steps=2, checkpoints_kept=1)
    run(tmp_path, config, quick_agent, evaluates=False, saved=saved)
    weights = ["actor_critic.weights.h5", "ckpt-{}.index", "world_model.weights.h5"]
    assert told == [[x.format(step) for x in weights] for step in (0, 2)]


def test_ctrl_c_saves_and_stops_between_two_updates(tmp_path, capsys):
    class Interrupting(replay.Replay):
        def batch(self, *size):
            if self._next > 3:  # The number of episodes that began.
                os.kill(os.getpid(), signal.SIGINT)
            return super().batch(*size)

    original = replay.Replay
    try:
        replay.Replay = Interrupting
        assert not run(tmp_path, make_config(steps=200, train_every=2), quick_agent)
    finally:
        replay.Replay = original
    last = rows(tmp_path)[-1]["step"]
    assert f"Stopped at update {last}" in capsys.readouterr().out
    assert (tmp_path / "checkpoints" / f"ckpt-{last}.index").exists()


def test_a_finished_run_says_so_and_makes_up_for_lost_weights(whole, capsys):
    before = rows(whole)
    (whole / weights_lib.ACTOR_CRITIC).unlink()
    assert run(whole, make_config(**WHOLE))
    printed = capsys.readouterr().out
    assert "resumed from step 6" in printed and "nothing is left to do" in printed
    assert rows(whole) == before
    for name in (weights_lib.WORLD_MODEL, weights_lib.ACTOR_CRITIC):
        assert weights_lib.step_of(whole / name) == 6


@pytest.mark.parametrize("every", [2, 9])
def test_a_loss_that_is_no_number_is_named(tmp_path, every):
    """Before the resulting weights are saved, or used to act."""
    config = make_config(pretrain=2, log_every=9, checkpoint_every=every)

    class Spoiled(replay.Replay):
        def batch(self, *size):
            batch = super().batch(*size)
            batch["reward"][:] = np.nan
            return batch

    def make_agent(*args):
        agent = quick_agent(*args)
        agent.policy = None
        return agent

    original = replay.Replay
    try:
        replay.Replay = Spoiled
        with pytest.raises(updates.TrainingError, match="update 1: .*reward_loss"):
            run(tmp_path, config, make_agent)
    finally:
        replay.Replay = original
    assert (tmp_path / "bad_batch_0.npz").exists()
    saved = [p.name for p in (tmp_path / "checkpoints").glob("*.index")]
    assert saved == ["ckpt-0.index"]


class Failing(envs.MinAtar):
    """Raises in its 91st step, after 64 of random play."""

    steps = 0

    def __init__(self):
        super().__init__("freeway")

    def step(self, action):
        Failing.steps += 1
        if Failing.steps > 90:
            Failing.steps = 0
            raise RuntimeError("the emulator crashed")
        return super().step(action)


def run_failing(logdir, steps, restart):
    """Trains on episodes of 30 steps."""
    return run(
        logdir,
        make_config(prefill=30, train_every=2, steps=steps),
        quick_agent,
        make_envs=lambda number: envs.make_vector_env(
            Failing, number, restart=restart, time_limit=30
        ),
        evaluates=False,
    )


def test_an_environment_that_fails_stops_the_run_which_keeps_what_it_has(tmp_path):
    Failing.steps = 0
    with pytest.raises(envs.EnvError, match="the emulator crashed"):
        run_failing(tmp_path, steps=50, restart=False)
    last = rows(tmp_path)[-1]["step"]
    assert (tmp_path / "checkpoints" / f"ckpt-{last}.index").exists()


def test_with_restart_a_fresh_environment_goes_on(tmp_path, capsys):
    Failing.steps = 0
    assert run_failing(tmp_path, steps=20, restart=True)
    printed = capsys.readouterr().out
    assert "the emulator crashed" in printed and "A fresh environment" in printed
    lengths = [store.parse_name(p)[1] for p in tmp_path.rglob("*.npz")]
    # Whole episodes, and the beginning of the broken one.
    assert 30 in lengths and min(lengths) < 30


def test_damaged_episodes_are_named_and_the_run_goes_on(tmp_path, capsys):
    run(tmp_path, make_config(steps=2), quick_agent, evaluates=False)
    path = sorted((tmp_path / "train_episodes").glob("*.npz"))[0]
    path.write_bytes(path.read_bytes()[:50])
    assert run(tmp_path, make_config(steps=4), quick_agent, evaluates=False)
    assert path.name in capsys.readouterr().out


def test_losses_on_episodes_that_all_runs_share_do_not_disturb_training(tmp_path):
    shared = tmp_path / "shared"
    collect.collect(shared, {TASK: Recipe(seed=3)}, steps=120)
    config = make_config(eval_every=2, eval_eps=0)
    assert run(tmp_path / "without", config)
    chosen = config.update({"eval_dataset": str(shared), "dataset.holdout": 2})
    dataset = train.open_eval_dataset(chosen, tmp_path)
    assert run(tmp_path / "with", config, dataset=dataset)
    errors = series(tmp_path / "with", "eval_model_error")
    assert len(errors) == 2 and errors[1] < errors[0]
    assert series(tmp_path / "without", "eval_model_error") == []
    name = "model_loss"
    assert series(tmp_path / "with", name) == series(tmp_path / "without", name)


@pytest.mark.parametrize("dreamed", [0.9, 0.1])
def test_an_actor_that_exploits_phantom_reward_is_warned_of_once(
    tmp_path, capsys, dreamed
):
    def dreaming_agent(*args):
        agent = quick_agent(*args)
        quick = agent.update

        def update(data, state):
            state, metrics = quick(data, state)
            rates = {"reward_dreamed": dreamed, "reward_replayed": 0.2}
            return state, {**metrics, **{k: tf.constant(v) for k, v in rates.items()}}

        agent.update = update
        return agent

    config = make_config(steps=8, checkpoint_every=0, **{"phantom.patience": 3})
    assert run(tmp_path, config, dreaming_agent, evaluates=False)
    warned = capsys.readouterr().out.count("Warning: the actor exploits phantom reward")
    assert warned == (dreamed > 0.6)


def test_the_reward_of_played_episodes_is_a_mean_over_their_steps(tmp_path):
    config = make_config(**WHOLE, log_every=6)
    assert run(tmp_path, config, quick_agent, evaluates=False)
    (row,) = (row for row in rows(tmp_path) if "reward_played" in row)
    # Each reward of Breakout is 1.
    wanted = np.tanh(1) * row["train_return"] / row["train_length"]
    assert row["reward_played"] == pytest.approx(wanted, rel=1e-5)

import json
import os
import signal

import gymnasium
import h5py
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer import pretrain
from dreamerv2_transfer.common import blocks, logger, updates
from dreamerv2_transfer.common.counter import Counter
from dreamerv2_transfer.common.replay import offline, packed, store
from dreamerv2_transfer.transfer import weights as weights_lib
from tests import fakes, graphs

TASKS = ("minatar_breakout", "minatar_freeway")


@pytest.fixture(scope="module")
def episodes(tmp_path_factory):
    """A dataset of two games, with one held-out episode each."""
    root = tmp_path_factory.mktemp("dataset")
    for i, task in enumerate(TASKS):
        (root / task).mkdir()
        for number in range(4):
            store.save_episode(root / task, fakes.episode(30, 10 * i + number))
    return packed.open_dataset(root, TASKS)


def make_config(**changes):
    config = blocks.load_config(["minatar", "debug", "pretrain"])
    defaults = {
        "jit": False,
        "steps": 4,
        "log_every": 2,
        "eval_every": 4,
        "checkpoint_every": 2,
        "dataset.batch": 3,
        "dataset.length": 6,
        "video.length": 8,
    }
    return config.update({**defaults, **changes})


def run(logdir, episodes, config, spoil=None):
    dataset = offline.make_dataset(config, episodes)
    if spoil:
        spoil(dataset)
    spaces = dataset.obs_space, dataset.act_space
    world_model = agent_lib.make_world_model(config, *spaces)
    log = logger.make_logger(logdir, Counter())
    return pretrain.pretrain(config, logdir, dataset, world_model, log)


def rows(logdir) -> list[dict]:
    lines = (logdir / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [{k: v for k, v in row.items() if k != "fps"} for row in rows]


def test_a_run_leaves_metrics_videos_weights_and_checkpoints(tmp_path, episodes):
    assert run(tmp_path, episodes, make_config(eval_at_start=True))
    logged = rows(tmp_path)
    assert [(row["step"], "model_loss" in row) for row in logged] == [
        (0, False),
        (2, True),
        (4, True),
        (4, False),
    ]
    for name in ("model_loss", "model_error", "kl_loss", "image_loss", "model_kl"):
        assert name in logged[1] and f"eval_{name}" in logged[0]
    assert "eval_model_loss/minatar_freeway" in logged[-1]
    assert (tmp_path / "world_model.weights.h5").exists()
    assert (tmp_path / "checkpoints" / "ckpt-4.index").exists()
    gif = tmp_path / "videos" / "openl_image_minatar_breakout.gif"
    assert gif.read_bytes()[:4] == b"GIF8"


def test_logged_losses_are_means_over_the_interval(tmp_path, episodes):
    run(tmp_path / "each", episodes, make_config(log_every=1))
    run(tmp_path / "both", episodes, make_config(log_every=2))
    each = [r["model_loss"] for r in rows(tmp_path / "each") if "model_loss" in r]
    both = [r["model_loss"] for r in rows(tmp_path / "both") if "model_loss" in r]
    assert both == pytest.approx([np.mean(each[:2]), np.mean(each[2:])])


@pytest.mark.parametrize("balance", ["none", "harmony"])
def test_a_resumed_run_is_an_uninterrupted_one(tmp_path, episodes, balance):
    config = make_config(steps=6, log_every=3, loss_balance=balance)
    if balance == "harmony":
        config = config.update({"task_embed.size": 3, "task_embed.games": TASKS})
    run(tmp_path / "a", episodes, config)
    # Stops in the middle of a log interval, then resumes.
    run(tmp_path / "b", episodes, config.update(steps=4))
    run(tmp_path / "b", episodes, config)
    a = {r["step"]: r for r in rows(tmp_path / "a") if "model_loss" in r}
    b = {r["step"]: r for r in rows(tmp_path / "b") if "model_loss" in r}
    assert a == b and list(a) == [3, 6]
    assert ("reward_factor" in a[6]) == (balance == "harmony")


def test_metrics_after_the_checkpoint_are_cut_off(tmp_path, episodes, capsys):
    config = make_config(steps=4)
    run(tmp_path, episodes, config)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "model_loss": 1.0}\n{"step": 6, "mod')
    before = rows_until(tmp_path, 4)
    run(tmp_path, episodes, config)
    assert rows(tmp_path) == before
    printed = capsys.readouterr().out
    assert "resumed from step 4" in printed and "nothing is left to do" in printed


@pytest.mark.parametrize("left", [None, "earlier"])
def test_a_kill_between_checkpoint_and_weights_is_made_up_for(tmp_path, episodes, left):
    config = make_config(steps=2)
    run(tmp_path, episodes, config)
    path = tmp_path / weights_lib.WORLD_MODEL
    whole = weights_lib.read_weights(path)
    if left == "earlier":
        with h5py.File(path, "a") as file:
            file.attrs["step"] = 1
            file["rssm/img_in/kernel"][:] = 0
    else:
        path.unlink()
    run(tmp_path, episodes, config)
    assert weights_lib.step_of(path) == 2
    again = weights_lib.read_weights(path)
    assert again.keys() == whole.keys()
    assert all(np.array_equal(again[k], whole[k]) for k in whole)


def rows_until(logdir, step):
    lines = (logdir / "metrics.jsonl").read_text().splitlines()[:-2]
    loaded = [json.loads(line) for line in lines]
    kept = [row for row in loaded if row["step"] <= step]
    return [{k: v for k, v in row.items() if k != "fps"} for row in kept]


def test_ctrl_c_saves_and_stops_between_two_updates(tmp_path, episodes):
    config = make_config(steps=50, log_every=1, checkpoint_every=40)

    def interrupt_at_third(dataset):
        draw, count = dataset.next, iter(range(100))

        def next_batch():
            if next(count) == 7:  # The prefetcher is ahead of the training.
                os.kill(os.getpid(), signal.SIGINT)
            return draw()

        dataset.next = next_batch

    assert not run(tmp_path, episodes, config, interrupt_at_third)
    last = rows(tmp_path)[-1]["step"]
    assert 0 < last < 50
    assert (tmp_path / "checkpoints" / f"ckpt-{last}.index").exists()


def spoil_third(dataset, task=None):
    """Puts a NaN into the third batch, and optionally one task into all its rows."""
    draw, count = dataset.next, iter(range(100))

    def next_batch():
        batch = draw()
        if next(count) == 2:
            batch["reward"][0, 0] = np.nan
            if task is not None:
                batch["task"][:] = task
        return batch

    dataset.next = next_batch


def test_a_loss_that_is_no_number_is_named(tmp_path, episodes):
    config = make_config(steps=4, checkpoint_every=1)

    with pytest.raises(updates.TrainingError, match="update 3: .*reward_loss") as error:
        run(tmp_path, episodes, config, spoil_third)
    assert "image_loss" not in str(error.value)
    kept = tmp_path / "bad_batch_2.npz"
    assert str(kept) in str(error.value)
    with np.load(kept) as batch:
        assert np.isnan(batch["reward"]).sum() == 1
    assert (tmp_path / "checkpoints" / "ckpt-2.index").exists()
    assert not (tmp_path / "checkpoints" / "ckpt-3.index").exists()


def test_a_loss_that_is_no_number_is_named_however_late_it_is_read(tmp_path, episodes):
    every = dict(log_every=8, eval_every=8, checkpoint_every=4)
    config = make_config(steps=8, steps_per_call=2, **every)

    named = r"update 3: .*reward_loss.* \(minatar_freeway\)"
    with pytest.raises(updates.TrainingError, match=named):
        run(tmp_path, episodes, config, lambda dataset: spoil_third(dataset, task=1))
    with np.load(tmp_path / "bad_batch_2.npz") as batch:
        assert np.isnan(batch["reward"]).sum() == 1
    assert not list((tmp_path / "checkpoints").glob("*.index"))


def test_another_dataset_cannot_be_resumed(tmp_path, episodes):
    run(tmp_path, episodes, make_config())
    fewer = {
        "minatar_breakout": episodes["minatar_breakout"],
        "minatar_freeway": episodes["minatar_breakout"],
    }
    with pytest.raises(store.DatasetError, match="minatar_freeway was"):
        run(tmp_path, fewer, make_config(steps=6))


def test_evaluation_does_not_disturb_training(tmp_path, episodes):
    run(tmp_path / "often", episodes, make_config(eval_every=1))
    run(tmp_path / "never", episodes, make_config(eval_every=0))
    often, never = (
        [row for row in rows(tmp_path / name) if "model_loss" in row]
        for name in ("often", "never")
    )
    assert often == never


def test_graph_and_eager_runs_agree(tmp_path, episodes):
    run(tmp_path / "eager", episodes, make_config())
    run(tmp_path / "graph", episodes, make_config(jit=True))
    eager, graph = (rows(tmp_path / name)[-1] for name in ("eager", "graph"))
    for name, value in eager.items():
        assert graph[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name


def test_several_updates_in_a_call_are_those_of_single_calls(
    tmp_path, episodes, monkeypatch
):
    """Also if such a run is stopped; no graph is traced twice."""
    every = dict(log_every=9, eval_every=5, checkpoint_every=5)
    config = make_config(jit=True, steps=9, **every)
    run(tmp_path / "a", episodes, config)
    config = config.update(steps_per_call=2)
    # Two calls of two updates before each end, and a single one before the first.
    for steps, singles in ((5, 1), (9, 0)):
        made = graphs.record(monkeypatch)
        run(tmp_path / "b", episodes, config.update(steps=steps))
        expected = {"_one_fn": [singles], "_several_fn": [1], "forward": [1]}
        expected |= {"predict": [1], "predict_both": [1]}
        assert graphs.traces(made) == expected
        monkeypatch.undo()
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    name = "world_model.weights.h5"
    assert weights(tmp_path / "a" / name) == weights(tmp_path / "b" / name)


def weights(path) -> dict[str, bytes]:
    arrays = weights_lib.read_weights(path)
    return {name: value.tobytes() for name, value in arrays.items()}


def test_the_time_is_told_and_small_is_named(capsys):
    config = blocks.load_config(["minatar", "pretrain"])
    dataset_space = {
        "image": tf.zeros([10, 10, 10]),
        "reward": tf.zeros([]),
    }
    act_space = {"action": gymnasium.spaces.Discrete(6)}
    pretrain.announce(config, dataset_space, act_space)
    printed = capsys.readouterr().out
    assert "hours for 280,000 updates" in printed
    assert "--configs minatar small pretrain" in printed
    pretrain.announce(config.update(steps=1), dataset_space, act_space)
    assert capsys.readouterr().out == ""

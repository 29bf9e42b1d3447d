"""The updates of chief and followers, which exchange a list of messages."""

import contextlib
import threading

import gymnasium
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer import learner
from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.distributed import messages
from dreamerv2_transfer.common.updates import TrainingError
from tests.two_devices import make_batch


def make_learner(tmp_path, broadcast, seed=0, **changes):
    config = blocks.load_config(["minatar", "debug", "scratch"])
    config = config.update({"imag_horizon": 3, "seed": seed, **changes})
    config = config.update({"dataset.batch": 4, "dataset.length": 5, "steps": 3})
    box = gymnasium.spaces.Box
    flags = {k: box(0, 1, (), bool) for k in ("is_first", "is_last", "is_terminal")}
    space = {"image": box(0, 1, (10, 10, 10), bool), "reward": box(-9, 9, ()), **flags}
    action = {"action": gymnasium.spaces.Discrete(6)}
    agent = agent_lib.make_agent(config, space, action)
    return learner.make_learner(agent, config, tmp_path, broadcast=broadcast)


def batch(number):
    made = make_batch(number, continuous=False)
    return {k: v for k, v in made.items() if k != "task"}


def values(made):
    made.keep_state()
    return {k: v.numpy() for k, v in made.variables().items()}


def test_a_follower_makes_the_updates_of_the_chief(tmp_path):
    said = []
    chief = make_learner(tmp_path, said.append, wm_steps=2)
    with chief.leading(0):
        chief.update([batch(0), batch(1)], 0)
        chief.agent.rng.make_seeds(5)  # Like acting, which happens only in the chief.
        chief.agent.tfstep.assign(7)
        chief.update([batch(2)], 2)  # Updates only the behavior.
    assert [sorted(x) for x in said][-1] == []
    assert len(said) == 4
    other = make_learner(tmp_path, lambda nothing: said.pop(0), seed=1, wm_steps=2)
    before = values(other)
    assert other.follow() == 3
    wanted, got = values(chief), values(other)
    assert wanted.keys() == got.keys()
    for name in wanted:
        np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)
    assert got["tfstep"] == 7
    kernel = next(k for k in got if k.endswith("img_in/kernel"))
    assert np.any(before[kernel] != got[kernel])


def test_a_run_without_updates_ends_the_others(tmp_path):
    said = []
    with make_learner(tmp_path, said.append).leading(3):
        pass
    other = make_learner(tmp_path, lambda nothing: said.pop(0))
    assert other.follow() == 3


def test_what_ends_the_chief_ends_the_others(tmp_path):
    said = []
    chief = make_learner(tmp_path, said.append)
    with pytest.raises(OSError, match="no disk"), chief.leading(0):
        raise OSError("no disk")
    assert said[-1] == {}


def test_a_follower_names_a_loss_that_is_not_finite_too(tmp_path):
    said = []
    chief = make_learner(tmp_path, said.append)
    bad = batch(0) | {"reward": np.full([4, 5], np.nan, np.float32)}
    with pytest.raises(TrainingError, match="reward_loss"), chief.leading(0):
        chief.update([bad], 0)
        chief.read()
    other = make_learner(tmp_path, lambda nothing: said.pop(0))
    with pytest.raises(TrainingError, match="reward_loss"):
        other.follow()


def test_a_follower_waits_for_the_end_before_it_names_a_loss(tmp_path):
    bad = batch(0) | {"reward": np.full([4, 5], np.nan, np.float32)}
    said = []
    chief = make_learner(tmp_path, said.append)
    with chief.leading(0):
        for step in range(0, 18, 3):  # Like a follower, it reads after 16.
            with contextlib.suppress(TrainingError):
                chief.update([bad] * 3, step)
    assert said[-1] == {} and len(said) == 8
    other = make_learner(tmp_path, lambda nothing: said.pop(0))
    with pytest.raises(TrainingError, match="reward_loss"):
        other.follow()
    assert said == []


def test_a_lost_process_does_not_hide_what_ended_the_chief(tmp_path):
    def broadcast(message):
        if message == {}:
            raise tf.errors.UnavailableError(None, None, "Socket closed")

    chief = make_learner(tmp_path, broadcast)
    with pytest.raises(OSError, match="no disk"), chief.leading(0):
        raise OSError("no disk")


def test_states_in_bfloat16_arrive(tmp_path, precision):
    precision("mixed_bfloat16")
    said = []
    chief = make_learner(tmp_path, lambda x: said.append(messages.pack(x)))
    with chief.leading(2):
        pass
    other = make_learner(tmp_path, lambda nothing: messages.unpack(said.pop(0)), seed=1)
    assert other.follow() == 2
    wanted, got = values(chief), values(other)
    assert wanted["carry/0"].dtype == got["carry/0"].dtype == "bfloat16"
    for name in wanted:
        np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)


def test_one_process_tells_nobody(tmp_path):
    alone = make_learner(tmp_path, broadcast=None)
    before = values(alone)
    with alone.leading(0):
        alone.update([batch(0)], 0)
    alone.read()
    changed = [k for k, v in values(alone).items() if np.any(v != before[k])]
    assert {"rng", "carry/0"} <= {*changed}


def kernel_of(agent):
    """A weight that the policy depends on."""
    return agent.task_behavior.actor.trainable_variables[0].numpy()


def test_a_player_acts_by_the_weights_before_an_update_that_runs(tmp_path):
    made = make_learner(tmp_path, None, overlap=True)
    may_end, update = threading.Event(), made.agent.update

    def slow_update(data, state):
        assert may_end.wait(60)
        return update(data, state)

    made._all_updates._update = slow_update
    first = kernel_of(made.agent)
    made.update([batch(0)], 0, 16)
    # It runs, and the player has the weights before it.
    np.testing.assert_array_equal(kernel_of(made.player), first)
    made.check_player()
    may_end.set()
    made.read()
    second = kernel_of(made.agent)
    assert np.any(first != second)
    np.testing.assert_array_equal(kernel_of(made.player), first)
    assert made.player.tfstep == 0 and made.agent.tfstep == 16
    made.update([batch(1)], 1, 32)
    np.testing.assert_array_equal(kernel_of(made.player), second)
    assert made.player.tfstep == 16
    made.read()
    saved = values(made)
    name = next(k for k in saved if k.startswith("player/") and "actor" in k)
    np.testing.assert_array_equal(saved[name], second)
    assert {"player/rng", "player/tfstep"} <= saved.keys()


def test_an_error_of_an_update_that_runs_is_raised_by_each_next_call(tmp_path):
    made = make_learner(tmp_path, None, overlap=True)

    def fail(data, state):
        raise TrainingError("Not a number.")

    made._all_updates._update = fail
    made.update([batch(0)], 0, 16)
    for _ in range(2):
        with pytest.raises(TrainingError, match="Not a number"):
            made.read()
    with pytest.raises(TrainingError, match="Not a number"):
        made.update([batch(1)], 1, 32)

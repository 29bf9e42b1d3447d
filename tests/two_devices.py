"""Updates on one device and on two: `python -m tests.two_devices KEY=VALUE ...`

It is a separate process, since TensorFlow must know the devices before it starts.
"""

import json
import pathlib
import sys
import tempfile

import gymnasium
import numpy as np
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks, updates
from dreamerv2_transfer.common.distributed import replicas

BATCH, LENGTH, STEPS, TASKS = 4, 5, 3, 3


def main(changes: list[str]) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, devices)
    pairs = dict(x.split("=") for x in changes)
    continuous = pairs.pop("continuous", "")
    config = blocks.load_config(["minatar", "debug", "scratch"])
    config = config.update({"jit": True, "imag_horizon": 3, **pairs})
    config = config.update({"dataset.batch": BATCH, "dataset.length": LENGTH})
    tf.config.run_functions_eagerly(not config.jit)
    made = {
        kind: train(config.update(strategy=kind), bool(continuous))
        for kind in ("none", "mirrored")
    }
    print(json.dumps(made))


def train(config, continuous: bool) -> dict:
    """Returns metrics of updates and an evaluation, and what the updates changed."""
    replicas.check(config)
    box = gymnasium.spaces.Box
    space = box(-1, 1, (2,)) if continuous else gymnasium.spaces.Discrete(6)
    flags = {k: box(0, 1, (), bool) for k in ("is_first", "is_last", "is_terminal")}
    image, reward = box(0, 1, (10, 10, 10), bool), box(-np.inf, np.inf, ())
    obs_space = {"image": image, "reward": reward, **flags}
    agent = agent_lib.make_agent(config, obs_space, {"action": space})
    metrics = []

    def update(batch, state):
        state, outputs, made = agent.wm.train(batch, state)
        by_task = agent.wm.loss_by_task(outputs, batch["task"], TASKS)
        made.update(agent._train_on(outputs, batch))
        return state, {**made, **{f"{k}/": v for k, v in by_task.items()}}

    with tempfile.TemporaryDirectory() as folder:
        run = updates.Updates(
            update,
            config,
            pathlib.Path(folder),
            source=lambda batch: "nowhere",
            consume=lambda made, batch: metrics.append(made),
        )
        state = agent.wm.rssm.initial(BATCH)
        for step in range(STEPS):
            state = run.run([make_batch(step, continuous)], state, step)
        run.read()
    # Held-out episodes go through the model outside of the strategy.
    batch = make_batch(STEPS, continuous)
    metrics.append(agent.wm.loss(updates.tensors(batch), None)[-1])
    weights = {v.path: v for c in agent.components.values() for v in c.variables}
    weights.update(state, **agent.state, rng=agent.rng.state)
    return {
        "replicas": replicas.strategy(config.strategy).num_replicas_in_sync,
        "metrics": tf.nest.map_structure(lambda x: np.asarray(x).tolist(), metrics),
        "values": {k: np.asarray(v).tolist() for k, v in weights.items()},
    }


def make_batch(seed: int, continuous: bool) -> dict[str, np.ndarray]:
    rng, lead = np.random.default_rng(seed), (BATCH, LENGTH)
    action = np.eye(6)[rng.integers(6, size=lead)]
    if continuous:
        action = rng.uniform(-1, 1, (*lead, 2))
    return {
        "image": rng.random((*lead, 10, 10, 10)) < 0.2,
        "action": action.astype(np.float32),
        "reward": rng.normal(size=lead).astype(np.float32),
        "is_first": rng.random(lead) < 0.2,
        "is_last": np.zeros(lead, bool),
        "is_terminal": rng.random(lead) < 0.2,
        "task": np.array(
            [0, 2, 0, 0], np.int32
        ),  # No row of game 1; game 2 on one device only.
    }


if __name__ == "__main__":
    main(sys.argv[1:])

"""Trains a DQN on one MinAtar game (Mnih et al. 2015), for agents of every skill.

Several environments are stepped together; now and then a call of a graph makes several
updates of the network, as on a CPU a single one takes less time than to call for it.

A killed run goes on from its last checkpoint. On a CPU its metrics are those of a run
that was never killed.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from gymnasium.vector import VectorEnv

from dreamerv2_transfer import evaluate as evaluation
from dreamerv2_transfer.common import (
    checkpoint,
    envs,
    interrupt,
    optimizer,
    tfutils,
    updates,
)
from dreamerv2_transfer.common.config import ConfigError, check_least
from dreamerv2_transfer.common.counter import Counter
from dreamerv2_transfer.common.driver import Driver, Policy, episode_seed
from dreamerv2_transfer.common.logger import Logger
from dreamerv2_transfer.common.logger.averages import Averages
from dreamerv2_transfer.common.progress import Progress
from dreamerv2_transfer.common.replay.store import Episode, episode_return, eplen
from dreamerv2_transfer.dqn import acting, curve, networks
from dreamerv2_transfer.dqn.transitions import Transitions

FIRST_AGENT = 100  # Steps; the agents after it are those of ten times as many each.
EVAL_SEED = 0  # Of every evaluation, so that two differ by the agent alone.


def train(
    config,
    logdir: pathlib.Path,
    make_envs: Callable[[int], VectorEnv],
    make_logger: Callable[[Counter], Logger],
    saved: Callable[[], None] = lambda: None,
) -> bool:
    """Trains until `config.steps` steps are done or the process is asked to stop.

    Args:
        config: The resolved configuration.
        logdir: The run's folder; the agents are `model_STEPS.weights.h5` there.
        make_envs: Makes so many environments that are stepped together.
        make_logger: Makes the logger, given the counter of steps.
        saved: Called after each checkpoint.

    Returns:
        Whether all steps are done.

    Raises:
        ConfigError: A number by which the run could not begin or would never end.
        updates.TrainingError: A loss is not finite. The last checkpoint stays as it is.
    """
    check(config)
    with contextlib.ExitStack() as stack:
        stopped = stack.enter_context(interrupt.caught())
        train_envs = stack.enter_context(contextlib.closing(make_envs(config.dqn.envs)))
        number = min(config.eval_eps, config.eval_envs)
        eval_envs = stack.enter_context(contextlib.closing(make_envs(number)))
        trainer = Trainer(
            config, pathlib.Path(logdir), train_envs, eval_envs, make_logger, saved
        )
        resumed = trainer.restore()
        if resumed is not None:
            print(f"resumed from step {resumed}", flush=True)
        if trainer.step >= config.steps:
            print(f"All {int(config.steps)} steps are done; nothing is left to do.")
            return True
        return trainer.run(stopped)


def check(config) -> None:
    """Refuses a task, and numbers by which a run could not begin or would never end.

    Raises:
        ConfigError: Names the key.
    """
    if not config.task.startswith("minatar_"):
        raise ConfigError(
            "DQN agents are trained on the games of MinAtar, such as "
            f"minatar_breakout. Received: task={config.task}"
        )
    ones = ("envs", "batch", "updates", "n_step", "capacity", "train_start")
    least = {f"dqn.{key}": 1 for key in (*ones, "train_every", "target_every")}
    check_least(config, {**least, "eval_envs": 1, "eval_eps": 1, "seed": 0})


def epsilon(step: int, options) -> float:
    """The probability of a random action: falls linearly, then stays.

    Args:
        step: Of the agents.
        options: With `epsilon_first`, `epsilon_last`, and `epsilon_steps` from the
            one to the other.
    """
    left = max(0.0, 1 - step / options.epsilon_steps)
    return options.epsilon_last + left * (options.epsilon_first - options.epsilon_last)


def greedy(agent: acting.QNetwork) -> Policy:
    """An agent as a `Driver` takes it."""

    def policy(obs, state):
        return {"action": _onehot(agent(obs["image"]).argmax(1), agent.actions)}, state

    return policy


class Trainer:
    """The parts of a run, and what it does between two checkpoints."""

    def __init__(
        self,
        config,
        logdir: pathlib.Path,
        train_envs: VectorEnv,
        eval_envs: VectorEnv,
        make_logger: Callable[[Counter], Logger],
        saved: Callable[[], None] = lambda: None,
    ):
        self.config = config
        self._saved = saved
        self.options = config.dqn
        self.logdir = logdir
        self.step = Counter()  # Of all environments together.
        self.logger = make_logger(self.step)
        self._envs = train_envs.num_envs
        self._actions = envs.act_size(train_envs.single_action_space)
        self._eval_envs = eval_envs
        self._episodes = Counter()
        self._owed = Counter()  # Steps that no update was made for yet.
        self._averages = Averages()
        self._rng = np.random.default_rng([config.seed, *b"dqn"])
        self._make_networks()
        self._transitions = Transitions(
            int(self.options.capacity),
            envs.native_planes(config.task),
            self._envs,
            self.options.n_step,
            self.options.discount,
        )
        self._driver = self._make_driver(train_envs)
        self._stored = {k: tf.Variable(v) for k, v in self._transitions.arrays.items()}
        self._checkpoint = checkpoint.Checkpoint(
            logdir / "checkpoints",
            self._variables(),
            self._python_state,
            self._load_python_state,
            config.checkpoints_kept,
        )

    def _make_networks(self) -> None:
        config, options = self.config, self.options
        sizes = envs.native_planes(config.task), self._actions
        kind, seed = options.network, config.seed
        self.network = networks.make_network(kind, *sizes, seed, "q")
        self.target = networks.make_network(kind, *sizes, seed, "target")
        self._opt = optimizer.Optimizer(
            "dqn", self.network.trainable_variables, **options.optimizer
        )
        # With XLA, as the operations are small and many.
        self._updates = tfutils.compiled(self._updates_fn, config, xla=True)
        self._copy = tfutils.compiled(self._copy_fn, config)
        self._actor = networks.in_numpy(kind, self.network)

    def _make_driver(self, train_envs: VectorEnv) -> Driver:
        driver = Driver(train_envs, seeds=self._next_seed)
        driver.on_reset(self._transitions.add_step)
        driver.on_step(self._transitions.add_step)
        driver.on_episode(self._on_episode)
        driver.on_restore(self._transitions.restore_step)
        return driver

    def _next_seed(self, worker: int) -> int:
        self._episodes.increment()
        return episode_seed(int(self._episodes), self.config.seed, "dqn")

    def _on_episode(self, episode: Episode, worker: int) -> None:
        score, length = episode_return(episode), eplen(episode)
        self._averages.add({"train_return": score, "train_length": length})

    # State.

    def _variables(self) -> dict[str, tf.Variable]:
        """All that a checkpoint holds, by name."""
        return {
            **checkpoint.named_variables("network", self.network.variables),
            **checkpoint.named_variables("network", self.target.variables),
            **checkpoint.named_variables("opt", self._opt.variables),
            **{f"transitions/{k}": v for k, v in self._stored.items()},
        }

    def _stateful(self) -> dict:
        """What keeps its own state, in the order in which it is loaded."""
        return {
            "step": self.step,
            "episodes": self._episodes,
            "owed": self._owed,
            "averages": self._averages,
            "transitions": self._transitions,
            "driver": self._driver,
        }

    def _python_state(self) -> dict:
        state = {name: part.state() for name, part in self._stateful().items()}
        return {**state, "rng": self._rng.bit_generator.state}

    def _load_python_state(self, state: dict) -> None:
        for name, part in self._stateful().items():
            part.load_state(state[name])
        self._rng.bit_generator.state = state["rng"]

    def restore(self) -> int | None:
        """Goes back to the last checkpoint, the log too. Returns its step, if any."""
        step = self._checkpoint.restore()
        self.logger.rewind(-1 if step is None else step)
        if step is not None:
            for key, variable in self._stored.items():
                self._transitions.arrays[key][:] = variable.numpy()
            self._actor = networks.in_numpy(self.options.network, self.network)
        return step

    def save(self) -> None:
        """Writes a checkpoint."""
        for key, variable in self._stored.items():
            variable.assign(self._transitions.arrays[key])
        self._checkpoint.save(int(self.step))
        self._saved()

    # Training.

    def run(self, stopped: Callable[[], bool]) -> bool:
        """Acts and updates until all is done (True) or `stopped` says so (False)."""
        total, done = int(self.config.steps), int(self.step)
        with Progress(total, done, "DQN") as bar:
            while self.step < total and not stopped():
                self._act()
                self._train()
                bar.update(self._envs)
                self._after_step()
        if self.step >= total:
            curve.draw(self.logdir, self.config.task)
            return True
        self.save()
        print(f"Stopped at step {int(self.step)}; the same command goes on from it.")
        return False

    def _act(self) -> None:
        """One step of every environment."""
        self._driver(self._policy, steps=1)
        self.step.increment(self._envs)
        if self.step > self.options.train_start:
            self._owed.increment(self._envs)

    def _policy(self, obs, state):
        chosen = self._actor(obs["image"]).argmax(1)
        drawn = self._rng.integers(self._actions, size=self._envs)
        random = self._rng.random(self._envs) < epsilon(int(self.step), self.options)
        return {
            "action": _onehot(np.where(random, drawn, chosen), self._actions)
        }, state

    def _train(self) -> None:
        """The updates that are due."""
        every = self.options.updates * self.options.train_every
        while self._owed >= every and len(self._transitions):
            self._owed.increment(-every)
            self.update()
        if self._passed(self.options.target_every):
            self._copy()

    def update(self) -> None:
        """One call of the graph: `dqn.updates` updates of the network."""
        options = self.options
        batch = self._transitions.sample(self._rng, options.updates, options.batch)
        metrics = updates.numbers(self._updates(updates.tensors(batch)))
        updates.check_finite(metrics, batch, self.logdir, self.step, self.config.task)
        self._averages.add({"loss": metrics["dqn_loss"], "q": metrics["q"]})
        self._actor = networks.in_numpy(options.network, self.network)

    def _updates_fn(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Updates one after the other, on a batch [updates, batch, ...]."""
        metrics = [
            self._update({k: v[i] for k, v in batch.items()})
            for i in range(self.options.updates)
        ]
        return {k: tf.reduce_mean([m[k] for m in metrics]) for k in metrics[0]}

    def _update(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Huber loss of Q(s_t, a_t) against R + d max_a Q'(s_{t+k}, a)."""
        after = self._values_after(tf.cast(batch["next_planes"], tf.float32))
        target = batch["return"] + batch["discount"] * after
        with tf.GradientTape() as tape:
            values = self.network(tf.cast(batch["planes"], tf.float32))
            value = _pick(values, batch["action"])
            error = keras.losses.huber(target[:, None], value[:, None])
            loss = tf.reduce_mean(error)
        return {**self._opt(tape, loss), "q": tf.reduce_mean(value)}

    def _values_after(self, planes: tf.Tensor) -> tf.Tensor:
        """What a state is worth by the target network, [B].

        With `double`, of the action that the network would choose (van Hasselt et al.
        2016, "Deep Reinforcement Learning with Double Q-learning").
        """
        values = self.target(planes)
        if not self.options.double:
            return tf.reduce_max(values, 1)
        return _pick(values, tf.argmax(self.network(planes), 1))

    def _copy_fn(self) -> None:
        pairs = zip(self.target.variables, self.network.variables, strict=True)
        for old, new in pairs:
            old.assign(new)

    # What is due now and then.

    def _passed(self, every: float) -> bool:
        """Whether the last step of the environments got to a multiple of so many."""
        before, now = int(self.step) - self._envs, int(self.step)
        return bool(every) and now // int(every) > before // int(every)

    def _after_step(self) -> None:
        last = self.step >= int(self.config.steps)
        if self._passed(self.config.log_every) or last:
            self._log()
        if self._passed(self.config.eval_every) or last:
            self.evaluate()
        if self._is_milestone() or last:
            self.save_agent()
        if self._passed(self.config.checkpoint_every) or last:
            self.save()

    def _log(self) -> None:
        self.logger.add(self._averages.result())
        self.logger.scalar("epsilon", epsilon(int(self.step), self.options))
        self.logger.write(fps=True)

    def _is_milestone(self) -> bool:
        before, now = int(self.step) - self._envs, int(self.step)
        steps = FIRST_AGENT
        while steps <= before:
            steps *= 10
        return steps <= now

    def save_agent(self) -> None:
        """Writes the agent as it is now."""
        steps = int(self.step)
        attributes = dict(
            task=self.config.task,
            steps=steps,
            seed=self.config.seed,
            network=self.options.network,
        )
        path = self.logdir / f"model_{steps}.weights.h5"
        networks.save(path, self.network, attributes)

    def evaluate(self) -> None:
        """Logs the returns of greedy episodes, in environments of their own."""
        played = evaluation.evaluate(
            greedy(self._actor), self._eval_envs, self.config.eval_eps, EVAL_SEED
        )
        self.logger.add(played.metrics(), prefix="eval")
        self.logger.write()


def _onehot(actions: np.ndarray, number: int) -> np.ndarray:
    return np.eye(number, dtype=np.float32)[actions]


def _pick(values: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
    """The values [B] of one action each, out of [B, actions]."""
    return tf.reduce_sum(values * tf.one_hot(actions, values.shape[-1]), 1)

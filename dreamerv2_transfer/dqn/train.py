"""Trains a DQN on one MinAtar game (Mnih et al. 2015), for players of every skill.

Several environments are stepped together, and one call of a graph makes several updates
of the network: on a CPU, calling a graph takes longer than an update.

A killed run resumes from its last checkpoint. On a CPU, its metrics are those of a run
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

from dreamerv2_transfer.common import (
    envs,
    evaluation,
    interrupt,
    optimizer,
    tfutils,
    updates,
)
from dreamerv2_transfer.common import trainer as trainer_lib
from dreamerv2_transfer.common.checkpoint import Stateful, named_variables
from dreamerv2_transfer.common.config import ConfigError, check_least, check_ranges
from dreamerv2_transfer.common.counter import Counter
from dreamerv2_transfer.common.driver import Driver, Policy, episode_seed
from dreamerv2_transfer.common.logger import Logger
from dreamerv2_transfer.common.replay.store import Episode, episode_return, eplen
from dreamerv2_transfer.dqn import acting, agents, curve, networks
from dreamerv2_transfer.dqn.transitions import Transitions

FIRST_PLAYER = 100  # Steps; each further player is saved after ten times as many.


def train(
    config,
    logdir: pathlib.Path,
    make_envs: Callable[[int], VectorEnv],
    logger: Logger,
    saved: Callable[[], None] = lambda: None,
) -> bool:
    """Trains until `config.steps` steps are done or the process is asked to stop.

    Args:
        config: The resolved configuration.
        logdir: The run's folder; players are saved there as `model_STEPS.weights.h5`.
        make_envs: Creates a vector environment with the given number of copies.
        logger: Receives the metrics; its step counter counts the steps.
        saved: Called after each checkpoint.

    Returns:
        Whether all steps are done.

    Raises:
        ConfigError: The task or a number does not allow a run.
        TrainingError: A loss is not finite. The last checkpoint stays as it is.
    """
    check(config)
    with contextlib.ExitStack() as stack:
        stopped = stack.enter_context(interrupt.caught())
        train_envs = stack.enter_context(contextlib.closing(make_envs(config.dqn.envs)))
        number = min(config.eval_eps, config.eval_envs)
        eval_envs = stack.enter_context(contextlib.closing(make_envs(number)))
        trainer = Trainer(config, logdir, train_envs, eval_envs, logger, saved)
        trainer.start()
        return trainer.run(stopped)


def check(config) -> None:
    """Checks that the task and the numbers allow a run that starts and ends.

    Raises:
        ConfigError: They do not; the message names the key.
    """
    if not config.task.startswith("minatar_"):
        raise ConfigError(
            "A DQN is trained on a game of MinAtar, such as minatar_breakout. "
            f"Received: task={config.task}"
        )
    agents.check_view(config, config.task, "Train it with --minatar_view planes.")
    check_ranges(config)
    check_least(config, {"eval_eps": 1})


def epsilon(step: int, options) -> float:
    """Returns the probability of a random action, which falls linearly, then stays.

    Args:
        step: Steps of all environments together.
        options: Holds `epsilon_first`, `epsilon_last`, and `epsilon_steps`, the steps
            between the two.
    """
    left = max(0.0, 1 - step / options.epsilon_steps)
    return options.epsilon_last + left * (options.epsilon_first - options.epsilon_last)


def greedy(network: acting.QNetwork) -> Policy:
    """Returns the policy that takes the action of the largest value."""

    def policy(obs, state):
        best = network(obs["image"]).argmax(1)
        return {"action": _onehot(best, network.actions)}, state

    return policy


def is_milestone(before: int, now: int) -> bool:
    """Returns whether 100, 1,000, 10,000, ... lies in `before + 1` to `now`."""
    steps = FIRST_PLAYER
    while steps <= before:
        steps *= 10
    return steps <= now


class Random:
    """A source of random numbers whose state a checkpoint keeps.

    Args:
        seed: The run's seed.
    """

    def __init__(self, seed: int):
        self.generator = np.random.default_rng([seed, *b"dqn"])

    def state(self) -> dict:
        return self.generator.bit_generator.state

    def load_state(self, state: dict) -> None:
        self.generator.bit_generator.state = state


class QLearning:
    """A Q-network, its target network, and the graph of several updates.

    Args:
        config: The resolved configuration.
        actions: The number of actions.
    """

    def __init__(self, config, actions: int):
        self._options = options = config.dqn
        sizes = envs.native_planes(config.task), actions
        kind, seed = options.network, config.seed
        self.network = networks.make_network(kind, *sizes, seed, "q")
        self.target = networks.make_network(kind, *sizes, seed, "target")
        self._opt = optimizer.Optimizer(
            "dqn", self.network.trainable_variables, **options.optimizer
        )
        # XLA pays, since the operations are small and many.
        self.train = tfutils.compiled(self.updates, config, xla=True)
        self.copy = tfutils.compiled(self.update_target, config)

    def variables(self) -> dict[str, tf.Variable]:
        """Returns all variables by name."""
        return {
            **named_variables("network", self.network.variables),
            **named_variables("network", self.target.variables),
            **named_variables("opt", self._opt.variables),
        }

    def in_numpy(self) -> acting.QNetwork:
        """Returns a copy of the network, which acts faster in few environments."""
        return networks.in_numpy(self._options.network, self.network)

    def updates(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Makes an update on each of the batches `(updates, batch, ...)` in turn.

        Returns:
            The means of the metrics.
        """
        metrics = [
            self.update({k: v[i] for k, v in batch.items()})
            for i in range(self._options.updates)
        ]
        return {k: tf.reduce_mean([m[k] for m in metrics]) for k in metrics[0]}

    def update(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Minimizes the Huber loss of Q(s_t, a_t) against R + d max_a Q'(s_{t+k}, a).

        Q' is the target network. With `double`, it values the action that the network
        would choose (van Hasselt et al. 2016, "Deep Reinforcement Learning with Double
        Q-learning").
        """
        planes = tf.cast(batch["next_planes"], tf.float32)
        values = self.target(planes)
        if self._options.double:
            after = _pick(values, tf.argmax(self.network(planes), 1))
        else:
            after = tf.reduce_max(values, 1)
        target = batch["return"] + batch["discount"] * after
        with tf.GradientTape() as tape:
            values = self.network(tf.cast(batch["planes"], tf.float32))
            value = _pick(values, batch["action"])
            error = keras.losses.huber(target[:, None], value[:, None])
            loss = tf.reduce_mean(error)
        return {**self._opt(tape, loss), "q": tf.reduce_mean(value)}

    def update_target(self) -> None:
        """Copies the network to the target network."""
        pairs = zip(self.target.variables, self.network.variables, strict=True)
        for old, new in pairs:
            old.assign(new)


class Trainer(trainer_lib.Trainer):
    """Acts in environments and updates a Q-network on their transitions.

    Its other arguments are those of `train`.

    Args:
        train_envs: The environments to learn from.
        eval_envs: The environments of evaluation episodes.
    """

    def __init__(
        self,
        config,
        logdir: pathlib.Path,
        train_envs: VectorEnv,
        eval_envs: VectorEnv,
        logger: Logger,
        saved: Callable[[], None] = lambda: None,
    ):
        super().__init__(config, logdir, logger, "DQN", "step", saved)
        self.options = options = config.dqn
        self._envs = train_envs.num_envs
        self._actions = envs.act_size(train_envs.single_action_space)
        self._eval_envs = eval_envs
        self.learning = QLearning(config, self._actions)
        self._acting = self.learning.in_numpy()
        self._episodes = Counter()
        self._owed = Counter()  # Steps without their share of updates so far.
        self._random = Random(config.seed)
        self._transitions = Transitions(
            int(options.capacity),
            envs.native_planes(config.task),
            self._envs,
            options.n_step,
            options.discount,
        )
        arrays = self._transitions.arrays
        self._stored = {key: tf.Variable(array) for key, array in arrays.items()}
        self._driver = Driver(train_envs, seeds=self.next_seed)
        self._driver.on_reset(self._transitions.add_step)
        self._driver.on_step(self._transitions.add_step)
        self._driver.on_episode(self.add_episode)
        self._driver.on_restore(self._transitions.restore_step)

    def next_seed(self, worker: int) -> int:
        """Returns the seed of the next episode."""
        self._episodes.increment()
        return episode_seed(int(self._episodes), self.config.seed, "dqn")

    def add_episode(self, episode: Episode, worker: int) -> None:
        """Averages the metrics of a finished episode."""
        score, length = episode_return(episode), eplen(episode)
        self.averages.add({"train_return": score, "train_length": length})

    # Training.

    def step(self) -> None:
        """Steps each environment once, then makes the updates that are due."""
        self._driver(self.policy, steps=1)
        self.counter.increment(self._envs)
        if self.counter > self.options.train_start:
            self._owed.increment(self._envs)
        every = self.options.updates * self.options.train_every
        while self._owed >= every and len(self._transitions):
            self._owed.increment(-every)
            self.update()
        if self.reaches(self.options.target_every):
            self.learning.copy()
        now = int(self.counter)
        if is_milestone(now - self._envs, now):
            self.save_player()

    def policy(self, obs, state):
        """Acts greedily, or randomly with probability `epsilon`."""
        rng = self._random.generator
        best = self._acting(obs["image"]).argmax(1)
        drawn = rng.integers(self._actions, size=self._envs)
        random = rng.random(self._envs) < epsilon(int(self.counter), self.options)
        action = _onehot(np.where(random, drawn, best), self._actions)
        return {"action": action}, state

    def update(self) -> None:
        """Makes the updates of one call of the graph."""
        batch = self._transitions.sample(
            self._random.generator, self.options.updates, self.options.batch
        )
        metrics = updates.numbers(self.learning.train(updates.tensors(batch)))
        source = self.config.task
        updates.check_finite(metrics, batch, self.logdir, self.counter, source)
        self.averages.add({"loss": metrics["dqn_loss"], "q": metrics["q"]})
        self._acting = self.learning.in_numpy()

    def metrics(self) -> dict[str, float]:
        now = epsilon(int(self.counter), self.options)
        return {**self.averages.result(), "epsilon": now}

    def evaluate(self) -> None:
        """Logs the returns of greedy episodes."""
        played = evaluation.evaluate(
            greedy(self._acting), self._eval_envs, self.config.eval_eps, evaluation.SEED
        )
        self.logger.add(played.metrics(), prefix="eval")
        self.logger.write()

    def save_player(self) -> None:
        """Writes the network as a player of the current number of steps."""
        steps = int(self.counter)
        attributes = dict(
            task=self.config.task,
            steps=steps,
            seed=self.config.seed,
            network=self.options.network,
        )
        path = self.logdir / f"model_{steps}.weights.h5"
        networks.save(path, self.learning.network, attributes)

    # Checkpoints.

    def variables(self) -> dict[str, tf.Variable]:
        stored = {f"transitions/{k}": v for k, v in self._stored.items()}
        return {**self.learning.variables(), **stored}

    def stateful(self) -> dict[str, Stateful]:
        return {
            "step": self.counter,
            "episodes": self._episodes,
            "owed": self._owed,
            "averages": self.averages,
            "transitions": self._transitions,
            "driver": self._driver,
            "rng": self._random,
        }

    def restore(self) -> int | None:
        step = super().restore()
        if step is not None:
            for key, variable in self._stored.items():
                self._transitions.arrays[key][:] = variable.numpy()
            self._acting = self.learning.in_numpy()
        return step

    def save(self) -> None:
        for key, variable in self._stored.items():
            variable.assign(self._transitions.arrays[key])
        super().save()

    def save_files(self) -> None:
        """Writes the last player and draws the curve, once the run is finished."""
        if self.is_done:
            self.save_player()
            curve.draw(self.logdir, self.config.task)

    def has_files(self) -> bool:
        # Both are small, and a curve does not tell whether it is whole.
        return not self.is_done


def _onehot(actions: np.ndarray, number: int) -> np.ndarray:
    return np.eye(number, dtype=np.float32)[actions]


def _pick(values: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
    """Returns the value of one action each, `(B,)`, from `(B, actions)`."""
    return tf.reduce_sum(values * tf.one_hot(actions, values.shape[-1]), 1)

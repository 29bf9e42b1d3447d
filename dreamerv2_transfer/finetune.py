"""Trains an agent online on a game: from scratch, or from a given world model.

The procedure of DreamerV2: random episodes first, then environment steps and updates in
the ratio `train_every`, on batches from the replay. Fine-tuning differs from training
from scratch in where the weights come from and which of them are frozen. One agent may
play several games: each has its environments, its replay, and its rows of each batch.

A killed run resumes from its last checkpoint. On a CPU, and with environments that
depend only on seed and actions, its metrics are those of a run that was never killed.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from gymnasium.vector import VectorEnv

from dreamerv2_transfer import validation
from dreamerv2_transfer.agent import Agent, acting
from dreamerv2_transfer.common import (
    blocks,
    envs,
    evaluation,
    interrupt,
    tfutils,
    updates,
)
from dreamerv2_transfer.common.checkpoint import Stateful
from dreamerv2_transfer.common.counter import Counter
from dreamerv2_transfer.common.distributed import messages
from dreamerv2_transfer.common.driver import Driver, episode_seed
from dreamerv2_transfer.common.logger import Logger
from dreamerv2_transfer.common.replay import Replay, online
from dreamerv2_transfer.common.replay.offline import OfflineDataset
from dreamerv2_transfer.common.replay.several import SeveralReplays
from dreamerv2_transfer.common.replay.store import Episode, episode_return, eplen
from dreamerv2_transfer.common.when import Every, Until
from dreamerv2_transfer.learner import AgentTrainer, make_learner
from dreamerv2_transfer.transfer import weights


def finetune(
    config,
    logdir: pathlib.Path,
    make_envs: Callable[[int], VectorEnv],
    replay: Replay | SeveralReplays,
    agent: Agent,
    logger: Logger,
    evaluates: bool = True,
    dataset: OfflineDataset | None = None,
    known: OfflineDataset | None = None,
    saved: Callable[[], None] = lambda: None,
    games: Mapping[str, Callable[[int], VectorEnv]] | None = None,
) -> bool:
    """Trains until `config.steps` updates are done or the process is asked to stop.

    Args:
        config: The resolved configuration.
        logdir: The run's folder.
        make_envs: Creates a vector environment with the given number of copies, of each
            game if they are several.
        replay: The run's episodes; the random ones are in it.
        agent: The agent to train, with the weights that a fresh run starts from.
        logger: Receives the metrics; its step counter counts the updates.
        evaluates: Whether to play evaluation episodes, in separate environments.
        dataset: Episodes that are the same for all runs; the world model is evaluated
            on the held-out ones too.
        known: Episodes of the games that the model knows, on whose held-out ones
            forgetting is measured.
        saved: Called after each checkpoint.
        games: Does what `make_envs` does for a game alone, by game; None for one game.

    Returns:
        Whether all updates are done.

    Raises:
        EnvError: An environment failed; what was learned until then is saved.
        TrainingError: A loss is not finite. The last checkpoint stays as it is.
        WorkerError: Another process of the run has died.
    """
    with contextlib.ExitStack() as stack:

        def opened(make: Callable[[int], VectorEnv], number: int) -> VectorEnv:
            return stack.enter_context(contextlib.closing(make(number)))

        stopped = stack.enter_context(interrupt.caught())
        train_envs, eval_envs = opened(make_envs, config.envs), {}
        if evaluates and config.eval_eps > 0:
            number = min(config.eval_eps, config.eval_envs)
            makers = games or {config.task: make_envs}
            eval_envs = {task: opened(make, number) for task, make in makers.items()}
        places = train_envs, eval_envs, replay
        trainer = Trainer(config, logdir, *places, agent, logger, dataset, known, saved)
        trainer.start()
        others = trainer.learner.leading(int(trainer.counter))
        with messages.naming_lost_workers(config), others:
            return trainer.run(stopped)


class Seeds:
    """Derives the seed of each episode from the run's seed and the episode's number.

    Args:
        seed: The run's seed.
    """

    def __init__(self, seed: int):
        self._seed = seed
        self._next = 0

    def __call__(self, worker: int) -> int:
        self._next += 1
        return episode_seed(self._next - 1, self._seed, "train")

    def state(self) -> dict:
        return {"next": self._next}

    def load_state(self, state: dict) -> None:
        self._next = state["next"]


class Trainer(AgentTrainer):
    """Acts in environments and updates an agent on their episodes.

    Its other arguments are those of `finetune`.

    Args:
        train_envs: The environments to learn from.
        eval_envs: The environments of evaluation episodes by game; None to play none.

    Attributes:
        learner: Updates the agent, in all processes.
    """

    def __init__(
        self,
        config,
        logdir: pathlib.Path,
        train_envs: VectorEnv,
        eval_envs: Mapping[str, VectorEnv] | None,
        replay: Replay | SeveralReplays,
        agent: Agent,
        logger: Logger,
        dataset: OfflineDataset | None = None,
        known: OfflineDataset | None = None,
        saved: Callable[[], None] = lambda: None,
    ):
        super().__init__(config, logdir, logger, config.stage.capitalize(), saved=saved)
        self.agent = agent
        self.replay = replay
        self._games = blocks.learned_games(config)
        self._playing = np.repeat(self._games, config.envs).tolist()  # By environment.
        self.learner = make_learner(
            agent,
            config,
            self.logdir,
            self.add_metrics,
            source=lambda batch: ", ".join(self._games),
        )
        self._phantom = validation.Phantom(config)
        self._env_steps = Counter()
        self._owed = Counter()  # Updates that are due.
        self._should_train = Every(config.train_every)
        explores = Until(config.expl_until / config.action_repeat)
        self._policy = acting(
            self.learner.player,
            lambda: "explore" if explores(self._env_steps) else "train",
            game=self._playing,
        )
        initial = agent.initial(train_envs.num_envs, self._playing)
        self._acting = tfutils.variables(initial)
        self._seeds = Seeds(config.seed)
        self._driver = Driver(train_envs, seeds=self._seeds)
        self._driver.on_reset(replay.add_step)
        self._driver.on_step(replay.add_step)
        self._driver.on_step(lambda transition, worker: self._env_steps.increment())
        self._driver.on_episode(self.add_episode)
        self._driver.on_restore(replay.restore_step)
        self._driver.on_drop(replay.drop_ongoing)
        self._eval_envs = eval_envs or {}
        self._eval_episodes = validation.Episodes(agent, config, logger, self.logdir)
        self._held_out = dataset and validation.HeldOut(agent.wm, config, dataset)
        self._forgetting = known and validation.Forgetting(agent.wm, config, known)
        self._dreams = validation.Dreams(agent.wm, config, logger, logdir)
        self._batch: updates.Batch = {}  # The last one, to dream from.

    def add_metrics(self, metrics: Mapping[str, Any], weight: float = 1.0) -> None:
        """Averages metrics, of an update or of steps that were played."""
        self.averages.add(metrics, weight)
        self._phantom.add(metrics, weight)

    def add_episode(self, episode: Episode, worker: int) -> None:
        """Averages the metrics of a finished episode."""
        score, length = episode_return(episode), eplen(episode)
        name = f"/{self._playing[worker]}" if len(self._games) > 1 else ""
        played = {f"train_return{name}": score, f"train_length{name}": length}
        self.averages.add(played)
        reward = {"reward": tf.constant(episode["reward"], tf.float32)}
        learned = self.agent.wm.preprocess(reward)["reward"].numpy()
        self.add_metrics({"reward_played": learned[1:].mean()}, length)
        self.averages.add(key_metrics(self.config, episode))

    def begin(self) -> None:
        """Counts the steps that were played before, and saves at once.

        So a run that is killed soon resumes with exactly these episodes.
        """
        is_ported = (self.logdir / weights.PORTED).exists()
        played = self.agent.tfstep if is_ported else self.replay.stats["total_steps"]
        self._env_steps.increment(int(played))
        if self.config.eval_at_start:
            self.evaluate()
        elif self._forgetting:  # Whose start this is.
            self._log_forgetting()
            self.logger.write()
        self.save()

    # Training.

    def step(self) -> None:
        """Makes the updates that are due; if none is, steps each environment once."""
        if self._owed > 0:
            owed = self.counter + int(self._owed)
            ends = self.config.steps, self.config.wm_steps, owed
            self.update(updates.in_next_call(self.config, self.counter, *ends))
        elif self.counter < self.config.pretrain:
            self._owed.increment(self.config.pretrain - int(self.counter))
        else:
            self.learner.check_player()
            self._driver(self._policy, steps=1)
            while self._should_train(self._env_steps):
                self._owed.increment(self.config.train_steps)

    def update(self, count: int = 1) -> None:
        """Makes updates of world model, actor and critic, in one call of the graph."""
        self._owed.increment(-count)
        size = self.config.dataset
        batches = [self.replay.batch(size.batch, size.length) for _ in range(count)]
        self._batch = batches[-1]
        self.learner.update(batches, int(self.counter), int(self._env_steps))
        self.counter.increment(count)

    def metrics(self) -> dict[str, float]:
        self.learner.read()
        replay = {f"train_{name}": value for name, value in self.replay.stats.items()}
        return {**self.averages.result(), **replay}

    # Evaluation.

    def evaluate(self) -> None:
        """Logs returns of evaluation episodes, a video of one, losses and dreams."""
        self.learner.read()
        rng, is_only = self.agent.rng, len(self._games) == 1
        with tfutils.reseeded(rng, evaluation.SEED):
            for task, env in self._eval_envs.items():
                with tfutils.reseeded(rng, evaluation.SEED):
                    self._eval_episodes.log(env, task, "" if is_only else task)
            if self._held_out:
                # The episodes drew noise; this noise does not depend on them.
                found = {}
                for task in self._games:
                    with tfutils.reseeded(rng, evaluation.SEED):
                        found[task] = self._held_out.metrics(task)
                figures = (
                    found[self._games[0]] if is_only else validation.by_game(found)
                )
                self.logger.add(figures, prefix="eval")
            self._log_forgetting()
            self._log_dreams()
        self.logger.write()

    def _log_dreams(self) -> None:
        """Logs open-loop videos of each game's first sequences in the last batch."""
        options, batch = self.config.video, self._batch
        if not batch:
            return
        known = online.known_rows(self.config.replay.mix, len(batch["is_first"]))
        batch = {k: v[: len(v) - known] for k, v in batch.items()}
        game = batch.get("task", np.zeros(len(batch["is_first"]), int))
        for number, task in enumerate(self._games):
            rows = np.flatnonzero(game == number)[: options.rows]
            cut = {
                k: v[rows, : options.length] if v.ndim > 1 else v[rows]
                for k, v in batch.items()
            }
            self._dreams.log(cut, task, envs.native_planes(task), "train_openl")

    def _log_forgetting(self) -> None:
        """Logs losses on held-out episodes of known games, if the run reads them."""
        if self._forgetting:
            with tfutils.reseeded(self.agent.rng, evaluation.SEED):
                self.logger.add(self._forgetting.metrics(), prefix="eval")

    # Checkpoints.

    def variables(self) -> dict[str, tf.Variable]:
        acting = enumerate(tf.nest.flatten(self._acting))
        return {
            **self.learner.variables(),
            **{f"acting/{i}": variable for i, variable in acting},
        }

    def stateful(self) -> dict[str, Stateful]:
        return {
            "updates": self.counter,
            "steps": self._env_steps,
            "owed": self._owed,
            "averages": self.averages,
            "should_train": self._should_train,
            "seeds": self._seeds,
            "replay": self.replay,
            "driver": self._driver,
            **({"forgetting": self._forgetting} if self._forgetting else {}),
        }

    def restore(self) -> int | None:
        step = super().restore()
        if step is not None:
            acting = tf.nest.map_structure(tf.identity, self._acting)
            self._driver.policy_state = acting
        return step

    def save(self) -> None:
        if self._driver.policy_state is not None:
            tfutils.assign(self._acting, self._driver.policy_state)
        super().save()


def key_metrics(config, episode: Episode) -> dict[str, float]:
    """Returns the metrics that `log_keys_sum`, `_mean` and `_max` ask for.

    Args:
        config: Holds these three regular expressions, which match a key's beginning.
        episode: Arrays `(time, ...)` by key.

    Returns:
        `sum_train_KEY`, `mean_train_KEY` and `max_train_KEY`, the last one the mean of
        the maxima over time.
    """
    reductions = {
        "sum": lambda x: x.sum(dtype=np.float64),
        "mean": lambda x: x.mean(dtype=np.float64),
        "max": lambda x: x.max(0).mean(dtype=np.float64),
    }
    return {
        f"{name}_train_{key}": float(reduce(value))
        for name, reduce in reductions.items()
        for key, value in episode.items()
        if re.match(config[f"log_keys_{name}"], key)
    }

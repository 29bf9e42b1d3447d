"""Trains an agent online, on one game: from scratch, or from a given world model.

The procedure of DreamerV2: random episodes first, then environment steps and updates in
the ratio `train_every`, the updates on batches from the replay. What `finetune` adds to
`scratch` is where the weights come from and which of them are frozen.

A killed run goes on from its last checkpoint. With environments that depend on seed and
actions alone, and on a CPU, its metrics are those of a run that was never killed.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from gymnasium.vector import VectorEnv

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer import evaluate as evaluation
from dreamerv2_transfer import expl, validation
from dreamerv2_transfer.agent import Agent, acting
from dreamerv2_transfer.common import checkpoint, envs, interrupt, tfutils, updates
from dreamerv2_transfer.common.blocks import load_old
from dreamerv2_transfer.common.config import ConfigError, check_least
from dreamerv2_transfer.common.counter import Counter
from dreamerv2_transfer.common.distributed import messages, replicas
from dreamerv2_transfer.common.driver import Driver, episode_seed
from dreamerv2_transfer.common.envs import EnvError
from dreamerv2_transfer.common.logger import Logger, video
from dreamerv2_transfer.common.logger.averages import Averages
from dreamerv2_transfer.common.progress import Progress
from dreamerv2_transfer.common.replay import Replay
from dreamerv2_transfer.common.replay.offline import OfflineDataset
from dreamerv2_transfer.common.replay.store import Episode, episode_return, eplen
from dreamerv2_transfer.common.when import Every, Until
from dreamerv2_transfer.learner import Learner
from dreamerv2_transfer.transfer import weights

EVAL_SEED = 0  # Of every evaluation, so that two differ by the agent alone.


def finetune(
    config,
    logdir: pathlib.Path,
    make_envs: Callable[[int], VectorEnv],
    make_replay: Callable[[], Replay],
    make_agent: Callable[[], Agent],
    make_logger: Callable[[Counter], Logger],
    planes: int | None = None,
    evaluates: bool = True,
    make_dataset: Callable[[], OfflineDataset | None] = lambda: None,
    saved: Callable[[], None] = lambda: None,
) -> bool:
    """Trains until `config.steps` updates are done or the process is asked to stop.

    Args:
        config: The resolved configuration. With `init.path`, a fresh run starts from
            these weights.
        logdir: The run's folder.
        make_envs: Makes so many environments that are stepped together.
        make_replay: Opens the replay; the random episodes are in it.
        make_agent: Makes a fresh agent.
        make_logger: Makes the logger, given the counter of updates.
        planes: How many planes the game's image really has, for its colours in videos.
        evaluates: Whether to play evaluation episodes, in environments of their own.
        make_dataset: Opens episodes that are the same for all runs, on whose held-out
            part the world model is evaluated too, if there are any.
        saved: Called after each checkpoint.

    Returns:
        Whether all updates are done.

    Raises:
        CheckpointError: The weights to start from do not fit.
        EnvError: An environment failed; what was learned until then is saved.
        TrainingError: A loss is not finite. The last checkpoint stays as it is.
        WorkerError: Another process that works on the run has died.
    """
    check(config)
    replicas.check(config)
    evaluates = evaluates and config.eval_eps > 0
    with contextlib.ExitStack() as stack:
        stopped = stack.enter_context(interrupt.caught())
        train_envs = stack.enter_context(contextlib.closing(make_envs(config.envs)))
        eval_envs = None
        if evaluates:
            number = min(config.eval_eps, config.eval_envs)
            eval_envs = stack.enter_context(contextlib.closing(make_envs(number)))
        trainer = Trainer(
            config,
            pathlib.Path(logdir),
            train_envs,
            eval_envs,
            make_replay(),
            make_agent(),
            make_logger,
            planes,
            make_dataset(),
            saved,
        )
        resumed = trainer.restore()
        if resumed is None:
            trainer.begin()
        else:
            print(f"resumed from step {resumed}", flush=True)
        with messages.losses_told(config), trainer.learner.leading(resumed or 0):
            return trainer.run(stopped)


def check(config) -> None:
    """Refuses numbers by which a run could not begin or would never end.

    Raises:
        ConfigError: Names the key.
    """
    least = {"envs": 1, "eval_envs": 1, "eval_eps": 0, "train_every": 1}
    least |= {"train_steps": 1, "steps_per_call": 1, "seed": 0, "pretrain": 0}
    check_least(config, least)
    envs.check_action_repeat(config, config.task)
    expl.check(config)


class Seeds:
    """The seed of each episode, from the run's seed and the episode's number."""

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


class Trainer:
    """The parts of an online run, and what it does between two checkpoints."""

    def __init__(
        self,
        config,
        logdir: pathlib.Path,
        train_envs: VectorEnv,
        eval_envs: VectorEnv | None,
        replay: Replay,
        agent: Agent,
        make_logger: Callable[[Counter], Logger],
        planes: int | None,
        dataset: OfflineDataset | None,
        saved: Callable[[], None] = lambda: None,
    ):
        self.config = config
        self.logdir = logdir
        self.agent = agent
        self.replay = replay
        self.updates = Counter()
        self.logger = make_logger(self.updates)
        self._steps = Counter()  # Of the environments.
        self._owed = Counter()  # Updates that are due.
        self._averages = Averages()
        self._should_train = Every(config.train_every)
        self._should_explore = Until(config.expl_until // config.action_repeat)
        self._seeds = Seeds(config.seed)
        self._driver = self._make_driver(train_envs)
        self._eval_envs = eval_envs
        self._policy = acting(agent, self._mode)
        self._eval_policy = acting(agent, "eval")
        self._planes = planes
        self._held_out = dataset and validation.HeldOut(agent.wm, config, dataset)
        self._dreams = validation.Dreams(agent.wm, config, self.logger, logdir)
        self.learner = Learner(agent, config, logdir, self._averages.add)
        self._batch: updates.Batch = {}
        self._acting = tfutils.variables(agent.initial(train_envs.num_envs))
        self._save_due = False
        self._saved = saved
        self._checkpoint = checkpoint.Checkpoint(
            logdir / "checkpoints",
            self._named_variables(),
            self._python_state,
            self._load_python_state,
            config.checkpoints_kept,
        )

    def _make_driver(self, envs: VectorEnv) -> Driver:
        driver = Driver(envs, seeds=self._seeds)
        driver.on_reset(self.replay.add_step)
        driver.on_step(self.replay.add_step)
        driver.on_step(lambda transition, worker: self._steps.increment())
        driver.on_episode(self._on_episode)
        driver.on_restore(self.replay.restore_step)
        driver.on_drop(self.replay.drop_ongoing)
        return driver

    def _mode(self) -> str:
        return "explore" if self._should_explore(self._steps) else "train"

    def _on_episode(self, episode: Episode, worker: int) -> None:
        score, length = episode_return(episode), eplen(episode)
        self._averages.add({"train_return": score, "train_length": length})
        self._averages.add(key_metrics(self.config, episode))

    # State.

    def _named_variables(self) -> dict[str, tf.Variable]:
        """All that a checkpoint holds, by name."""
        acting = enumerate(tf.nest.flatten(self._acting))
        named = self.learner.named_variables()
        return {**named, **{f"acting/{i}": v for i, v in acting}}

    def _stateful(self) -> dict:
        """What keeps its own state, in the order in which it is loaded."""
        return {
            "updates": self.updates,
            "steps": self._steps,
            "owed": self._owed,
            "averages": self._averages,
            "should_train": self._should_train,
            "seeds": self._seeds,
            "replay": self.replay,
            "driver": self._driver,
        }

    def _python_state(self) -> dict:
        return {name: part.state() for name, part in self._stateful().items()}

    def _load_python_state(self, state: dict) -> None:
        for name, part in self._stateful().items():
            part.load_state(state[name])

    def restore(self) -> int | None:
        """Goes back to the last checkpoint, the log too. Returns its step, if any."""
        step = self._checkpoint.restore()
        self.logger.rewind(-1 if step is None else step)
        if step is not None:
            self.learner.take_state()
            acting = tf.nest.map_structure(tf.identity, self._acting)
            self._driver.policy_state = acting
        return step

    def save(self) -> None:
        """Writes a checkpoint and the weights that travel."""
        self.learner.read()
        self.learner.keep_state()
        if self._driver.policy_state is not None:
            tfutils.assign(self._acting, self._driver.policy_state)
        self._checkpoint.save(int(self.updates))
        weights.save_agent(self.logdir, self.agent)
        self._save_due = False
        self._saved()

    # Training.

    def begin(self) -> None:
        """What comes before the first update of a fresh run."""
        self._steps.increment(self.replay.stats["total_steps"])
        self._take_up()
        init = self.config.init
        if init.path:
            self._check_decoder()
            components = self.agent.components
            print(weights.initialize(init.path, components, init.components))
        if self.config.eval_at_start:
            self.evaluate()
        # So that a run which is killed soon goes on with these very episodes.
        self.save()

    def _check_decoder(self) -> None:
        """Refuses a decoder that was trained for another likelihood of images.

        Raises:
            ConfigError: It was, as the configuration beside its weights says.
        """
        init, wm = self.config.init, self.agent.wm
        told = weights.find_weights(init.path).parent / "config.yaml"
        if "decoder" not in init.components or not told.exists():
            return
        theirs = agent_lib.image_dist(load_old(told)[0], wm.obs_space)
        if theirs != wm.heads["decoder"].cnn_dist:
            raise ConfigError(
                f"The decoder in {init.path} was trained with decoder.cnn_dist="
                f"{theirs}. Received: {wm.heads['decoder'].cnn_dist}. Use the same, or "
                "leave the decoder out of --init.components."
            )

    def _take_up(self) -> None:
        """Starts from an agent that was ported to this logdir, if one was."""
        path = self.logdir / weights.PORTED
        if not path.exists():
            return
        weights.load_weights(path, self.agent.components)
        weights.load_state(path, self.agent.state)
        steps = int(self.agent.tfstep)
        self._steps.increment(steps - int(self._steps))
        print(f"Goes on with the agent in {path}, which made {steps} steps.")

    def run(self, stopped: Callable[[], bool]) -> bool:
        """Acts and updates until all is done (True) or `stopped` says so (False)."""
        if self._is_done():
            print(
                f"All {int(self.config.steps)} updates are done; nothing is left to do."
            )
            return True
        with self._progress() as bar, self._saved_if_an_env_fails():
            while not self._is_done() and not stopped():
                self._act()
                self._train(bar, stopped)
                if self._save_due:
                    self.save()
        if self._is_done():
            return True
        self.save()
        print(f"Stopped at update {int(self.updates)}; the same command goes on.")
        return False

    def _progress(self) -> Progress:
        total, done = int(self.config.steps), int(self.updates)
        return Progress(total, done, self.config.stage.capitalize(), "update")

    def _is_done(self) -> bool:
        return self.updates >= int(self.config.steps)

    @contextlib.contextmanager
    def _saved_if_an_env_fails(self) -> Iterator[None]:
        try:
            yield
        except EnvError:
            self.save()
            raise

    def _act(self) -> None:
        """Steps of the environments until an update is due."""
        if self._owed > 0:  # What a run did not get to that was stopped.
            return
        if self.updates < self.config.pretrain:
            self._owed.increment(self.config.pretrain - int(self.updates))
            return
        # No action by weights that are not finite; the policy waits for the update too.
        self.learner.read()
        self._driver(self._policy, steps=1)
        while self._should_train(self._steps):
            self._owed.increment(self.config.train_steps)

    def _train(self, bar: Progress, stopped: Callable[[], bool]) -> None:
        """The updates that are due."""
        while self._owed > 0 and not self._is_done() and not stopped():
            count = self._in_next_call()
            self._owed.increment(-count)
            self.update(count)
            bar.update(count)
            self._after_update()

    def _in_next_call(self) -> int:
        ends = self.config.steps, self.config.wm_steps, self.updates + int(self._owed)
        return updates.in_next_call(self.config, self.updates, *ends)

    def update(self, count: int = 1) -> None:
        """So many updates of world model, actor and critic."""
        size = self.config.dataset
        batches = [self.replay.batch(size.batch, size.length) for _ in range(count)]
        self._batch = batches[-1]
        self.agent.tfstep.assign(int(self._steps))
        self.learner.update(batches, int(self.updates))
        self.updates.increment(count)

    def _after_update(self) -> None:
        if updates.is_due(self.updates, self.config.log_every) or self._is_done():
            self.learner.read()
            self.logger.add(self._averages.result())
            self.logger.add(self.replay.stats, prefix="train")
            self.logger.write(fps=True)
        if updates.is_due(self.updates, self.config.eval_every) or self._is_done():
            self.evaluate()
        due = updates.is_due(self.updates, self.config.checkpoint_every)
        self._save_due |= due or self._is_done()

    # Evaluation.

    def evaluate(self) -> None:
        """Logs returns of evaluation episodes, a video of one, losses and dreams."""
        self.learner.read()
        with tfutils.reseeded(self.agent.rng, EVAL_SEED):
            if self._eval_envs is not None:
                self._play()
            if self._held_out:
                self._log_held_out()
            if self._batch:
                self._log_dreams()
        self.logger.write()

    def _log_held_out(self) -> None:
        # By noise of their own, which the episodes before have no part in.
        with tfutils.reseeded(self.agent.rng, EVAL_SEED):
            losses = self._held_out.losses(self.config.task)
        self.logger.add(losses, prefix="eval")

    def _play(self) -> None:
        played = evaluation.evaluate(
            self._eval_policy, self._eval_envs, self.config.eval_eps, EVAL_SEED, keep=1
        )
        self.logger.add(played.metrics(), prefix="eval")
        look, keys = self.config.video, self.agent.wm.heads["decoder"].cnn_keys
        for key in [key for key in self.config.log_keys_video if key in keys]:
            images = played.kept[0][key][: look.episode]
            frames = video.episode(images, look.scale, self._planes)
            self.logger.video(f"eval_policy_{key}", frames)
            path = self.logdir / "videos" / f"eval_policy_{key}.gif"
            video.save_gif(path, frames, look.fps)

    def _log_dreams(self) -> None:
        rows, length = self.config.video.rows, self.config.video.length
        batch = {k: v[:rows, :length] for k, v in self._batch.items()}
        if len(batch["is_first"][0]) > self.config.video.context:
            self._dreams.log(batch, self.config.task, self._planes, "train_openl")


def key_metrics(config, episode: Episode) -> dict[str, float]:
    """What `log_keys_sum`, `log_keys_mean` and `log_keys_max` ask for of an episode.

    Args:
        config: With these three regular expressions, which match a key's beginning.
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

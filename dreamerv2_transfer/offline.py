"""Trains an agent without an environment: in dreams that start in recorded episodes.

Actor and critic learn in the dreams of a given world model. It stays as it is, unless
`wm_steps` says for how many updates it learns along. The episodes are those of one
game, or of several with one actor. Where a game can be played on this machine, the
agent is evaluated in it, and learns nothing from that.

A killed run resumes from its last checkpoint, with the metrics of a run that was never
killed.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Mapping

from gymnasium.vector import VectorEnv

from dreamerv2_transfer import validation
from dreamerv2_transfer.agent import Agent
from dreamerv2_transfer.common import envs, evaluation, interrupt, tfutils, updates
from dreamerv2_transfer.common.checkpoint import Stateful
from dreamerv2_transfer.common.distributed import messages
from dreamerv2_transfer.common.logger import Logger
from dreamerv2_transfer.common.replay import prefetch
from dreamerv2_transfer.common.replay.offline import OfflineDataset
from dreamerv2_transfer.learner import AgentTrainer, Learner


def offline(
    config,
    logdir: pathlib.Path,
    dataset: OfflineDataset,
    agent: Agent,
    logger: Logger,
    saved: Callable[[], None] = lambda: None,
) -> bool:
    """Trains until `config.steps` updates are done or the process is asked to stop.

    Args:
        config: The resolved configuration.
        logdir: The run's folder.
        dataset: Provides the batches, in whose states dreams start.
        agent: The agent to train, with the weights that a fresh run starts from.
        logger: Receives the metrics; its step counter counts the updates.
        saved: Called after each checkpoint.

    Returns:
        Whether all updates are done.

    Raises:
        EnvError: An environment failed in an evaluation; what was learned until then is
            saved.
        TrainingError: A loss is not finite. The last checkpoint stays as it is.
        WorkerError: Another process of the run has died.
    """
    with contextlib.ExitStack() as stack:
        stopped = stack.enter_context(interrupt.caught())
        games = {
            task: stack.enter_context(contextlib.closing(env))
            for task, env in playable(config, agent, dataset.tasks)
        }
        trainer = Trainer(config, logdir, dataset, games, agent, logger, saved)
        trainer.start()
        stack.enter_context(trainer.batches)
        others = trainer.learner.leading(int(trainer.counter))
        with messages.naming_lost_workers(config), others:
            return trainer.run(stopped)


def playable(
    config, agent: Agent, tasks: tuple[str, ...]
) -> Iterator[tuple[str, VectorEnv]]:
    """Yields the games that the agent can play here; says of the others why not.

    Args:
        config: The resolved configuration; with `eval_eps` 0 there are none.
        agent: The agent.
        tasks: The games of the dataset.
    """
    number = min(config.eval_eps, config.eval_envs)
    for task in tasks if number > 0 else ():
        try:
            made = envs.make_vector_env(task, number, **envs.run_options(config, task))
        except envs.EnvError as error:
            print(f"{task} is not played in evaluations. {error}", flush=True)
            continue
        if fits(agent, made):
            yield task, made
            continue
        made.close()
        print(
            f"{task} is not played in evaluations: its observations or actions are "
            "others than those of the dataset.",
            flush=True,
        )


def fits(agent: Agent, env: VectorEnv) -> bool:
    """Tells whether a game has the observations and the actions that an agent knows."""
    seen, (action,) = envs.obs_space(env), envs.act_space(env).values()
    known, encoder = agent.wm.obs_space, agent.wm.encoder
    return envs.act_parts(action) == envs.act_parts(agent.act_space) and all(
        key in seen and seen[key].shape == known[key].shape
        for key in (*encoder.cnn_keys, *encoder.mlp_keys)
    )


class Trainer(AgentTrainer):
    """Updates an agent on batches of recorded episodes.

    Its other arguments are those of `offline`.

    Args:
        games: The environments of evaluation episodes by game.

    Attributes:
        batches: The batches of the dataset, prepared ahead.
        learner: Updates the agent, in all processes.
    """

    # The rest of an interval belongs to the next log line of a longer run.
    logs_last = False

    def __init__(
        self,
        config,
        logdir: pathlib.Path,
        dataset: OfflineDataset,
        games: Mapping[str, VectorEnv],
        agent: Agent,
        logger: Logger,
        saved: Callable[[], None] = lambda: None,
    ):
        super().__init__(config, logdir, logger, "Offline", saved=saved)
        self.agent = agent
        self.batches = prefetch.Prefetch(dataset, config.dataset.prefetch)
        self.learner = Learner(
            agent, config, self.logdir, self.add_metrics, source=dataset.source
        )
        self._games = games
        self._phantom = validation.Phantom(config)
        self._episodes = validation.Episodes(agent, config, logger, self.logdir)
        self._recorded = validation.Recorded(
            agent.wm, config, dataset, logger, self.logdir
        )

    def add_metrics(self, metrics) -> None:
        """Averages the metrics of an update."""
        self.averages.add(metrics)
        self._phantom.add(metrics)

    def begin(self) -> None:
        """Evaluates the fresh agent, if asked to."""
        if self.config.eval_at_start:
            self.evaluate()

    def step(self) -> None:
        """Makes the updates of one call of the graph."""
        ends = self.config.steps, self.config.wm_steps
        count = updates.in_next_call(self.config, self.counter, *ends)
        batches = [self.batches.next() for _ in range(count)]
        # Nothing is played, so schedules count updates.
        self.agent.tfstep.assign(int(self.counter))
        self.learner.update(batches, int(self.counter))
        self.counter.increment(count)

    def metrics(self) -> dict[str, float]:
        self.learner.read()
        return self.averages.result()

    def evaluate(self) -> None:
        """Logs returns in the games that can be played, held-out losses and dreams."""
        self.learner.read()
        is_only = len(self.config.tasks) == 1
        for task, env in self._games.items():
            with tfutils.reseeded(self.agent.rng, evaluation.SEED):
                self._episodes.log(env, task, "" if is_only else task)
        with tfutils.reseeded(self.agent.rng, evaluation.SEED):
            self._recorded.log()
        self.logger.write()

    def variables(self) -> dict:
        return self.learner.variables()

    def stateful(self) -> dict[str, Stateful]:
        return {
            "updates": self.counter,
            "dataset": self.batches,
            "averages": self.averages,
        }

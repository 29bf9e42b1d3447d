"""Updates an agent that plays: in one process, or in several.

    chief      play ─▶ replay ─▶ batches ─┬─▶ update ─▶ play ...
                                broadcast │   ▲ gradients
    followers  wait ──────────────────────┴─▶ update ─▶ wait ...

Only the chief has environments, episodes, a log and checkpoints. It sends the followers
what they need: the state of the run before the first update, then the batches of each
call of the graph.

In one process, playing may overlap updating:

    update 1 ─▶ copy ─▶ update 2 ─▶ copy ─▶ update 3 ...
                  └▶ play by weights 1 └▶ play by weights 2 ...
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures

import numpy as np
import tensorflow as tf

from dreamerv2_transfer.agent import Agent, make_agent
from dreamerv2_transfer.common import interrupt, tfutils, updates
from dreamerv2_transfer.common import trainer as trainer_lib
from dreamerv2_transfer.common.checkpoint import named_variables
from dreamerv2_transfer.common.distributed import messages
from dreamerv2_transfer.transfer import weights

Broadcast = Callable[[messages.Message | None], dict[str, np.ndarray]]
BATCH = "batch/"  # Begins the names of a message's arrays that are a batch's.


class Learner:
    """Updates an agent and keeps the RSSM's state between updates.

    Args:
        agent: The agent to update.
        config: The resolved configuration.
        logdir: Where a batch is saved whose losses are not finite.
        consume: Called with the metrics of each update, by name.
        source: Describes in words where a batch comes from; by default the game.
        broadcast: Sends a message to all processes, see `messages.broadcast`, the
            default with `strategy: multiworker`; None in a single process.
    """

    def __init__(
        self,
        agent: Agent,
        config,
        logdir: pathlib.Path,
        consume: Callable[[dict[str, np.ndarray]], None] = lambda metrics: None,
        source: Callable[[updates.Batch], str] | None = None,
        broadcast: Broadcast | None = None,
    ):
        self.agent = agent
        self._config = config
        if config.strategy == "multiworker":
            broadcast = broadcast or messages.broadcast
        self._broadcast = broadcast
        self._all_updates, self._behavior_updates = (
            updates.Updates(
                update,
                config,
                logdir,
                source=source or (lambda batch: config.task),
                consume=lambda metrics, batch: consume(metrics),
            )
            for update in (agent.update, agent.update_behavior)
        )
        self._state = agent.wm.rssm.initial(config.dataset.batch)
        self._carry = tfutils.variables(self._state)

    @property
    def player(self) -> Agent:
        """The agent that acts."""
        return self.agent

    def variables(self) -> dict[str, tf.Variable]:
        """Returns everything that updates depend on, by name.

        `keep_state` brings the RSSM's state in it up to date.
        """
        agent = self.agent
        explores = agent.expl_behavior is not agent.task_behavior
        return {
            **named_variables("world_model", agent.wm.variables),
            **named_variables("model_opt", agent.wm.model_opt.variables),
            **_behavior_variables(agent.task_behavior),
            **(_behavior_variables(agent.expl_behavior, "expl_") if explores else {}),
            "tfstep": agent.tfstep,
            "rng": agent.rng.state,
            **{f"carry/{i}": v for i, v in enumerate(tf.nest.flatten(self._carry))},
        }

    def keep_state(self) -> None:
        """Copies the RSSM's state into variables, which a checkpoint can hold."""
        tfutils.assign(self._carry, self._state)

    def take_state(self) -> None:
        """Sets the RSSM's state to that of the variables."""
        self._state = tf.nest.map_structure(tf.identity, self._carry)

    def update(
        self, batches: Sequence[updates.Batch], step: int, played: int | None = None
    ) -> None:
        """Updates world model, actor and critic, in all processes.

        Args:
            batches: One batch per update, `(B, T, ...)` by key; they share a call of
                the graph.
            step: Updates before these. From `wm_steps` on, the world model stays as it
                is.
            played: What schedules count, environment steps; by default as before.
        """
        if played is not None:
            self.agent.tfstep.assign(played)
        if self._broadcast:
            stacked = {
                f"{BATCH}{k}": np.stack([b[k] for b in batches]) for k in batches[0]
            }
            now = {
                "rng": self.agent.rng.state.numpy(),
                "tfstep": self.agent.tfstep.numpy(),
            }
            self._broadcast({"step": np.array(int(step)), **now, **stacked})
        self._update(batches, step)

    def _update(self, batches: Sequence[updates.Batch], step: int) -> None:
        trains_model = step < self._config.wm_steps
        graph = self._all_updates if trains_model else self._behavior_updates
        self._state = graph.run(batches, self._state, step)

    def read(self) -> None:
        """Passes on all metrics that were not read yet.

        Raises:
            TrainingError: A loss of one of the updates is not finite.
        """
        self._all_updates.read()
        self._behavior_updates.read()

    def check_player(self) -> None:
        """Waits until it is known that the weights of the player are finite.

        The policy waits for the update anyway.

        Raises:
            TrainingError: They are not.
        """
        self.read()

    # Several processes.

    @contextlib.contextmanager
    def leading(self, step: int) -> Iterator[None]:
        """Sends the followers the chief's state at first, and the end at last.

        Args:
            step: Updates that are done.
        """
        if not self._broadcast:
            yield
            return
        self.keep_state()
        state = {k: v.numpy() for k, v in self.variables().items()}
        self._broadcast({"step": np.array(step), **state})
        try:
            yield
        except (KeyboardInterrupt, *messages.LOST):
            raise  # The followers are gone, or a message was interrupted.
        except BaseException:
            with contextlib.suppress(*messages.LOST):
                self._broadcast({})
            raise
        self._broadcast({})

    def follow(self) -> int:
        """Makes the updates of the chief until it has no more.

        Only the chief reacts to signals, since it has to save first.

        Returns:
            Updates that are done.

        Raises:
            TrainingError: A loss is not finite. The chief finds the same loss when it
                reads its metrics next, so this waits for its end.
        """
        with interrupt.caught("continues until the first process stops and saves"):
            state = self._broadcast(None)
            step = int(state["step"])
            for name, variable in self.variables().items():
                variable.assign(tf.cast(state[name], variable.dtype))
            self.take_state()
            while order := self._broadcast(None):
                # Acting draws noise too, in the chief alone.
                self.agent.rng.state.assign(order["rng"])
                self.agent.tfstep.assign(order["tfstep"])
                stacked = {
                    name.removeprefix(BATCH): value
                    for name, value in order.items()
                    if name.startswith(BATCH)
                }
                count, step = len(next(iter(stacked.values()))), int(order["step"])
                batches = [{k: v[i] for k, v in stacked.items()} for i in range(count)]
                try:
                    self._update(batches, step)
                except updates.TrainingError:
                    while self._broadcast(None):
                        pass
                    raise
                step += count
        self.read()
        return step


class Overlapped(Learner):
    """Updates an agent in a thread, while a copy acts by the weights before the update.

    The copy has noise of its own, so what it does and what is learned depend on the
    order of the calls alone, not on how long they take.
    """

    def __init__(self, agent: Agent, config, *args, **kwargs):
        super().__init__(agent, config, *args, **kwargs)
        seed = (config.seed + 1) % 2**32
        spaces = agent.wm.obs_space, {"action": agent.act_space}
        self._player = make_agent(config.update(seed=seed), *spaces)
        self._copy_weights()
        self._thread = futures.ThreadPoolExecutor(1, "update")
        self._running: futures.Future | None = None

    @property
    def player(self) -> Agent:
        return self._player

    def variables(self) -> dict[str, tf.Variable]:
        played = {**_weights(self._player), "rng": self._player.rng.state}
        played["tfstep"] = self._player.tfstep
        return {**super().variables(), **{f"player/{k}": v for k, v in played.items()}}

    def update(
        self, batches: Sequence[updates.Batch], step: int, played: int | None = None
    ) -> None:
        """Begins an update, once the one before it is done and copied to the player."""
        self.read()
        self._copy_weights()
        run = super().update
        self._running = self._thread.submit(run, batches, step, played)

    def read(self) -> None:
        if self._running:
            self._running.result()  # If it raised an error, so does each next call.
            self._running = None
        super().read()

    def check_player(self) -> None:
        """Returns at once: they were checked before they were copied."""

    def _copy_weights(self) -> None:
        self._player.tfstep.assign(self.agent.tfstep)
        theirs = _weights(self._player)
        for name, variable in _weights(self.agent).items():
            theirs[name].assign(variable)


def make_learner(agent: Agent, config, *args, **kwargs) -> Learner:
    """Creates the learner that `config.overlap` asks for; see `Learner`."""
    kind = Overlapped if config.overlap else Learner
    return kind(agent, config, *args, **kwargs)


def _weights(agent: Agent) -> dict[str, tf.Variable]:
    """Returns the variables by name that the policy of an agent depends on."""
    parts = [v for c in agent.behavior_components.values() for v in c.variables]
    groups = {"world_model": agent.wm.variables, "behavior": parts}
    named = (named_variables(name, group) for name, group in groups.items())
    return {k: v for group in named for k, v in group.items()}


def follow(config, logdir: pathlib.Path, agent: Agent) -> bool:
    """Takes part in the updates of a run whose chief is another process.

    Returns:
        Whether all updates are done.

    Raises:
        WorkerError: Another process of the run has died.
        TrainingError: A loss is not finite.
    """
    print("Takes part in the updates of the chief, which has the log.", flush=True)
    with messages.naming_lost_workers(config):
        return Learner(agent, config, logdir).follow() >= config.steps


class AgentTrainer(trainer_lib.Trainer):
    """Keeps a learner's state in checkpoints, and writes the agent's weights.

    Attributes:
        agent: The agent that is trained.
        learner: Updates it, in all processes.
    """

    agent: Agent
    learner: Learner

    def restore(self) -> int | None:
        step = super().restore()
        if step is not None:
            self.learner.take_state()
        return step

    def save(self) -> None:
        self.learner.read()
        self.learner.keep_state()
        super().save()

    def save_files(self) -> None:
        weights.save_agent(self.logdir, self.agent, int(self.counter))

    def has_files(self) -> bool:
        return weights.has_agent(self.logdir, int(self.counter))


def _behavior_variables(behavior, prefix: str = "") -> dict[str, tf.Variable]:
    """Returns all variables of a behavior by name: weights, optimizers and others."""
    trained = [v for c in behavior.components.values() for v in c.variables]
    groups = {f"{k}_opt": v.variables for k, v in behavior.optimizers.items()}
    named = {f"{prefix}{k}": v for k, v in behavior.state.items()}
    for name, variables in {"behavior": trained, **groups}.items():
        named.update(named_variables(f"{prefix}{name}", variables))
    return named

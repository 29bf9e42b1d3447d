"""The updates of an agent that plays: in one process, or in several.

    chief      play ─▶ replay ─▶ batches ─┬─▶ update ─▶ play ...
                                 messages │   ▲ gradients
    others     wait ──────────────────────┴─▶ update ─▶ wait ...

The chief alone has environments, episodes, a log and checkpoints. What the others need
it sends: the state of the run before the first update, then the batches of each call.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from dreamerv2_transfer.agent import Agent
from dreamerv2_transfer.common import checkpoint, interrupt, tfutils, updates
from dreamerv2_transfer.common.distributed import messages

Tell = Callable[[messages.Message | None], dict[str, np.ndarray]]


class Learner:
    """Updates of an agent, and the state of the RSSM between them.

    Args:
        agent: Learns.
        config: The resolved configuration.
        logdir: Where a batch is kept whose losses are not finite.
        consume: Takes the metrics of each update, by name.
        tell: As `messages.from_chief`, which it is by default where several processes
            share the work; None where one does all.
    """

    def __init__(
        self,
        agent: Agent,
        config,
        logdir: pathlib.Path,
        consume: Callable[[dict[str, np.ndarray]], None] = lambda metrics: None,
        tell: Tell | None = None,
    ):
        self.agent = agent
        self._config = config
        self._logdir = logdir
        self._consume = consume
        several = config.strategy == "multiworker"
        self._tell = tell or (messages.from_chief if several else None)
        self._learning = self._make_updates(agent.update)
        self._behaving = self._make_updates(agent.update_behavior)
        self._state = agent.wm.rssm.initial(config.dataset.batch)
        self._carry = tfutils.variables(self._state)

    def _make_updates(self, update: Callable) -> updates.Updates:
        return updates.Updates(
            update,
            self._config,
            self._logdir,
            source=lambda batch: self._config.task,
            consume=lambda metrics, batch: self._consume(metrics),
        )

    def named_variables(self) -> dict[str, tf.Variable]:
        """All on which updates depend, by name; `keep_state` brings it up to date."""
        agent = self.agent
        explores = agent.expl_behavior is not agent.task_behavior
        return {
            **checkpoint.named_variables("world_model", agent.wm.variables),
            **checkpoint.named_variables("model_opt", agent.wm.model_opt.variables),
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
        """Goes on from the variables."""
        self._state = tf.nest.map_structure(tf.identity, self._carry)

    def update(self, batches: Sequence[updates.Batch], step: int) -> None:
        """So many updates of world model, actor and critic, in one call of the graph.

        Args:
            batches: One an update, `(B, T, ...)` by key.
            step: Updates before these. After `wm_steps` the world model is left alone.
        """
        if self._tell:
            self._tell(self._order(batches, step))
        self._update(batches, step)

    def _update(self, batches: Sequence[updates.Batch], step: int) -> None:
        learns = step < self._config.wm_steps
        made = self._learning if learns else self._behaving
        self._state = made.run(batches, self._state, step)

    def read(self) -> None:
        """Hands on the metrics of the updates whose metrics were not read yet.

        Raises:
            TrainingError: A loss of one of them is not finite.
        """
        self._learning.read()
        self._behaving.read()

    # Several processes.

    @contextlib.contextmanager
    def leading(self, step: int) -> Iterator[None]:
        """The chief's updates: brings the others to its state, and ends with them.

        Args:
            step: Updates that are done.
        """
        if not self._tell:
            yield
            return
        self.keep_state()
        state = {k: v.numpy() for k, v in self.named_variables().items()}
        self._tell({"step": np.array(step), **state})
        try:
            yield
        except (KeyboardInterrupt, *messages.LOST):
            raise  # There is nobody to tell, or a message was cut short.
        except BaseException:
            with contextlib.suppress(*messages.LOST):
                self._tell({})
            raise
        self._tell({})

    def follow(self) -> int:
        """The other processes' updates, until the chief has no more.

        Signals to stop are for the chief, which saves first.

        Returns:
            Updates that are done.
        """
        with interrupt.caught():
            state = self._tell(None)
            step = int(state["step"])
            for name, variable in self.named_variables().items():
                variable.assign(tf.cast(state[name], variable.dtype))
            self.take_state()
            while order := self._tell(None):
                with self._until_the_end():
                    step = self._obey(order)
        self.read()
        return step

    @contextlib.contextmanager
    def _until_the_end(self) -> Iterator[None]:
        """Leaves after the chief, which meets the same loss at its own next reading."""
        try:
            yield
        except updates.TrainingError:
            while self._tell(None):
                pass
            raise

    def _order(self, batches: Sequence[updates.Batch], step: int) -> messages.Message:
        """What the chief has done since the last update, and what is next."""
        stacked = {f"batch/{k}": np.stack([b[k] for b in batches]) for k in batches[0]}
        agent, step = self.agent, np.array(int(step))
        now = {"rng": agent.rng.state.numpy(), "tfstep": agent.tfstep.numpy()}
        return {"step": step, **now, **stacked}

    def _obey(self, order: messages.Message) -> int:
        self.agent.rng.state.assign(order["rng"])  # Acting draws from it too.
        self.agent.tfstep.assign(order["tfstep"])
        prefix = "batch/"
        stacked = {
            k.removeprefix(prefix): v for k, v in order.items() if k.startswith(prefix)
        }
        count, step = len(next(iter(stacked.values()))), int(order["step"])
        self._update(
            [{k: v[i] for k, v in stacked.items()} for i in range(count)], step
        )
        return step + count


def follow(config, logdir: pathlib.Path, agent: Agent) -> bool:
    """Takes part in the updates of a run that another process, the chief, plays.

    Returns:
        Whether all updates are done.

    Raises:
        WorkerError: Another process that works on the run has died.
        TrainingError: A loss is not finite.
    """
    print("Takes part in the updates of the chief, which has the log.", flush=True)
    with messages.losses_told(config):
        return Learner(agent, config, logdir).follow() >= config.steps


def _behavior_variables(behavior, prefix: str = "") -> dict[str, tf.Variable]:
    """All variables of a behavior by name: weights, optimizers and what else it has."""
    weights = [v for c in behavior.components.values() for v in c.variables]
    groups = {f"{k}_opt": v.variables for k, v in behavior.optimizers.items()}
    named = {f"{prefix}{k}": v for k, v in behavior.state.items()}
    for name, variables in {"behavior": weights, **groups}.items():
        named.update(checkpoint.named_variables(f"{prefix}{name}", variables))
    return named

"""A trained world model that a script can observe, dream and act with.

    model = dreamerv2_transfer.load("results/minatar_small_pretrain")
    seen = model.observe({"image": images}, actions)     # latents of what was seen
    dream = model.imagine(seen, actions)                 # goes on from the last of them
    dream["image"], dream["reward"], dream["discount"], dream["latents"]

All arrays are numpy's. Time is the first axis, `(T, ...)`, or follows that of a batch,
`(B, T, ...)`: what comes back has the axes of what was given.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks, envs
from dreamerv2_transfer.common.config import Config
from dreamerv2_transfer.common.errors import ModelError
from dreamerv2_transfer.common.files import memory
from dreamerv2_transfer.trained import values
from dreamerv2_transfer.trained.agent import Agent
from dreamerv2_transfer.trained.dreams import Dreams
from dreamerv2_transfer.trained.graphs import FRAMES, Graphs, time_first, turns
from dreamerv2_transfer.trained.latents import Latents
from dreamerv2_transfer.trained.states import States
from dreamerv2_transfer.world_model import WorldModel

MOST_OF_MEMORY = 0.8  # Of what is free, for a dream.
SEQUENCES = {1: "(T, ...)", 2: "(B, T, ...)"}

Parts = dict[str, np.ndarray]
Policy = Callable[[dict[str, Any]], Any]


class Model:
    """A world model, and the agent that learned with it if there is one.

    `dreamerv2_transfer.load` makes it. Noise comes from a generator of its own, whose
    seed `load` takes; a `seed` that is passed to a call is that call's alone, which
    then returns the same again. Several threads may call a model.

    Args:
        network: The world model.
        agent: The agent that it belongs to, if any.
        act_space: The space of an action.
        config: The configuration of the run, which that of `network` derives from.
        source: Where it was loaded from.
        seed: The seed of its noise.

    Attributes:
        network: The world model, which works on tensors.
        config: The configuration of the run.
        source: Where it was loaded from.
        observation_space: The spaces of the observations, by key.
        action_space: `Discrete`, `Box` or `envs.Joined`.
    """

    def __init__(
        self,
        network: WorldModel,
        agent: agent_lib.Agent | None,
        act_space: spaces.Space,
        config: Config,
        source: str,
        seed: int = 0,
    ):
        self.network = network
        self.source = source
        self.config = config
        self._graphs = Graphs(network.config.jit)
        self._dreams = Dreams(network)
        self._states = States(network, act_space, seed)
        self.observation_space = self._states.observation_space
        self.action_space = act_space
        self._agent = Agent(agent, self._states, self._graphs) if agent else None

    def __repr__(self) -> str:
        acts = "with" if self._agent else "without"
        return f"Model({self.source!r}, {acts} an agent)"

    def __deepcopy__(self, memo: dict) -> Model:
        return self  # Nothing changes it, so copies of environments may share it.

    @property
    def tasks(self) -> tuple[str, ...]:
        """The games that it was trained on."""
        return blocks.learned_games(self.config)

    @property
    def has_agent(self) -> bool:
        return self._agent is not None

    @property
    def agent(self) -> Agent:
        """The agent.

        Raises:
            ModelError: There is none.
        """
        if self._agent is None:
            raise ModelError(
                f"{self.source} has no agent (actor_critic.weights.h5), as pretrain "
                "trains a world model alone. Load a run of finetune, offline or "
                "scratch."
            )
        return self._agent

    @property
    def action_size(self) -> int:
        """The length of a vector of actions, one-hot if they are discrete."""
        return envs.act_size(self.action_space)

    def check(self, state: Latents) -> None:
        """Checks that states are this model's.

        Raises:
            ModelError: They are not, or they hold NaN.
        """
        self._states.last(state)

    def initial(
        self, batch: int | None = None, *, game: str | Sequence[str] | None = None
    ) -> Latents:
        """Returns the state before the first observation: zeros.

        Args:
            batch: The number of sequences; None for a single one.
            game: See `observe`.
        """
        return self._states.initial(batch, game)

    def observe(
        self,
        observations: Any,
        actions: Any,
        state: Latents | None = None,
        *,
        seed: int | None = None,
        first_step: int = 0,
        sample: bool = True,
        game: str | Sequence[str] | None = None,
    ) -> Latents:
        """Infers the latent states of what was seen.

        Args:
            observations: Arrays `(T, *shape)` or `(B, T, *shape)` by key, in the shapes
                and types of `observation_space`; or one array, if there is one key.
                With `is_first`, `(T,)` or `(B, T)`, the state starts anew where True.
            actions: The action that led to each observation: `(T,)` or `(B, T)` of
                integers for discrete actions, or vectors `(T, n)` or `(B, T, n)`. The
                first one counts only if there is a `state` before it.
            state: The state before the first observation; by default that of a start.
            seed: The seed of the latents' noise; by default the model's generator.
            first_step: See `imagine`.
            sample: Whether to draw the latents, or to take the likeliest ones.
            game: The game of all sequences, or of each, where no `state` tells it: for
                a model of several games with `task_embed`. Others do not need it.

        Returns:
            The states of all steps, `(T, ...)` or `(B, T, ...)`.

        Raises:
            ModelError: A shape, a type or a value is not possible; the message names
                it.
        """
        seen = values.observations(observations, self.observation_space, SEQUENCES)
        action = values.actions(actions, self.action_space, seen.lead)
        is_first = seen.is_first
        if is_first is None:
            is_first = np.zeros(seen.lead, bool)
            is_first[..., 0] = state is None
        inputs = {**seen.arrays, "action": action, "is_first": is_first}
        is_batch = len(seen.lead) == 2
        if not is_batch:
            inputs = {k: v[None] for k, v in inputs.items()}
        batch, steps = inputs["is_first"].shape
        self._check_memory(batch, steps, "Observing")
        start = self._states.start(state, batch if is_batch else None, game)
        noise, found = self._states.noise(seed, sample), []
        for first, length in turns(steps, batch):
            part = {
                k: time_first(v[:, first : first + length]) for k, v in inputs.items()
            }
            args = start, part, noise, np.int32(first_step + first)
            found.append(self._graphs.run(self._dreams.observe, batch, *args))
            start = _last(found[-1])
        return _joined(found, is_batch)

    def imagine(
        self,
        state: Latents,
        actions: Any,
        steps: int | None = None,
        *,
        seed: int | None = None,
        first_step: int = 0,
        sample: bool = True,
    ) -> dict[str, Any]:
        """Dreams on from a state.

        Args:
            state: The state to start from; of a sequence the last one. A single state
                may start a batch of dreams.
            actions: The action of each step, `(T,)` or `(B, T)` of integers, or vectors
                `(T, n)` or `(B, T, n)`. Or who acts: the `agent` of a model with the
                same latents; or a function that maps a dict of the observations,
                `reward`, `discount` and `latents` of a step to its action (`(B,)` of
                them in a batch).
            steps: The number of steps of whoever acts; by default `imag_horizon` of the
                configuration. With `actions` it is their number.
            seed: The seed of the noise; by default the model's generator.
            first_step: The number of the first step, from which its noise derives: with
                the same seed, 10 steps and 10 more with `first_step=10` are the 20
                steps of one call.
            sample: Whether to draw latents and the agent's actions, or to take the
                likeliest ones.

        Returns:
            By observation key, `(T, *shape)` or `(B, T, *shape)`: images of bytes as
            uint8, planes as the probabilities that they are set, float32, vectors as
            float32. Likewise `reward` (as `clip_rewards` of the configuration squashes
            it) and `discount` (`config.discount` times the probability that the episode
            goes on), float32; the `action` of each step as an environment takes it; and
            `latents`, the `Latents` of all steps.

        Raises:
            ModelError: A shape, a type or a value is not possible, the state is another
                model's, or the dream needs more memory than is free.
        """
        state = self._states.last(state)
        acting = isinstance(actions, Agent) or callable(actions)
        action = None if acting else values.actions(actions, self.action_space)
        if action is not None and action.ndim == 3 and not state.is_batch:
            state = state.repeated(len(action))
        steps = self._steps(steps, action)
        batch = len(state["deter"]) if state.is_batch else None
        self._check_memory(batch or 1, steps, "Dreaming")
        if action is not None:
            actions = _of_each(action, batch)
        elif not isinstance(actions, Agent):
            actions = functools.partial(self._chosen, actions, batch)
        start = self._states.start(state, batch)
        noise = self._states.noise(seed, sample)
        found = self._dreamed(actions, start, steps, noise, first_step)
        return self._results(found, state.is_batch)

    def decode(self, state: Latents) -> Parts:
        """Returns what the model sees in given states.

        Args:
            state: States with any leading axes.

        Returns:
            The observations, `reward` and `discount`, as from `imagine`.
        """
        lead = state["deter"].shape[:-1]
        count = math.prod(lead)
        flat = {
            k: v.reshape(1, count, *v.shape[len(lead) :])
            for k, v in state.items()
            if k != "action"
        }
        found = []
        for first in range(0, count, FRAMES):
            part = {k: v[:, first : first + FRAMES] for k, v in flat.items()}
            found.append(self._graphs.run(self._dreams.decode, 1, part))
        parts = {k: np.concatenate([x[k][0] for x in found]) for k in found[0]}
        return {k: v.reshape((*lead, *v.shape[1:])) for k, v in parts.items()}

    def _steps(self, steps: int | None, action: np.ndarray | None) -> int:
        if action is None:
            found = self.config.imag_horizon if steps is None else steps
        else:
            found = action.shape[-2]
        if action is not None and steps not in (None, found):
            raise ModelError(
                f"A dream has an action for each step. Received: steps={steps} and "
                f"{found} actions."
            )
        if isinstance(found, bool) or not isinstance(found, int) or found < 1:
            raise ModelError(f"A dream has at least one step. Received: {found!r}.")
        return found

    def _dreamed(self, actor: Any, start: Parts, steps: int, noise, first_step: int):
        """Dreams in turns: with an agent, actions `(B, T, n)`, or one step at a time
        with a function that chooses its action."""
        batch, found = len(start["deter"]), []
        is_function = callable(actor)
        for first, length in turns(steps, FRAMES if is_function else batch):
            rest = noise, np.int32(first_step + first)
            if isinstance(actor, Agent):
                args = start, np.int32(length), *rest
                found.append(actor.dream(self._dreams, self._graphs, *args))
            else:
                part = actor(start) if is_function else actor[:, first : first + length]
                args = start, time_first(part), *rest
                found.append(self._graphs.run(self._dreams.imagine, batch, *args))
            start = _last(found[-1][0])
        return found

    def _results(self, found: list, is_batch: bool) -> dict[str, Any]:
        states, outputs, taken = zip(*found, strict=True)
        action = _joined([{"action": x} for x in taken], is_batch)["action"]
        return {
            **_joined(outputs, is_batch).parts,
            "action": values.native(action, self.action_space),
            "latents": _joined(states, is_batch),
        }

    def _chosen(self, policy: Policy, batch: int | None, start: Parts) -> np.ndarray:
        """Returns the actions `(B, 1, n)` that a function chooses in given states."""
        state = Latents.of(start, batch is not None)
        chosen = policy({**self.decode(state), "latents": state})
        lead = () if batch is None else (batch,)
        action = values.actions(chosen, self.action_space, lead)
        return action.reshape(batch or 1, 1, -1)

    def _check_memory(self, batch: int, steps: int, what: str) -> None:
        known = memory.free_and_total()
        need = batch * steps * self._bytes_per_step
        if known and need > MOST_OF_MEMORY * known[0]:
            most = int(MOST_OF_MEMORY * known[0] / (batch * self._bytes_per_step))
            raise ModelError(
                f"{what} {batch:,} x {steps:,} steps takes about {need / 1e9:,.1f} GB, "
                f"but {known[0] / 1e9:,.1f} GB of memory are free. Take at most "
                f"{most:,} steps at once, and go on from the last state."
            )

    @functools.cached_property
    def _bytes_per_step(self) -> int:
        """What a step of one sequence takes: its parts, and all of them joined."""
        state = sum(v.nbytes for v in self._states.zeros.values())
        seen = sum(
            math.prod(space.shape or ()) * (1 if space.dtype == np.uint8 else 4)
            for space in self.observation_space.values()
        )
        return 2 * (state + seen)


def _of_each(action: np.ndarray, batch: int | None) -> np.ndarray:
    """Returns actions `(B, T, n)`, once there are some for each state."""
    if batch is None:
        return action[None]
    if action.ndim == 3 and len(action) == batch:
        return action
    raise ModelError(
        f"Each of {batch} states needs its actions, (B, T). Received: actions for "
        f"{'one' if action.ndim == 2 else len(action)}."
    )


def _last(states: Parts) -> Parts:
    return {k: v[-1] for k, v in states.items()}


def _joined(found: Sequence[Parts], is_batch: bool) -> Latents:
    """Joins turns `(T, B, ...)` in time, without the axis of a batch of one."""
    parts = {k: np.concatenate([x[k] for x in found]) for k in found[0]}
    if is_batch:
        return Latents({k: time_first(v) for k, v in parts.items()}, True, True)
    return Latents({k: v[:, 0] for k, v in parts.items()}, False, True)

"""A trained agent that acts in a game or in a dream."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import envs, tfutils
from dreamerv2_transfer.common.envs import MASK
from dreamerv2_transfer.common.errors import ModelError
from dreamerv2_transfer.trained import values
from dreamerv2_transfer.trained.dreams import Dreams
from dreamerv2_transfer.trained.graphs import Graphs
from dreamerv2_transfer.trained.latents import Latents
from dreamerv2_transfer.trained.states import States

STEPS = {0: "(...)", 1: "(B, ...)"}


class Agent:
    """The agent of a model: `model.agent`.

    Args:
        network: The agent's networks.
        states: The states and the noise of the model that it belongs to.
        graphs: Runs the networks.
    """

    def __init__(self, network: agent_lib.Agent, states: States, graphs: Graphs):
        self.network = network
        self._states = states
        self._graphs = graphs

    def act(
        self,
        observation: Any,
        state: Latents | None = None,
        *,
        seed: int | None = None,
        sample: bool = False,
        game: str | Sequence[str] | None = None,
    ) -> tuple[Any, Latents]:
        """Chooses the action after an observation.

        Args:
            observation: Arrays `*shape` or `(B, *shape)` by key, in the shapes and
                types of the model's `observation_space`; or one array, if there is one
                key. With `is_first`, a bool or `(B,)`, the state starts anew where
                True. An agent of `obs.action_mask` takes `action_mask` too; without it,
                what the model predicts is allowed.
            state: What the last call returned; None at the start of an episode.
            seed: The seed of the noise; by default the model's generator.
            sample: Whether to sample the action, or to take the actor's likeliest.
            game: See `Model.observe`.

        Returns:
            The action as an environment takes it: an int, a vector of float32, or a
            batch `(B,)` or `(B, n)`; and the state, from which `model.imagine` can
            dream on.

        Raises:
            ModelError: A shape, a type or a value is not possible; the message names
                it.
        """
        space = self._states.observation_space
        seen = values.observations(observation, space, STEPS)
        batch = seen.lead[0] if seen.lead else None
        is_first = seen.is_first
        if is_first is None:
            is_first = np.full(seen.lead, state is None)
        inputs = {**seen.arrays, "is_first": is_first, **self._mask(observation)}
        if batch is None:
            inputs = {k: v[None] for k, v in inputs.items()}
        before = self._states.start(state, batch, game)
        start = before, self._last_action(state, batch)
        mode = "train" if sample else "eval"
        latent, action = self._graphs.run(
            functools.partial(self.step, mode=mode),
            batch or 1,
            *(inputs, start, self._states.noise(seed)),
            key=f"act {mode}",
        )
        if not np.isfinite(action).all():
            raise ModelError(
                f"The action is not a number. Received: {action[0].tolist()}. The "
                "weights of this agent have diverged; load an earlier one."
            )
        after = Latents.of({**latent, "action": action}, batch is not None)
        taken = values.native(after["action"], self._states.action_space)
        return (taken if taken.ndim else int(taken)), after

    def _mask(self, observation: Any) -> dict[str, np.ndarray]:
        wm = self.network.wm
        if not (wm.masks and isinstance(observation, Mapping) and MASK in observation):
            return {}
        space = {MASK: wm.obs_space[MASK]}
        return values.observations(observation, space, STEPS).arrays

    def step(self, inputs, start, noise, mode: str):
        """Computes `act` on tensors `(B, ...)`.

        Args:
            inputs: Observations and `is_first`.
            start: The states before, and the action that led on from them.
            noise: The key of the noise `(2,)`, or None for modes.
            mode: `train` samples the action, `eval` takes the likeliest one.

        Returns:
            The states after, and the action.
        """
        seeds = tfutils.split_seed(noise, 3)
        outputs, (latent, _) = self.network.policy_step(inputs, start, seeds, mode)
        return latent, outputs["action"]

    def _last_action(self, state: Latents | None, batch: int | None) -> np.ndarray:
        if state is None or "action" not in state:
            size = envs.act_size(self._states.action_space)
            return np.zeros((batch or 1, size), np.float32)
        action = state.at(-1)["action"]
        return action[None] if batch is None else action

    def dream(self, dreams: Dreams, graphs: Graphs, start, *args: Any) -> Any:
        """Dreams with the actions of this agent, see `Dreams.follow`."""
        follow = functools.partial(dreams.follow, self.network.task_behavior.actor)
        key = ("follow", self)  # Not its id, which another agent may have later.
        return graphs.run(follow, len(start["deter"]), start, *args, key=key)

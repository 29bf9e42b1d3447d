"""A trained model that dreams in single steps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dreamerv2_transfer.common import blocks, driver
from dreamerv2_transfer.play import pictures
from dreamerv2_transfer.play.game import Game, Seen
from dreamerv2_transfer.play.session import Dreamed, PlayError
from dreamerv2_transfer.trained import values
from dreamerv2_transfer.trained.latents import Latents
from dreamerv2_transfer.trained.model import Model
from dreamerv2_transfer.world_model import REWARD_TRANSFORMS

NO_AGENT = (
    "This model has no agent: it was pre-trained alone. A run of finetune, offline or "
    "scratch has one."
)


class ModelDreamer:
    """Dreams with a model as `model.imagine` does with the same seed.

    The steps of a dream that never looks after its start are those of one call:
    `model.imagine(start, actions, seed=seed)`.

    Args:
        model: The model.
        seed: The seed of the dream.

    Attributes:
        key: The image that is shown.
        no_agent: Why there is no agent; empty if there is one.
        look_seed: The seed of the states that are inferred; those of a dream have noise
            of their own.

    Raises:
        PlayError: The model predicts no image.
    """

    def __init__(self, model: Model, seed: int):
        images = model.network.heads["decoder"].cnn_keys
        if not images:
            raise PlayError(
                f"{model.source} predicts no image, so there is nothing to show. Name "
                "a model of a game with images."
            )
        self.key = images[0]
        self.no_agent = "" if model.has_agent else NO_AGENT
        self._model = model
        self._seed = seed
        self.look_seed = driver.episode_seed(0, seed, "look")
        self._game = ""  # The name of the game, once it is known.
        self._squash = REWARD_TRANSFORMS[model.config.clip_rewards]

    def check(self, game: Game) -> None:
        """Checks that the model can observe a game and take its actions.

        Raises:
            PlayError: It cannot.
        """
        seen = game.obs_space
        known = self._model.observation_space.spaces
        differ = [
            f"{k} is {_kind(seen.get(k))} in the game and {_kind(v)} in the model"
            for k, v in known.items()
            if _kind(seen.get(k)) != _kind(v)
        ]
        if game.act_space["action"] != self._model.action_space:
            differ.append(
                f"the game has {game.act_space['action']} and the model "
                f"{self._model.action_space} as actions"
            )
        if differ:
            raise PlayError(
                f"The model {self._model.source} cannot play {game.task}: "
                f"{'; '.join(differ)}."
            )
        blocks.game_indices(self._model.network.config, [game.task])
        self._game = game.task

    def look(self, seen: Seen, action: int | None, before: Any, step: int) -> Dreamed:
        """Infers the state from what the game shows; see `session.Dreamer`."""
        obs = values.shown(seen.obs, seen.reward, seen.is_terminal)
        observed = {k: obs[k][None] for k in self._model.observation_space}
        taken = self._onehot(action or 0)  # That of the start does not count.
        game = self._game or None
        states = self._model.observe(
            observed, taken, before, seed=self.look_seed, first_step=step, game=game
        )
        return self._dreamed(self._model.decode(states), states)

    def dream(self, before: Any, action: int, step: int) -> Dreamed:
        """Expects a step; see `session.Dreamer`."""
        dreamed = self._model.imagine(
            before, self._onehot(action), seed=self._seed, first_step=step - 1
        )
        return self._dreamed(dreamed, dreamed.pop("latents"))

    def act(self, state: Any) -> int:
        """Returns the likeliest action of the agent in a state of the dream."""
        agent = self._model.agent
        dreamed = self._model.imagine(state, agent, steps=1, sample=False)
        return int(values.actions(dreamed["action"], self._model.action_space).argmax())

    def _onehot(self, action: int) -> np.ndarray:
        """Returns an action, counted from 0, as a vector, `(1, actions)`."""
        return np.eye(self._model.action_size, dtype=np.float32)[[action]]

    def squashed(self, reward: float) -> float:
        """Returns a reward of the game as the model learns it."""
        return float(self._squash(np.float32(reward)))

    def _dreamed(self, expected: dict[str, np.ndarray], states: Latents) -> Dreamed:
        last, state = {k: v[-1] for k, v in expected.items()}, states.at(-1)
        image = np.clip(pictures.unit(last[self.key]), 0, 1)
        reward, discount = float(last["reward"]), float(last["discount"])
        return Dreamed(image, reward, discount, _latent(state), state)


def _latent(state: Latents) -> np.ndarray:
    """Draws the latents: a row each with its classes, or all as a square."""
    if "logit" in state:
        odds = np.exp(state["logit"] - state["logit"].max(-1, keepdims=True))
        return pictures.latent(odds / odds.sum(-1, keepdims=True), state["stoch"])
    values = state["stoch"].ravel()
    side = math.ceil(math.sqrt(values.size))
    square = np.zeros(side * side, np.float32)
    square[: values.size] = 0.5 + 0.5 * np.tanh(values)
    return np.rint(255 * square).astype(np.uint8).reshape(side, side)


def _kind(space: Any) -> str:
    return "missing" if space is None else f"{space.shape} of {space.dtype}"

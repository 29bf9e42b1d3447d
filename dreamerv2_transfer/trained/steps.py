"""The steps of a trained model as functions of named tensors, for other programs.

    initial_state   the state before the first observation
    observe         infers the state of an observation
    dream           dreams a step, and what it shows
    act             chooses the likeliest action after an observation
    act_sample      as act, but samples the action

Each step but the first also has a `_mode`, which needs no seed: the likeliest latents
take the place of those that are drawn. A model without an agent does not act.
"""

from __future__ import annotations

import dataclasses
import keyword
import re
from collections.abc import Callable, Collection

import tensorflow as tf

from dreamerv2_transfer.trained.dreams import Dreams
from dreamerv2_transfer.trained.graphs import seed_of_step
from dreamerv2_transfer.trained.model import Model

# The arguments that are not observations; a state returns what it was drawn from too.
STATE = ("deter", "stoch")
RESERVED = (*STATE, "logit", "mean", "std", "action", "is_first", "reward", "discount")
RESERVED += ("batch", "seed", "step", "self")
SEED = tf.TensorSpec([2], tf.int32, "seed")
STEP = tf.TensorSpec([], tf.int32, "step")

Tensors = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Step:
    """A function of tensors by name, to tensors by name.

    Attributes:
        function: Takes one dict.
        inputs: The specification of each tensor; the dimension None is the batch.
        text: What the function does.
    """

    function: Callable[[Tensors], Tensors]
    inputs: dict[str, tf.TensorSpec]
    text: str


def arguments(keys: Collection[str]) -> dict[str, str]:
    """Returns the name of the argument of each observation.

    It is the observation's own, where that is a word of ASCII letters and digits which
    no other argument has.
    """
    names: dict[str, str] = {}
    for key in keys:
        name = re.sub(r"\W", "_", key, flags=re.ASCII)
        is_word = name[:1].isalpha() and not keyword.iskeyword(name)
        if not is_word or name in RESERVED:
            name = f"observation_{name}"
        while name in names.values():
            name += "_"
        names[key] = name
    return names


class Steps:
    """Builds the steps of a model.

    Args:
        model: The model.

    Attributes:
        arguments: The name of each observation's argument.
    """

    def __init__(self, model: Model):
        self._model = model
        self._dreams = Dreams(model.network)
        self.arguments = arguments(list(model.observation_space))

    def all(self) -> dict[str, Step]:
        """Returns the steps by name."""
        state = _specs({k: v.shape for k, v in self._parts.items()})
        action = _specs({"action": (self._model.action_size,)})
        is_first = {"is_first": tf.TensorSpec([None], tf.bool, "is_first")}
        seen = {**self._observations, **is_first, **state, **action}
        dreamed = {**state, **action}
        noise, timed = {"seed": SEED}, {"seed": SEED, "step": STEP}
        found = {
            "initial_state": Step(
                self.initial_state,
                {"batch": tf.TensorSpec([], tf.int32, "batch")},
                "The state and the action before the first observation: zeros.",
            ),
            "observe": Step(
                self.observe,
                {**seen, **timed},
                "The state after an observation, to which the action led.",
            ),
            "dream": Step(
                self.dream,
                {**dreamed, **timed},
                "The state that the action leads to, and what it shows.",
            ),
        }
        if self._model.has_agent:
            found["act"] = Step(
                self.act,
                {**seen, **noise},
                "The likeliest action after an observation, and the state.",
            )
            found["act_sample"] = Step(
                self.act_sample, {**seen, **noise}, "As act, but samples the action."
            )
        for name in ("observe", "dream", "act"):
            if name in found:
                found[f"{name}_mode"] = _without_noise(name, found[name])
        return found

    @property
    def _parts(self):
        initial = self._model.initial()
        return {k: initial[k] for k in STATE}

    @property
    def _observations(self) -> dict[str, tf.TensorSpec]:
        spaces = self._model.observation_space
        return {
            name: tf.TensorSpec([None, *spaces[key].shape], spaces[key].dtype, name)
            for key, name in self.arguments.items()
        }

    def initial_state(self, inputs: Tensors) -> Tensors:
        """Returns zeros."""
        shapes = {k: v.shape for k, v in self._parts.items()}
        shapes["action"] = (self._model.action_size,)
        return {k: tf.zeros([inputs["batch"], *shape]) for k, shape in shapes.items()}

    def observe(self, inputs: Tensors) -> Tensors:
        """Does a step of `Model.observe`."""
        now = {k: inputs[k] for k in ("action", "is_first")}
        now["embed"] = self._dreams.embed(self._seen(inputs))
        return self._dreams.obs_step(_state(inputs), now, _seed(inputs))

    def dream(self, inputs: Tensors) -> Tensors:
        """Does a step of `Model.imagine`."""
        args = _state(inputs), inputs["action"], _seed(inputs)
        state = self._dreams.img_step(*args)
        shown = self._dreams.decode(state)
        return {**{self.arguments.get(k, k): v for k, v in shown.items()}, **state}

    def act(self, inputs: Tensors, mode: str = "eval") -> Tensors:
        """Does what `Agent.act` does."""
        seen = {**self._seen(inputs), "is_first": inputs["is_first"]}
        start = _state(inputs), inputs["action"]
        step = self._model.agent.step
        state, action = step(seen, start, inputs.get("seed"), mode)
        return {**_state(state), "action": action}

    def act_sample(self, inputs: Tensors) -> Tensors:
        """Does what `Agent.act` does with `sample=True`."""
        return self.act(inputs, "train")

    def _seen(self, inputs: Tensors) -> Tensors:
        return {key: inputs[name] for key, name in self.arguments.items()}


def _specs(shapes) -> dict[str, tf.TensorSpec]:
    return {k: tf.TensorSpec([None, *x], tf.float32, k) for k, x in shapes.items()}


def _state(inputs: Tensors) -> Tensors:
    return {k: inputs[k] for k in STATE}


def _seed(inputs: Tensors) -> tf.Tensor | None:
    """Returns the seed of a step, as `Model` derives it; None without one."""
    return seed_of_step(inputs.get("seed"), inputs.get("step"))


def _without_noise(name: str, step: Step) -> Step:
    inputs = {k: v for k, v in step.inputs.items() if k not in ("seed", "step")}
    text = f"As {name}, with the likeliest latents instead of drawn ones."
    return dataclasses.replace(step, inputs=inputs, text=text)

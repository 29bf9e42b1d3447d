"""The computations behind `Model` and `Agent`, on tensors `(T, B, ...)`.

Each step's noise derives from the number of the step, so that a dream in parts is the
same as one in a single call.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.envs import MASK
from dreamerv2_transfer.common.nets import dists
from dreamerv2_transfer.trained.graphs import seed_of_step
from dreamerv2_transfer.world_model import WorldModel


class Dreams:
    """Observes, dreams and decodes with a world model.

    Args:
        network: The world model.
    """

    def __init__(self, network: WorldModel):
        self._wm = network

    def observe(self, start, inputs, noise, first):
        """Returns the posterior states of what was observed, `(T, B, ...)`.

        Args:
            start: The states before, `(B, ...)`.
            inputs: Observations, `action` and `is_first`, each `(T, B, ...)`.
            noise: The key of the noise `(2,)`, or None for modes.
            first: The number of the first step.
        """
        length = tf.shape(inputs["is_first"])[0]

        def step(prev, now):
            return self.obs_step(prev, now, seed_of_step(noise, now["time"]))

        seen = {
            "embed": self.embed(inputs),
            "action": inputs["action"],
            "is_first": inputs["is_first"],
            "time": first + tf.range(length),
        }
        with self._wm.rssm.corrected():  # Once, not in each step.
            return tfutils.scan(step, seen, start, length)

    def imagine(self, start, action, noise, first):
        """Dreams along actions `(T, B, actions)`: states, what they show, actions."""
        length = tf.shape(action)[0]

        def step(prev, now):
            return self.img_step(prev, now["action"], seed_of_step(noise, now["time"]))

        inputs = {"action": action, "time": first + tf.range(length)}
        with self._wm.rssm.corrected():
            states = tfutils.scan(step, inputs, start, length)
        return states, self.decode(states), action

    def follow(self, actor, start, length, noise, first):
        """As `imagine`, with the actions of an actor."""
        rssm = self._wm.rssm

        def step(prev, now):
            state, _ = prev
            seed = seed_of_step(noise, now["time"])
            act_seed, state_seed = tfutils.split_seed(seed, 2)
            dist = actor(self._wm.behavior_feat(state))
            if self._wm.masks:
                mask = self._wm.predicted_mask(rssm.get_feat(state))
                dist = dists.masked(dist, mask)
            action = dists.sample(dist, act_seed)
            return self.img_step(state, action, state_seed), action

        none = tf.zeros_like(actor(self._wm.behavior_feat(start)).mode())
        inputs = {"time": first + tf.range(length)}
        with rssm.corrected():
            states, actions = tfutils.scan(step, inputs, (start, none), length)
        return states, self.decode(states), actions

    def embed(self, inputs):
        """Returns the encoder's embeddings of observations."""
        return self._wm.encoder(self._wm.preprocess(inputs))

    def obs_step(self, prev, now, seed):
        """Returns the posterior states `(B, ...)` of one step.

        Args:
            prev: The states before.
            now: `embed`, `action` and `is_first` of the step.
            seed: The seed of its noise, or None for modes.
        """
        rssm = self._wm.rssm
        drawn = rssm.obs_noise(seed, tfutils.lead(prev["deter"], 1))
        args = now["action"], now["embed"], now["is_first"], drawn
        return rssm.obs_step(prev, *args)[0]

    def img_step(self, prev, action, seed):
        """Returns the prior states `(B, ...)` after an action, see `obs_step`."""
        rssm = self._wm.rssm
        drawn = rssm.img_noise(seed, tfutils.lead(prev["deter"], 1))
        return rssm.img_step(prev, action, drawn)

    def decode(self, states):
        """Returns observations, `reward`, `discount` and any mask of states."""
        feat = self._wm.rssm.get_feat(states)
        heads = self._wm.heads
        found = {k: dist.mean() for k, dist in heads["decoder"](feat).items()}
        for key, value in found.items():
            dtype = self._wm.obs_space[key].dtype
            if dtype == np.uint8:
                value = tf.clip_by_value(tf.round((value + 0.5) * 255.0), 0, 255)
                found[key] = tf.cast(value, tf.uint8)
            elif np.dtype(dtype).kind == "b":
                # A squared error may predict a bit more or less.
                found[key] = tf.clip_by_value(value, 0, 1)
        found["reward"] = heads["reward"](feat).mode()
        found["discount"] = self._wm.predicted_discount(feat)
        if self._wm.masks:
            found[MASK] = self._wm.predicted_mask(feat)
        return found

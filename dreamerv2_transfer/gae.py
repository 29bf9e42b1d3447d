"""Actor and critic as pydreamer learns them: `behavior: pydreamer`.

Source: github.com/jurgisp/pydreamer, commit 8a4ea85, `pydreamer/models/a2c.py`, and
`training_step` in `dreamer.py`. With z the states of a dream of H steps, r their
rewards, p the probabilities that they are terminal, and v the slow critic's values,

    target_t = r_{t+1} + d_{t+1} ((1 - lambda) v_{t+1} + lambda target_{t+1})
    d_t      = discount (1 - p_t),    target_H = v_H
    weight_t = (1 - p_0) ... (1 - p_t)
    critic   = mean over t < H of  weight_t (target_t - critic(z_t))^2 / 2
    actor    = mean over t < H of -weight_t (log pi(a_t | z_t) (target_t - v_t)
                                             + actor_ent H(pi(. | z_t)))

(`target_t - v_t` is the generalized advantage estimate of Schulman et al. 2016,
equation 16.) What differs from DreamerV2:

    a value             leaves out the reward of its own state
    weights             leave out the discount, and count the state itself
    the actor           learns from the first state on, to the last action
    the slow critic     is copied before an update, not after it
    the world model     changes after the behaviors have learned from it, not before

With `actor_grad: dynamics`, the objective is `target_t` with the gradient that flows
through the dream. (In pydreamer's last commit this setting fails an assertion.)
"""

from __future__ import annotations

import tensorflow as tf


def is_chosen(config) -> bool:
    """Whether a configuration asks for this behavior."""
    return config.behavior == "pydreamer"


def weight(seq, config) -> tf.Tensor:
    """Returns the weight of each state but the last, `(H, B * T)`.

    Args:
        seq: `discount` `(H + 1, B * T)`, as `WorldModel.imagine` returns it.
        config: The resolved configuration.
    """
    alive = tf.math.divide_no_nan(seq["discount"][:-1], float(config.discount))
    return tf.math.cumprod(alive, 0)

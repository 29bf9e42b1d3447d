"""Losses of several tasks, balanced by their scale."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import keras
import tensorflow as tf


class Harmony(keras.layers.Layer):
    """Divides the loss of each task by a scale that it learns.

    Ma et al. 2024, "HarmonyDream: Task Harmonization Inside World Models" (arXiv
    2310.00344), the rectified loss of equation 5:

        sum_i L_i / sigma_i + log(1 + sigma_i),    sigma_i = exp(s_i)

    s_i starts at 0 and is trained with the model. The loss is smallest at `sigma_i^2 =
    L_i (1 + sigma_i)`: sigma_i is near `1 + L_i` for a large loss, which then counts
    about 1, and near the root of L_i for a small one, whose factor stays moderate. With
    a negative loss, sigma_i would fall without end.

    Args:
        tasks: By name, the names of a task's losses. Its L_i is their mean, weighted by
            `scales`, without those that are not given; a task with a weight of 0 is
            left out.
        name: Name of the layer.
    """

    def __init__(
        self, tasks: Mapping[str, Collection[str]], name: str = "loss_balance"
    ):
        super().__init__(name=name, dtype="float32")
        self._tasks = dict(tasks)
        self._s = {
            task: self.add_weight((), name=task, initializer="zeros") for task in tasks
        }

    @property
    def factors(self) -> dict[str, tf.Tensor]:
        """The factor `1 / sigma_i` of each task."""
        return {task: tf.exp(-s.value) for task, s in self._s.items()}

    def total(
        self, losses: Mapping[str, tf.Tensor], scales: Mapping[str, float]
    ) -> tf.Tensor:
        """Returns the sum of all losses, those of the tasks balanced.

        Args:
            losses: By name, of any one shape; none of a task's is negative.
            scales: The factor of each loss, for those of a task only in their mean.
        """
        total, rest = 0.0, dict(losses)
        for task, names in self._tasks.items():
            parts = {k: rest.pop(k) for k in names if k in rest}
            if weight := sum(scales[k] for k in parts):
                loss = tf.add_n([scales[k] * v for k, v in parts.items()]) / weight
                s = self._s[task].value
                total += tf.exp(-s) * loss + tf.math.softplus(s)
        return total + sum(scales[k] * v for k, v in rest.items())

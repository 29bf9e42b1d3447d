"""Keras optimizers with clipping, weight decay and loss scaling."""

from __future__ import annotations

import re

import keras
import tensorflow as tf

from dreamerv2_transfer.common import foreign
from dreamerv2_transfer.common.distributed import replicas
from dreamerv2_transfer.common.tfutils import compute_dtype


class Optimizer:
    """A Keras optimizer with clipping, decoupled weight decay and loss scaling.

    As the original: the gradients, averaged over the replicas, are clipped by their
    global norm, then every variable is multiplied by `1 - wd` (not times the learning
    rate, as in Keras), then the update is applied. Weight decay leaves variables
    without a gradient alone, and a step whose scaled gradients overflow in float16
    changes nothing, and is counted.

    Args:
        name: Prefix of the metrics.
        variables: The trainable variables, all that the optimizer will ever update.
        lr: Learning rate.
        eps: Epsilon of Adam and its kin.
        clip: Largest global norm of the gradients, at least 1; 0 or None: no clipping.
        wd: Weight decay, a fraction of each weight a step.
        opt: `adam`, `nadam`, `adamax`, `sgd` or `momentum`.
        wd_pattern: Weight decay is for variables whose `NAME/PATH` it matches.
    """

    def __init__(
        self,
        name: str,
        variables: list[keras.Variable],
        lr: float,
        eps: float = 1e-4,
        clip: float | None = None,
        wd: float = 0.0,
        opt: str = "adam",
        wd_pattern: str = r".*",
    ):
        if not 0 <= wd < 1:
            raise ValueError(f"Weight decay is a fraction. Received: wd={wd}")
        if clip and clip < 1:
            raise ValueError(f"clip is at least 1, or 0. Received: clip={clip}")
        self._name = name
        self._variables = list(variables)
        self._clip = clip
        self._wd = wd
        self._wd_pattern = wd_pattern
        self._opt = _make_optimizer(opt, lr, eps, name)
        if compute_dtype() == tf.float16:
            self._opt = keras.optimizers.LossScaleOptimizer(
                self._opt, name=f"{name}_opt_scaled"
            )
        self._opt.build(self._variables)

    @property
    def variables(self) -> list[keras.Variable]:
        """All of the optimizer's own state: slots, step count, loss scale."""
        return self._opt.variables

    def __call__(self, tape: tf.GradientTape, loss: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes one step down the gradient of a scalar float32 loss."""
        metrics = {f"{self._name}_loss": loss}
        scale = self._loss_scale()
        if scale is not None:
            metrics[f"{self._name}_loss_scale"] = scale
            with tape:
                loss = loss * scale
        grads = tape.gradient(loss, [v.value for v in self._variables])
        pairs = [
            (g, v) for g, v in zip(grads, self._variables, strict=True) if g is not None
        ]
        pairs = _averaged(pairs)
        norm = tf.linalg.global_norm([g for g, _ in pairs])
        if scale is not None:
            norm = norm / scale
            # Its mean over a line of the log is the share of steps that were skipped.
            overflow = tf.cast(~tf.math.is_finite(norm), tf.float32)
            metrics[f"{self._name}_overflow"] = overflow
        metrics[f"{self._name}_grad_norm"] = norm
        self._apply(pairs, norm, scale)
        return metrics

    def _apply(self, pairs, norm: tf.Tensor, scale: tf.Tensor | None) -> None:
        if not pairs:
            return
        grads, variables = zip(*pairs, strict=True)
        if self._clip:
            # As tf.clip_by_global_norm; the scale cancels out of the ratio.
            factor = self._clip / tf.maximum(norm, self._clip)
            grads = [g * tf.cast(factor, g.dtype) for g in grads]
        # Without loss scaling a NaN is the trainer's to report, not ours to hide.
        finite = True if scale is None else tf.math.is_finite(norm)
        self._decay(variables, finite)
        self._opt.apply(grads, variables)

    def _decay(self, variables, finite: bool | tf.Tensor) -> None:
        if not self._wd:
            return
        keep = 1 - self._wd if finite is True else tf.where(finite, 1 - self._wd, 1.0)
        for var in variables:
            if re.search(self._wd_pattern, f"{self._name}/{var.path}"):
                var.assign(var.value * keep)

    def _loss_scale(self) -> tf.Tensor | None:
        if isinstance(self._opt, keras.optimizers.LossScaleOptimizer):
            return tf.convert_to_tensor(self._opt.dynamic_scale)
        return None


class Adam(keras.optimizers.Adam):
    """Keras' Adam, one operation a variable in place of twenty.

    Kingma & Ba 2015, in the order of computation at the end of their section 2.
    """

    def update_step(self, gradient, variable, learning_rate) -> None:
        momentum, velocity = foreign.adam_moments(self, variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.value.handle,
            v=velocity.value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, tf.float32),
        )


def _averaged(pairs: list) -> list:
    """The gradients' means over the replicas, each with its variable."""
    if not pairs:
        return []
    grads, variables = zip(*pairs, strict=True)
    return list(zip(replicas.mean(list(grads)), variables, strict=True))


def _make_optimizer(opt: str, lr: float, eps: float, name: str):
    kinds = {
        "adam": lambda name: Adam(lr, epsilon=eps, name=name),
        "nadam": lambda name: keras.optimizers.Nadam(lr, epsilon=eps, name=name),
        "adamax": lambda name: keras.optimizers.Adamax(lr, epsilon=eps, name=name),
        "sgd": lambda name: keras.optimizers.SGD(lr, name=name),
        "momentum": lambda name: keras.optimizers.SGD(lr, 0.9, name=name),
    }
    if opt not in kinds:
        raise ValueError(f"opt is one of {sorted(kinds)}. Received: {opt!r}")
    made = kinds[opt](f"{name}_opt")
    foreign.skip_gradient_sum(made)
    return made

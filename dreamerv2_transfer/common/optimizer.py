"""Keras optimizers with clipping, weight decay and loss scaling."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import keras
import tensorflow as tf

from dreamerv2_transfer.common import foreign
from dreamerv2_transfer.common.distributed import replicas
from dreamerv2_transfer.common.tfutils import compute_dtype


class Optimizer:
    """A Keras optimizer with clipping, decoupled weight decay and loss scaling.

    As in the original, the gradients (averaged over the replicas) are clipped by their
    global norm, then every variable is multiplied by `1 - wd` (not times the learning
    rate, as in Keras), then the update is applied. Variables without a gradient are not
    decayed. A step whose scaled gradients overflow in float16 changes nothing, and is
    counted.

    Args:
        name: Prefix of the metrics.
        variables: The trainable variables, all that the optimizer will ever update.
        lr: Learning rate.
        eps: Epsilon of Adam and its variants.
        clip: Largest global norm of the gradients, at least 1; 0 or None: no clipping.
        wd: Weight decay, a fraction of each weight a step.
        opt: `adam`, `adamw` (see `TorchAdam`), `nadam`, `adamax`, `sgd` or `momentum`.
        wd_pattern: Only variables whose `NAME/PATH` it matches are decayed.
        lr_by: Factors of the learning rate by the first part of a variable's path, 1
            where there is none.
        wd_start: A fraction of each weight's distance from its start that a step
            removes, as weight decay removes one of its distance from zero. Starts
            are what `keep_start` found; other weights are not pulled.

    Raises:
        ValueError: If `wd`, `clip` or `opt` has no meaning.
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
        lr_by: Mapping[str, float] | None = None,
        wd_start: float = 0.0,
    ):
        for key, value in {"wd": wd, "wd_start": wd_start}.items():
            if not 0 <= value < 1:
                text = f"{key} must be a fraction in 0..1. Received: {key}={value}"
                raise ValueError(text)
        if clip and clip < 1:
            raise ValueError(f"clip must be at least 1, or 0. Received: clip={clip}")
        if opt not in OPTIMIZERS:
            raise ValueError(f"opt is one of {sorted(OPTIMIZERS)}. Received: {opt!r}")
        self._name = name
        self._variables = list(variables)
        self._clip = clip
        self._wd = wd
        self._wd_pattern = wd_pattern
        self._start = Start(self._variables, wd_start) if wd_start else None
        self._opt = OPTIMIZERS[opt](lr, eps, f"{name}_opt")
        foreign.skip_gradient_sum(self._opt)
        parts = [variable.path.split("/")[0] for variable in self._variables]
        factors = [(lr_by or {}).get(part, 1.0) for part in parts]
        if any(factor != 1 for factor in factors):
            _scale_steps(self._opt, factors)
        if compute_dtype() == tf.float16:
            self._opt = keras.optimizers.LossScaleOptimizer(
                self._opt, name=f"{name}_opt_scaled"
            )
        self._opt.build(self._variables)

    @property
    def variables(self) -> list[keras.Variable]:
        """All of the optimizer's own state: slots, step count, loss scale, starts."""
        return self._opt.variables + (self._start.variables if self._start else [])

    @property
    def moments(self) -> dict[str, tf.Variable]:
        """Adam's own state by name: its steps, and both moments of each variable.

        Those of a variable are `m/PATH` and `v/PATH`.
        """
        opt = getattr(self._opt, "inner_optimizer", self._opt)
        named = {"iterations": opt.iterations.value}
        for variable in self._variables:
            for kind, moment in zip(
                "mv", foreign.adam_moments(opt, variable), strict=True
            ):
                named[f"{kind}/{variable.path}"] = moment.value
        return named

    def keep_start(self, paths: Collection[str]) -> None:
        """Keeps the values of the variables of these paths, if `wd_start` is not 0."""
        if self._start:
            self._start.keep(paths)

    def __call__(self, tape: tf.GradientTape, loss: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes one step down the gradient of a scalar float32 loss."""
        metrics = {f"{self._name}_loss": loss}
        scale = None
        if isinstance(self._opt, keras.optimizers.LossScaleOptimizer):
            scale = tf.convert_to_tensor(self._opt.dynamic_scale)
            metrics[f"{self._name}_loss_scale"] = scale
            with tape:
                loss = loss * scale
        grads = tape.gradient(loss, [v.value for v in self._variables])
        pairs = zip(grads, self._variables, strict=True)
        pairs = [(grad, var) for grad, var in pairs if grad is not None]
        if pairs:
            grads, variables = zip(*pairs, strict=True)
            pairs = list(zip(replicas.mean(list(grads)), variables, strict=True))
        norm = tf.linalg.global_norm([grad for grad, _ in pairs])
        if scale is not None:
            norm = norm / scale
            # Its mean over the updates of a log line is the share of skipped steps.
            overflow = tf.cast(~tf.math.is_finite(norm), tf.float32)
            metrics[f"{self._name}_overflow"] = overflow
        metrics[f"{self._name}_grad_norm"] = norm
        if self._start:
            metrics[f"{self._name}_start_distance"] = self._start.distance()
        if pairs:
            self._apply(*zip(*pairs, strict=True), norm, scaled=scale is not None)
        return metrics

    def _apply(self, grads, variables, norm: tf.Tensor, scaled: bool) -> None:
        """Clips the gradients, decays the weights, and updates them."""
        if self._clip:
            # As tf.clip_by_global_norm; a loss scale cancels out of the ratio.
            factor = self._clip / tf.maximum(norm, self._clip)
            grads = [grad * tf.cast(factor, grad.dtype) for grad in grads]
        # Without loss scaling, the trainer must see a NaN.
        skipped = ~tf.math.is_finite(norm) if scaled else None
        if self._wd:
            keep = 1 - self._wd
            if scaled:
                keep = tf.where(skipped, 1.0, keep)
            for var in variables:
                if re.search(self._wd_pattern, f"{self._name}/{var.path}"):
                    var.assign(var.value * keep)
        if self._start:
            self._start.pull(variables, skipped)
        self._opt.apply(grads, variables)


class Start:
    """Pulls weights towards those that training started from.

        weight -= wd_start * (weight - start)

    That is L2-SP (Li et al. 2018, "Explicit Inductive Bias for Transfer Learning with
    Convolutional Networks", arXiv 1802.01483), decoupled from the gradient as AdamW
    decouples weight decay (Loshchilov & Hutter 2019): Adam would scale the gradient of
    an L2 loss away. As there, weights that were not loaded are not pulled.

    Args:
        variables: The variables that an optimizer updates.
        share: `wd_start`.
    """

    def __init__(self, variables: list[keras.Variable], share: float):
        self._variables = variables
        self._share = share
        self._values = [
            keras.Variable(
                tf.zeros(v.shape),
                trainable=False,
                name=f"start.{v.path.replace('/', '.')}",
            )
            for v in variables
        ]
        # Which of them are pulled; a run that resumes knows it from its checkpoint.
        self._is_kept = keras.Variable(
            tf.zeros(len(variables)), trainable=False, name="start_is_kept"
        )

    @property
    def variables(self) -> list[keras.Variable]:
        return [*self._values, self._is_kept]

    def keep(self, paths: Collection[str]) -> None:
        """Keeps today's values of the variables of these paths."""
        for start, variable in zip(self._values, self._variables, strict=True):
            start.assign(variable.value)
        self._is_kept.assign([float(v.path in paths) for v in self._variables])

    def distance(self) -> tf.Tensor:
        """Returns the norm of the distance of all weights that are pulled."""
        pairs = zip(self._variables, self._values, strict=True)
        squares = [
            tf.reduce_sum(tf.square(v.value - start.value)) for v, start in pairs
        ]
        return tf.sqrt(tf.reduce_sum(tf.stack(squares) * self._is_kept.value))

    def pull(
        self, variables: Sequence[keras.Variable], skipped: tf.Tensor | None
    ) -> None:
        """Pulls some of the variables; none of them where `skipped` is true."""
        share = self._share * self._is_kept.value
        if skipped is not None:
            share = tf.where(skipped, 0.0, share)
        places = {id(v): i for i, v in enumerate(self._variables)}
        for variable in variables:
            i = places[id(variable)]
            away = variable.value - self._values[i].value
            variable.assign(variable.value - share[i] * away)


def _scale_steps(opt: keras.optimizers.Optimizer, factors: Sequence[float]) -> None:
    """Multiplies the learning rate of each of an optimizer's variables by a factor."""
    update_step = opt.update_step

    def scaled(gradient, variable, learning_rate) -> None:
        factor = factors[foreign.variable_index(opt, variable)]
        update_step(gradient, variable, learning_rate * factor)

    opt.update_step = scaled


class Adam(keras.optimizers.Adam):
    """Keras' Adam with one operation for each variable instead of twenty.

    Kingma & Ba 2015, in the order of computation at the end of their section 2.
    """

    def update_step(self, gradient, variable, learning_rate) -> None:
        step = tf.cast(self.iterations + 1, tf.float32)
        self._update(gradient, variable, learning_rate, step, self.epsilon)

    def _update(self, gradient, variable, learning_rate, step, epsilon) -> None:
        momentum, velocity = foreign.adam_moments(self, variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.value.handle,
            v=velocity.value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=epsilon,
            grad=tf.cast(gradient, tf.float32),
        )


class TorchAdam(Adam):
    """Adam as PyTorch has it: epsilon is added after the correction of the bias.

        v_hat = v / (1 - beta2^t),    step = lr * m_hat / (sqrt(v_hat) + epsilon)

    Kingma & Ba's faster form adds `epsilon * sqrt(1 - beta2^t)` to `sqrt(v)`. With a
    `wd` of the learning rate times the decay, `Optimizer` makes it PyTorch's AdamW.
    """

    def update_step(self, gradient, variable, learning_rate) -> None:
        step = tf.cast(self.iterations + 1, tf.float32)
        epsilon = self.epsilon * tf.sqrt(1.0 - tf.pow(self.beta_2, step))
        self._update(gradient, variable, learning_rate, step, epsilon)


OPTIMIZERS = {
    "adam": lambda lr, eps, name: Adam(lr, epsilon=eps, name=name),
    "adamw": lambda lr, eps, name: TorchAdam(lr, epsilon=eps, name=name),
    "nadam": lambda lr, eps, name: keras.optimizers.Nadam(lr, epsilon=eps, name=name),
    "adamax": lambda lr, eps, name: keras.optimizers.Adamax(lr, epsilon=eps, name=name),
    "sgd": lambda lr, eps, name: keras.optimizers.SGD(lr, name=name),
    "momentum": lambda lr, eps, name: keras.optimizers.SGD(lr, 0.9, name=name),
}

"""An RSSM that adapts to another game while its kernels stay frozen.

Low-rank corrections:

    kernel + scale * down @ up

Each dense layer of the RSSM, those of the cell included, has a `down (n, rank)`, which
starts random, and an `up (rank, m)`, which starts as zeros: at first the corrected
model is the plain one.

Sources: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv
2106.09685, section 4.1; and ReDRAW (arXiv 2504.02252), which adapts a frozen world
model by residual corrections of its dynamics. ReDRAW corrects the logits of the prior
by a network of its own; here the correction is part of each product instead, so that it
costs two sums of kernels per update and disappears where weights are merged.

Aligned actions: each action of the new game is a mixture of those that the model knows,

    known action = action @ softmax(SHARPNESS * align)       align (new, known)

so that `img_in` can stay as it is. At first all mixtures are uniform: nothing is known
of the new actions.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

import keras
import tensorflow as tf

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.nets.layers import Dense, cast
from dreamerv2_transfer.common.nets.rssm import EnsembleRSSM, State

SHARPNESS = 10.0  # So that a mixture can become one action in some hundred updates.
# The RSSMs whose corrected kernels are in place.
_corrected: contextvars.ContextVar[tuple] = contextvars.ContextVar(
    "corrected", default=()
)


class AdaptedRSSM(EnsembleRSSM):
    """An `EnsembleRSSM` with corrected kernels, aligned actions or both.

    Its equations are those of `EnsembleRSSM`. Each of its methods puts the corrected
    kernels in the kernels' place while it runs; a loop over `img_step` does so once
    for all steps, see `corrected`. Neither `rssm_loop` nor a dense layer knows of it.

    Args:
        rank: Rank of the corrections; 0 for none.
        scale: Factor of the corrections.
        actions: Number of the actions that the model knows; 0 if they are those of the
            game.
        options: As `EnsembleRSSM` takes them.
    """

    def __init__(self, rank: int, scale: float, actions: int, **options):
        super().__init__(**options)
        self._rank = rank
        self._scale = scale
        self._actions = actions
        self.down: list[keras.Variable] = []
        self.up: list[keras.Variable] = []

    @property
    def _dense_layers(self) -> list[Dense]:
        cells = self.cell.products.values()
        outputs = [*self.img_out, *self.img_dist, self.obs_out, self.obs_dist]
        return [self.img_in, *cells, *outputs]

    def build(self, embed_size: int, action_size: int) -> None:
        super().build(embed_size, self._actions or action_size)
        if self._actions:
            shape = action_size, self._actions
            self.align = self.add_weight(shape, "zeros", name="adapter.align")
        if self._rank:
            self._build_corrections()

    def _build_corrections(self) -> None:
        for layer in self._dense_layers:
            inputs, units = layer.kernel.shape
            _, *path, _ = layer.kernel.path.split("/")
            name = ".".join(["adapter", *path])
            # A product with `down` has the variance of its inputs.
            down = self.add_weight(
                (inputs, self._rank), "lecun_normal", name=f"{name}.down"
            )
            up = self.add_weight((self._rank, units), "zeros", name=f"{name}.up")
            self.down.append(down)
            self.up.append(up)
        # A part of the weights, so that a file of them can be merged on its own.
        self.scale = self.add_weight(
            (), keras.initializers.Constant(self._scale), trainable=False,
            name="adapter.scale",
        )  # fmt: skip

    @contextlib.contextmanager
    def corrected(self) -> Iterator[None]:
        """Puts the corrected kernels in the kernels' place inside the block."""
        if not self._rank or self in _corrected.get():
            yield
            return
        kernels = [layer.kernel for layer in self._dense_layers]
        values = [
            kernel.value + self.scale.value * tf.linalg.matmul(down.value, up.value)
            for kernel, down, up in zip(kernels, self.down, self.up, strict=True)
        ]
        token = _corrected.set((*_corrected.get(), self))
        try:
            with tfutils.with_values(kernels, values):
                yield
        finally:
            _corrected.reset(token)

    def read_action(self, action: tf.Tensor, state: State) -> tf.Tensor:
        """Returns the known actions that take an action's place."""
        if self._actions:
            mixture = tf.nn.softmax(SHARPNESS * self.align.value)
            action = tf.linalg.matmul(cast(action), cast(mixture))
        return super().read_action(action, state)

    def observe(self, *args, **kwargs):
        with self.corrected():
            return super().observe(*args, **kwargs)

    def imagine(self, *args, **kwargs):
        with self.corrected():
            return super().imagine(*args, **kwargs)

    def obs_step(self, *args, **kwargs):
        with self.corrected():
            return super().obs_step(*args, **kwargs)

    def img_step(self, *args, **kwargs):
        with self.corrected():
            return super().img_step(*args, **kwargs)

"""The encoder and the decoder, of images and vectors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf
import tensorflow_probability.python.distributions as tfd

from dreamerv2_transfer.common import machine
from dreamerv2_transfer.common.nets import dists
from dreamerv2_transfer.common.nets.features import Features
from dreamerv2_transfer.common.nets.heads import DistLayer, Head
from dreamerv2_transfer.common.nets.layers import (
    Conv2D,
    Conv2DTranspose,
    Dense,
    apply_stack,
    batch_apply,
    build_stack,
    cast,
    choose,
    flatten_event,
    make_norms,
)
from dreamerv2_transfer.common.ops import activations


class Encoder(keras.layers.Layer):
    """Embeds images by convolutions and vectors by an MLP, and joins the two.

    Args:
        shapes: Shape of each observation key, in order.
        cnn_keys: Pattern of the image keys, among those of three dimensions.
        mlp_keys: Pattern of the vector keys, among those of one dimension.
        act: Activation.
        norm: `none` or `layer`.
        cnn_depth: Channels of the first convolution; each next one has twice as many.
        cnn_kernels: Kernel sizes.
        mlp_layers: Sizes of the dense layers.
        cnn_strides: Strides, one for each kernel.
        symlog: Whether to take the symlog of vectors (Hafner et al. 2023, section
            "Symlog Predictions"), which compresses large numbers.
        name: Name of the layer.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        cnn_keys: str = r".*",
        mlp_keys: str = r".*",
        act: str = "elu",
        norm: str = "none",
        cnn_depth: int = 48,
        cnn_kernels: Sequence[int] = (4, 4, 4, 4),
        mlp_layers: Sequence[int] = (400, 400, 400, 400),
        cnn_strides: Sequence[int] = (2, 2, 2, 2),
        symlog: bool = False,
        name: str = "encoder",
    ):
        super().__init__(name=name)
        _check_stack(cnn_kernels, cnn_strides)
        self._shapes = {k: tuple(v) for k, v in shapes.items()}
        self.cnn_keys = _matching(shapes, cnn_keys, 3)
        self.mlp_keys = _matching(shapes, mlp_keys, 1)
        _check_inputs(name, shapes, self.cnn_keys, self.mlp_keys)
        self._act = activations.get_act(act)
        self._symlog = symlog
        dtype = machine.conv_dtype()
        self.convs = [
            Conv2D(cnn_depth * 2**i, kernel, stride, name=f"conv{i}", dtype=dtype)
            for i, (kernel, stride) in enumerate(
                zip(cnn_kernels, cnn_strides, strict=True)
            )
            if self.cnn_keys
        ]
        self.conv_norms = make_norms("convnorm", norm, len(self.convs))
        layers = mlp_layers if self.mlp_keys else ()
        self.denses = [Dense(units, name=f"dense{i}") for i, units in enumerate(layers)]
        self.dense_norms = make_norms("densenorm", norm, len(self.denses))

    def build(self) -> None:
        if self.cnn_keys:
            size = self._build_convs()
            self.embed_size = math.prod(size)
        else:
            self.embed_size = 0
        if self.mlp_keys:
            width = sum(self._shapes[k][0] for k in self.mlp_keys)
            self.embed_size += build_stack(self.denses, self.dense_norms, width)

    def _build_convs(self) -> tuple[int, ...]:
        images = [self._shapes[k] for k in self.cnn_keys]
        shape = (None, *images[0][:2], sum(s[2] for s in images))
        for conv, norm in zip(self.convs, self.conv_norms, strict=True):
            if min(shape[1:3]) < conv.kernel_size[0]:
                raise ValueError(
                    f"Images of {images[0]} are too small for {conv.name}: its kernel "
                    f"has size {conv.kernel_size[0]}, its input {shape[1:]}. The axes "
                    "are height, width and channels. Change encoder.cnn_kernels and "
                    "encoder.cnn_strides."
                )
            conv.build(shape)
            shape = conv.compute_output_shape(shape)
            norm.build(shape)
        return shape[1:]

    def call(self, data: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Embeds observations `(..., *shape)` of each key into `(..., embed_size)`."""
        outputs = []
        if self.cnn_keys:
            images = tf.concat([cast(data[k]) for k in self.cnn_keys], -1)
            outputs.append(batch_apply(self._cnn, images, event_dims=3))
        if self.mlp_keys:
            vectors = [data[k] for k in self.mlp_keys]
            if self._symlog:
                vectors = [dists.symlog(tf.cast(x, tf.float32)) for x in vectors]
            vectors = tf.concat([cast(x) for x in vectors], -1)
            outputs.append(
                apply_stack(self.denses, self.dense_norms, self._act, vectors)
            )
        return tf.concat(outputs, -1)

    def _cnn(self, x: tf.Tensor) -> tf.Tensor:
        x = apply_stack(self.convs, self.conv_norms, self._act, x)
        return cast(flatten_event(x, 3))


class Decoder(Head):
    """Predicts images by transposed convolutions and vectors by an MLP.

    Args:
        shapes: Shape of each observation key, in order.
        cnn_keys: Pattern of the image keys.
        mlp_keys: Pattern of the vector keys.
        act: Activation.
        norm: `none` or `layer`; the last convolution has none.
        cnn_depth: Channels of the last hidden convolution; each one before it has twice
            as many.
        cnn_kernels: Kernel sizes.
        mlp_layers: Sizes of the dense layers.
        cnn_strides: Strides, one for each kernel.
        cnn_dist: Likelihood of images: `mse` (a Normal of unit variance) or `binary`.
        mlp_dist: Likelihood of vectors: `mse` or `symlog_mse`, see `DistLayer`.
        name: Name of the layer.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        cnn_keys: str = r".*",
        mlp_keys: str = r".*",
        act: str = "elu",
        norm: str = "none",
        cnn_depth: int = 48,
        cnn_kernels: Sequence[int] = (4, 4, 4, 4),
        mlp_layers: Sequence[int] = (400, 400, 400, 400),
        cnn_strides: Sequence[int] = (2, 2, 2, 2),
        cnn_dist: str = "mse",
        mlp_dist: str = "mse",
        name: str = "decoder",
    ):
        super().__init__(name=name)
        _check_stack(cnn_kernels, cnn_strides)
        self._shapes = {k: tuple(v) for k, v in shapes.items()}
        self.cnn_keys = _matching(shapes, cnn_keys, 3)
        self.mlp_keys = _matching(shapes, mlp_keys, 1)
        _check_inputs(name, shapes, self.cnn_keys, self.mlp_keys)
        self._act = activations.get_act(act)
        self.cnn_dist = cnn_dist
        self._image_dist = choose("cnn_dist", cnn_dist, IMAGE_DISTS)
        self._channels = [self._shapes[k][-1] for k in self.cnn_keys]
        if self.cnn_keys:
            self.convin = Dense(32 * cnn_depth, name="convin")
        depths = [cnn_depth * 2**i for i in reversed(range(len(cnn_kernels) - 1))]
        dtype = machine.conv_dtype()
        self.convs = [
            Conv2DTranspose(depth, kernel, stride, name=f"conv{i}", dtype=dtype)
            for i, (depth, kernel, stride) in enumerate(
                zip(
                    [*depths, sum(self._channels)],
                    cnn_kernels,
                    cnn_strides,
                    strict=True,
                )
            )
            if self.cnn_keys
        ]
        self.conv_norms = make_norms("convnorm", norm, max(0, len(self.convs) - 1))
        layers = mlp_layers if self.mlp_keys else ()
        self.denses = [Dense(units, name=f"dense{i}") for i, units in enumerate(layers)]
        self.dense_norms = make_norms("densenorm", norm, len(self.denses))
        self.outs = [
            DistLayer(self._shapes[k], mlp_dist, name=_layer_name(k))
            for k in self.mlp_keys
        ]

    def build(self, feat_size: int) -> None:
        if self.cnn_keys:
            self._build_convs(feat_size)
        if self.mlp_keys:
            width = build_stack(self.denses, self.dense_norms, feat_size)
            for out in self.outs:
                out.build((None, width))

    def _build_convs(self, feat_size: int) -> None:
        self.convin.build((None, feat_size))
        shape = (None, 1, 1, self.convin.units)
        for conv, norm in zip(self.convs, [*self.conv_norms, None], strict=True):
            conv.build(shape)
            shape = conv.compute_output_shape(shape)
            if norm is not None:
                norm.build(shape)
        for key in self.cnn_keys:
            if self._shapes[key][:2] != tuple(shape[1:3]):
                raise ValueError(
                    f"The decoder makes images of {tuple(shape[1:3])}, but {key!r} has "
                    f"{self._shapes[key]}. Change decoder.cnn_kernels and "
                    "decoder.cnn_strides, or resize the images, for example with "
                    f"gymnasium.wrappers.ResizeObservation(env, {tuple(shape[1:3])})."
                )

    def call(self, features: tf.Tensor | Features) -> dict[str, object]:
        """Returns the distribution of each key, given features `(..., feat)`."""
        outputs = {}
        if self.cnn_keys:
            images = batch_apply(self._cnn, features, event_dims=1)
            parts = tf.split(tf.cast(images, tf.float32), self._channels, -1)
            for key, part in zip(self.cnn_keys, parts, strict=True):
                outputs[key] = self._image_dist(part)
        if self.mlp_keys:
            x = batch_apply(self._mlp, features, event_dims=1)
            for key, out in zip(self.mlp_keys, self.outs, strict=True):
                outputs[key] = out(x)
        return outputs

    def _mlp(self, x: tf.Tensor | Features) -> tf.Tensor:
        return apply_stack(self.denses, self.dense_norms, self._act, x)

    def _cnn(self, x: tf.Tensor | Features) -> tf.Tensor:
        x = self.convin(x)[:, None, None, :]
        x = apply_stack(self.convs[:-1], self.conv_norms, self._act, x)
        return self.convs[-1](x)


IMAGE_DISTS = {
    "mse": lambda x: tfd.Independent(tfd.Normal(x, 1.0), 3),
    "binary": lambda x: tfd.Independent(tfd.Bernoulli(x, dtype=tf.float32), 3),
}


def _matching(shapes: Mapping, pattern: str, dims: int) -> tuple[str, ...]:
    """Returns the keys that match in name and number of dimensions, without `log_`."""
    seen = {k: v for k, v in shapes.items() if not k.startswith("log_")}
    return tuple(k for k, v in seen.items() if re.match(pattern, k) and len(v) == dims)


def _layer_name(key: str) -> str:
    """Returns the name of a vector's last layer; Keras refuses `/`, TensorFlow more."""
    plain = re.fullmatch(r"[A-Za-z0-9_.-]+", key)
    return f"dense_{key if plain else key.encode().hex()}"


def _check_inputs(name: str, shapes: Mapping, cnn_keys, mlp_keys) -> None:
    if not cnn_keys and not mlp_keys:
        raise ValueError(
            f"No observation matches {name}.cnn_keys or {name}.mlp_keys. "
            f"Received: {dict(shapes)}"
        )


def _check_stack(kernels: Sequence[int], strides: Sequence[int]) -> None:
    if len(kernels) != len(strides):
        raise ValueError(
            "cnn_kernels and cnn_strides must have the same length. "
            f"Received: {tuple(kernels)} and {tuple(strides)}"
        )

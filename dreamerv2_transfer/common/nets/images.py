"""The encoder and the decoder, of images and vectors."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf
import tensorflow_probability.python.distributions as tfd

from dreamerv2_transfer.common import machine, tfutils
from dreamerv2_transfer.common.nets import dists
from dreamerv2_transfer.common.nets.features import Features
from dreamerv2_transfer.common.nets.heads import DistLayer, Head
from dreamerv2_transfer.common.nets.layers import (
    Conv2D,
    Conv2DTranspose,
    Dense,
    NormLayer,
    apply_stack,
    batch_apply,
    build_stack,
    cast,
    choose,
    flatten_event,
    make_norms,
    unflatten,
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
        cnn: `conv`, or `dense`: dense layers on the flat image (`DenseEncoder` of
            pydreamer).
        cnn_norm: Norm of the layers for images; `same` is `norm`.
        cnn_layers: Sizes of these dense layers; the last one has no norm.
        mlp_out: Size of a linear layer behind `mlp_layers`; 0 is none.
        reward_planes: Whether the image has two more channels, full of the reward and
            of whether the state is terminal (`reward_input` of pydreamer).
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
        cnn: str = "conv",
        cnn_norm: str = "same",
        cnn_layers: Sequence[int] = (400, 400, 256),
        mlp_out: int = 0,
        reward_planes: bool = False,
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
        self.reward_planes = reward_planes
        self._is_flat = choose("encoder.cnn", cnn, KINDS) == "dense"
        self.convs: list[keras.layers.Layer] = []
        if self._is_flat and self.cnn_keys:
            self.convs = _dense_stack("image", cnn_layers)
        elif self.cnn_keys:
            self.convs = _conv_stack(
                Conv2D, cnn_depths(cnn_depth, cnn_kernels), cnn_kernels, cnn_strides
            )
        kind = norm if cnn_norm == "same" else cnn_norm
        self.conv_norms = make_norms("convnorm", kind, len(self.convs))
        if self._is_flat and self.convs:
            self.conv_norms[-1] = NormLayer("none", name="convnorm_last")
        layers = mlp_layers if self.mlp_keys else ()
        self.denses = _dense_stack("dense", layers)
        self.dense_norms = make_norms("densenorm", norm, len(self.denses))
        self.mlp_out = Dense(mlp_out, name="mlp_out") if mlp_out and layers else None

    def build(self) -> None:
        if self.cnn_keys:
            size = self._build_convs()
            self.embed_size = math.prod(size)
        else:
            self.embed_size = 0
        if self.mlp_keys:
            width = sum(self._shapes[k][0] for k in self.mlp_keys)
            width = build_stack(self.denses, self.dense_norms, width)
            if self.mlp_out:
                self.mlp_out.build((None, width))
                width = self.mlp_out.units
            self.embed_size += width

    @property
    def keys(self) -> tuple[str, ...]:
        """The observations that a call reads."""
        extra = ("reward", "is_terminal") if self.reward_planes else ()
        return (*self.cnn_keys, *self.mlp_keys, *extra)

    def _build_convs(self) -> tuple[int, ...]:
        images = [self._shapes[k] for k in self.cnn_keys]
        channels = sum(s[2] for s in images) + 2 * self.reward_planes
        shape = (None, *images[0][:2], channels)
        if self._is_flat:
            width = math.prod(shape[1:])
            return (build_stack(self.convs, self.conv_norms, width),)
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
            images = [cast(data[k]) for k in self.cnn_keys]
            if self.reward_planes:
                images += [
                    _plane(data[k], images[0]) for k in ("reward", "is_terminal")
                ]
            images = tf.concat(images, -1)
            outputs.append(batch_apply(self._cnn, images, event_dims=3))
        if self.mlp_keys:
            vectors = [data[k] for k in self.mlp_keys]
            if self._symlog:
                vectors = [dists.symlog(tf.cast(x, tf.float32)) for x in vectors]
            # The largest number in place of an infinite one: float16 ends at 65,504.
            numbers = tf.concat([tf.cast(x, tf.float32) for x in vectors], -1)
            x = tf.saturate_cast(numbers, tfutils.compute_dtype())
            x = apply_stack(self.denses, self.dense_norms, self._act, x)
            outputs.append(self.mlp_out(x) if self.mlp_out else x)
        return tf.concat(outputs, -1)

    def _cnn(self, x: tf.Tensor) -> tf.Tensor:
        if self._is_flat:
            x = flatten_event(x, 3)
            return apply_stack(self.convs, self.conv_norms, self._act, x)
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
        cnn_dist: Likelihood of images: `mse` (a Normal of unit variance), `binary`, or
            `categorical`: each cell has one of the channels (`CatImageDecoder` of
            pydreamer).
        mlp_dist: Likelihood of vectors: `mse` or `symlog_mse`, see `DistLayer`.
        cnn: `conv`, or `dense`: dense layers that end in a linear one, of the size of
            the flat image.
        cnn_norm: Norm of the layers for images; `same` is `norm`.
        cnn_layers: Sizes of these dense layers but the last.
        cnn_unimix: Share of the uniform distribution in `categorical` images
            (`image_decoder_min_prob` of pydreamer).
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
        cnn: str = "conv",
        cnn_norm: str = "same",
        cnn_layers: Sequence[int] = (400, 400),
        cnn_unimix: float = 0.0,
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
        self._unimix = cnn_unimix
        self._channels = [self._shapes[k][-1] for k in self.cnn_keys]
        self._is_flat = choose("decoder.cnn", cnn, KINDS) == "dense"
        self.convs: list[keras.layers.Layer] = []
        if self._is_flat and self.cnn_keys:
            size = math.prod(self._image_size) * sum(self._channels)
            self.convs = [
                *_dense_stack("image", cnn_layers),
                Dense(size, name="image_out"),
            ]
        elif self.cnn_keys:
            self.convin = Dense(32 * cnn_depth, name="convin")
            depths = cnn_depths(cnn_depth, cnn_kernels[:-1])[::-1]
            depths = [*depths, sum(self._channels)]
            self.convs = _conv_stack(Conv2DTranspose, depths, cnn_kernels, cnn_strides)
        kind = norm if cnn_norm == "same" else cnn_norm
        self.conv_norms = make_norms("convnorm", kind, max(0, len(self.convs) - 1))
        layers = mlp_layers if self.mlp_keys else ()
        self.denses = _dense_stack("dense", layers)
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

    @property
    def _image_size(self) -> tuple[int, ...]:
        return self._shapes[self.cnn_keys[0]][:2]

    def _build_convs(self, feat_size: int) -> None:
        if self._is_flat:
            width = build_stack(self.convs[:-1], self.conv_norms, feat_size)
            self.convs[-1].build((None, width))
            return
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
                outputs[key] = self._image_dist(part, self._unimix)
        if self.mlp_keys:
            x = batch_apply(self._mlp, features, event_dims=1)
            for key, out in zip(self.mlp_keys, self.outs, strict=True):
                outputs[key] = out(x)
        return outputs

    def _mlp(self, x: tf.Tensor | Features) -> tf.Tensor:
        return apply_stack(self.denses, self.dense_norms, self._act, x)

    def _cnn(self, x: tf.Tensor | Features) -> tf.Tensor:
        if self._is_flat:
            x = apply_stack(self.convs[:-1], self.conv_norms, self._act, x)
            return unflatten(
                self.convs[-1](x), (*self._image_size, sum(self._channels))
            )
        x = self.convin(x)[:, None, None, :]
        x = apply_stack(self.convs[:-1], self.conv_norms, self._act, x)
        return self.convs[-1](x)


IMAGE_DISTS = {
    "mse": lambda x, unimix: tfd.Independent(tfd.Normal(x, 1.0), 3),
    "binary": lambda x, unimix: tfd.Independent(tfd.Bernoulli(x, dtype=tf.float32), 3),
    "categorical": lambda x, unimix: dists.OneHotDist(x, event_dims=3, unimix=unimix),
}
KINDS = {"conv": "conv", "dense": "dense"}


def cnn_depths(first: int, kernels: Sequence[int]) -> list[int]:
    """Returns the channels of convolutions, of which each has twice as many."""
    return [first * 2**i for i in range(len(kernels))]


def _conv_stack(kind: Callable, depths: Sequence[int], kernels, strides) -> list:
    dtype = machine.conv_dtype()
    sizes = zip(depths, kernels, strides, strict=True)
    return [kind(*size, name=f"conv{i}", dtype=dtype) for i, size in enumerate(sizes)]


def _dense_stack(name: str, layers: Sequence[int]) -> list:
    return [Dense(units, name=f"{name}{i}") for i, units in enumerate(layers)]


def _plane(values: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Returns a channel full of each value `(...)`, for images `(..., H, W, C)`."""
    values = tf.cast(values, image.dtype)[..., None, None, None]
    return tf.broadcast_to(values, tf.shape(image[..., :1]))


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

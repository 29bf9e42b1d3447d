"""The networks of DreamerV2 as named Keras layers.

Every sublayer carries the original's name (`img_in`, `obs_dist`, `cell`, `dense0`,
...), and all are made in `__init__` and built in `build`, so that a variable's path
(`rssm/img_in/kernel`) is the one name for freezing, porting, checkpoints and logs.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from dreamerv2_transfer.common import (
    other,
    tfutils,
)
from dreamerv2_transfer.common.distributed import replicas
from dreamerv2_transfer.common.nets import dists
from dreamerv2_transfer.common.nets.features import Features
from dreamerv2_transfer.common.ops import (
    activations,
    convolution,
    fuse,
    matmul,
    recurrence,
)

State = dict[str, tf.Tensor]


class EnsembleRSSM(keras.layers.Layer):
    """The recurrent state-space model (Hafner et al. 2021, equation 1).

        deter_t = cell(deter_{t-1}, img_in(stoch_{t-1}, action_{t-1}))
        prior_t = img_dist(img_out(deter_t))                 what the model expects
        post_t  = obs_dist(obs_out(deter_t, embed_t))        once it has seen the image

    A state is a dict of `deter (..., deter)`, `stoch` and the statistics that it was
    drawn from: `logit (..., stoch, discrete)`, or `mean` and `std (..., stoch)` for
    Gaussian latents (`discrete` 0 or False).

    Args:
        ensemble: Number of priors, of which each step draws one.
        stoch: Number of stochastic latents.
        deter: Size of the recurrent state.
        hidden: Size of the layers in between.
        discrete: Number of classes of each latent; 0 or False for Gaussian latents.
        act: Activation.
        norm: `none` or `layer`. The cell always has layer norm.
        std_act: `softplus`, `sigmoid` or `sigmoid2`, for Gaussian latents.
        min_std: Smallest standard deviation of Gaussian latents.
    """

    def __init__(
        self,
        ensemble: int = 5,
        stoch: int = 30,
        deter: int = 200,
        hidden: int = 200,
        discrete: int = 0,
        act: str = "elu",
        norm: str = "none",
        std_act: str = "softplus",
        min_std: float = 0.1,
        name: str = "rssm",
    ):
        super().__init__(name=name)
        self._ensemble = ensemble
        self._stoch = stoch
        self._deter = deter
        self._discrete = int(discrete)
        self._act = activations.get_act(act)
        self._std_act = _choose("std_act", std_act, _STD_ACTS)
        self._min_std = min_std
        self.cell = GRUCell(deter, norm=True, name="cell")
        self.img_in = Dense(hidden, name="img_in")
        self.img_in_norm = NormLayer(norm, name="img_in_norm")
        members = range(ensemble)
        self.img_out = [Dense(hidden, name=f"img_out_{k}") for k in members]
        self.img_out_norm = [NormLayer(norm, name=f"img_out_norm_{k}") for k in members]
        self.img_dist = [self._dist_layer(f"img_dist_{k}") for k in members]
        self.obs_out = Dense(hidden, name="obs_out")
        self.obs_out_norm = NormLayer(norm, name="obs_out_norm")
        self.obs_dist = self._dist_layer("obs_dist")

    def _dist_layer(self, name: str) -> Dense:
        stats = self._discrete or 2
        return Dense(self._stoch * stats, name=name)

    @property
    def stoch_size(self) -> int:
        return self._stoch * (self._discrete or 1)

    @property
    def feat_size(self) -> int:
        return self.stoch_size + self._deter

    @property
    def parts(self) -> dict[str, list[keras.layers.Layer]]:
        """The sublayers that can be frozen on their own, with their norms."""
        return {
            "img_in": [self.img_in, self.img_in_norm],
            "cell": [self.cell],
            "img_out": [*self.img_out, *self.img_out_norm],
            "img_dist": self.img_dist,
            "obs_out": [self.obs_out, self.obs_out_norm],
            "obs_dist": [self.obs_dist],
        }

    def build(self, embed_size: int, action_size: int) -> None:
        hidden = self.img_in.units
        self.img_in.build((None, self.stoch_size + action_size))
        self.obs_out.build((None, self._deter + embed_size))
        self.cell.build((None, hidden))
        for layer in self.img_out:
            layer.build((None, self._deter))
        norms = [self.img_in_norm, *self.img_out_norm, self.obs_out_norm]
        for layer in [*norms, *self.img_dist, self.obs_dist]:
            layer.build((None, hidden))

    def initial(self, batch_size: int | tf.Tensor) -> State:
        """A state of zeros for each sequence of a batch."""
        dtype = tfutils.compute_dtype()
        zeros = lambda *shape: tf.zeros([batch_size, *shape], dtype)  # noqa: E731
        if self._discrete:
            latent = (self._stoch, self._discrete)
            stats = {"logit": zeros(*latent), "stoch": zeros(*latent)}
        else:
            stats = {k: zeros(self._stoch) for k in ("mean", "std", "stoch")}
        return {**stats, "deter": zeros(self._deter)}

    def observe(
        self,
        embed: tf.Tensor,
        action: tf.Tensor,
        is_first: tf.Tensor,
        state: State | None = None,
        seed: tf.Tensor | None = None,
    ) -> tuple[State, State]:
        """Infers the states of sequences from what was seen.

        Only the cell and the posterior depend on the step before; projections of the
        inputs are computed before the loop over time, the priors after it, for all
        steps at once. `obs_step` over the steps gives the same numbers.

        Args:
            embed: `(B, T, embed)`.
            action: `(B, T, action)`, the action that led to each observation.
            is_first: `(B, T)` bool; where True the state starts from zero.
            state: The states before the first step, of shape `(B, ...)`; default zeros.
            seed: See `dists`.

        Returns:
            Posterior and prior states, each `(B, T, ...)`.
        """
        if state is None:
            state = self.initial(tf.shape(action)[0])
        steps = embed.shape[1]
        post_seed, prior_seed = tfutils.split_seed(seed, 2)
        keep = swap(1.0 - tf.cast(is_first, tfutils.compute_dtype()))
        action, embed = swap(action), swap(embed)
        offsets = self._offsets(_mask(action, keep), embed)
        # Drawn outside of the loop: XLA has other random numbers.
        noise = self._noise(post_seed, tfutils.lead(keep, 0))
        post = recurrence.run(
            self._observe_step,
            self._kernels(),
            offsets,
            self._norm_variables(),
            {"keep": keep} if noise is None else {"keep": keep, "noise": noise},
            state,
        )
        prior = self._prior(post["deter"], True, prior_seed, ensemble_steps=steps)
        return tf.nest.map_structure(swap, (post, prior))

    def _observe_step(self, prev: State, now, products) -> State:
        prev = {k: _mask(prev[k], now["keep"]) for k in ("stoch", "deter")}
        deter = self._deter_step(prev, products, self.cell.gates)
        return self._post(deter, products, True, now.get("noise"))

    def _kernels(self) -> dict[str, tf.Tensor]:
        """Of the products of `_deter_step` and `_post`: with the state alone."""
        return {
            "img_in": _compute(self.img_in.kernel.value)[: self.stoch_size],
            "cell": _compute(self.cell.layer.kernel.value),
            "obs_out": _compute(self.obs_out.kernel.value)[: self._deter],
            "obs_dist": _compute(self.obs_dist.kernel.value),
        }

    def _offsets(self, action: tf.Tensor, embed: tf.Tensor) -> dict[str, tf.Tensor]:
        """What is added to these products, `(..., units)`: other inputs and biases."""
        action_part = _partial_dense(self.img_in, action, self.stoch_size)
        embed_part = _partial_dense(self.obs_out, embed, self._deter)
        bias = lambda layer: tf.broadcast_to(  # noqa: E731
            _bias(layer), [*tfutils.lead(embed, 1), layer.units]
        )
        return {
            "img_in": action_part + _bias(self.img_in),
            "cell": bias(self.cell.layer),
            "obs_out": embed_part + _bias(self.obs_out),
            "obs_dist": bias(self.obs_dist),
        }

    def _norm_variables(self) -> list[keras.Variable]:
        norms = self.img_in_norm, self.cell.norm, self.obs_out_norm
        return [v for norm in norms for v in norm.variables]

    def imagine(
        self, action: tf.Tensor, state: State, seed: tf.Tensor | None = None
    ) -> State:
        """Dreams along given actions `(B, T, action)` from states `(B, ...)`."""
        steps = action.shape[1]
        inputs = {"action": swap(action), **tfutils.step_seeds(seed, steps)}
        step = lambda prev, now: self.img_step(  # noqa: E731
            prev, now["action"], now.get("seed")
        )
        prior = other.scan(step, inputs, state, steps)
        return tf.nest.map_structure(swap, prior)

    def obs_step(
        self,
        prev_state: State,
        prev_action: tf.Tensor,
        embed: tf.Tensor,
        is_first: tf.Tensor,
        seed: tf.Tensor | None = None,
        sample: bool = True,
    ) -> tuple[State, State]:
        """One step with an observation: posterior and prior states `(B, ...)`."""
        post_seed, prior_seed = tfutils.split_seed(seed, 2)
        keep = 1.0 - tf.cast(is_first, tfutils.compute_dtype())
        prev_state, prev_action = tf.nest.map_structure(
            lambda x: _mask(x, keep), (prev_state, prev_action)
        )
        prior = self.img_step(prev_state, prev_action, prior_seed, sample)
        embed_part = _partial_dense(self.obs_out, embed, self._deter)
        products = {
            "obs_out": _product(self.obs_out, embed_part + _bias(self.obs_out)),
            "obs_dist": _product(self.obs_dist, _bias(self.obs_dist)),
        }
        noise = self._noise(post_seed, tfutils.lead(embed, 1))
        post = self._post(prior["deter"], products, sample, noise)
        return post, prior

    def img_step(
        self,
        prev_state: State,
        prev_action: tf.Tensor,
        seed: tf.Tensor | None = None,
        sample: bool = True,
    ) -> State:
        """One step without an observation: the prior state `(B, ...)`.

        Its latents are given as those of `prev_state` are: as `stoch`, as the classes
        `index`, or as both (see `get_feat`).
        """
        action_part = _partial_dense(self.img_in, prev_action, self.stoch_size)
        products = {
            "img_in": self._img_in_product(prev_state, action_part),
            "cell": _product(self.cell.layer, _bias(self.cell.layer)),
        }
        deter = self._deter_step(prev_state, products, self.cell.compiled_gates)
        return self._prior(deter, sample, seed, prev_state)

    def get_feat(self, state: State) -> tf.Tensor | Features:
        """What the heads read: `(..., stoch * discrete + deter)`.

        Args:
            state: `deter` and `stoch`, or, of discrete latents, their classes `index`,
                with `stoch` only where it needs a gradient.
        """
        if "index" not in state:
            return tf.concat([self._flat_stoch(state), state["deter"]], -1)
        index, stoch = state["index"], self._flat_stoch(state)
        return Features(state["deter"], index, self._discrete, stoch)

    def indexed(self, state: State) -> State:
        """The state with the classes of its latents, where products use them."""
        if not (self._discrete and fuse.on()):
            return state
        return {**state, "index": matmul.index(state["stoch"])}

    def get_dist(self, state: State):
        """The distribution of `stoch`, in float32."""
        if self._discrete:
            return dists.OneHotDist(state["logit"], event_dims=2)
        mean, std = (tf.cast(state[k], tf.float32) for k in ("mean", "std"))
        return tfd.Independent(tfd.Normal(mean, std), 1)

    def kl_loss(
        self,
        post: State,
        prior: State,
        forward: bool,
        balance: float,
        free: float,
        free_avg: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """KL balancing (Hafner et al. 2021, algorithm 2).

            a * KL(sg(post) || prior) + (1 - a) * KL(post || sg(prior))

        Args:
            post: Posterior states.
            prior: Prior states.
            forward: Take KL(prior || post) instead.
            balance: a, the weight of the side that trains the prior.
            free: Nats below which the KL is not pushed down.
            free_avg: Compare `free` with the mean over the batch, not with each step.

        Returns:
            The scalar loss, and the KL of each step `(B, T)` in nats.
        """
        lhs, rhs = (prior, post) if forward else (post, prior)
        mix = balance if forward else 1 - balance
        value = kl_divergence(self.get_dist(lhs), self.get_dist(stop_gradient(rhs)))
        if balance == 0.5:
            value = kl_divergence(self.get_dist(lhs), self.get_dist(rhs))
            return free_nats(value, free, free_avg=False), value
        value_rhs = kl_divergence(self.get_dist(stop_gradient(lhs)), self.get_dist(rhs))
        whole = None
        if free_avg:  # Both have the same value; replicas tell each other once.
            whole = replicas.mean(tf.stop_gradient(tf.reduce_mean(value)))
        loss_lhs = free_nats(value, free, free_avg, whole)
        loss_rhs = free_nats(value_rhs, free, free_avg, whole)
        return mix * loss_lhs + (1 - mix) * loss_rhs, value

    def _img_in_product(self, prev_state: State, action_part: tf.Tensor) -> Callable:
        offset = action_part + _bias(self.img_in)
        if "index" not in prev_state:
            return _product(self.img_in, offset)
        index, kernel = prev_state["index"], self.img_in.kernel.value
        kernel = kernel[: self.stoch_size]
        return lambda stoch: matmul.one_hot(stoch, index, kernel, offset)

    def _deter_step(self, prev_state: State, products, gates) -> tf.Tensor:
        """The next recurrent state, by the products `img_in` and `cell`."""
        deter = prev_state["deter"]
        x = products["img_in"](self._flat_stoch(prev_state))
        x = tf.concat([self._act(self.img_in_norm(x)), deter], -1)
        return gates(products["cell"](x), deter)

    def _post(self, deter, products, sample: bool, noise) -> State:
        """The posterior, by the products `obs_out` and `obs_dist`."""
        x = self._act(self.obs_out_norm(products["obs_out"](deter)))
        stats = self._suff_stats(products["obs_dist"](x))
        return {**self._draw(stats, sample, noise), "deter": deter, **stats}

    def _prior(
        self,
        deter,
        sample: bool,
        seed,
        like: State | None = None,
        ensemble_steps: int | None = None,
    ) -> State:
        """The prior of given recurrent states; a member of the ensemble for each step.

        Args:
            deter: `(..., deter)`.
            sample: Draw the latents, or take their mode.
            seed: See `dists`.
            like: A state whose form the latents get; default `stoch`.
            ensemble_steps: Length of a leading dimension of time, if there is one.
        """
        draw_seed, member_seed = tfutils.split_seed(seed, 2)
        stats = [self._prior_stats(k, deter) for k in range(self._ensemble)]
        stats = _choose_member(stats, member_seed, ensemble_steps)
        noise = self._noise(draw_seed, tfutils.lead(deter, 1))
        drawn = self._draw(stats, sample, noise, like)
        return {**drawn, "deter": deter, **stats}

    def _prior_stats(self, k: int, deter: tf.Tensor) -> State:
        x = self._act(self.img_out_norm[k](self.img_out[k](deter)))
        return self._suff_stats(self.img_dist[k](x))

    def _suff_stats(self, x: tf.Tensor) -> State:
        if self._discrete:
            return {"logit": unflatten(x, (self._stoch, self._discrete))}
        mean, std = tf.split(x, 2, -1)
        return {"mean": mean, "std": self._std_act(std) + self._min_std}

    def _noise(self, seed: tf.Tensor | None, lead: Sequence) -> tf.Tensor | None:
        """What `_draw` takes, `(*lead, stoch)`: uniform or of a standard Normal."""
        if seed is None:
            return None
        draw = replicas.uniform if self._discrete else replicas.normal
        return draw([*lead, self._stoch], seed, axis=len(lead) - 1)  # After time.

    def _draw(
        self, stats: State, sample: bool, noise, like: State | None = None
    ) -> State:
        """Latents in the form of a state `like`; the mode without noise."""
        dist = self.get_dist(stats)
        noise = noise if sample else None
        if not self._discrete:
            mean, std = dist.distribution.loc, dist.distribution.scale
            return {"stoch": _compute(mean if noise is None else mean + std * noise)}
        index = dist.classes_at(noise)
        if like is None or "index" not in like:
            # The mode itself has no gradient.
            stoch = dist.straight_through(index) if sample else dist.mode()
            return {"stoch": _compute(stoch)}
        if "stoch" not in like:
            return {"index": index}
        return {"index": index, "stoch": _compute(dist.straight_through(index))}

    def _flat_stoch(self, state: State) -> tf.Tensor | None:
        stoch = state.get("stoch")
        if stoch is None:
            return None
        return flatten_event(stoch, 2) if self._discrete else stoch


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
        cnn_strides: Strides, one a kernel.
        mlp_layers: Sizes of the dense layers.
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
        name: str = "encoder",
    ):
        super().__init__(name=name)
        _check_stack(cnn_kernels, cnn_strides)
        self._shapes = {k: tuple(v) for k, v in shapes.items()}
        self.cnn_keys = _matching(shapes, cnn_keys, 3)
        self.mlp_keys = _matching(shapes, mlp_keys, 1)
        _check_inputs(name, shapes, self.cnn_keys, self.mlp_keys)
        self._act = activations.get_act(act)
        dtype = tfutils.conv_dtype()
        self.convs = [
            Conv2D(cnn_depth * 2**i, kernel, stride, name=f"conv{i}", dtype=dtype)
            for i, (kernel, stride) in enumerate(
                zip(cnn_kernels, cnn_strides, strict=True)
            )
            if self.cnn_keys
        ]
        self.conv_norms = _norms("convnorm", norm, len(self.convs))
        layers = mlp_layers if self.mlp_keys else ()
        self.denses = [Dense(units, name=f"dense{i}") for i, units in enumerate(layers)]
        self.dense_norms = _norms("densenorm", norm, len(self.denses))

    def build(self) -> None:
        if self.cnn_keys:
            size = self._build_convs()
            self.embed_size = math.prod(size)
        else:
            self.embed_size = 0
        if self.mlp_keys:
            width = sum(self._shapes[k][0] for k in self.mlp_keys)
            self.embed_size += _build_stack(self.denses, self.dense_norms, width)

    def _build_convs(self) -> tuple[int, ...]:
        images = [self._shapes[k] for k in self.cnn_keys]
        shape = (None, *images[0][:2], sum(s[2] for s in images))
        for conv, norm in zip(self.convs, self.conv_norms, strict=True):
            if min(shape[1:3]) < conv.kernel_size[0]:
                raise ValueError(
                    f"Images of {images[0]} are too small for {conv.name} with kernel "
                    f"{conv.kernel_size[0]}, which gets {shape[1:]}. Change "
                    "encoder.cnn_kernels and encoder.cnn_strides."
                )
            conv.build(shape)
            shape = conv.compute_output_shape(shape)
            norm.build(shape)
        return shape[1:]

    def call(self, data: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Embeds observations `(..., *shape)` of each key into `(..., embed_size)`."""
        outputs = []
        if self.cnn_keys:
            images = tf.concat([_compute(data[k]) for k in self.cnn_keys], -1)
            outputs.append(batch_apply(self._cnn, images, event_dims=3))
        if self.mlp_keys:
            vectors = tf.concat([_compute(data[k]) for k in self.mlp_keys], -1)
            outputs.append(_stack(self.denses, self.dense_norms, self._act, vectors))
        return tf.concat(outputs, -1)

    def _cnn(self, x: tf.Tensor) -> tf.Tensor:
        x = _stack(self.convs, self.conv_norms, self._act, x)
        return _compute(flatten_event(x, 3))


class _Head(keras.layers.Layer):
    """Reads features: a tensor, or `Features`, which Keras takes by name only."""

    def __call__(self, features: tf.Tensor | Features, *args, **kwargs):
        return super().__call__(*args, features=features, **kwargs)


class Decoder(_Head):
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
        cnn_strides: Strides, one a kernel.
        cnn_dist: Likelihood of images: `mse` (a Normal of unit variance) or `binary`.
        mlp_layers: Sizes of the dense layers.
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
        self._image_dist = _choose("cnn_dist", cnn_dist, _IMAGE_DISTS)
        self._channels = [self._shapes[k][-1] for k in self.cnn_keys]
        if self.cnn_keys:
            self.convin = Dense(32 * cnn_depth, name="convin")
        depths = [cnn_depth * 2**i for i in reversed(range(len(cnn_kernels) - 1))]
        dtype = tfutils.conv_dtype()
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
        self.conv_norms = _norms("convnorm", norm, max(0, len(self.convs) - 1))
        layers = mlp_layers if self.mlp_keys else ()
        self.denses = [Dense(units, name=f"dense{i}") for i, units in enumerate(layers)]
        self.dense_norms = _norms("densenorm", norm, len(self.denses))
        self.outs = [
            DistLayer(self._shapes[k], name=f"dense_{k}") for k in self.mlp_keys
        ]

    def build(self, feat_size: int) -> None:
        if self.cnn_keys:
            self._build_convs(feat_size)
        if self.mlp_keys:
            width = _build_stack(self.denses, self.dense_norms, feat_size)
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
                    "decoder.cnn_strides, or resize the images, as by "
                    f"gymnasium.wrappers.ResizeObservation(env, {tuple(shape[1:3])})."
                )

    def call(self, features: tf.Tensor | Features) -> dict[str, object]:
        """The distribution of each key, given features `(..., feat)`."""
        outputs = {}
        if self.cnn_keys:
            outputs.update(self._images(features))
        if self.mlp_keys:
            x = batch_apply(self._mlp, features, event_dims=1)
            outs = zip(self.mlp_keys, self.outs, strict=True)
            outputs.update({key: out(x) for key, out in outs})
        return outputs

    def _images(self, features: tf.Tensor) -> dict[str, object]:
        images = batch_apply(self._cnn, features, event_dims=1)
        parts = tf.split(tf.cast(images, tf.float32), self._channels, -1)
        return {
            k: self._image_dist(part)
            for k, part in zip(self.cnn_keys, parts, strict=True)
        }

    def _mlp(self, x: tf.Tensor | Features) -> tf.Tensor:
        return _stack(self.denses, self.dense_norms, self._act, x)

    def _cnn(self, x: tf.Tensor | Features) -> tf.Tensor:
        x = self.convin(x)[:, None, None, :]
        x = _stack(self.convs[:-1], self.conv_norms, self._act, x)
        return self.convs[-1](x)


class MLP(_Head):
    """Dense layers and an output distribution: reward, discount, actor, critic.

    Args:
        shape: Shape of one event; an int for a vector, `()` for a scalar.
        layers: Number of hidden layers.
        units: Their size.
        act: Activation.
        norm: `none` or `layer`.
        out: Options of `DistLayer`: `dist`, `min_std`, `init_std`, `rng`.
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        layers: int,
        units: int,
        act: str = "elu",
        norm: str = "none",
        name: str = "mlp",
        **out,
    ):
        super().__init__(name=name)
        act = activations.get_act(act)
        # Without norms the layers can do it themselves, which is faster.
        inside = norm == "none" and activations.tells_gradient(act)
        own, self._act = (act, tf.identity) if inside else (None, act)
        self.denses = [Dense(units, own, name=f"dense{i}") for i in range(layers)]
        self.norms = _norms("norm", norm, layers)
        self.out = DistLayer(shape, name="out", **out)

    def build(self, feat_size: int) -> None:
        self.out.build((None, _build_stack(self.denses, self.norms, feat_size)))

    def call(
        self,
        features: tf.Tensor | Features,
        known: Sequence[tf.Tensor] | None = None,
    ):
        """The distribution of the output, given features `(..., feat)`.

        Args:
            features: Tensor or `Features`.
            known: What `record` returned for the same features, which is then not
                computed again; the gradients are those of computing it.
        """
        return self._run(features, known)[0]

    def record(self, features: tf.Tensor | Features):
        """As `call`, and the results of the dense layers, each `(..., units)`."""
        return self._run(features, None)

    def _run(self, features, known):
        lead, x = tfutils.lead(features, 1), _flat(features)
        results = [None] * len(self.denses) if known is None else map(_flat, known)
        hidden = []
        for layer, norm, result in zip(self.denses, self.norms, results, strict=True):
            hidden.append(layer(x) if result is None else layer.known(result, x))
            x = self._act(norm(hidden[-1]))
        restore = lambda x: tf.reshape(x, [*lead, x.shape[-1]])  # noqa: E731
        return self.out(restore(x)), [restore(x) for x in hidden]


class Dense(keras.layers.Dense):
    """A dense layer that is one product, however many leading dimensions there are.

    TensorFlow makes a batch of products of more than two dimensions, and the gradient
    of the kernel a sum over that batch. Its gradients of biases are wrong in 16 bits,
    see `matmul.known_bias`.
    """

    def __init__(self, units: int, activation=None, **kwargs):
        super().__init__(units, activation, **kwargs)
        if not activations.tells_gradient(self.activation):
            raise ValueError(
                "A dense layer has an activation whose result tells the gradient. "
                f"Received: activation={activation!r}"
            )

    def __call__(self, inputs: tf.Tensor | Features) -> tf.Tensor:
        return super().__call__(inputs=inputs)  # Keras takes `Features` by name only.

    def call(self, inputs: tf.Tensor | Features) -> tf.Tensor:
        return batch_apply(self._flat_call, inputs, event_dims=1)

    def _flat_call(self, x: tf.Tensor | Features) -> tf.Tensor:
        kernel, bias = self.kernel.value, self.bias.value  # In the compute dtype.
        if isinstance(x, Features):
            result = x.dense(kernel, bias, self.activation)
        else:
            result = self.activation(tf.linalg.matmul(x, kernel) + bias)
        return self.known(tf.stop_gradient(result), x)

    def known(self, result: tf.Tensor, inputs: tf.Tensor | Features) -> tf.Tensor:
        """The known result `(N, units)` of a call, with the gradients of the call."""
        kernel, bias = self.kernel.value, self.bias.value
        if isinstance(inputs, Features):
            product = inputs.known(result, kernel)
        else:
            product = matmul.known(result, inputs, kernel)
        return activations.known(matmul.known_bias(product, bias), self.activation)


class Conv2D(keras.layers.Conv2D):
    """A convolution without padding, see `convolution`."""

    def __init__(
        self, filters: int, kernel: int, stride: int, *, name=None, dtype=None
    ):
        super().__init__(filters, kernel, stride, name=name, dtype=dtype)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel = tf.convert_to_tensor(self.kernel)  # In the layer's compute dtype.
        images = convolution.conv2d(inputs, kernel, self.strides[0])
        return matmul.add_bias(images, tf.convert_to_tensor(self.bias))


class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """A transposed convolution without padding, see `convolution`."""

    def __init__(
        self, filters: int, kernel: int, stride: int, *, name=None, dtype=None
    ):
        super().__init__(filters, kernel, stride, name=name, dtype=dtype)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel = tf.convert_to_tensor(self.kernel)
        images = convolution.conv2d_transpose(inputs, kernel, self.strides[0])
        return matmul.add_bias(images, tf.convert_to_tensor(self.bias))


class GRUCell(keras.layers.Layer):
    """The GRU cell of DreamerV2: one product for all gates, layer norm before them.

        reset, cand, update = split(norm(layer([input, state])))
        state = u * tanh(sigmoid(reset) * cand) + (1 - u) * state
        with u = sigmoid(update + update_bias)

    Args:
        size: Size of the state.
        norm: Layer norm over the three gates together.
        act: Activation of the candidate.
        update_bias: -1 makes the cell remember at first.
    """

    def __init__(
        self,
        size: int,
        norm: bool = False,
        act: str = "tanh",
        update_bias: float = -1.0,
        name: str = "cell",
    ):
        super().__init__(name=name)
        self._size = size
        self._act = activations.get_act(act)
        self._update_bias = update_bias
        self.layer = Dense(3 * size, name="layer")
        self.norm = NormLayer("layer" if norm else "none", name="norm")
        self._compiled = fuse.recomputed(self._gates_with)

    def build(self, input_shape: tuple) -> None:
        self.layer.build((None, input_shape[-1] + self._size))
        self.norm.build((None, 3 * self._size))

    def call(self, inputs: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """Inputs `(B, n)` and state `(B, size)` to the next state `(B, size)`."""
        return self.gates(self.layer(tf.concat([inputs, state], -1)), state)

    def gates(self, parts: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """All that comes after the product `(B, 3 * size)`, in float32."""
        parts, old = tf.cast(parts, tf.float32), tf.cast(state, tf.float32)
        reset, cand, update = tf.split(self.norm(parts), 3, -1)
        cand = self._act(tf.sigmoid(reset) * cand)
        update = tf.sigmoid(update + self._update_bias)
        return tf.cast(update * cand + (1 - update) * old, state.dtype)

    def compiled_gates(self, parts: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        """As `gates`, where no larger part is compiled as one."""
        return self._compiled(parts, state, *(v.value for v in self.norm.variables))

    def _gates_with(self, parts, state, *weights) -> tf.Tensor:
        """The gates, with the given weights in the place of the norm's."""
        with tfutils.with_values(self.norm.variables, weights):
            return self.gates(parts, state)


class DistLayer(keras.layers.Layer):
    """A dense layer whose output parametrizes a distribution, in float32.

    Args:
        shape: Shape of one event; an int for a vector, `()` for a scalar.
        dist: `mse` (a Normal of unit variance), `normal`, `binary`, `tanh_normal`,
            `trunc_normal` or `onehot`.
        min_std: Smallest standard deviation, where it is not fixed.
        init_std: Added before the activation of the standard deviation.
        rng: Source of the samples by which `tanh_normal` estimates its entropy.
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        dist: str = "mse",
        min_std: float = 0.1,
        init_std: float = 0.0,
        rng: tf.random.Generator | None = None,
        name: str = "out",
    ):
        super().__init__(name=name)
        self._shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self._make = _choose("dist", dist, _DISTS)
        self._min_std = min_std
        self._init_std = init_std
        self._rng = rng
        size = math.prod(self._shape)
        self.out = Dense(size, name="out")
        if dist in ("normal", "tanh_normal", "trunc_normal"):
            self.std = Dense(size, name="std")
        else:
            self.std = None

    def build(self, input_shape: tuple) -> None:
        self.out.build(input_shape)
        if self.std is not None:
            self.std.build(input_shape)

    def call(self, inputs: tf.Tensor):
        return self._make(self, self._event(self.out, inputs), inputs)

    def _event(self, layer: Dense, inputs: tf.Tensor) -> tf.Tensor:
        """`(..., *shape)` in float32."""
        return tf.cast(unflatten(layer(inputs), self._shape), tf.float32)

    def _mse(self, out, inputs):
        return tfd.Independent(tfd.Normal(out, 1.0), len(self._shape))

    def _normal(self, out, inputs):
        # The original takes the raw output, of which half is negative at first.
        return tfd.Independent(
            tfd.Normal(out, self._positive_std(inputs)), len(self._shape)
        )

    def _positive_std(self, inputs: tf.Tensor) -> tf.Tensor:
        std = self._event(self.std, inputs)
        return tf.nn.softplus(std + self._init_std) + self._min_std

    def _binary(self, out, inputs):
        return tfd.Independent(tfd.Bernoulli(out, dtype=tf.float32), len(self._shape))

    def _tanh_normal(self, out, inputs):
        dist = dists.tanh_normal(5 * tf.tanh(out / 5), self._positive_std(inputs))
        seed = tfutils.make_seeds(self._rng, 1)[0]
        if seed is None:
            seed = tf.zeros([2], tf.int32)
        return dists.SampleDist(tfd.Independent(dist, len(self._shape)), seed)

    def _trunc_normal(self, out, inputs):
        std = self._event(self.std, inputs)
        std = 2 * tf.sigmoid((std + self._init_std) / 2) + self._min_std
        return tfd.Independent(
            dists.TruncNormalDist(tf.tanh(out), std, -1.0, 1.0), len(self._shape)
        )

    def _onehot(self, out, inputs):
        return dists.OneHotDist(out)


_DISTS = {
    "mse": DistLayer._mse,
    "normal": DistLayer._normal,
    "binary": DistLayer._binary,
    "tanh_normal": DistLayer._tanh_normal,
    "trunc_normal": DistLayer._trunc_normal,
    "onehot": DistLayer._onehot,
}
_IMAGE_DISTS = {
    "mse": lambda x: tfd.Independent(tfd.Normal(x, 1.0), 3),
    "binary": lambda x: tfd.Independent(tfd.Bernoulli(x, dtype=tf.float32), 3),
}
_STD_ACTS = {
    "softplus": tf.nn.softplus,
    "sigmoid": tf.sigmoid,
    "sigmoid2": lambda x: 2 * tf.sigmoid(x / 2),
}


class NormLayer(keras.layers.Layer):
    """Layer norm in float32, or nothing. Keeps the dtype of its input.

    Args:
        kind: `none` or `layer`.
    """

    def __init__(self, kind: str, name: str):
        super().__init__(name=name, autocast=False)
        if kind not in ("none", "layer"):
            raise ValueError(f"norm is 'none' or 'layer'. Received: {kind!r}")
        self._on = kind == "layer"

    def build(self, input_shape: tuple) -> None:
        if self._on:
            add = functools.partial(self.add_weight, input_shape[-1:], autocast=False)
            self.gamma = add(initializer="ones", name="gamma")
            self.beta = add(initializer="zeros", name="beta")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if not self._on:
            return inputs
        x = tf.cast(inputs, tf.float32)
        mean = _row_mean(x)
        variance = _row_mean(tf.square(x - mean))
        # 1e-3 is the epsilon of Keras, which the original used.
        x = (x - mean) * tf.math.rsqrt(variance + 1e-3)
        x = x * self.gamma.value + self.beta.value
        return tf.cast(x, inputs.dtype)


def _row_mean(x: tf.Tensor) -> tf.Tensor:
    """The mean over the last dimension, which is kept with size 1."""
    if tf.config.list_physical_devices("GPU"):  # Its products may be less precise.
        return tf.reduce_mean(x, -1, keepdims=True)
    # As a product, since XLA's sums along rows have no vector instructions on a CPU.
    return tf.linalg.matmul(x, tf.fill([x.shape[-1], 1], 1.0 / x.shape[-1]))


def kl_divergence(a, b) -> tf.Tensor:
    """KL(a || b) in nats, summed over the event."""
    if isinstance(a, dists.OneHotDist):
        return a.kl_divergence(b)
    return tfd.kl_divergence(a, b)


def free_nats(
    value: tf.Tensor, free: float, free_avg: bool, whole: tf.Tensor | None = None
) -> tf.Tensor:
    """The mean KL, where it (or each step of it) counts as at least `free` nats.

    Args:
        value: The KL of each step, in nats.
        free: The nats.
        free_avg: Compare them with the mean, not with each step.
        whole: The mean over all replicas; by default that of `value`.
    """
    if free_avg:
        average = tf.reduce_mean(value)
        whole = average if whole is None else whole
        return tf.where(whole < free, tf.cast(free, average.dtype), average)
    return tf.reduce_mean(tf.maximum(value, free))


def stop_gradient(structure):
    if isinstance(structure, Features):
        return structure.stop_gradient()
    return tf.nest.map_structure(tf.stop_gradient, structure)


def swap(x: tf.Tensor) -> tf.Tensor:
    """Exchanges the first two dimensions, batch and time."""
    return tf.transpose(x, [1, 0, *range(2, len(x.shape))])


def flatten_event(x: tf.Tensor, dims: int) -> tf.Tensor:
    """Joins the last `dims` dimensions into one."""
    return tf.reshape(x, [*tfutils.lead(x, dims), math.prod(x.shape[-dims:])])


def unflatten(x: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Splits the last dimension into `shape`."""
    return tf.reshape(x, [*tfutils.lead(x, 1), *shape])


def batch_apply(fn, x: tf.Tensor | Features, event_dims: int) -> tf.Tensor:
    """Applies `fn` with all leading dimensions of `x` joined into one."""
    if len(x.shape) == event_dims + 1:  # A reshape would stop TensorFlow from fusing.
        return fn(x)
    y = fn(_flat(x) if event_dims == 1 else tf.reshape(x, [-1, *x.shape[-event_dims:]]))
    return tf.reshape(y, [*tfutils.lead(x, event_dims), *y.shape[1:]])


def _flat(x: tf.Tensor | Features) -> tf.Tensor | Features:
    """`(N, size)` in the compute dtype, with all leading dimensions joined."""
    return (
        x.flat()
        if isinstance(x, Features)
        else _compute(tf.reshape(x, [-1, x.shape[-1]]))
    )


def _compute(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tfutils.compute_dtype())


def _mask(x: tf.Tensor, keep: tf.Tensor) -> tf.Tensor:
    """Zeros the entries of `x` whose `keep` is 0; `keep` has the leading dimensions."""
    extra = len(x.shape) - len(keep.shape)
    return x * tf.cast(unflatten(keep[..., None], [1] * extra), x.dtype)


def _partial_dense(layer, inputs: tf.Tensor, start: int = 0) -> tf.Tensor:
    """The product of `inputs` with the rows of a dense layer's kernel from `start`."""
    kernel = _compute(layer.kernel.value)[start : start + inputs.shape[-1]]
    product = lambda x: tf.linalg.matmul(x, kernel)  # noqa: E731
    return batch_apply(product, _compute(inputs), event_dims=1)


def _product(layer, offset: tf.Tensor) -> Callable:
    return lambda x: _partial_dense(layer, x) + offset


def _bias(layer) -> tf.Tensor:
    return _compute(layer.bias.value)


def _choose_member(
    stats: list[State], seed: tf.Tensor | None, steps: int | None
) -> State:
    """Draws one member of the ensemble for each step; the first without a seed."""
    if len(stats) == 1:
        return stats[0]
    shape = [] if steps is None else [steps]
    if seed is None:
        index = tf.zeros(shape, tf.int32)
    else:
        index = tf.random.stateless_uniform(shape, seed, 0, len(stats), tf.int32)
    stack = tf.nest.map_structure(lambda *xs: tf.stack(xs, len(shape)), *stats)
    gather = lambda x: tf.gather(x, index, axis=len(shape), batch_dims=len(shape))  # noqa: E731
    return tf.nest.map_structure(gather, stack)


def _norms(prefix: str, kind: str, count: int) -> list[NormLayer]:
    return [NormLayer(kind, name=f"{prefix}{i}") for i in range(count)]


def _stack(layers, norms, act, x: tf.Tensor) -> tf.Tensor:
    for layer, norm in zip(layers, norms, strict=True):
        x = act(norm(layer(x)))
    return x


def _build_stack(layers, norms, width: int) -> int:
    """Builds dense layers one on the other; returns the width of the last."""
    for layer, norm in zip(layers, norms, strict=True):
        layer.build((None, width))
        width = layer.units
        norm.build((None, width))
    return width


def _matching(shapes: Mapping, pattern: str, dims: int) -> tuple[str, ...]:
    """The keys of a pattern and number of dimensions; `log_` keys are no inputs."""
    seen = {k: v for k, v in shapes.items() if not k.startswith("log_")}
    return tuple(k for k, v in seen.items() if re.match(pattern, k) and len(v) == dims)


def _check_inputs(name: str, shapes: Mapping, cnn_keys, mlp_keys) -> None:
    if not cnn_keys and not mlp_keys:
        raise ValueError(
            f"No observation matches {name}.cnn_keys or {name}.mlp_keys. "
            f"Received: {dict(shapes)}"
        )


def _check_stack(kernels: Sequence[int], strides: Sequence[int]) -> None:
    if len(kernels) != len(strides):
        raise ValueError(
            "cnn_kernels and cnn_strides need the same length. "
            f"Received: {tuple(kernels)} and {tuple(strides)}"
        )


def _choose(name: str, value: str, options: Mapping):
    if value not in options:
        raise ValueError(f"{name} is one of {sorted(options)}. Received: {value!r}")
    return options[value]

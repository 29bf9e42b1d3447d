"""The networks of DreamerV2 as named Keras layers.

Every sublayer carries the original's name (`img_in`, `obs_dist`, `cell`, `dense0`,
...), and all are made in `__init__` and built in `build`, so that a variable's path
(`rssm/img_in/kernel`) is the one name for freezing, porting, checkpoints and logs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.distributed import replicas
from dreamerv2_transfer.common.nets import dists
from dreamerv2_transfer.common.nets.features import Features
from dreamerv2_transfer.common.nets.layers import (
    Dense,
    GRUCell,
    NormLayer,
    _choose,
    _compute,
    batch_apply,
    flatten_event,
    stop_gradient,
    swap,
    unflatten,
)
from dreamerv2_transfer.common.ops import activations, fuse, matmul, recurrence

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
        prior = tfutils.scan(step, inputs, state, steps)
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


_STD_ACTS = {
    "softplus": tf.nn.softplus,
    "sigmoid": tf.sigmoid,
    "sigmoid2": lambda x: 2 * tf.sigmoid(x / 2),
}


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

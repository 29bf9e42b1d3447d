"""The recurrent state-space model, and its KL losses."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence

import keras
import tensorflow as tf
import tensorflow_probability.python.distributions as tfd

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.distributed import replicas
from dreamerv2_transfer.common.nets import cells, dists, rssm_loop
from dreamerv2_transfer.common.nets.features import Features
from dreamerv2_transfer.common.nets.kl import free_nats, frees_average, kl_divergence
from dreamerv2_transfer.common.nets.layers import (
    Dense,
    NormLayer,
    cast,
    choose,
    flatten_event,
    mask,
    stop_gradient,
    swap,
    unflatten,
)
from dreamerv2_transfer.common.ops import activations, fuse, matmul

State = dict[str, tf.Tensor]
Noise = Mapping[str, tf.Tensor]  # `post` and `prior` of latents; `member` of ensembles.
NO_NOISE: Noise = {}


class EnsembleRSSM(keras.layers.Layer):
    """The recurrent state-space model (Hafner et al. 2021, equation 1).

        deter_t = cell(img_in([stoch_{t-1}, action_{t-1}]), deter_{t-1})
        prior_t ~ img_dist(img_out(deter_t))             what the model expects
        post_t  ~ obs_dist(obs_out([deter_t, embed_t]))  what it infers from the image

    `img_in`, `img_out` and `obs_out` are dense layers, each followed by its norm and
    the activation. `img_step` computes the first two lines, `obs_step` all three;
    `imagine` and `observe` loop over them. In graphs `observe` hands its loop over to
    `rssm_loop`, which computes the same numbers faster; eagerly it runs the plain loop.

    A state is a dict of `deter (..., deter)`, `stoch` and the statistics that it was
    drawn from: `logit (..., stoch, discrete)`, or `mean` and `std (..., stoch)` for
    Gaussian latents (`discrete` 0 or False).

    Args:
        ensemble: Number of priors; each step draws one of them.
        stoch: Number of stochastic latents.
        deter: Size of the recurrent state.
        hidden: Size of the layers in between.
        discrete: Number of classes of each latent; 0 or False for Gaussian latents.
        act: Activation.
        norm: `none` or `layer`. Whether the cell has layer norm depends on its kind.
        std_act: `softplus`, `sigmoid`, `sigmoid2` (`2 * sigmoid(x / 2)`), or
            pydreamer's `double_sigmoid` (`2 * sigmoid(x)`), for Gaussian latents.
        min_std: Smallest standard deviation of Gaussian latents.
        unimix: Share of the uniform distribution in those of discrete latents, prior
            and posterior (see `dists.OneHotDist`).
        cell: Kind of the recurrent cell, see `cells.make`.
        gru_layers: Number of cells on top of each other.
        mask_action: Whether zeros replace the action before the first observation of
            an episode. pydreamer takes the action that is there.
        name: Name of the layer.
    """

    task_size = 0  # Numbers of a game's vector, see `task_embed`.

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
        unimix: float = 0.0,
        cell: str = "dv2",
        gru_layers: int = 1,
        mask_action: bool = True,
        name: str = "rssm",
    ):
        super().__init__(name=name)
        if unimix and not discrete:
            raise ValueError(
                "rssm.unimix mixes the classes of discrete latents, but rssm.discrete "
                f"is 0 (Gaussian latents). Received: rssm.unimix={unimix}"
            )
        self._ensemble = ensemble
        self._stoch = stoch
        self._deter = deter
        self._discrete = int(discrete)
        self.act = activations.get_act(act)
        self._std_act = choose("std_act", std_act, _STD_ACTS)
        self._min_std = min_std
        self._unimix = unimix
        self._mask_action = mask_action
        self.cell = cells.make(cell, deter, gru_layers)
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
        self.img_in.build((None, self.stoch_size + self.task_size + action_size))
        self.obs_out.build((None, self._deter + embed_size))
        self.cell.build((None, hidden))
        for layer in self.img_out:
            layer.build((None, self._deter))
        norms = [self.img_in_norm, *self.img_out_norm, self.obs_out_norm]
        for layer in [*norms, *self.img_dist, self.obs_dist]:
            layer.build((None, hidden))

    def corrected(self) -> contextlib.AbstractContextManager:
        """Does nothing: see `AdaptedRSSM`."""
        return contextlib.nullcontext()

    def initial(self, batch_size: int | tf.Tensor) -> State:
        """Returns a state of zeros for each sequence of a batch."""
        if self._discrete:
            shapes = dict.fromkeys(("logit", "stoch"), (self._stoch, self._discrete))
        else:
            shapes = dict.fromkeys(("mean", "std", "stoch"), (self._stoch,))
        shapes["deter"] = (self._deter,)
        dtype = tfutils.compute_dtype()
        return {k: tf.zeros([batch_size, *v], dtype) for k, v in shapes.items()}

    def observe(
        self,
        embed: tf.Tensor,
        action: tf.Tensor,
        is_first: tf.Tensor,
        state: State | None = None,
        seed: tf.Tensor | None = None,
    ) -> tuple[State, State]:
        """Infers the states of sequences from what was observed.

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
        embed, action, is_first = swap(embed), swap(action), swap(is_first)
        # Drawn outside of the loop: XLA has other random numbers than TensorFlow.
        noise = self.obs_noise(seed, tfutils.lead(is_first, 0))
        inputs = (action, embed, is_first, noise)
        if rssm_loop.applies():
            post, prior = rssm_loop.observe(self, state, *inputs)
        else:

            def step(prev, now):
                return self.obs_step(prev[0], *now)

            post, prior = tfutils.scan(step, inputs, (state, state), embed.shape[0])
        return tf.nest.map_structure(swap, (post, prior))

    def imagine(
        self, action: tf.Tensor, state: State, seed: tf.Tensor | None = None
    ) -> State:
        """Dreams along given actions `(B, T, action)` from states `(B, ...)`."""

        def step(prev, now):
            noise = self.img_noise(now.get("seed"), tfutils.lead(prev["deter"], 1))
            return self.img_step(prev, now["action"], noise)

        steps = action.shape[1]
        inputs = {"action": swap(action), **tfutils.step_seeds(seed, steps)}
        prior = tfutils.scan(step, inputs, state, steps)
        return tf.nest.map_structure(swap, prior)

    def obs_step(
        self,
        prev_state: State,
        prev_action: tf.Tensor,
        embed: tf.Tensor,
        is_first: tf.Tensor,
        noise: Noise = NO_NOISE,
        sample: bool = True,
    ) -> tuple[State, State]:
        """Computes one step with an observation.

        Args:
            prev_state: `(B, ...)`.
            prev_action: `(B, action)`.
            embed: `(B, embed)`.
            is_first: `(B,)`, where the previous state and action are replaced by zeros.
            noise: What `obs_noise` returned. Without noise, modes take the place of
                the samples, with the gradients of samples.
            sample: Whether to sample the latents or to take their mode, which has no
                gradient where they are discrete.

        Returns:
            Posterior and prior states `(B, ...)`.
        """
        keep = 1.0 - tf.cast(is_first, tfutils.compute_dtype())
        prev_state = self.masked_state(prev_state, keep)
        prev_action = self.masked_action(prev_action, keep)
        prior = self.img_step(prev_state, prev_action, noise, sample)
        x = tf.concat([prior["deter"], cast(embed)], -1)
        x = self.obs_out(x)
        x = self.obs_out_norm(x)
        x = self.act(x)
        stats = self.suff_stats(self.obs_dist(x))
        dist = self.get_dist(stats)
        latent = self.draw(dist, noise.get("post"), sample)
        post = {**latent, "deter": prior["deter"], **stats}
        return post, prior

    def img_step(
        self,
        prev_state: State,
        prev_action: tf.Tensor,
        noise: Noise = NO_NOISE,
        sample: bool = True,
    ) -> State:
        """Computes one step without an observation.

        Args:
            prev_state: `(B, ...)`; its latents as `stoch`, as their classes `index`,
                or as both (see `get_feat`).
            prev_action: `(B, action)`.
            noise: What `img_noise` returned; see `obs_step`.
            sample: See `obs_step`.

        Returns:
            The prior state `(B, ...)`, its latents in the form of `prev_state`.
        """
        x = self._join(prev_state, self.read_action(prev_action, prev_state))
        x = self.img_in(x)
        x = self.img_in_norm(x)
        x = self.act(x)
        deter = self.cell(x, prev_state["deter"])
        stats = self.prior_stats(deter, noise.get("member"))
        dist = self.get_dist(stats)
        latent = self.draw(dist, noise.get("prior"), sample, like=prev_state)
        return {**latent, "deter": deter, **stats}

    def read_action(self, action: tf.Tensor, state: State) -> tf.Tensor:
        """Returns what `img_in` reads besides the latents of a state."""
        return cast(action)

    def masked_state(self, state: State, keep: tf.Tensor) -> State:
        return {k: mask(x, keep) for k, x in state.items()}

    def masked_action(self, action: tf.Tensor, keep: tf.Tensor) -> tf.Tensor:
        """Returns actions, zeros where `keep` is 0, as `mask_action` tells."""
        return mask(action, keep) if self._mask_action else action

    def prior_stats(self, deter: tf.Tensor, member: tf.Tensor | None = None) -> State:
        """Returns the statistics of the prior, by one member of the ensemble.

        Args:
            deter: `(B, deter)` or `(T, B, deter)`.
            member: Number of the member, a scalar or `(T,)`; by default the first.
        """
        members = []
        for k in range(self._ensemble):
            x = self.img_out[k](deter)
            x = self.img_out_norm[k](x)
            x = self.act(x)
            members.append(self.suff_stats(self.img_dist[k](x)))
        if self._ensemble == 1:
            return members[0]
        member = tf.constant(0) if member is None else member
        axis = len(member.shape)
        return {
            key: tf.gather(
                tf.stack([stats[key] for stats in members], axis),
                member,
                axis=axis,
                batch_dims=axis,
            )
            for key in members[0]
        }

    def suff_stats(self, x: tf.Tensor) -> State:
        """Returns the statistics that parametrize `get_dist`, given a dense output."""
        if self._discrete:
            return {"logit": unflatten(x, (self._stoch, self._discrete))}
        mean, std = tf.split(x, 2, -1)
        return {"mean": mean, "std": self._std_act(std) + self._min_std}

    def draw(
        self,
        dist,
        noise: tf.Tensor | None,
        sample: bool = True,
        like: Collection[str] = ("stoch",),
    ) -> State:
        """Draws latents from their distribution, or takes its mode.

        Args:
            dist: What `get_dist` returned.
            noise: `(..., stoch)`, uniform or of a standard Normal; see `obs_step`.
            sample: See `obs_step`.
            like: The forms in which to return the latents: `stoch`, `index` or both.
        """
        noise = noise if sample else None
        if not self._discrete:
            mean, std = dist.distribution.loc, dist.distribution.scale
            return {"stoch": cast(mean if noise is None else mean + std * noise)}
        index = dist.classes_at(noise)
        latent = {"index": index} if "index" in like else {}
        if "stoch" in like:
            stoch = dist.straight_through(index) if sample else dist.mode()
            latent["stoch"] = cast(stoch)
        return latent

    def obs_noise(self, seed: tf.Tensor | None, lead: Sequence) -> Noise:
        """Draws the noise of `obs_step`.

        Args:
            seed: See `dists`; None for no noise.
            lead: The leading dimensions `[B]` of a step, or `[T, B]` of all steps.
        """
        if seed is None:
            return NO_NOISE
        post_seed, prior_seed = tfutils.split_seed(seed, 2)
        return {
            "post": self._latent_noise(post_seed, lead),
            **self.img_noise(prior_seed, lead),
        }

    def img_noise(self, seed: tf.Tensor | None, lead: Sequence) -> Noise:
        """Draws the noise of `img_step`: as `obs_noise`, but for the prior alone."""
        if seed is None:
            return NO_NOISE
        latent_seed, member_seed = tfutils.split_seed(seed, 2)
        noise = {"prior": self._latent_noise(latent_seed, lead)}
        if self._ensemble > 1:
            noise["member"] = tf.random.stateless_uniform(
                lead[:-1], member_seed, 0, self._ensemble, tf.int32
            )
        return noise

    def _latent_noise(self, seed: tf.Tensor, lead: Sequence) -> tf.Tensor:
        kind = replicas.uniform if self._discrete else replicas.normal
        return kind([*lead, self._stoch], seed, axis=len(lead) - 1)

    def get_feat(self, state: State) -> tf.Tensor | Features:
        """Returns what the heads read: `(..., stoch * discrete + deter)`.

        Args:
            state: `deter` and `stoch`. Discrete latents may come as their classes
                `index` instead, with `stoch` only where it needs a gradient.
        """
        return self._join(state, state["deter"])

    def _join(self, state: State, rest: tf.Tensor) -> tf.Tensor | Features:
        """Returns `[stoch, rest]`, as `Features` if the classes are known."""
        stoch = self.flat_stoch(state["stoch"]) if "stoch" in state else None
        if "index" in state:
            return Features(state["index"], self._discrete, rest, stoch)
        return tf.concat([stoch, rest], -1)

    def flat_stoch(self, stoch: tf.Tensor) -> tf.Tensor:
        """Returns latents as vectors `(..., stoch * discrete)`."""
        return flatten_event(stoch, 2) if self._discrete else stoch

    def indexed(self, state: State) -> State:
        """Adds the classes `index` of one-hot latents, where dense layers use them."""
        if not (self._discrete and fuse.on()):
            return state
        return {**state, "index": matmul.one_hot_classes(state["stoch"])}

    def get_dist(self, state: State):
        """Returns the distribution of `stoch`, in float32."""
        if self._discrete:
            logit = state["logit"]
            return dists.OneHotDist(logit, event_dims=2, unimix=self._unimix)
        mean, std = (tf.cast(state[k], tf.float32) for k in ("mean", "std"))
        return tfd.Independent(tfd.Normal(mean, std), 1)

    def kl_losses(
        self,
        post: State,
        prior: State,
        forward: bool,
        balance: float,
        free: float,
        free_avg: bool,
        separate: bool = False,
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Returns the KL loss, balanced or as two losses.

        Balanced (Hafner et al. 2021, algorithm 2), with a for `balance`:

            kl = a * KL(sg(post) || prior) + (1 - a) * KL(post || sg(prior))

        Separate (Hafner et al. 2023, "Mastering Diverse Domains through World Models",
        the losses dyn and rep, with scales of 0.5 and 0.1 and 1 nat free):

            dyn = mean(max(free, KL(sg(post) || prior)))
            rep = mean(max(free, KL(post || sg(prior))))

        Args:
            post: Posterior states.
            prior: Prior states.
            forward: Whether to take KL(prior || post) instead. Not if separate.
            balance: The weight of the side that trains the prior. Not used if separate.
            free: Nats below which the KL is not pushed down.
            free_avg: Whether to compare `free` with the mean over the batch, not with
                each step; see `frees_average`.
            separate: Whether to return `dyn` and `rep` in place of `kl`.

        Returns:
            The scalar losses by name, and the KL of each step `(B, T)` in nats.
        """
        sg = stop_gradient
        lhs, rhs = (prior, post) if forward else (post, prior)
        if balance == 0.5 and not separate:
            value = kl_divergence(self.get_dist(lhs), self.get_dist(rhs))
            return {"kl": free_nats(value, free, free_avg=False)}, value
        value = kl_divergence(self.get_dist(lhs), self.get_dist(sg(rhs)))
        value_rhs = kl_divergence(self.get_dist(sg(lhs)), self.get_dist(rhs))
        average, whole = frees_average(balance, free_avg, separate), None
        if average:  # Both sides have the same value: one exchange between replicas.
            whole = replicas.mean(sg(tf.reduce_mean(value)))
        loss_lhs = free_nats(value, free, average, whole)
        loss_rhs = free_nats(value_rhs, free, average, whole)
        if separate:
            return {"dyn": loss_rhs, "rep": loss_lhs}, value
        mix = balance if forward else 1 - balance
        return {"kl": mix * loss_lhs + (1 - mix) * loss_rhs}, value

    def kl_loss(self, post: State, prior: State, **options) -> tuple[tf.Tensor, ...]:
        """Returns the original's loss and the KL of each step, see `kl_losses`."""
        losses, value = self.kl_losses(post, prior, **options)
        return losses["kl"], value

    def entropy_loss(self, post: State) -> tf.Tensor:
        """Returns the divergence of each posterior from noise, `(B, T)` in nats.

            KL(post || uniform) = stoch * log(discrete) - H(post)

        Minimizing it raises the entropy H, so that latents stay uncertain until it
        pays to be certain. For Gaussian latents, the noise is a standard Normal.

        Source: `posterior_entropy_weight` of github.com/kenjyoung/dreamerv2_JAX, which
        is 0.01 there. Its weights for the prior, 0.08, and for the posterior, 0.02, are
        those of the loss `kl` with a scale of 0.1 and a balance of 0.8.
        """
        if self._discrete:
            noise = {"logit": tf.zeros_like(post["logit"])}
        else:
            mean, std = tf.zeros_like(post["mean"]), tf.ones_like(post["std"])
            noise = {"mean": mean, "std": std}
        return kl_divergence(self.get_dist(post), self.get_dist(noise))


_STD_ACTS = {
    "softplus": tf.nn.softplus,
    "sigmoid": tf.sigmoid,
    "sigmoid2": lambda x: 2 * tf.sigmoid(x / 2),
    "double_sigmoid": lambda x: 2 * tf.sigmoid(x),
}

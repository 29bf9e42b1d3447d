"""The world model: encoder, RSSM, and the heads that read its features.

Hafner et al. 2021, "Mastering Atari with Discrete World Models", section 2.1. Names and
order of the computations are those of the original code.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence

import gymnasium
import keras
import tensorflow as tf

from dreamerv2_transfer.common import blocks, envs, nets, optimizer, tfutils
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.distributed import replicas
from dreamerv2_transfer.common.nets import dists
from dreamerv2_transfer.transfer.freeze import freeze

Metrics = dict[str, tf.Tensor]
LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
REWARD_TRANSFORMS = {
    "identity": tf.identity,
    "sign": tf.sign,
    "tanh": tf.tanh,
    "log1p": tf.math.log1p,
}


class WorldModel:
    """Encoder, RSSM and the heads that read its features.

    Args:
        config: The resolved configuration.
        obs_space: The spaces of all observation keys.
        act_space: `{"action": Discrete, Box or envs.Joined}`.
        rng: Source of the latents' noise, or None.
    """

    def __init__(
        self,
        config,
        obs_space: dict[str, gymnasium.Space],
        act_space: dict[str, gymnasium.Space],
        rng: tf.random.Generator | None,
    ):
        self.config = config
        self.rng = rng
        self.masks = bool(config.get("obs.action_mask", False))
        unseen = (envs.MASK,) if self.masks else ()
        self.shapes = {
            k: tuple(v.shape or ())
            for k, v in obs_space.items()
            if not k.startswith("log_") and k not in unseen
        }
        self.obs_space = obs_space
        self.act_space = act_space["action"]
        decoder = {**config.decoder, "cnn_dist": image_dist(config, obs_space)}
        self.encoder = nets.Encoder(self.shapes, **config.encoder)
        self.rssm = nets.rssm_of(config, self.act_space)
        self.heads = {
            "decoder": nets.Decoder(self.shapes, **decoder),
            "reward": nets.MLP((), **config.reward_head, name="reward"),
        }
        if config.pred_discount:
            self.heads["discount"] = nets.MLP(
                (), **config.discount_head, name="discount"
            )
        if config.pred_terminal:
            self.heads["terminal"] = nets.MLP(
                (), **config.discount_head, name="terminal"
            )
        if self.masks:
            self.heads[envs.MASK] = nets.mask_head(config, obs_space, self.act_space)
        for name in config.grad_heads:
            if name not in self.heads:
                raise ValueError(
                    f"grad_heads names a head that does not exist. Received: {name!r}; "
                    f"heads are {sorted(self.heads)}"
                )
        self.encoder.build()
        self.rssm.build(self.encoder.embed_size, envs.act_size(act_space["action"]))
        for head in self.heads.values():
            head.build(self.rssm.feat_size)
        freeze(self.components, config.freeze)
        balanced = config.loss_balance == "harmony"
        self.harmony = nets.Harmony(self._tasks_of_losses) if balanced else None
        # The terminal head is there in place of the discount head.
        factors = config.model_opt.lr_by
        lr_by = {**factors, "terminal": factors.discount}
        self.model_opt = optimizer.Optimizer(
            "model", self.trainable_variables, **{**config.model_opt, "lr_by": lr_by}
        )

    @property
    def components(self) -> dict[str, keras.layers.Layer]:
        """The parts that can be loaded, frozen and ported on their own, by name."""
        return {"encoder": self.encoder, "rssm": self.rssm, **self.heads}

    @property
    def variables(self) -> list:
        weights = [v for c in self.components.values() for v in c.variables]
        return weights + self._scales_of_losses

    @property
    def trainable_variables(self) -> list:
        weights = [v for c in self.components.values() for v in c.trainable_variables]
        return weights and weights + self._scales_of_losses

    @property
    def _scales_of_losses(self) -> list:
        return self.harmony.variables if self.harmony else []

    def train(self, data, state, first: Callable[..., Metrics] = lambda outputs: {}):
        """Makes one update. If all weights are frozen, it only computes the loss.

        Args:
            data: As `loss` takes it.
            state: As `loss` takes it.
            first: Called with the outputs of `loss` before weights change; returns
                metrics.

        Returns:
            The states after the last step, the outputs of `loss`, and metrics.
        """
        with tf.GradientTape() as tape:
            model_loss, state, outputs, metrics = self.loss(data, state)
        metrics.update(first(outputs))
        if self.trainable_variables:
            metrics.update(self.model_opt(tape, model_loss))
        return state, outputs, metrics

    def loss(self, data, state=None):
        """Returns the loss of a batch (Hafner et al. 2021, equation 2).

            loss = sum_k scale_k * loss_k

        The losses are `-log p(x | feat)` of each prediction x (images, reward, and
        discount or terminal), the KL of posterior and prior (see
        `EnsembleRSSM.kl_losses`), and `post_ent` (see `EnsembleRSSM.entropy_loss`) if
        its scale is not 0. The scales are `loss_scales`, or are learned (see
        `nets.Harmony`).

        Args:
            data: A batch `(B, T, ...)` of each key.
            state: The states before it, or None for zeros.

        Returns:
            The scalar loss, the states after the last step, a dict of intermediate
            values (`embed`, `feat`, `post`, `prior`; of each step, `kl` and the other
            `losses`), and metrics.
        """
        data = self.preprocess(data)
        seed = tfutils.make_seeds(self.rng, 1)[0]
        embed, post, prior = self.observe(data, state, seed)
        feat = self.rssm.get_feat(self.rssm.indexed(post))
        losses, kl_value = self.rssm.kl_losses(post, prior, **self.config.kl)
        by_step = self._prediction_losses(feat, data)
        if self.config.loss_scales.post_ent:
            by_step["post_ent"] = self.rssm.entropy_loss(post)
        losses.update({k: tf.reduce_mean(v) for k, v in by_step.items()})
        model_loss, metrics = self._total(losses)
        outputs = dict(
            embed=embed, feat=feat, post=post, prior=prior, losses=by_step, kl=kl_value
        )
        if self.harmony:
            metrics |= {f"{k}_factor": v for k, v in self.harmony.factors.items()}
        metrics["model_kl"] = tf.reduce_mean(kl_value)
        metrics["prior_ent"] = tf.reduce_mean(self.rssm.get_dist(prior).entropy())
        metrics["post_ent"] = tf.reduce_mean(self.rssm.get_dist(post).entropy())
        last_state = {k: v[:, -1] for k, v in post.items()}
        return model_loss, last_state, outputs, metrics

    def initial(self, batch_size: int, game: str | Sequence[str] | None = None):
        """Returns the states before the first observations.

        Args:
            batch_size: Number of sequences.
            game: With `task_embed`, the game of all or of each; by default the run's.

        Raises:
            ConfigError: The model has no vector of a game.
        """
        state = self.rssm.initial(batch_size)
        if self.rssm.task_size and game is not None:
            games = [game] * batch_size if isinstance(game, str) else game
            state[nets.GAME] = tf.constant(blocks.game_indices(self.config, games))
        return state

    def assume(self, game: str) -> None:
        """Lets the initial states be of a game, where no other is named.

        Raises:
            ConfigError: The model has no vector of it.
        """
        if self.rssm.task_size:
            self.rssm.game = blocks.game_indices(self.config, [game])[0]

    def observe(self, data, state=None, seed=None):
        """Returns embeddings, posterior and prior states of preprocessed sequences.

        Args:
            data: Observations, `action` and `is_first`, `(B, T, ...)`, and of a model
                with `task_embed` possibly `game_index` `(B,)`.
            state: The states before, or None for `rssm.initial`.
            seed: See `dists`.
        """
        embed = self.encoder(data)
        if nets.GAME in data:
            state = self.rssm.initial(tf.shape(embed)[0]) if state is None else state
            state = {**state, nets.GAME: data[nets.GAME]}
        inputs = embed, data["action"], data["is_first"]
        return embed, *self.rssm.observe(*inputs, state, seed)

    def behavior_feat(self, state):
        """Returns what actor and critic read of states."""
        rssm = self.rssm
        return (rssm.get_behavior_feat if rssm.task_size else rssm.get_feat)(state)

    def _prediction_losses(self, feat, data) -> dict[str, tf.Tensor]:
        """Returns `-log p(x | feat)` of each key x that is predicted, `(B, T)`."""
        losses = {}
        learning = (*self.config.grad_heads, envs.MASK)
        for name, head in self.heads.items():
            inp = feat if name in learning else nets.stop_gradient(feat)
            out = head(inp)
            for key, dist in (out if isinstance(out, dict) else {name: out}).items():
                like = dist.log_prob(tf.cast(data[key], tf.float32))
                losses[key] = -tf.cast(like, tf.float32)
        return losses

    def _total(self, losses: dict[str, tf.Tensor]) -> tuple[tf.Tensor, Metrics]:
        """Returns the sum of the losses, each times its scale, and metrics of them.

        Even where scales are learned, `model_error` is a sum by `loss_scales`, without
        constants, so that runs can be compared.
        """
        metrics = {f"{name}_loss": value for name, value in losses.items()}
        scales = {name: self._scale(name) for name in losses}
        total = tf.add_n([scales[k] * v for k, v in losses.items()])
        metrics["model_error"] = total - self.constant
        if self.harmony:
            errors = {k: v - self._constants.get(k, 0.0) for k, v in losses.items()}
            total = self.harmony.total(errors, scales)
        metrics["model_loss"] = total
        return total, metrics

    def _scale(self, name: str) -> float:
        return self.config.loss_scales.get(name, 1.0)

    @property
    def _tasks_of_losses(self) -> dict[str, list[str]]:
        """The names of the losses of each task in HarmonyDream."""
        decoder = self.heads["decoder"]
        return {
            "observation": [*decoder.cnn_keys, *decoder.mlp_keys],
            "reward": ["reward"],
            "dynamics": ["kl", "dyn", "rep"],
        }

    @property
    def constant(self) -> float:
        """The Normals' constants in the sum by `loss_scales`."""
        return sum(self._scale(k) * v for k, v in self._constants.items())

    @property
    def _constants(self) -> dict[str, float]:
        """The Normals' constants in each loss, 0.919 a value."""
        decoder = self.heads["decoder"]
        images = decoder.cnn_keys if decoder.cnn_dist == "mse" else ()
        values = {k: math.prod(self.shapes[k]) for k in (*images, *decoder.mlp_keys)}
        if self.config.reward_head.dist in ("mse", "normal", "symlog_mse"):
            values["reward"] = 1
        return {name: number * LOG_SQRT_2PI for name, number in values.items()}

    def loss_by_task(self, outputs, task: tf.Tensor, tasks: int) -> Metrics:
        """Returns the losses of each game's rows.

        Args:
            outputs: The intermediate values of `loss`.
            task: `(B,)`, the index of each row's game.
            tasks: Number of games.

        Returns:
            `(tasks,)` of each loss, 0 for a game without a row in the batch.
        """
        members = tf.one_hot(task, tasks, axis=0)
        rows = replicas.total(tf.reduce_sum(members, 1, keepdims=True))
        weight = tf.math.divide_no_nan(members, rows)

        def by_task(x: tf.Tensor) -> tf.Tensor:
            return replicas.total(tf.linalg.matvec(weight, tf.reduce_mean(x, 1)))

        options, kl = self.config.kl, outputs["kl"]
        if nets.frees_average(**options):
            kl_loss = tf.maximum(by_task(kl), options.free)
        else:
            kl_loss = by_task(tf.maximum(kl, options.free))
        names = ("dyn", "rep") if options.separate else ("kl",)
        losses = dict.fromkeys(names, kl_loss)
        losses |= {k: by_task(v) for k, v in outputs["losses"].items()}
        return self._total(losses)[1]

    def imagine(
        self,
        actor: Callable,
        start,
        is_terminal: tf.Tensor | None,
        horizon: int,
        differentiable: bool = True,
    ):
        """Dreams `horizon` steps from every given state, with an actor's actions.

        Args:
            actor: Maps features to a distribution of actions.
            start: States `(B, T, ...)`; each begins a dream.
            is_terminal: `(B, T)`, whether the episode ended there; None if unknown.
            horizon: Number of steps.
            differentiable: Whether gradients flow through the states.

        Returns:
            Sequences `(horizon + 1, B * T, ...)`: the states, `feat`, `action` (that
            led to each state; zeros for the first), `discount` and `weight`, and
            `behavior_feat` with `task_embed`; and, for each state but the last,
            `actor_cache`, see `MLP.call_with_cache`, and any predicted `action_mask`.
        """

        def flatten(x: tf.Tensor) -> tf.Tensor:
            return tf.reshape(x, [-1, *x.shape[2:]])

        def step(prev, now):
            prev, _ = prev
            act_seed, state_seed = tfutils.split_seed(now.get("seed"), 2)
            dist, cache = self._act(actor, prev)
            action = dists.sample(dist, act_seed)
            noise = self.rssm.img_noise(state_seed, tfutils.lead(prev["deter"], 1))
            state = self.rssm.img_step(prev, action, noise)
            kept = {k: state[k] for k in prev if k != "action"}
            return {**kept, "action": action}, cache

        kept = [k for k in ("stoch", "deter", nets.GAME) if k in start]
        start = self.rssm.indexed({k: flatten(start[k]) for k in kept})
        if "index" in start and not differentiable:
            start.pop("stoch")
        dist, cache = self._act(actor, start)
        start["action"] = tf.zeros_like(dist.mode())
        no_cache = [tf.zeros_like(x) for x in cache]
        seeds = tfutils.step_seeds(tfutils.make_seeds(self.rng, 1)[0], horizon)
        with self.rssm.corrected():  # Once, not in each step.
            dream, cache = tfutils.scan(step, seeds, (start, no_cache), horizon)
        seq = {k: tf.concat([start[k][None], dream[k]], 0) for k in start}
        if self.masks:
            seq[envs.MASK] = cache.pop()
        seq["actor_cache"] = cache
        seq["feat"] = self.rssm.get_feat(seq)
        seq |= {"behavior_feat": self.behavior_feat(seq)} if self.rssm.task_size else {}
        first = None if is_terminal is None else flatten(is_terminal)
        seq["discount"] = self._discount(seq["feat"], first)
        # A discount tells of the state after it; a weight is the product before it.
        seq["weight"] = tf.math.cumprod(seq["discount"], 0, exclusive=True)
        return seq

    def _act(self, actor: Callable, state) -> tuple:
        """Returns the distribution of allowed actions, and what `imagine` keeps.

        That is a network's cache (see `MLP`), and behind it the predicted mask.
        """
        feat = nets.stop_gradient(self.behavior_feat(state))
        if isinstance(actor, nets.MLP):
            dist, cache = actor.call_with_cache(feat)
        else:
            dist, cache = actor(feat), []
        if not self.masks:
            return dist, cache
        mask = self.predicted_mask(self.rssm.get_feat(state))
        return dists.masked(dist, mask), [*cache, mask]

    def predicted_mask(self, feat) -> tf.Tensor:
        """Returns 1 for each class that is likelier to be allowed than not, else 0."""
        return tf.stop_gradient(self.heads[envs.MASK](feat).mode())

    def _discount(self, feat: tf.Tensor, is_terminal: tf.Tensor | None) -> tf.Tensor:
        """Returns the predicted discount of each state; of the first, the true one."""
        # States:      z0    z1    z2    z3
        # Predicted:   d0   [d1]  [d2]  [d3]
        # True:       [t0]
        disc = self.predicted_discount(feat)
        if is_terminal is None or not self.predicts_ends:
            return disc
        first = (1.0 - tf.cast(is_terminal, disc.dtype)) * self.config.discount
        return tf.concat([first[None], disc[1:]], 0)

    @property
    def predicts_ends(self) -> bool:
        """Whether a head predicts the end of episodes."""
        return "discount" in self.heads or "terminal" in self.heads

    def predicted_discount(self, feat) -> tf.Tensor:
        """Returns the discount of states, `discount` times P(the episode goes on).

        The discount head predicts the product, the terminal head of pydreamer the
        probability that the episode is over. Without either, nothing ends.
        """
        if "discount" in self.heads:
            return self.heads["discount"](feat).mean()
        if "terminal" in self.heads:
            return self.config.discount * (1.0 - self.heads["terminal"](feat).mean())
        return self.config.discount * tf.ones(tf.shape(feat)[:-1])

    def preprocess(self, obs):
        """Converts observations to what the networks expect.

        Bytes become -0.5..0.5, boolean planes 0 and 1, rewards are squashed as
        configured, and `discount` is added.
        """
        dtype = tfutils.compute_dtype()
        named = (nets.GAME,) if self.rssm.task_size else ()
        game = {k: obs[k] for k in named if k in obs}
        kept = {*self.shapes, "action", *([envs.MASK] if self.masks else [])}
        obs = {k: v for k, v in obs.items() if k in kept}
        for key, value in obs.items():
            if value.dtype == tf.uint8:
                obs[key] = tf.cast(value, dtype) / 255.0 - 0.5
            elif key in self.encoder.cnn_keys:
                obs[key] = tf.cast(value, dtype)
            elif value.dtype == tf.int32:  # Half precision would round vectors.
                obs[key] = tf.cast(value, tf.float32)
        if "reward" in obs:  # The policy does not observe it.
            obs["reward"] = REWARD_TRANSFORMS[self.config.clip_rewards](obs["reward"])
        if "is_terminal" in obs:
            obs["terminal"] = tf.cast(obs["is_terminal"], tf.float32)
            obs["discount"] = (1.0 - obs["terminal"]) * self.config.discount
        return {**obs, **game}

    def video_pred(self, data, key: str, context: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Predicts a video open-loop: sees `context` frames, then dreams the rest.

        Args:
            data: A batch `(B, T, ...)`; the model starts from zeros.
            key: An image key.
            context: Number of frames that the model sees.

        Returns:
            The true and the predicted video, `(B, T, H, W, C)` in 0..1.
        """
        # Bytes enter the model as -0.5..0.5, boolean planes as they are.
        offset = 0.5 if data[key].dtype == tf.uint8 else 0.0
        data = self.preprocess(data)
        post_seed, dream_seed = tfutils.make_seeds(self.rng, 2)
        seen = {k: v if k == nets.GAME else v[:, :context] for k, v in data.items()}
        _, states, _ = self.observe(seen, seed=post_seed)
        init = {k: v[:, -1] for k, v in states.items()}
        prior = self.rssm.imagine(data["action"][:, context:], init, dream_seed)
        feat = tf.concat([self.rssm.get_feat(s) for s in (states, prior)], 1)
        model = self.heads["decoder"](feat)[key].mean()
        return tf.cast(data[key], tf.float32) + offset, model + offset


def make_world_model(config, obs_space, act_space) -> WorldModel:
    """Creates a world model whose weights and noise are drawn from `config.seed`.

    Raises:
        ConfigError: If the networks cannot be built for these spaces.
    """
    return make_seeded(WorldModel, config, obs_space, act_space)


def make_seeded(kind: Callable, config, *spaces):
    """Creates a world model or an agent, see `make_world_model`.

    Args:
        kind: The class.
        config: The resolved configuration.
        spaces: Of the observations and of the actions.
    """
    keras.utils.set_random_seed(config.seed)
    rng = tf.random.Generator.from_seed(config.seed)
    strategy = replicas.strategy(config.strategy)
    # The generator stays outside: all replicas of a process draw from the same one.
    scope = contextlib.nullcontext() if config.strategy == "none" else strategy.scope()
    try:
        with scope:
            return kind(config, *spaces, rng)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def image_dist(config, obs_space: dict[str, gymnasium.Space]) -> str:
    """Returns the likelihood of images, `decoder.cnn_dist` with `auto` resolved.

    Planes of zeros and ones are `binary`, bytes are `mse`.
    """
    if config.decoder.cnn_dist != "auto":
        return config.decoder.cnn_dist
    images = [x for x in obs_space.values() if len(x.shape or ()) == 3]
    return "binary" if images and all(x.dtype == bool for x in images) else "mse"

"""DreamerV2: a world model, an actor and a critic that learn in its dreams.

Hafner et al. 2021, "Mastering Atari with Discrete World Models". Names and order of
the computations are those of the original code.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import gymnasium
import keras
import tensorflow as tf

from dreamerv2_transfer import expl
from dreamerv2_transfer.common import envs, nets, optimizer, other, tfutils
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.distributed import replicas
from dreamerv2_transfer.common.driver import Policy
from dreamerv2_transfer.common.nets import dists
from dreamerv2_transfer.transfer.freeze import freeze

Metrics = dict[str, tf.Tensor]
LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
REWARD_TRANSFORMS = {"identity": tf.identity, "sign": tf.sign, "tanh": tf.tanh}


class Agent:
    """World model and behaviors, with the policy that acts by them.

    `task_behavior` seeks the task's rewards; `expl_behavior` is what explores, the very
    same object where `config.expl_behavior` is `greedy`.

    Args:
        config: The resolved configuration.
        obs_space: The spaces of all observation keys, `reward` and flags included.
        act_space: `{"action": Discrete or Box}`.
        rng: Source of all noise; None replaces each sample by its mode (see `dists`).
        tfstep: Counts environment steps, for schedules.
    """

    def __init__(
        self,
        config,
        obs_space: dict[str, gymnasium.Space],
        act_space: dict[str, gymnasium.Space],
        rng: tf.random.Generator | None,
        tfstep: tf.Variable | None = None,
    ):
        self.config = config
        self.act_space = act_space["action"]
        self.rng = rng
        self.tfstep = (
            tf.Variable(0, False, dtype=tf.int64) if tfstep is None else tfstep
        )
        self.wm = WorldModel(config, obs_space, act_space, rng)
        self.task_behavior = ActorCritic(
            config, act_space, self.wm.rssm.feat_size, rng, self.tfstep
        )
        self.expl_behavior = self._make_expl_behavior(act_space)
        self.policy = tfutils.compiled(self._policy, config, xla=True)
        self.train = tfutils.compiled(self.update, config)
        self.train_behavior = tfutils.compiled(self.update_behavior, config)

    def _make_expl_behavior(self, act_space):
        if self.config.expl_behavior == "greedy":
            return self.task_behavior
        make_ac = lambda: ActorCritic(  # noqa: E731
            self.config,
            act_space,
            self.wm.rssm.feat_size,
            self.rng,
            self.tfstep,
            prefix="expl_",
        )
        return expl.make(self.config, act_space, self.wm, make_ac, self._reward)

    def _reward(self, seq) -> tf.Tensor:
        """The predicted rewards of the task."""
        return self.wm.heads["reward"](seq["feat"]).mode()

    @property
    def components(self) -> dict[str, keras.layers.Layer]:
        return {**self.wm.components, **self.behavior_components}

    @property
    def behavior_components(self) -> dict[str, keras.layers.Layer]:
        """Of both behaviors."""
        return {**self.task_behavior.components, **self.expl_behavior.components}

    @property
    def state(self) -> dict[str, tf.Variable]:
        """What training changes besides weights, optimizers and noise."""
        is_other = self.expl_behavior is not self.task_behavior
        explored = self.expl_behavior.state if is_other else {}
        return {
            "tfstep": self.tfstep,
            **self.task_behavior.state,
            **{f"expl_{name}": variable for name, variable in explored.items()},
        }

    def initial(self, batch_size: int):
        """The policy's state before the first observation."""
        action = tf.zeros([batch_size, envs.act_size(self.act_space)])
        return self.wm.rssm.initial(batch_size), action

    def _policy(self, obs, state, mode: str = "train"):
        """Acts on a batch of observations.

        Args:
            obs: `(B, ...)` of the encoder's keys and `is_first`; others are ignored.
            state: What the last call returned, or `initial(B)`.
            mode: `train` samples the actor, `explore` that of the exploration, and
                `eval` takes the actor's mode.

        Returns:
            `{"action": (B, actions)}` and the next state.
        """
        latent, action = state
        post_seed, act_seed, noise_seed = tfutils.make_seeds(self.rng, 3)
        embed = self.wm.encoder(self.wm.preprocess(obs))
        sample = mode != "eval" or not self.config.eval_state_mean
        latent, _ = self.wm.rssm.obs_step(
            latent, action, embed, obs["is_first"], post_seed, sample
        )
        behavior = self.expl_behavior if mode == "explore" else self.task_behavior
        actor = behavior.actor(self.wm.rssm.get_feat(latent))
        if mode == "eval":
            action, noise = actor.mode(), self.config.eval_noise
        else:
            action, noise = dists.sample(actor, act_seed), self.config.expl_noise
        discrete = is_discrete(self.act_space)
        action = other.action_noise(action, noise, discrete, noise_seed)
        return {"action": action}, (latent, action)

    def update(self, data, state):
        """One update of the world model and of the behaviors on its posteriors.

        `train` is its graph; this is for graphs of one's own.

        Args:
            data: A batch `(B, T, ...)` of each key.
            state: The RSSM's states before the batch: what the last call returned, or
                `wm.rssm.initial(B)`.

        Returns:
            The states after the batch, and scalar metrics.
        """
        state, outputs, metrics = self.wm.train(data, state)
        metrics.update(self._train_on(outputs, data))
        return state, metrics

    def update_behavior(self, data, state):
        """As `update`, but the world model stays as it is."""
        _, state, outputs, metrics = self.wm.loss(data, state)
        metrics.update(self._train_on(outputs, data))
        return state, metrics

    def _train_on(self, outputs, data) -> Metrics:
        start, done = outputs["post"], data["is_terminal"]
        metrics = self.task_behavior.train(self.wm, start, done, self._reward)
        if self.expl_behavior is not self.task_behavior:
            explored = self.expl_behavior.train(start, outputs, data)
            metrics.update({f"expl_{k}": v for k, v in explored.items()})
        return metrics


def make_agent(config, obs_space, act_space) -> Agent:
    """A fresh agent, its weights and noise drawn from `config.seed`.

    Raises:
        ConfigError: If the networks cannot be built for these spaces.
    """
    return _seeded(Agent, config, obs_space, act_space)


def make_world_model(config, obs_space, act_space) -> WorldModel:
    """As `make_agent`, but without behavior."""
    return _seeded(WorldModel, config, obs_space, act_space)


def _seeded(kind, config, *spaces):
    keras.utils.set_random_seed(config.seed)
    rng = tf.random.Generator.from_seed(config.seed)
    strategy = replicas.strategy(config.strategy)
    # Not the generator: all replicas of a process draw from the same.
    scope = contextlib.nullcontext() if config.strategy == "none" else strategy.scope()
    try:
        with scope:
            return kind(config, *spaces, rng)
    except ValueError as error:
        raise ConfigError(str(error)) from error


class WorldModel:
    """Encoder, RSSM and the heads that read its features.

    Args:
        config: The resolved configuration.
        obs_space: The spaces of all observation keys.
        act_space: `{"action": Discrete or Box}`.
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
        self.shapes = {
            k: tuple(v.shape) for k, v in obs_space.items() if not k.startswith("log_")
        }
        self.obs_space = obs_space
        decoder = {**config.decoder, "cnn_dist": image_dist(config, obs_space)}
        self.encoder = nets.Encoder(self.shapes, **config.encoder)
        self.rssm = nets.EnsembleRSSM(**config.rssm)
        self.heads = {
            "decoder": nets.Decoder(self.shapes, **decoder),
            "reward": nets.MLP((), **config.reward_head, name="reward"),
        }
        if config.pred_discount:
            self.heads["discount"] = nets.MLP(
                (), **config.discount_head, name="discount"
            )
        for name in config.grad_heads:
            if name not in self.heads:
                raise ValueError(
                    f"grad_heads names a head that does not exist. Received: {name!r}; "
                    f"heads are {sorted(self.heads)}"
                )
        self._build(envs.act_size(act_space["action"]))
        freeze(self.components, config.freeze)
        self.model_opt = optimizer.Optimizer(
            "model", self.trainable_variables, **config.model_opt
        )

    def _build(self, actions: int) -> None:
        self.encoder.build()
        self.rssm.build(self.encoder.embed_size, actions)
        for head in self.heads.values():
            head.build(self.rssm.feat_size)

    @property
    def components(self) -> dict[str, keras.layers.Layer]:
        """What can be loaded, frozen and ported on its own, by name."""
        return {"encoder": self.encoder, "rssm": self.rssm, **self.heads}

    @property
    def variables(self) -> list:
        return [v for c in self.components.values() for v in c.variables]

    @property
    def trainable_variables(self) -> list:
        return [v for c in self.components.values() for v in c.trainable_variables]

    def train(self, data, state):
        """One update. Returns the last states, the outputs of `loss` and metrics.

        Where all weights are frozen, these are of the forward pass alone.
        """
        if not self.trainable_variables:
            return self.loss(data, state)[1:]
        with tf.GradientTape() as tape:
            model_loss, state, outputs, metrics = self.loss(data, state)
        metrics.update(self.model_opt(tape, model_loss))
        return state, outputs, metrics

    def loss(self, data, state=None):
        """The loss of a batch (Hafner et al. 2021, equation 2).

        Args:
            data: A batch `(B, T, ...)` of each key.
            state: The states before it, or None for zeros.

        Returns:
            The scalar loss, the states after the last step, a dict of intermediate
            values (`embed`, `feat`, `post`, `prior`, `likes`, `kl`), and metrics.
        """
        data = self.preprocess(data)
        embed = self.encoder(data)
        seed = tfutils.make_seeds(self.rng, 1)[0]
        post, prior = self.rssm.observe(
            embed, data["action"], data["is_first"], state, seed
        )
        feat = self.rssm.get_feat(self.rssm.indexed(post))
        kl_loss, kl_value = self.rssm.kl_loss(post, prior, **self.config.kl)
        likes = self._likelihoods(feat, data)
        losses = {"kl": kl_loss, **{k: -tf.reduce_mean(v) for k, v in likes.items()}}
        model_loss = self._total(losses)
        outputs = dict(
            embed=embed, feat=feat, post=post, prior=prior, likes=likes, kl=kl_value
        )
        metrics = {f"{name}_loss": value for name, value in losses.items()}
        metrics["model_loss"] = model_loss
        metrics["model_error"] = model_loss - self.constant
        metrics["model_kl"] = tf.reduce_mean(kl_value)
        metrics["prior_ent"] = tf.reduce_mean(self.rssm.get_dist(prior).entropy())
        metrics["post_ent"] = tf.reduce_mean(self.rssm.get_dist(post).entropy())
        last_state = {k: v[:, -1] for k, v in post.items()}
        return model_loss, last_state, outputs, metrics

    def _likelihoods(self, feat: tf.Tensor, data) -> dict[str, tf.Tensor]:
        """The log probability `(B, T)` of each target under its head."""
        likes = {}
        for name, head in self.heads.items():
            inp = feat if name in self.config.grad_heads else nets.stop_gradient(feat)
            out = head(inp)
            for key, dist in (out if isinstance(out, dict) else {name: out}).items():
                target = tf.cast(data[key], tf.float32)
                likes[key] = tf.cast(dist.log_prob(target), tf.float32)
        return likes

    def _total(self, losses: dict[str, tf.Tensor]) -> tf.Tensor:
        return tf.add_n([self._scale(k) * v for k, v in losses.items()])

    def _scale(self, name: str) -> float:
        return self.config.loss_scales.get(name, 1.0)

    @property
    def constant(self) -> float:
        """What the Normals' constants (0.919 a value) add to the model loss."""
        total = 0.0
        if self.config.reward_head.dist in ("mse", "normal"):
            total += self._scale("reward") * LOG_SQRT_2PI
        decoder = self.heads["decoder"]
        images = decoder.cnn_keys if decoder.cnn_dist == "mse" else ()
        for key in (*images, *decoder.mlp_keys):
            total += self._scale(key) * math.prod(self.shapes[key]) * LOG_SQRT_2PI
        return total

    def loss_by_task(self, outputs, task: tf.Tensor, tasks: int) -> Metrics:
        """The losses of the rows of each game.

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
        by_task = lambda x: replicas.total(  # noqa: E731
            tf.linalg.matvec(weight, tf.reduce_mean(x, 1))
        )
        free, free_avg = self.config.kl.free, self.config.kl.free_avg
        kl = outputs["kl"]
        if free_avg:
            losses = {"kl": tf.maximum(by_task(kl), free)}
        else:
            losses = {"kl": by_task(tf.maximum(kl, free))}
        losses.update({k: by_task(-like) for k, like in outputs["likes"].items()})
        metrics = {f"{name}_loss": value for name, value in losses.items()}
        metrics["model_loss"] = self._total(losses)
        metrics["model_error"] = metrics["model_loss"] - self.constant
        return metrics

    def imagine(
        self, policy, start, is_terminal, horizon: int, differentiable: bool = True
    ):
        """Dreams of `horizon` steps from every given state, by a policy's actions.

        Args:
            policy: A network, or what maps features to a distribution of actions.
            start: States `(B, T, ...)`; each begins a dream.
            is_terminal: `(B, T)`, whether the episode ended there; None if unknown.
            horizon: Number of steps.
            differentiable: Whether gradients go through the states.

        Returns:
            Sequences `(horizon + 1, B * T, ...)`: the states, `feat`, `action` (that
            led to each state; zeros for the first), `discount` and `weight`; and
            `policy`, what a network recorded in each state but the last.
        """
        flatten = lambda x: tf.reshape(x, [-1, *x.shape[2:]])  # noqa: E731
        start = {k: flatten(start[k]) for k in ("stoch", "deter")}
        start = self.rssm.indexed(start)
        if "index" in start and not differentiable:
            start.pop("stoch")
        dist, record = _record(policy, self.rssm.get_feat(start))
        start["action"] = tf.zeros_like(dist.mode())
        record = [tf.zeros_like(x) for x in record]
        seed = tfutils.make_seeds(self.rng, 1)[0]
        step = lambda prev, now: self._imagine_step(policy, prev[0], now.get("seed"))  # noqa: E731
        inputs = tfutils.step_seeds(seed, horizon)
        dream, seq_record = tfutils.scan(step, inputs, (start, record), horizon)
        seq = {k: tf.concat([start[k][None], dream[k]], 0) for k in start}
        seq["policy"] = seq_record
        seq["feat"] = self.rssm.get_feat(seq)
        first = None if is_terminal is None else flatten(is_terminal)
        seq["discount"] = self._discount(seq["feat"], first)
        # The discount of a step says whether the state after it is still valid, so the
        # weight of a state is the product of the discounts before it.
        seq["weight"] = tf.math.cumprod(seq["discount"], 0, exclusive=True)
        return seq

    def _imagine_step(self, policy, prev, seed):
        act_seed, state_seed = tfutils.split_seed(seed, 2)
        feat = nets.stop_gradient(self.rssm.get_feat(prev))
        dist, record = _record(policy, feat)
        action = dists.sample(dist, act_seed)
        state = self.rssm.img_step(prev, action, state_seed)
        return {**{k: state[k] for k in prev if k in state}, "action": action}, record

    def _discount(self, feat: tf.Tensor, is_terminal: tf.Tensor | None) -> tf.Tensor:
        """The predicted discount of each state; of the first, the true one."""
        if "discount" not in self.heads:
            return self.config.discount * tf.ones(tf.shape(feat)[:-1])
        disc = self.heads["discount"](feat).mean()
        if is_terminal is None:
            return disc
        first = (1.0 - tf.cast(is_terminal, disc.dtype)) * self.config.discount
        return tf.concat([first[None], disc[1:]], 0)

    def preprocess(self, obs):
        """Makes observations what the networks expect.

        Bytes become -0.5..0.5, boolean planes 0 and 1, rewards are squashed as
        configured, and `discount` is added.
        """
        dtype = tfutils.compute_dtype()
        obs = {k: v for k, v in obs.items() if k in self.shapes or k == "action"}
        for key, value in obs.items():
            if value.dtype == tf.uint8:
                obs[key] = tf.cast(value, dtype) / 255.0 - 0.5
            elif value.dtype == tf.int32 or key in self.encoder.cnn_keys:
                obs[key] = tf.cast(value, dtype)
        if "reward" in obs:  # The policy does without.
            obs["reward"] = REWARD_TRANSFORMS[self.config.clip_rewards](obs["reward"])
        if "is_terminal" in obs:
            alive = 1.0 - tf.cast(obs["is_terminal"], tf.float32)
            obs["discount"] = alive * self.config.discount
        return obs

    def video_pred(self, data, key: str, context: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Open-loop prediction: sees `context` frames, then dreams the rest.

        Args:
            data: A batch `(B, T, ...)`, starting from nothing.
            key: An image key.
            context: Number of frames that the model sees.

        Returns:
            The true and the predicted video, `(B, T, H, W, C)` in 0..1.
        """
        # Bytes enter the model as -0.5..0.5, boolean planes as they are.
        offset = 0.5 if data[key].dtype == tf.uint8 else 0.0
        data = self.preprocess(data)
        post_seed, dream_seed = tfutils.make_seeds(self.rng, 2)
        embed = self.encoder(data)
        states, _ = self.rssm.observe(
            embed[:, :context],
            data["action"][:, :context],
            data["is_first"][:, :context],
            seed=post_seed,
        )
        init = {k: v[:, -1] for k, v in states.items()}
        prior = self.rssm.imagine(data["action"][:, context:], init, dream_seed)
        feat = tf.concat([self.rssm.get_feat(s) for s in (states, prior)], 1)
        model = self.heads["decoder"](feat)[key].mean()
        return tf.cast(data[key], tf.float32) + offset, model + offset


class ActorCritic:
    """Learns behavior from imagined sequences (Hafner et al. 2021, section 2.2).

    Args:
        config: The resolved configuration.
        act_space: `{"action": Discrete or Box}`.
        feat_size: Size of the world model's features.
        rng: Source of noise for estimates, or None.
        tfstep: Counts environment steps, for schedules.
        prefix: Begins the names of the layers.
    """

    def __init__(
        self,
        config,
        act_space: dict[str, gymnasium.Space],
        feat_size: int,
        rng: tf.random.Generator | None,
        tfstep: tf.Variable,
        prefix: str = "",
    ):
        self.config = config
        self.tfstep = tfstep
        self._prefix = prefix
        discrete = is_discrete(act_space["action"])
        actor = dict(config.actor)
        if actor["dist"] == "auto":
            actor["dist"] = "onehot" if discrete else "trunc_normal"
        self._actor_grad = config.actor_grad
        if self._actor_grad == "auto":
            self._actor_grad = "reinforce" if discrete else "dynamics"
        size = envs.act_size(act_space["action"])
        self.actor = nets.MLP(size, **actor, rng=rng, name=f"{prefix}actor")
        self.critic = nets.MLP((), **config.critic, name=f"{prefix}critic")
        self.actor.build(feat_size)
        self.critic.build(feat_size)
        self.updates = tf.Variable(0, False, dtype=tf.int64, name="updates")
        self.target_critic = self._make_target_critic(feat_size)
        self.actor_opt = optimizer.Optimizer(
            "actor", self.actor.trainable_variables, **config.actor_opt
        )
        self.critic_opt = optimizer.Optimizer(
            "critic", self.critic.trainable_variables, **config.critic_opt
        )
        self.rewnorm = other.StreamNorm(**config.reward_norm)

    def _make_target_critic(self, feat_size: int) -> nets.MLP:
        if not self.config.slow_target:
            return self.critic
        name = f"{self._prefix}target_critic"
        target_critic = nets.MLP((), **self.config.critic, name=name)
        target_critic.build(feat_size)
        return target_critic

    @property
    def components(self) -> dict[str, keras.layers.Layer]:
        # Without a slow target, the target critic is the critic.
        layers = (self.actor, self.critic, self.target_critic)
        return {layer.name: layer for layer in layers}

    @property
    def variables(self) -> list:
        return [v for c in self.components.values() for v in c.variables]

    @property
    def optimizers(self) -> dict[str, optimizer.Optimizer]:
        return {"actor": self.actor_opt, "critic": self.critic_opt}

    @property
    def state(self) -> dict[str, tf.Variable]:
        """What an update changes besides weights and optimizers."""
        return {"target_updates": self.updates, "reward_mag": self.rewnorm.mag}

    def train(self, world_model: WorldModel, start, is_terminal, reward_fn) -> Metrics:
        """One update of actor and critic on dreams from the given states.

        Args:
            world_model: Imagines.
            start: Posterior states `(B, T, ...)`.
            is_terminal: `(B, T)`. A dream that starts in a terminal state has weight 0
                from its second state on; the action into its first is not trained.
            reward_fn: Sequence to rewards `(horizon + 1, B * T)`.
        """
        horizon = self.config.imag_horizon
        with tf.GradientTape() as actor_tape:
            # Reinforce takes its gradient from the log probabilities alone.
            flows = self._actor_grad != "reinforce"
            with _recording(actor_tape, flows):
                seq = world_model.imagine(
                    self.actor, start, is_terminal, horizon, flows
                )
                seq["reward"], rewards = self.rewnorm(reward_fn(seq))
                seq["value"] = self.target_critic(seq["feat"]).mode()
                target, targets = self.target(seq)
            actor_loss, actor = self.actor_loss(seq, target)
        with tf.GradientTape() as critic_tape:
            critic_loss, critic = self.critic_loss(seq, target)
        metrics = {f"reward_{k}": v for k, v in rewards.items()}
        metrics.update(**targets, **actor, **critic)
        metrics.update(self.actor_opt(actor_tape, actor_loss))
        metrics.update(self.critic_opt(critic_tape, critic_loss))
        self.update_slow_target()
        return metrics

    def actor_loss(self, seq, target: tf.Tensor) -> tuple[tf.Tensor, Metrics]:
        """Return and entropy, to be maximized (Hafner et al. 2021, equation 6)."""
        # Actions:      0   [a1]  [a2]   a3
        #                  ^  |  ^  |  ^  |
        #                 /   v /   v /   v
        # States:     [z0]->[z1]-> z2 -> z3
        # Targets:     t0   [t1]  [t2]
        # Baselines:  [v0]  [v1]   v2    v3
        # Entropies:        [e1]  [e2]
        # Weights:    [ 1]  [w1]   w2    w3
        # Loss:              l1    l2
        # The last action leads nowhere, the one before it only to the bootstrap, and
        # the first target is that of a replayed state, which no dreamed action led to.
        metrics = {}
        known = [tf.stop_gradient(x[:-1]) for x in seq["policy"]]
        policy = self.actor(nets.stop_gradient(seq["feat"][:-2]), known=known)
        objective = self._objective(policy, seq, target, metrics)
        entropy = policy.entropy()
        scale = other.schedule(self.config.actor_ent, self.tfstep)
        objective += scale * entropy
        weight = tf.stop_gradient(seq["weight"])
        metrics["actor_ent"] = tf.reduce_mean(entropy)
        metrics["actor_ent_scale"] = tf.convert_to_tensor(scale)
        return -tf.reduce_mean(weight[:-2] * objective), metrics

    def _objective(self, policy, seq, target: tf.Tensor, metrics: Metrics) -> tf.Tensor:
        if self._actor_grad == "dynamics":
            return target[1:]
        advantage = tf.stop_gradient(target[1:] - seq["value"][:-2])
        action = seq["action"][1:-1]
        if self._actor_grad == "reinforce":
            return policy.log_prob(tf.stop_gradient(action)) * advantage
        mix = other.schedule(self.config.actor_grad_mix, self.tfstep)
        metrics["actor_grad_mix"] = tf.convert_to_tensor(mix)
        reinforce = policy.log_prob(action) * advantage
        return mix * target[1:] + (1 - mix) * reinforce

    def critic_loss(self, seq, target: tf.Tensor) -> tuple[tf.Tensor, Metrics]:
        """Regression on the targets (Hafner et al. 2021, equation 5)."""
        # States:     [z0]  [z1]  [z2]   z3
        # Rewards:    [r0]  [r1]  [r2]   r3
        # Values:     [v0]  [v1]  [v2]   v3
        # Weights:    [ 1]  [w1]  [w2]   w3
        # Targets:    [t0]  [t1]  [t2]
        # Loss:        l0    l1    l2
        dist = self.critic(nets.stop_gradient(seq["feat"][:-1]))
        like = dist.log_prob(tf.stop_gradient(target))
        weight = tf.stop_gradient(seq["weight"])
        metrics = {"critic": tf.reduce_mean(dist.mode())}
        return -tf.reduce_mean(like * weight[:-1]), metrics

    def target(self, seq) -> tuple[tf.Tensor, Metrics]:
        """The lambda return of each state but the last, `(horizon, B * T)`.

        Args:
            seq: `reward`, `discount` and `value` (the slow critic's), each
                `(horizon + 1, B * T)`.
        """
        # States:     [z0]  [z1]  [z2]  [z3]
        # Rewards:    [r0]  [r1]  [r2]   r3
        # Values:     [v0]  [v1]  [v2]  [v3]
        # Discount:   [d0]  [d1]  [d2]   d3
        # Targets:     t0    t1    t2
        reward = tf.cast(seq["reward"], tf.float32)
        discount = tf.cast(seq["discount"], tf.float32)
        value = seq["value"]
        target = other.lambda_return(
            reward[:-1],
            value[:-1],
            discount[:-1],
            bootstrap=value[-1],
            lambda_=self.config.discount_lambda,
        )
        metrics = {
            "critic_slow": tf.reduce_mean(value),
            "critic_target": tf.reduce_mean(target),
        }
        return target, metrics

    def update_slow_target(self) -> None:
        """Moves the target critic towards the critic, every few updates.

        The first call copies it entirely, whatever the fraction.
        """
        if not self.config.slow_target:
            return
        due = self.updates % int(self.config.slow_target_update) == 0
        fraction = float(self.config.slow_target_fraction)
        mix = tf.where(self.updates == 0, 1.0, fraction)
        mix = tf.where(due, mix, 0.0)
        pairs = zip(self.critic.variables, self.target_critic.variables, strict=True)
        for source, slow in pairs:
            slow.assign(mix * source.value + (1 - mix) * slow.value)
        self.updates.assign_add(1)


def image_dist(config, obs_space: dict[str, gymnasium.Space]) -> str:
    """How likely images are: `decoder.cnn_dist`, or what suits them where it is `auto`.

    Planes of zeros and ones are `binary`, bytes are `mse`.
    """
    if config.decoder.cnn_dist != "auto":
        return config.decoder.cnn_dist
    images = [x for x in obs_space.values() if len(x.shape) == 3]
    return "binary" if images and all(x.dtype == bool for x in images) else "mse"


def is_discrete(act_space: gymnasium.Space) -> bool:
    return isinstance(act_space, gymnasium.spaces.Discrete)


def _record(policy, feat) -> tuple:
    """The distribution of actions, and what of a network need not be computed again."""
    if isinstance(policy, nets.MLP):
        return policy.record(feat)
    return policy(feat), []


def _recording(tape: tf.GradientTape, on: bool):
    """Whether the tape watches what happens inside the `with`."""
    return contextlib.nullcontext() if on else tape.stop_recording()


def acting(agent: Agent, mode: str | Callable[[], str]) -> Policy:
    """The agent as a `Driver` takes it.

    Args:
        agent: Acts.
        mode: `train`, `explore` or `eval`, or what returns it.
    """
    encoder = agent.wm.encoder
    keys = (*encoder.cnn_keys, *encoder.mlp_keys, "is_first")

    def policy(obs, state):
        now = mode if isinstance(mode, str) else mode()
        state = agent.initial(len(obs["is_first"])) if state is None else state
        outputs, state = agent.policy({k: obs[k] for k in keys}, state, now)
        return {"action": outputs["action"].numpy()}, state

    return policy

"""DreamerV2: a world model, and an actor and a critic that learn in its dreams.

Hafner et al. 2021, "Mastering Atari with Discrete World Models". Names and order of
the computations are those of the original code.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import keras
import numpy as np
import tensorflow as tf

from dreamerv2_transfer import expl, gae
from dreamerv2_transfer.common import envs, nets, optimizer, other, tfutils, updates
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.driver import Policy
from dreamerv2_transfer.common.envs import MASK
from dreamerv2_transfer.common.nets import dists
from dreamerv2_transfer.common.replay import online
from dreamerv2_transfer.world_model import (
    Metrics,
    WorldModel,
    image_dist,
    make_seeded,
    make_world_model,
)

__all__ = [
    "ActorCritic",
    "Agent",
    "WorldModel",
    "acting",
    "image_dist",
    "is_discrete",
    "make_agent",
    "make_world_model",
]


class Agent:
    """World model and behaviors, with the policy that acts with them.

    `task_behavior` seeks the task's rewards. `expl_behavior` explores; it is the same
    object if `config.expl_behavior` is `greedy`.

    Args:
        config: The resolved configuration.
        obs_space: The spaces of all observation keys, `reward` and flags included.
        act_space: `{"action": Discrete, Box or envs.Joined}`.
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
        other.check_noise(config, envs.act_parts(self.act_space))
        self.rng = rng
        self.tfstep = (
            tf.Variable(0, False, dtype=tf.int64) if tfstep is None else tfstep
        )
        self.wm = WorldModel(config, obs_space, act_space, rng)
        size = self.wm.rssm.feat_size + self.wm.rssm.task_size
        make_ac = functools.partial(
            ActorCritic, config, act_space, size, rng, self.tfstep
        )
        self.task_behavior = make_ac()
        self.expl_behavior: Any = self.task_behavior
        if config.expl_behavior != "greedy":
            make_ac = functools.partial(make_ac, prefix="expl_")
            self.expl_behavior = expl.make(
                config, act_space, self.wm, make_ac, self._reward
            )
        self._known_rows = online.known_rows(config.replay.mix, config.dataset.batch)
        self.policy = tfutils.compiled(self._policy, config, xla=True)
        self.train = tfutils.compiled(self.update, config)
        self.train_behavior = tfutils.compiled(self.update_behavior, config)

    def _reward(self, seq) -> tf.Tensor:
        """Returns the predicted rewards of the task."""
        return self.wm.heads["reward"](seq["feat"]).mode()

    @property
    def components(self) -> dict[str, keras.layers.Layer]:
        return {**self.wm.components, **self.behavior_components}

    @property
    def behavior_components(self) -> dict[str, keras.layers.Layer]:
        """The components of both behaviors."""
        return {**self.task_behavior.components, **self.expl_behavior.components}

    @property
    def state(self) -> dict[str, tf.Variable]:
        """The variables that training changes besides weights, optimizers and noise."""
        state = {"tfstep": self.tfstep, **self.task_behavior.state}
        if self.expl_behavior is not self.task_behavior:
            state.update({f"expl_{k}": v for k, v in self.expl_behavior.state.items()})
        return state

    def initial(self, batch_size: int, game: str | Sequence[str] | None = None):
        """Returns the policy's first state, see `WorldModel.initial`."""
        action = tf.zeros([batch_size, envs.act_size(self.act_space)])
        return self.wm.initial(batch_size, game), action

    def _policy(self, obs, state, mode: str = "train"):
        """Acts on a batch of observations.

        Args:
            obs: `(B, ...)` of the encoder's keys, `is_first`, and with masks
                `action_mask`, else the predicted one counts; others are ignored.
            state: What the last call returned, or `initial(B)`.
            mode: `train` samples from the task's actor, `explore` from that of the
                exploration; `eval` takes the mode of the task's actor.

        Returns:
            `{"action": (B, actions)}` and the next state.
        """
        return self.policy_step(obs, state, tfutils.make_seeds(self.rng, 3), mode)

    def policy_step(self, obs, state, seeds, mode: str):
        """Does the same as `policy`, with three given seeds or Nones."""
        latent, action = state
        post_seed, act_seed, noise_seed = seeds
        embed = self.wm.encoder(self.wm.preprocess(obs))
        noise = self.wm.rssm.obs_noise(post_seed, tfutils.lead(embed, 1))
        sample = mode != "eval" or not self.config.eval_state_mean
        latent, _ = self.wm.rssm.obs_step(
            latent, action, embed, obs["is_first"], noise, sample
        )
        behavior = self.expl_behavior if mode == "explore" else self.task_behavior
        actor, mask = behavior.actor(self.wm.behavior_feat(latent)), None
        if self.wm.masks:
            feat = self.wm.rssm.get_feat(latent)
            mask = obs[MASK] if MASK in obs else self.wm.predicted_mask(feat)
            actor = dists.masked(actor, mask)
        if mode == "eval":
            action, noise = actor.mode(), self.config.eval_noise
        else:
            action, noise = dists.sample(actor, act_seed), self.config.expl_noise
        action = self._with_noise(action, noise, noise_seed, mask)
        return {"action": action}, (latent, action)

    def _with_noise(self, action: tf.Tensor, amount: float, *rest) -> tf.Tensor:
        if isinstance(self.act_space, envs.Joined):
            return other.noise_by_part(action, amount, self.act_space.parts, *rest)
        return other.action_noise(action, amount, is_discrete(self.act_space), *rest)

    def update(self, data, state):
        """Updates the world model, and the behaviors on its posteriors.

        `train` is the compiled version; call this one within other graphs.

        Args:
            data: A batch `(B, T, ...)` of each key.
            state: The RSSM's states before the batch: what the last call returned, or
                `wm.rssm.initial(B)`.

        Returns:
            The states after the batch, and scalar metrics.
        """
        if gae.is_chosen(self.config):  # All losses come from the same weights.
            learn = functools.partial(self._train_on, data=data)
            state, _, metrics = self.wm.train(data, state, learn)
            return state, metrics
        state, outputs, metrics = self.wm.train(data, state)
        metrics.update(self._train_on(outputs, data))
        return state, metrics

    def update_behavior(self, data, state):
        """As `update`, but leaves the world model unchanged."""
        _, state, outputs, metrics = self.wm.loss(data, state)
        metrics.update(self._train_on(outputs, data))
        return state, metrics

    def _train_on(self, outputs, data) -> Metrics:
        if self._known_rows:  # Behaviors learn the new game alone.
            outputs, data = tf.nest.map_structure(
                lambda x: x[: -self._known_rows], (outputs, data)
            )
        start, done = outputs["post"], data["is_terminal"]
        metrics = self.task_behavior.train(self.wm, start, done, self._reward)
        reward = self.wm.preprocess({"reward": data["reward"]})["reward"]
        # A reset holds no reward, and no dream holds a reset.
        metrics["reward_replayed"] = other.mean(reward, ~data["is_first"])
        if self.expl_behavior is not self.task_behavior:
            explored = self.expl_behavior.train(start, outputs, data)
            metrics.update({f"expl_{k}": v for k, v in explored.items()})
        return metrics


def make_agent(config, obs_space, act_space) -> Agent:
    """Creates an agent whose weights and noise are drawn from `config.seed`.

    Raises:
        ConfigError: If the networks cannot be built for these spaces.
    """
    return make_seeded(Agent, config, obs_space, act_space)


class ActorCritic:
    """Learns behavior from imagined sequences (Hafner et al. 2021, section 2.2).

    Args:
        config: The resolved configuration.
        act_space: `{"action": Discrete, Box or envs.Joined}`.
        feat_size: Size of what the networks read.
        rng: Source of the samples that estimates need, or None.
        tfstep: Counts environment steps, for schedules.
        prefix: Starts the names of the layers.
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
        space = act_space["action"]
        parts = envs.act_parts(space)
        discrete = all(part.classes for part in parts)
        actor = dict(config.actor)
        if actor["dist"] == "auto":
            actor["dist"] = "onehot" if discrete else "trunc_normal"
        elif discrete != (actor["dist"] == "onehot"):
            kind = "discrete" if discrete else "continuous"
            fitting = "onehot" if discrete else "normal, tanh_normal or trunc_normal"
            raise ConfigError(
                f"actor.dist must be auto or {fitting} for {kind} actions. Received: "
                f"{actor['dist']}"
            )
        self._actor_grad = config.actor_grad
        if self._actor_grad == "auto":
            chooses = any(part.classes for part in parts)
            self._actor_grad = "reinforce" if chooses else "dynamics"
        if isinstance(space, envs.Joined):
            actor["parts"] = parts
        size = envs.act_size(space)
        self.actor = nets.MLP(size, **actor, rng=rng, name=f"{prefix}actor")
        self.critic = nets.MLP((), **config.critic, name=f"{prefix}critic")
        self.actor.build(feat_size)
        self.critic.build(feat_size)
        self.updates = tf.Variable(0, False, dtype=tf.int64, name="updates")
        self.target_critic = self.critic
        if config.slow_target:
            name = f"{prefix}target_critic"
            self.target_critic = nets.MLP((), **config.critic, name=name)
            self.target_critic.build(feat_size)
        self.actor_opt = optimizer.Optimizer(
            "actor", self.actor.trainable_variables, **config.actor_opt
        )
        self.critic_opt = optimizer.Optimizer(
            "critic", self.critic.trainable_variables, **config.critic_opt
        )
        self.rewnorm = other.StreamNorm(**config.reward_norm)
        self._is_gae = gae.is_chosen(config)
        norm = dict(config.return_norm)
        is_scaled = norm.pop("kind") == "percentile"
        self.retnorm = other.ReturnNorm(**norm) if is_scaled else None

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
        """The variables that an update changes besides weights and optimizers."""
        state = {"target_updates": self.updates, "reward_mag": self.rewnorm.mag}
        if self.retnorm:
            state["return_range"] = self.retnorm.range
        return state

    def train(self, world_model: WorldModel, start, is_terminal, reward_fn) -> Metrics:
        """Updates actor and critic on dreams that start in the given states.

        Args:
            world_model: Imagines the dreams.
            start: Posterior states `(B, T, ...)`.
            is_terminal: `(B, T)`. A dream that starts in a terminal state has weight 0
                from its second state on.
            reward_fn: Maps a sequence to rewards `(horizon + 1, B * T)`.
        """
        horizon = self.config.imag_horizon
        if self._is_gae:
            is_terminal = None  # It trusts the model at the first state too.
            self.update_slow_target()
        with tf.GradientTape() as actor_tape:
            # Reinforce needs no gradient but that of the log probabilities.
            flows = self._actor_grad != "reinforce"
            with contextlib.nullcontext() if flows else actor_tape.stop_recording():
                seq = world_model.imagine(
                    self.actor, start, is_terminal, horizon, flows
                )
                dreamed = reward_fn(seq)
                seq["reward"], rewards = self.rewnorm(dreamed)
                seq["value"] = self.target_critic(_feat(seq)).mode()
                target, targets = self.target(seq)
                scale = self.retnorm(target) if self.retnorm else None
            actor_loss, actor = self.actor_loss(seq, target, scale)
        with tf.GradientTape() as critic_tape:
            critic_loss, critic = self.critic_loss(seq, target)
        metrics = {f"reward_{k}": v for k, v in rewards.items()}
        # What led to the first state is no dream, nor is what comes after the end.
        metrics["reward_dreamed"] = other.mean(dreamed[1:], seq["weight"][1:])
        metrics.update(**targets, **actor, **critic)
        metrics.update(self.actor_opt(actor_tape, actor_loss))
        metrics.update(self.critic_opt(critic_tape, critic_loss))
        if not self._is_gae:
            self.update_slow_target()
        return metrics

    def actor_loss(
        self, seq, target: tf.Tensor, scale: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, Metrics]:
        """Maximizes return and entropy (Hafner et al. 2021, equation 6).

        Args:
            seq: What `WorldModel.imagine` returned, with `value`.
            target: What `target` returned.
            scale: What returns are divided by (Hafner et al. 2023, equation 11).
        """
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
        # The dream has computed the actor's dense layers already.
        if self._is_gae:
            part, returns, weight = slice(0, -1), target, gae.weight(seq, self.config)
        else:
            part, returns, weight = slice(0, -2), target[1:], seq["weight"][:-2]
        steps = returns.shape[0]
        cache = [tf.stop_gradient(x[:steps]) for x in seq["actor_cache"]]
        policy = self.actor(nets.stop_gradient(_feat(seq)[part]), cache=cache)
        if MASK in seq:
            policy = dists.masked(policy, seq[MASK][:steps])
        advantage = tf.stop_gradient(returns - seq["value"][part])
        if scale is not None:
            returns, advantage = returns / scale, advantage / scale
            metrics["return_scale"] = scale
        action = seq["action"][1 : steps + 1]
        if self._actor_grad == "dynamics":
            objective = returns
        elif self._actor_grad == "reinforce":
            objective = policy.log_prob(tf.stop_gradient(action)) * advantage
        else:
            mix = other.schedule(self.config.actor_grad_mix, self.tfstep)
            metrics["actor_grad_mix"] = tf.convert_to_tensor(mix)
            reinforce = policy.log_prob(action) * advantage
            objective = mix * returns + (1 - mix) * reinforce
        entropy = policy.entropy()
        entropy_scale = other.schedule(self.config.actor_ent, self.tfstep)
        objective += entropy_scale * entropy
        metrics["actor_ent"] = tf.reduce_mean(entropy)
        metrics["actor_ent_scale"] = tf.convert_to_tensor(entropy_scale)
        return -tf.reduce_mean(tf.stop_gradient(weight) * objective), metrics

    def critic_loss(self, seq, target: tf.Tensor) -> tuple[tf.Tensor, Metrics]:
        """Regresses the values on the targets (Hafner et al. 2021, equation 5)."""
        # States:     [z0]  [z1]  [z2]   z3
        # Rewards:    [r0]  [r1]  [r2]   r3
        # Values:     [v0]  [v1]  [v2]   v3
        # Weights:    [ 1]  [w1]  [w2]   w3
        # Targets:    [t0]  [t1]  [t2]
        # Loss:        l0    l1    l2
        dist = self.critic(nets.stop_gradient(_feat(seq)[:-1]))
        like = dist.log_prob(tf.stop_gradient(target))
        weight = gae.weight(seq, self.config) if self._is_gae else seq["weight"][:-1]
        metrics = {"critic": tf.reduce_mean(dist.mode())}
        return -tf.reduce_mean(like * tf.stop_gradient(weight)), metrics

    def target(self, seq) -> tuple[tf.Tensor, Metrics]:
        """Returns the lambda return of each state but the last, `(horizon, B * T)`.

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
        if self._is_gae:  # The rewards and discounts of the next states.
            reward, discount = (tf.roll(x, -1, 0) for x in (reward, discount))
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

        The first call copies the critic entirely, whatever the fraction.
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


def _feat(seq):
    """Returns what actor and critic read of a dream."""
    return seq.get("behavior_feat", seq["feat"])


def is_discrete(act_space: gymnasium.Space) -> bool:
    return isinstance(act_space, gymnasium.spaces.Discrete)


def acting(
    agent: Agent,
    mode: str | Callable[[], str],
    act: Callable | None = None,
    game: str | Sequence[str] | None = None,
) -> Policy:
    """Returns an agent's policy in the form that `Driver` takes.

    Args:
        agent: The agent.
        mode: `train`, `explore` or `eval`, or a function that returns one of them.
        act: Takes and returns what `agent.policy` does, which is the default.
        game: The game that is played, see `WorldModel.initial`.

    Raises:
        TrainingError: The policy raises it for an action that is not finite.
    """
    encoder = agent.wm.encoder
    keys = (*encoder.keys, "is_first", *([MASK] if agent.wm.masks else []))
    act = act or agent.policy

    def policy(obs, state):
        now = mode if isinstance(mode, str) else mode()
        if state is None:
            state = agent.initial(len(obs["is_first"]), game)
        outputs, state = act({k: obs[k] for k in keys}, state, now)
        action = outputs["action"].numpy()
        if not np.isfinite(action).all():
            raise updates.TrainingError(
                "Not a number: the action of the actor, after training on "
                f"{int(agent.tfstep)} steps. Received: {action[0].tolist()}. Its "
                f"weights have diverged. {updates.ADVICE}"
            )
        return {"action": action}, state

    return policy

"""How an agent explores: `expl_behavior`.

With `greedy` the behavior for the task explores too. The others act by an actor of
their own: `Random`, `Plan2Explore` and `ModelLoss`, each of which has

    actor         features to a distribution of actions
    train         one update on a batch, after that of the world model
    components    its layers by name
    optimizers    by name, and state: its other variables by name
"""

from __future__ import annotations

import abc
import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from dreamerv2_transfer.common import envs, nets, optimizer, other
from dreamerv2_transfer.common.config import ConfigError, check_least
from dreamerv2_transfer.common.nets import dists

Metrics = dict[str, tf.Tensor]
TARGETS = ("embed", "stoch", "deter", "feat")  # What `disag_target` may be.
LOSSES = ("kl",)  # What `expl_model_loss` may be: of the model's, one a step.


class Random:
    """Draws every action uniformly and learns nothing."""

    components: Mapping[str, keras.layers.Layer] = {}
    optimizers: Mapping[str, optimizer.Optimizer] = {}
    state: Mapping[str, tf.Variable] = {}

    def __init__(self, config, act_space: Mapping[str, gymnasium.Space], *unused):
        self._size = envs.act_size(act_space["action"])
        self._discrete = isinstance(act_space["action"], gymnasium.spaces.Discrete)

    def actor(self, feat: tf.Tensor):
        """The same distribution for all features `(..., feat)`."""
        zeros = tf.zeros([*tf.unstack(tf.shape(feat)[:-1]), self._size])
        if self._discrete:
            return dists.OneHotDist(zeros)
        return tfd.Independent(Uniform(zeros - 1.0, zeros + 1.0), 1)

    def train(self, start, context, data) -> Metrics:
        return {}


class Uniform(tfd.Uniform):
    """A uniform distribution that has a mode: of equally likely values, the middle."""

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return super()._parameter_properties(dtype, num_classes)

    def _mode(self) -> tf.Tensor:
        return self.mean()


class Curious(abc.ABC):
    """An actor and a critic that seek where networks of their own say to look.

    Args:
        config: The resolved configuration.
        wm: The world model.
        ac: The actor and the critic.
        reward: Sequence to the rewards of the task, `(horizon + 1, B * T)`.
        networks: What the reward of exploration is computed with.
    """

    def __init__(self, config, wm, ac, reward, networks: Sequence[nets.MLP]):
        self.config = config
        self.wm = wm
        self.ac = ac
        self.actor = ac.actor
        self.reward = reward
        self.networks = list(networks)
        variables = [v for n in networks for v in n.trainable_variables]
        self.opt = optimizer.Optimizer("expl", variables, **config.expl_opt)

    @property
    def components(self) -> dict[str, keras.layers.Layer]:
        return {**{n.name: n for n in self.networks}, **self.ac.components}

    @property
    def optimizers(self) -> dict[str, optimizer.Optimizer]:
        return {**self.ac.optimizers, "networks": self.opt}

    @property
    def state(self) -> dict[str, tf.Variable]:
        return self.ac.state

    def train(self, start, context, data) -> Metrics:
        """One update of the networks, then one of actor and critic.

        Args:
            start: Posterior states `(B, T, ...)`.
            context: All outputs of `WorldModel.loss`.
            data: The batch, `(B, T, ...)` of each key.
        """
        metrics = self._train_networks(start, context, data)
        done = data["is_terminal"]
        metrics.update(self.ac.train(self.wm, start, done, self.intr_reward))
        return metrics

    @abc.abstractmethod
    def _train_networks(self, start, context, data) -> Metrics: ...

    @abc.abstractmethod
    def intr_reward(self, seq) -> tf.Tensor:
        """The rewards of imagined states, `(horizon + 1, B * T)`."""

    def _update(self, inputs: tf.Tensor, target: tf.Tensor) -> Metrics:
        """Makes a target `(B, T, ...)` more likely under each of the networks."""
        target = tf.cast(target, tf.float32)
        with tf.GradientTape() as tape:
            likes = [network(inputs).log_prob(target) for network in self.networks]
            loss = -tf.add_n([tf.reduce_mean(like) for like in likes])
        return self.opt(tape, loss)


class Plan2Explore(Curious):
    """Seeks states that an ensemble disagrees about.

    Sekar et al. 2020, "Planning to Explore via Self-Supervised World Models", section
    3: networks, alike but for their first weights, predict what comes next. The reward
    is the standard deviation over the networks, averaged over what they predict:
    `mean_j std_k mu_k(feat, action)_j`.
    """

    def __init__(self, config, act_space, wm, make_ac: Callable[[], Any], reward):
        actions = envs.act_size(act_space["action"])
        inputs = wm.rssm.feat_size + (actions if config.disag_action_cond else 0)
        sizes = {
            "embed": wm.encoder.embed_size,
            "stoch": wm.rssm.stoch_size,
            "deter": config.rssm.deter,
            "feat": wm.rssm.feat_size,
        }
        size, head = sizes[config.disag_target], config.expl_head
        ac = make_ac()
        networks = [
            make_network(size, inputs, head, f"disag{i}")
            for i in range(config.disag_models)
        ]
        super().__init__(config, wm, ac, reward, networks)
        self.extr_rewnorm = other.StreamNorm(**config.expl_reward_norm)
        self.intr_rewnorm = other.StreamNorm(**config.expl_reward_norm)

    @property
    def state(self) -> dict[str, tf.Variable]:
        norms = {"extr_mag": self.extr_rewnorm.mag, "intr_mag": self.intr_rewnorm.mag}
        return {**self.ac.state, **norms}

    def _train_networks(self, start, context, data) -> Metrics:
        inputs = self._inputs(context["feat"], data["action"])
        target = self._target(start, context)
        if offset := self.config.disag_offset:
            inputs, target = inputs[:, :-offset], target[:, offset:]
        return self._update(inputs, target)

    def _target(self, start, context) -> tf.Tensor:
        """What the networks learn to predict, `(B, T, size)`."""
        name = self.config.disag_target
        if name in ("embed", "feat"):
            return context[name]
        events = len(start[name].shape) - 2  # Discrete latents have two dimensions.
        return nets.flatten_event(start[name], events)

    def _inputs(self, feat: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        if not self.config.disag_action_cond:
            return feat
        return tf.concat([feat, tf.cast(action, feat.dtype)], -1)

    def disagreement(self, seq) -> tf.Tensor:
        """The networks' mean standard deviation at each of the states of `seq`."""
        inputs = self._inputs(seq["feat"], seq["action"])
        preds = tf.stack([network(inputs).mode() for network in self.networks])
        return tf.reduce_mean(tf.math.reduce_std(preds, 0), -1)

    def intr_reward(self, seq) -> tf.Tensor:
        disag = self.disagreement(seq)
        if self.config.disag_log:
            disag = tf.math.log(disag)
        reward = self.config.expl_intr_scale * self.intr_rewnorm(disag)[0]
        if self.config.expl_extr_scale:
            extr = self.extr_rewnorm(self.reward(seq))[0]
            reward += self.config.expl_extr_scale * extr
        return reward


class ModelLoss(Curious):
    """Seeks states at which the world model's loss is predicted to be high."""

    def __init__(self, config, act_space, wm, make_ac: Callable[[], Any], reward):
        ac = make_ac()
        self.head = make_network((), wm.rssm.feat_size, config.expl_head, "expl_head")
        super().__init__(config, wm, ac, reward, [self.head])

    def _train_networks(self, start, context, data) -> Metrics:
        return self._update(context["feat"], context[self.config.expl_model_loss])

    def intr_reward(self, seq) -> tf.Tensor:
        reward = self.config.expl_intr_scale * self.head(seq["feat"]).mode()
        if self.config.expl_extr_scale:
            reward += self.config.expl_extr_scale * self.reward(seq)
        return reward


BEHAVIORS = {"Random": Random, "Plan2Explore": Plan2Explore, "ModelLoss": ModelLoss}


def make(
    config,
    act_space: Mapping[str, gymnasium.Space],
    wm,
    make_ac: Callable[[], Any],
    reward: Callable[[Any], tf.Tensor],
) -> Random | Plan2Explore | ModelLoss:
    """The exploration that `expl_behavior` names, which is not `greedy`.

    Args:
        config: The resolved configuration.
        act_space: `{"action": Discrete or Box}`.
        wm: The world model.
        make_ac: Makes an `ActorCritic` whose layers' names begin with `expl_`.
        reward: Sequence to the rewards of the task.

    Raises:
        ConfigError: If a key has a value that does not exist.
    """
    check(config)
    return BEHAVIORS[config.expl_behavior](config, act_space, wm, make_ac, reward)


def make_network(size, inputs: int, head: Mapping, name: str) -> nets.MLP:
    network = nets.MLP(size, **head, name=name)
    network.build(inputs)
    return network


def check(config) -> None:
    """Checks what the chosen exploration reads of the configuration.

    Raises:
        ConfigError: Names the key.
    """
    _check_choice(config, "expl_behavior", ("greedy", *BEHAVIORS))
    if config.expl_behavior == "ModelLoss":
        _check_choice(config, "expl_model_loss", LOSSES)
    if config.expl_behavior == "Plan2Explore":
        _check_choice(config, "disag_target", TARGETS)
        # One network agrees with itself.
        check_least(config, {"disag_models": 2, "disag_offset": 0})
        if config.disag_offset >= config.dataset.length:
            raise ConfigError(
                "disag_offset must be less than dataset.length. Received: "
                f"{config.disag_offset} and {config.dataset.length}"
            )


def _check_choice(config, key: str, known: Sequence[str]) -> None:
    if config[key] in known:
        return
    nearest = difflib.get_close_matches(str(config[key]), known, n=1, cutoff=0.0)[0]
    raise ConfigError(
        f"{key} is one of {', '.join(known)}. Received: {config[key]}. "
        f"The nearest is {nearest}."
    )

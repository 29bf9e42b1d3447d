"""How an agent explores: `expl_behavior`.

With `greedy` the behavior for the task explores too. `Random`, `Plan2Explore` and
`ModelLoss` act with an actor of their own. Each has

    actor         maps features to a distribution of actions
    train         makes one update on a batch, after that of the world model
    components    its layers by name
    optimizers    its optimizers by name
    state         its other variables by name
"""

from __future__ import annotations

import abc
import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import keras
import tensorflow as tf
import tensorflow_probability.python.distributions as tfd

from dreamerv2_transfer.common import envs, nets, optimizer, other
from dreamerv2_transfer.common.config import ConfigError, check_ranges
from dreamerv2_transfer.common.nets import dists
from dreamerv2_transfer.world_model import Metrics, WorldModel

TARGETS = ("embed", "stoch", "deter", "feat")  # Choices of `disag_target`.
LOSSES = ("kl",)  # Choices of `expl_model_loss`: the model's losses of each step.


class Random:
    """Draws every action uniformly, and learns nothing.

    Args:
        config: The resolved configuration.
        act_space: `{"action": Discrete, Box or envs.Joined}`.
        unused: What other explorations take.
    """

    components: Mapping[str, keras.layers.Layer] = {}
    optimizers: Mapping[str, optimizer.Optimizer] = {}
    state: Mapping[str, tf.Variable] = {}

    def __init__(self, config, act_space: Mapping[str, gymnasium.Space], *unused):
        self._space = act_space["action"]

    def actor(self, feat: tf.Tensor):
        """Returns the same distribution for all features `(..., feat)`."""
        lead = tf.unstack(tf.shape(feat)[:-1])
        if not isinstance(self._space, envs.Joined):
            discrete = isinstance(self._space, gymnasium.spaces.Discrete)
            return _uniform(lead, [envs.act_size(self._space)], discrete)
        shapes = [part if part.classes else part[:1] for part in self._space.parts]
        found = [_uniform(lead, shape, len(shape) == 2) for shape in shapes]
        return dists.Joint(found, shapes)

    def train(self, start, context, data) -> Metrics:
        return {}


def _uniform(lead: Sequence, shape: Sequence[int], onehot: bool):
    zeros = tf.zeros([*lead, *shape])
    if onehot:
        return dists.OneHotDist(zeros, event_dims=len(shape))
    return tfd.Independent(Uniform(zeros - 1.0, zeros + 1.0), 1)


class Uniform(tfd.Uniform):
    """A uniform distribution with a mode: the middle of the equally likely values."""

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return super()._parameter_properties(dtype, num_classes)

    def _mode(self) -> tf.Tensor:
        return self.mean()


class Curious(abc.ABC):
    """An actor and a critic that learn from a reward for exploring.

    Args:
        config: The resolved configuration.
        wm: The world model.
        ac: The `ActorCritic`.
        reward: Maps a sequence to the rewards of the task, `(horizon + 1, B * T)`.
        networks: Learn to predict what the reward is computed from.
    """

    def __init__(
        self,
        config,
        wm: WorldModel,
        ac,
        reward: Callable[[Any], tf.Tensor],
        networks: Sequence[nets.MLP],
    ):
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
        """Updates the networks, then actor and critic.

        Args:
            start: Posterior states `(B, T, ...)`.
            context: The outputs of `WorldModel.loss`.
            data: The batch, `(B, T, ...)` of each key.
        """
        inputs, target = self.examples(start, context, data)
        metrics = self.train_networks(inputs, target)
        done = data["is_terminal"]
        metrics.update(self.ac.train(self.wm, start, done, self.intr_reward))
        return metrics

    @abc.abstractmethod
    def examples(self, start, context, data) -> tuple[Any, tf.Tensor]:
        """Returns the networks' inputs and targets, `(B, T, ...)`; see `train`."""

    @abc.abstractmethod
    def intr_reward(self, seq) -> tf.Tensor:
        """Returns the rewards of imagined states, `(horizon + 1, B * T)`."""

    def train_networks(self, inputs, target: tf.Tensor) -> Metrics:
        """Makes the targets `(B, T, ...)` more likely under each of the networks."""
        target = tf.cast(target, tf.float32)
        with tf.GradientTape() as tape:
            likes = [network(inputs).log_prob(target) for network in self.networks]
            loss = -tf.add_n([tf.reduce_mean(like) for like in likes])
        return self.opt(tape, loss)


class Plan2Explore(Curious):
    """Seeks states about whose successors an ensemble disagrees.

    Sekar et al. 2020, "Planning to Explore via Self-Supervised World Models", section
    3. Networks that differ only in their initial weights predict the next state. The
    reward is the standard deviation over the networks k, averaged over the predicted
    numbers j: `mean_j std_k mu_k(feat, action)_j`.

    Args:
        config: The resolved configuration.
        act_space: `{"action": Discrete, Box or envs.Joined}`.
        wm: The world model.
        make_ac: Creates the `ActorCritic`.
        reward: Maps a sequence to the rewards of the task.
    """

    def __init__(
        self, config, act_space, wm: WorldModel, make_ac: Callable[[], Any], reward
    ):
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

    def examples(self, start, context, data) -> tuple[Any, tf.Tensor]:
        inputs = self._inputs(context["feat"], data["action"])
        name = self.config.disag_target
        if name in ("embed", "feat"):
            target = context[name]
        else:
            events = len(start[name].shape) - 2  # Discrete latents have two dimensions.
            target = nets.flatten_event(start[name], events)
        if offset := self.config.disag_offset:
            inputs, target = inputs[:, :-offset], target[:, offset:]
        return inputs, target

    def _inputs(self, feat: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        if not self.config.disag_action_cond:
            return feat
        return tf.concat([feat, tf.cast(action, feat.dtype)], -1)

    def disagreement(self, seq) -> tf.Tensor:
        """Returns the networks' mean standard deviation in each state of `seq`."""
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
    """Seeks states in which a head predicts a high loss of the world model.

    Args:
        config: The resolved configuration.
        act_space: Not used.
        wm: The world model.
        make_ac: Creates the `ActorCritic`.
        reward: Maps a sequence to the rewards of the task.
    """

    def __init__(
        self, config, act_space, wm: WorldModel, make_ac: Callable[[], Any], reward
    ):
        ac = make_ac()
        self.head = make_network((), wm.rssm.feat_size, config.expl_head, "expl_head")
        super().__init__(config, wm, ac, reward, [self.head])

    def examples(self, start, context, data) -> tuple[Any, tf.Tensor]:
        return context["feat"], context[self.config.expl_model_loss]

    def intr_reward(self, seq) -> tf.Tensor:
        reward = self.config.expl_intr_scale * self.head(seq["feat"]).mode()
        if self.config.expl_extr_scale:
            reward += self.config.expl_extr_scale * self.reward(seq)
        return reward


BEHAVIORS = {"Random": Random, "Plan2Explore": Plan2Explore, "ModelLoss": ModelLoss}


def make(
    config,
    act_space: Mapping[str, gymnasium.Space],
    wm: WorldModel,
    make_ac: Callable[[], Any],
    reward: Callable[[Any], tf.Tensor],
) -> Random | Plan2Explore | ModelLoss:
    """Creates the exploration that `expl_behavior` names, other than `greedy`.

    Args:
        config: The resolved configuration.
        act_space: `{"action": Discrete, Box or envs.Joined}`.
        wm: The world model.
        make_ac: Creates an `ActorCritic` whose layers' names start with `expl_`.
        reward: Maps a sequence to the rewards of the task.

    Raises:
        ConfigError: As `check`.
    """
    check(config)
    return BEHAVIORS[config.expl_behavior](config, act_space, wm, make_ac, reward)


def make_network(size, inputs: int, head: Mapping, name: str) -> nets.MLP:
    network = nets.MLP(size, **head, name=name)
    network.build(inputs)
    return network


def check(config) -> None:
    """Checks the configuration's values that the chosen exploration uses.

    Raises:
        ConfigError: Names the key.
    """
    _check_choice(config, "expl_behavior", ("greedy", *BEHAVIORS))
    if config.expl_behavior == "ModelLoss":
        _check_choice(config, "expl_model_loss", LOSSES)
    if config.expl_behavior == "Plan2Explore":
        _check_choice(config, "disag_target", TARGETS)
        check_ranges(config)
        if config.expl_head.dist == "symlog_twohot":
            raise ConfigError(
                "expl_head.dist must be another with Plan2Explore, whose networks "
                "predict vectors. Received: symlog_twohot"
            )
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

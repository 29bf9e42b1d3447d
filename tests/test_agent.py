import gymnasium
import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks, choices, envs, tfutils, updates
from dreamerv2_transfer.common import config as config_lib
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.nets import dists
from tests import models

# The block v3, but heads that predict something at first, and returns that are scaled;
# and what else there is for the world model's loss.
OPTIONS = {
    **config_lib.read_mapping(blocks.find_configs())["v3"],
    "loss_balance": "harmony",
    "loss_scales.post_ent": 0.1,
    "(reward_head|critic)\\.outscale": 0.5,
    "return_norm.limit": 1e-4,
}
IDS = ["discrete", "continuous, with all options"]


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def run_steps(jit: bool, discrete=True, precision="float32", steps=2, **changes):
    keras.utils.set_random_seed(0)
    keras.mixed_precision.set_dtype_policy(precision)
    agent = models.make_agent(models.make_config(jit=jit, **changes), discrete)
    batch, state = models.make_batch(discrete), agent.wm.rssm.initial(models.BATCH)
    for _ in range(steps):
        state, metrics = agent.train(batch, state)
    return {k: float(v) for k, v in metrics.items()}


@pytest.fixture(scope="module", params=[(True, {}), (False, OPTIONS)], ids=IDS)
def in_graph(request):
    """Whether actions are discrete, options, and the metrics of updates with them."""
    discrete, changes = request.param
    return discrete, changes, run_steps(True, discrete, **changes)


def test_graph_and_eager_train_alike(in_graph):
    discrete, changes, graph = in_graph
    eager = run_steps(False, discrete, **changes)
    assert eager.keys() == graph.keys()
    for name in eager:
        assert eager[name] == pytest.approx(graph[name], rel=1e-3, abs=1e-5), name


def updates_without_noise(
    compiled: bool, number: int, **changes
) -> list[dict[str, float]]:
    """The metrics of updates by XLA, which is how a GPU makes them, or eagerly."""
    keras.utils.set_random_seed(0)
    agent = models.make_agent(models.make_config(jit=False, **changes), seed=None)
    update = agent.update
    if compiled:
        update = tf.function(update, jit_compile=True, autograph=False)
    batch, state, made = models.make_batch(), agent.wm.rssm.initial(models.BATCH), []
    for _ in range(number):
        state, metrics = update(batch, state)
        made.append({k: float(v) for k, v in metrics.items()})
    if compiled:
        assert update.experimental_get_tracing_count() == 1
    return made


@pytest.mark.parametrize(
    "changes",
    [{"actor_grad": "reinforce"}, {**OPTIONS, "actor_grad": "both"}],
    ids=["reinforce", "both, with all options"],
)
def test_xla_compiles_a_whole_update(changes):
    got, wanted = (
        updates_without_noise(compiled, 2, **changes) for compiled in (True, False)
    )
    for one, other in zip(got, wanted, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-5)


def test_xla_compiles_a_whole_update_in_float16():
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    with tfutils.for_gpu():
        made = updates_without_noise(compiled=True, number=6)
    losses = [v for metrics in made for k, v in metrics.items() if k.endswith("_loss")]
    assert np.all(np.isfinite(losses))
    # The scale halves with each update whose gradients overflow.
    assert made[0]["model_loss_scale"] == 2**15 > made[-1]["model_loss_scale"]
    assert made[-1]["model_loss"] < made[0]["model_loss"]


@pytest.mark.parametrize("actor_grad", choices.ACTOR_GRADIENTS)
def test_gradient_modes_train_the_actor(actor_grad):
    config = models.make_config(
        actor_grad=actor_grad, actor_grad_mix="linear(1,0.1,1e5)"
    )
    agent = models.make_agent(config)
    before = agent.task_behavior.actor.variables[0].numpy()
    _, metrics = agent.train(models.make_batch(), agent.wm.rssm.initial(models.BATCH))
    assert (agent.task_behavior.actor.variables[0].numpy() != before).any()
    assert ("actor_grad_mix" in metrics) == (actor_grad == "both")


def test_mixed_precision_is_close_to_float32(in_graph):
    discrete, changes, full = in_graph
    for precision in ("mixed_bfloat16", "mixed_float16"):
        mixed = run_steps(True, discrete, precision, **changes)
        assert ("model_loss_scale" in mixed) == (precision == "mixed_float16")
        assert mixed["model_loss"] == pytest.approx(full["model_loss"], rel=0.01)
        # The first gradients may overflow float16, until the loss scale has adapted.
        losses = [v for k, v in mixed.items() if k.endswith("_loss")]
        assert np.isfinite(losses).all()


def test_the_dreamed_reward_is_that_of_the_steps_that_were_dreamed():
    agent = models.make_agent(models.make_config())
    agent._reward = lambda seq: (
        tf.range(seq["feat"].shape[0], dtype=tf.float32)[:, None]
        * tf.ones(seq["weight"].shape)
    )
    batch = {**models.make_batch()}
    batch["reward"] = tf.where(batch["is_first"], 100.0, 0.5)
    batch["is_terminal"] = tf.ones_like(batch["is_terminal"])
    state = agent.wm.rssm.initial(models.BATCH)
    _, metrics = agent.update(batch, state)
    # All dreams start after the end of an episode, so none of their steps counts.
    assert float(metrics["reward_dreamed"]) == 0
    assert float(metrics["reward_replayed"]) == pytest.approx(np.tanh(0.5))
    batch["is_terminal"] = tf.zeros_like(batch["is_terminal"])
    _, metrics = agent.update(batch, state)
    horizon = agent.config.imag_horizon
    # Later steps weigh less, and the first one is not dreamed.
    assert 1 < float(metrics["reward_dreamed"]) < (horizon + 1) / 2


def make_behavior(**changes) -> agent_lib.ActorCritic:
    """Acts with logits `[feature, 0]`, and values a state at its only feature."""
    layers = {"actor.layers": 0, "critic.layers": 0, "actor_ent": 0.0}
    config = models.make_config(**layers, **changes)
    space = {"action": gymnasium.spaces.Discrete(2)}
    behavior = agent_lib.ActorCritic(config, space, 1, None, tf.Variable(0))
    behavior.actor.out.out.kernel.assign([[1.0, 0.0]])
    behavior.critic.out.out.kernel.assign([[1.0]])
    return behavior


def dream() -> dict[str, tf.Tensor]:
    """Four states of one dream; the first action is chosen with a chance of 3 to 1."""

    def column(*values):
        return tf.constant(values, tf.float32)[:, None]

    return {
        "feat": tf.math.log(column(3, 1, 7, 15))[..., None],
        "action": tf.constant([[[0.0, 0]], [[1, 0]], [[0, 1]], [[1, 0]]]),
        "value": column(1, 2, 3, 4),
        "weight": column(1, 0.5, 0.25, 0.125),
        "actor_cache": [],
    }


TARGET = tf.constant([[10.0], [20], [40]])
# From z0 by a1 and from z1 by a2: weight, log probability, target less baseline.
REINFORCE = (1 * np.log(3 / 4) * (20 - 1) + 0.5 * np.log(1 / 2) * (40 - 2)) / 2
DYNAMICS = (1 * 20 + 0.5 * 40) / 2
BOTH = 0.25 * DYNAMICS + 0.75 * REINFORCE
OBJECTIVES = {"reinforce": REINFORCE, "dynamics": DYNAMICS, "both": BOTH}


def test_behaviors_dream_of_the_new_game_alone():
    changes = {"replay.mix": 0.3, "dataset.batch": models.BATCH}
    agent, starts = models.make_agent(models.make_config(**changes)), []

    def train(world_model, start, is_terminal, reward):
        starts.append((len(start["stoch"]), len(is_terminal)))
        return {}

    agent.task_behavior.train = train
    agent.update(models.make_batch(), agent.wm.rssm.initial(models.BATCH))
    assert starts == [(models.BATCH - 1, models.BATCH - 1)]


@pytest.mark.parametrize("actor_grad", OBJECTIVES)
def test_the_timeline_of_the_actor(actor_grad):
    behavior = make_behavior(actor_grad=actor_grad, actor_grad_mix=0.25)
    loss, _ = behavior.actor_loss(dream(), TARGET)
    np.testing.assert_allclose(loss, -OBJECTIVES[actor_grad], rtol=1e-5)


@pytest.mark.parametrize("actor_grad", OBJECTIVES)
def test_returns_are_scaled_for_the_actor_alone(actor_grad):
    behavior = make_behavior(actor_grad=actor_grad, actor_grad_mix=0.25)
    loss, metrics = behavior.actor_loss(dream(), TARGET, tf.constant(5.0))
    np.testing.assert_allclose(loss, -OBJECTIVES[actor_grad] / 5, rtol=1e-5)
    assert metrics["return_scale"] == 5


def test_the_range_of_returns_is_part_of_the_state():
    assert "return_range" not in make_behavior().state
    behavior = make_behavior(**{"return_norm.kind": "percentile"})
    assert behavior.state["return_range"] is behavior.retnorm.range


def test_the_entropies_of_the_actor_are_those_of_the_states_that_it_acts_in():
    behavior = make_behavior(actor_grad="dynamics")
    behavior.config = behavior.config.update(actor_ent=2.0)
    loss, metrics = behavior.actor_loss(dream(), tf.zeros([3, 1]))
    entropies = [-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)), np.log(2)]
    np.testing.assert_allclose(metrics["actor_ent"], np.mean(entropies), rtol=1e-5)
    wanted = -2 * (entropies[0] + 0.5 * entropies[1]) / 2
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("discrete", "dist", "fitting"),
    [
        (True, "normal", "auto or onehot for discrete"),
        (True, "trunc_normal", "auto or onehot for discrete"),
        (False, "onehot", "auto or normal, tanh_normal or trunc_normal for continuous"),
    ],
)
def test_an_actor_of_other_actions_is_refused(discrete, dist, fitting):
    config = models.make_config(**{"actor.dist": dist})
    with pytest.raises(ConfigError, match=f"{fitting} actions. Received: {dist}"):
        models.make_agent(config, discrete)


@pytest.mark.parametrize(
    ("parts", "dist", "gradient", "layers"),
    [
        ([(2, 3)], "auto", "reinforce", ["onehot"]),
        ([(1, 3), (3, 0)], "auto", "reinforce", ["onehot", "trunc_normal"]),
        ([(1, 3), (3, 0)], "tanh_normal", "reinforce", ["onehot", "tanh_normal"]),
        ([(6, 0)], "normal", "dynamics", ["normal"]),
    ],
)
def test_the_actor_of_joined_actions(parts, dist, gradient, layers):
    space = {"action": envs.Joined(parts)}
    config = models.make_config(**{"actor.dist": dist})
    step = tf.Variable(0, dtype=tf.int64)
    behavior = agent_lib.ActorCritic(config, space, 4, None, step)
    assert behavior._actor_grad == gradient
    assert [part._dist for part in behavior.actor.out.parts] == layers


def test_numbers_beside_choices_are_not_one_hot():
    space = {"action": envs.Joined([(1, 3), (3, 0)])}
    config = models.make_config(**{"actor.dist": "onehot"})
    step = tf.Variable(0, dtype=tf.int64)
    with pytest.raises(ConfigError, match="auto or normal, .* Received: onehot"):
        agent_lib.ActorCritic(config, space, 4, None, step)


class Signals:
    """A world model whose states show 0 or 1 and stay so, as far as a dream goes.

    It rewards each part of an action that repeats the signal: a choice of the class of
    that number by 1, a number x by `1 - |x - signal / 2|`.
    """

    def __init__(self, parts, mask):
        self._parts, self._mask = parts, mask
        self._rng = tf.random.Generator.from_seed(0)

    def imagine(self, actor, start, is_terminal, horizon, flows):
        feat = tf.tile(start[None], [horizon + 1, 1, 1])
        seeds = tfutils.make_seeds(self._rng, horizon)
        taken = [dists.sample(self.policy(actor, start), seed) for seed in seeds]
        action = tf.stack([tf.zeros_like(taken[0]), *taken])
        discount, weight = tf.zeros(feat.shape[:2]), tf.ones(feat.shape[:2])
        seq = dict(feat=feat, action=action, discount=discount, weight=weight)
        if self._mask is not None:
            seq["action_mask"] = tf.tile(self.mask(start)[None], [horizon + 1, 1, 1])
        return {**seq, "actor_cache": []}

    def policy(self, actor, feat):
        policy = actor(feat)
        return policy if self._mask is None else dists.masked(policy, self.mask(feat))

    def mask(self, feat):
        return tf.tile(tf.constant([self._mask], tf.float32), [len(feat), 1])

    def rewards(self, seq):
        """The rewards of each choice and number, `(..., choices and numbers)`."""
        signal, action, made = seq["feat"][..., 1:], seq["action"], []
        for number, classes in self._parts:
            size = number * (classes or 1)
            values, action = action[..., :size], action[..., size:]
            if classes:
                values = tf.reshape(values, [*values.shape[:-1], number, classes])
                values = values[..., 0] * (1 - signal) + values[..., 1] * signal
            else:
                values = 1 - tf.abs(values - signal / 2)
            made.append(values)
        return tf.concat(made, -1)


@pytest.mark.parametrize(
    ("space", "mask", "least"),
    [
        (gymnasium.spaces.Discrete(3), None, 0.95),
        (gymnasium.spaces.Box(-1, 1, (2,)), None, 0.7),
        (
            envs.Joined([(2, 3), (1, 2), (2, 0)]),
            # The first choice cannot repeat a 0, nor the second one a 1.
            [0, 1, 1, 1, 0, 1, 1, 1, 1, 1],
            [[0, 0.95, 0.95, 0.7, 0.7], [0.95, 0, 0.95, 0.7, 0.7]],
        ),
    ],
    ids=["a choice", "numbers", "both, with a mask"],
)
def test_actions_of_every_kind_are_learned_from_dreams(space, mask, least):
    """Random choices get 1 / 3 or 1 / 2, and random numbers 1 / 2 and 3 / 8."""
    layers = {"(actor|critic)\\.layers": 0, "(actor|critic)_opt\\.lr": 0.1}
    config = models.make_config(**layers, imag_horizon=2)
    rng, step = tf.random.Generator.from_seed(0), tf.Variable(0, dtype=tf.int64)
    behavior = agent_lib.ActorCritic(config, {"action": space}, 2, rng, step)
    world = Signals(envs.act_parts(space), mask)
    shown = tf.repeat(tf.eye(2), 100, axis=0)

    def total(seq):
        return tf.reduce_sum(world.rewards(seq), -1)

    def train():
        return behavior.train(world, shown, None, total)

    train = tf.function(train, autograph=False)
    for _ in range(400):
        train()
    policy = world.policy(behavior.actor, shown)
    action = dists.sample(policy, tf.constant([0, 0]))
    rewards = world.rewards({"feat": shown, "action": action}).numpy()
    got = rewards.reshape(2, 100, -1).mean(1)
    assert (got >= least).all()
    assert mask is None or not action.numpy()[:, np.equal(mask, 0)].any()


def masked_agent():
    """An agent of MinAtar's planes, half of whose actions are allowed."""
    config = models.make_config(**{"obs.action_mask": True, "model_opt.lr": 0.1})
    box = gymnasium.spaces.Box(0, 1, (6,))
    seen = {**models.obs_space(), "action_mask": box}
    rng = tf.random.Generator.from_seed(0)
    agent = agent_lib.Agent(config, seen, models.act_space(), rng)
    lead = [models.BATCH, models.LENGTH, 1]
    mask = tf.tile(tf.constant([[[0.0, 1, 0, 1, 0, 1]]]), lead)
    return agent, {**models.make_batch(), "action_mask": mask}


def test_an_agent_keeps_to_masks():
    agent, batch = masked_agent()
    state = agent.wm.rssm.initial(models.BATCH)
    losses = []
    for _ in range(2):
        state, metrics = agent.train(batch, state)
        losses.append(float(metrics["action_mask_loss"]))
    assert losses[0] == pytest.approx(6 * 0.6931472, abs=1) and losses[1] < losses[0]
    assert np.isfinite(list(map(float, metrics.values()))).all()
    assert "action_mask" not in agent.wm.encoder.keys
    for variable in agent.wm.heads["action_mask"].variables:  # It has learned the mask.
        variable.assign(tf.zeros_like(variable.value))
    agent.wm.heads["action_mask"].out.out.bias.assign([-1.0, 1, -1, 1, -1, 1])
    _, _, outputs, _ = agent.wm.loss(batch)
    seq = agent.wm.imagine(agent.task_behavior.actor, outputs["post"], None, 3)
    assert seq["action_mask"].shape[:2] == (3, models.BATCH * models.LENGTH)
    assert not seq["action"].numpy()[..., ::2].any()
    obs = {k: v[:, 0] for k, v in batch.items() if k in ("image", "is_first")}
    for mask in (1 - batch["action_mask"][:, 0], None):  # The last one is predicted.
        seen = obs if mask is None else {**obs, "action_mask": mask}
        for mode in ("train", "eval"):
            output, _ = agent.policy(seen, agent.initial(models.BATCH), mode)
            assert not output["action"].numpy()[:, mask is not None :: 2].any()


def test_masks_that_nothing_tells_are_refused():
    with pytest.raises(ConfigError, match="there is no 'action_mask' beside image"):
        config = models.make_config(**{"obs.action_mask": True})
        agent_lib.make_agent(config, models.obs_space(), models.act_space())


def test_the_timeline_of_the_critic():
    behavior = make_behavior()
    seq = {**dream(), "feat": tf.constant([[[1.0]], [[2]], [[3]], [[4]]])}
    loss, metrics = behavior.critic_loss(seq, tf.constant([[2.0], [5], [11]]))
    # Errors of 1, 3 and 8; a Normal's constant is 0.9189385.
    wanted = (1 * 0.5 + 0.5 * 4.5 + 0.25 * 32 + 1.75 * 0.9189385) / 3
    np.testing.assert_allclose(loss, wanted, rtol=1e-6)
    assert metrics["critic"] == 2


def test_the_timeline_of_the_targets():
    behavior = make_behavior(discount_lambda=0.5)
    rows = {
        "reward": [1.0, 2, 3, 100],
        "discount": [0.5, 0.25, 0.125, 100],
        "value": [1000.0, 10, 20, 40],
    }
    seq = {k: tf.constant(v)[:, None] for k, v in rows.items()}
    target, _ = behavior.target(seq)
    last = 3 + 0.125 * 40
    middle = 2 + 0.25 * (0.5 * 20 + 0.5 * last)
    first = 1 + 0.5 * (0.5 * 10 + 0.5 * middle)
    np.testing.assert_allclose(target[:, 0], [first, middle, last])


def test_a_cache_changes_neither_the_loss_of_the_actor_nor_its_gradients():
    agent = models.make_agent()
    behavior, actor = agent.task_behavior, agent.task_behavior.actor
    _, _, outputs, _ = agent.wm.loss(models.make_batch())
    seq = agent.wm.imagine(actor, outputs["post"], None, 3)
    seq["value"] = tf.random.stateless_normal(seq["weight"].shape, [0, 0])
    target = tf.random.stateless_normal([3, *seq["weight"].shape[1:]], [0, 1])
    made = []
    for network in (actor, lambda feat, cache: actor(feat)):
        behavior.actor = network
        with tf.GradientTape() as tape:
            loss, _ = behavior.actor_loss(seq, target)
        variables = [v.value for v in actor.variables]
        made.append([loss, *tape.gradient(loss, variables)])
    for cached, computed in zip(*made, strict=True):
        np.testing.assert_allclose(cached, computed, rtol=1e-4, atol=1e-6)


def test_the_slow_critic_follows_every_few_updates():
    config = models.make_config(slow_target_update=2, slow_target_fraction=1.0)
    agent = models.make_agent(config)
    behavior = agent.task_behavior
    same = []
    for _ in range(3):
        agent.train(models.make_batch(), agent.wm.rssm.initial(models.BATCH))
        pairs = zip(
            behavior.critic.variables, behavior.target_critic.variables, strict=True
        )
        same.append(all(np.array_equal(a.value, b.value) for a, b in pairs))
    assert same == [True, False, True]


def test_the_first_slow_update_copies_and_later_ones_mix():
    config = models.make_config(slow_target_update=1, slow_target_fraction=0.25)
    behavior = models.make_agent(config).task_behavior
    source, slow = behavior.critic.variables[0], behavior.target_critic.variables[0]
    behavior.update_slow_target()
    np.testing.assert_array_equal(source.value, slow.value)
    old = slow.numpy()
    source.assign(source.value + 1)
    behavior.update_slow_target()
    np.testing.assert_allclose(slow.value, old + 0.25, rtol=1e-5)


def test_without_a_slow_target_the_critic_is_its_own():
    behavior = models.make_agent(models.make_config(slow_target=False)).task_behavior
    assert behavior.target_critic is behavior.critic
    behavior.update_slow_target()


@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("mode", ["train", "explore", "eval"])
def test_policy_acts(discrete, mode):
    agent = models.make_agent(discrete=discrete)
    obs = models.make_obs(discrete)
    output, state = agent.policy(obs, agent.initial(models.BATCH), mode)
    action = output["action"].numpy()
    if discrete:
        np.testing.assert_allclose(np.round(action).sum(-1), [1, 1, 1])
    else:
        assert action.shape == (models.BATCH, 2) and np.abs(action).max() <= 1
    output, _ = agent.policy(obs, state, mode)
    assert output["action"].shape == action.shape


@pytest.mark.parametrize(("discrete", "value"), [(True, 1e38), (False, np.nan)])
def test_an_actor_that_diverged_ends_the_run_before_it_acts(discrete, value):
    agent = models.make_agent(discrete=discrete)
    for weight in agent.task_behavior.actor.trainable_variables:
        weight.assign(tf.fill(weight.shape, value))
    agent.tfstep.assign(64)
    policy = agent_lib.acting(agent, "train")
    obs = {k: v.numpy() for k, v in models.make_obs(discrete).items()}
    named = r"after training on 64 steps. Received: \[nan.* actor_opt.lr"
    with pytest.raises(updates.TrainingError, match=named):
        policy(obs, None)


def test_evaluation_is_deterministic_without_sampled_latents():
    agent = models.make_agent(models.make_config(eval_state_mean=True))
    obs = models.make_obs()
    first, _ = agent.policy(obs, agent.initial(models.BATCH), "eval")
    second, _ = agent.policy(obs, agent.initial(models.BATCH), "eval")
    np.testing.assert_array_equal(first["action"], second["action"])

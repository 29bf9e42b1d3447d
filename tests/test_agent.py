import gymnasium
import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.common import blocks, choices, tfutils
from dreamerv2_transfer.common.ops import fuse

BATCH, LENGTH = 3, 4


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)
    yield
    keras.mixed_precision.set_dtype_policy("float32")


def make_config(**changes):
    config = blocks.load_config(["minatar", "debug", "pretrain"])
    return config.update({"imag_horizon": 3, "jit": False, **changes})


def obs_space():
    box = gymnasium.spaces.Box
    flags = {k: box(0, 1, (), bool) for k in ("is_first", "is_last", "is_terminal")}
    return {
        "image": box(0, 1, (10, 10, 10), bool),
        "reward": box(-np.inf, np.inf, ()),
        **flags,
    }


def act_space(discrete=True):
    if discrete:
        return {"action": gymnasium.spaces.Discrete(6)}
    return {"action": gymnasium.spaces.Box(-1, 1, (2,))}


def make_batch(discrete=True):
    rng = np.random.default_rng(0)
    lead = (BATCH, LENGTH)
    index = rng.integers(6, size=lead)
    action = np.eye(6)[index] if discrete else rng.uniform(-1, 1, (*lead, 2))
    is_first = np.zeros(lead, bool)
    is_first[:, 0] = True
    batch = {
        "image": rng.random((*lead, 10, 10, 10)) < 0.2,
        "action": action.astype(np.float32),
        "reward": rng.normal(size=lead).astype(np.float32),
        "is_first": is_first,
        "is_last": np.zeros(lead, bool),
        "is_terminal": rng.random(lead) < 0.2,
        "task": np.array([0, 2, 0], np.int32),
    }
    return {k: tf.constant(v) for k, v in batch.items()}


def make_agent(config=None, discrete=True, seed=0):
    rng = tf.random.Generator.from_seed(seed) if seed is not None else None
    return agent_lib.Agent(
        config or make_config(), obs_space(), act_space(discrete), rng
    )


def test_planes_enter_as_zeros_and_ones():
    wm = make_agent().wm
    obs = wm.preprocess(make_batch())
    assert sorted(np.unique(obs["image"])) == [0, 1]
    assert "task" not in obs


def test_log_keys_do_not_enter():
    spaces = {**obs_space(), "log_score": gymnasium.spaces.Box(-9, 9, (2,))}
    wm = agent_lib.WorldModel(make_config(), spaces, act_space(), None)
    batch = make_batch()
    batch["log_score"] = tf.ones([BATCH, LENGTH, 2])
    assert "log_score" not in wm.preprocess(batch)


def test_bytes_enter_around_zero():
    wm = make_agent().wm
    batch = make_batch()
    batch["image"] = tf.cast(batch["image"], tf.uint8) * 255
    assert sorted(np.unique(wm.preprocess(batch)["image"])) == [-0.5, 0.5]


def test_rewards_are_squashed_and_discounts_made():
    wm = make_agent(make_config(discount=0.9)).wm
    batch = make_batch()
    obs = wm.preprocess(batch)
    np.testing.assert_allclose(obs["reward"], np.tanh(batch["reward"]), rtol=1e-5)
    np.testing.assert_allclose(obs["discount"], 0.9 * ~batch["is_terminal"].numpy())


def test_model_loss_is_the_scaled_sum_of_named_losses():
    wm = make_agent(make_config(**{"loss_scales.kl": 0.1})).wm
    loss, _, _, metrics = wm.loss(make_batch())
    named = {
        k: float(metrics[f"{k}_loss"]) for k in ("kl", "image", "reward", "discount")
    }
    scales = {"kl": 0.1, "image": 1, "reward": 1, "discount": 5}
    wanted = sum(scales[k] * v for k, v in named.items())
    np.testing.assert_allclose(loss, wanted, rtol=1e-6)


def test_model_error_leaves_out_the_normals_constants():
    wm = make_agent().wm
    _, _, _, metrics = wm.loss(make_batch())
    # 1,000 cells and a reward, 0.9189385 each.
    difference = float(metrics["model_loss"] - metrics["model_error"])
    assert difference == pytest.approx(1001 * 0.9189385, rel=1e-5)


def test_binary_images_have_no_constant():
    wm = make_agent(make_config(**{"decoder.cnn_dist": "binary"})).wm
    assert wm.constant == pytest.approx(0.9189385)


@pytest.mark.parametrize(
    ("dtype", "given", "wanted"),
    [
        (bool, "auto", "binary"),
        (np.uint8, "auto", "mse"),
        (bool, "mse", "mse"),
        (np.uint8, "binary", "binary"),
    ],
)
def test_planes_are_binary_and_bytes_are_not(dtype, given, wanted):
    obs_space = {
        "image": gymnasium.spaces.Box(0, 1, (10, 10, 10), dtype),
        "vector": gymnasium.spaces.Box(0, 1, (3,), np.float32),
    }
    config = make_config(**{"decoder.cnn_dist": given})
    assert agent_lib.image_dist(config, obs_space) == wanted


def test_losses_by_task_average_to_the_loss():
    wm = make_agent().wm
    batch = make_batch()
    loss, _, outputs, metrics = wm.loss(batch)
    by_task = wm.loss_by_task(outputs, batch["task"], 3)
    for name, values in by_task.items():
        # Two rows are of task 0, none of task 1, one of task 2.
        mean = (2 * values[0] + values[2]) / 3
        np.testing.assert_allclose(mean, metrics[name], rtol=1e-4)
    assert float(by_task["kl_loss"][1]) == 0


@pytest.mark.parametrize("free_avg", [True, False])
def test_free_nats_by_task(free_avg):
    config = make_config(**{"kl.free": 3.0, "kl.free_avg": free_avg})
    wm = make_agent(config).wm
    batch = make_batch()
    _, _, outputs, _ = wm.loss(batch)
    kl = outputs["kl"].numpy()[1]
    wanted = max(kl.mean(), 3) if free_avg else np.maximum(kl, 3).mean()
    by_task = wm.loss_by_task(outputs, batch["task"], 3)
    np.testing.assert_allclose(by_task["kl_loss"][2], wanted, rtol=1e-5)


def test_training_the_world_model_lowers_its_loss():
    wm = make_agent(make_config(**{"model_opt.lr": 3e-3})).wm
    batch, state = make_batch(), wm.rssm.initial(BATCH)
    losses = []
    for _ in range(30):
        _, _, metrics = wm.train(batch, state)
        losses.append(float(metrics["model_error"]))
    assert losses[-1] < 0.8 * losses[0]


def test_the_state_after_a_batch_is_its_last_posterior():
    wm = make_agent(seed=None).wm
    _, state, outputs, _ = wm.loss(make_batch())
    np.testing.assert_array_equal(state["deter"], outputs["post"]["deter"][:, -1])


def run_steps(jit: bool, discrete=True, precision="float32", steps=2, **changes):
    keras.utils.set_random_seed(0)
    keras.mixed_precision.set_dtype_policy(precision)
    agent = make_agent(make_config(jit=jit, **changes), discrete)
    batch, state = make_batch(discrete), agent.wm.rssm.initial(BATCH)
    for _ in range(steps):
        state, metrics = agent.train(batch, state)
    return {k: float(v) for k, v in metrics.items()}


@pytest.mark.parametrize("discrete", [True, False])
def test_graph_and_eager_train_alike(discrete):
    eager, graph = run_steps(False, discrete), run_steps(True, discrete)
    assert eager.keys() == graph.keys()
    for name in eager:
        assert eager[name] == pytest.approx(graph[name], rel=1e-3, abs=1e-5), name


def updates_without_noise(
    compiled: bool, number: int, **changes
) -> list[dict[str, float]]:
    """The metrics of updates by XLA, which is how a GPU makes them, or eagerly."""
    keras.utils.set_random_seed(0)
    agent = make_agent(make_config(jit=False, **changes), seed=None)
    update = agent.update
    if compiled:
        update = tf.function(update, jit_compile=True, autograph=False)
    batch, state, made = make_batch(), agent.wm.rssm.initial(BATCH), []
    for _ in range(number):
        state, metrics = update(batch, state)
        made.append({k: float(v) for k, v in metrics.items()})
    if compiled:
        assert update.experimental_get_tracing_count() == 1
    return made


@pytest.mark.parametrize("actor_grad", ["reinforce", "both"])
def test_xla_compiles_a_whole_update(actor_grad):
    got, wanted = (
        updates_without_noise(compiled, 2, actor_grad=actor_grad)
        for compiled in (True, False)
    )
    for one, other in zip(got, wanted, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-5)


def test_xla_compiles_a_whole_update_in_float16(monkeypatch):
    monkeypatch.setattr(fuse, "on", lambda: False)  # As on a GPU.
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    made = updates_without_noise(compiled=True, number=6)
    losses = [v for metrics in made for k, v in metrics.items() if k.endswith("_loss")]
    assert np.all(np.isfinite(losses))
    # The scale halves with each update whose gradients overflow.
    assert made[0]["model_loss_scale"] == 2**15 > made[-1]["model_loss_scale"]
    assert made[-1]["model_loss"] < made[0]["model_loss"]


@pytest.mark.parametrize("actor_grad", choices.ACTOR_GRADIENTS)
def test_gradient_modes_train_the_actor(actor_grad):
    config = make_config(actor_grad=actor_grad, actor_grad_mix="linear(1,0.1,1e5)")
    agent = make_agent(config)
    before = agent.task_behavior.actor.variables[0].numpy()
    _, metrics = agent.train(make_batch(), agent.wm.rssm.initial(BATCH))
    assert (agent.task_behavior.actor.variables[0].numpy() != before).any()
    assert ("actor_grad_mix" in metrics) == (actor_grad == "both")


@pytest.mark.parametrize("discrete", [True, False])
def test_mixed_precision_is_close_to_float32(discrete):
    full = run_steps(True, discrete)
    for precision in ("mixed_bfloat16", "mixed_float16"):
        mixed = run_steps(True, discrete, precision)
        assert ("model_loss_scale" in mixed) == (precision == "mixed_float16")
        assert mixed["model_loss"] == pytest.approx(full["model_loss"], rel=0.01)
        # The first gradients may overflow float16, until the loss scale has adapted.
        losses = [v for k, v in mixed.items() if k.endswith("_loss")]
        assert np.isfinite(losses).all()


def test_the_slow_critic_follows_every_few_updates():
    config = make_config(slow_target_update=2, slow_target_fraction=1.0)
    agent = make_agent(config)
    behavior = agent.task_behavior
    same = []
    for _ in range(3):
        agent.train(make_batch(), agent.wm.rssm.initial(BATCH))
        pairs = zip(
            behavior.critic.variables, behavior.target_critic.variables, strict=True
        )
        same.append(all(np.array_equal(a.value, b.value) for a, b in pairs))
    assert same == [True, False, True]


def test_the_first_slow_update_copies_and_later_ones_mix():
    config = make_config(slow_target_update=1, slow_target_fraction=0.25)
    behavior = make_agent(config).task_behavior
    source, slow = behavior.critic.variables[0], behavior.target_critic.variables[0]
    behavior.update_slow_target()
    np.testing.assert_array_equal(source.value, slow.value)
    old = slow.numpy()
    source.assign(source.value + 1)
    behavior.update_slow_target()
    np.testing.assert_allclose(slow.value, old + 0.25, rtol=1e-5)


def test_without_a_slow_target_the_critic_is_its_own():
    behavior = make_agent(make_config(slow_target=False)).task_behavior
    assert behavior.target_critic is behavior.critic
    behavior.update_slow_target()


@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("mode", ["train", "explore", "eval"])
def test_policy_acts(discrete, mode):
    agent = make_agent(discrete=discrete)
    batch = make_batch(discrete)
    obs = {k: v[:, 0] for k, v in batch.items() if k not in ("action", "task")}
    output, state = agent.policy(obs, agent.initial(BATCH), mode)
    action = output["action"].numpy()
    if discrete:
        np.testing.assert_allclose(np.round(action).sum(-1), [1, 1, 1])
    else:
        assert action.shape == (BATCH, 2) and np.abs(action).max() <= 1
    output, _ = agent.policy(obs, state, mode)
    assert output["action"].shape == action.shape


def test_evaluation_is_deterministic_without_sampled_latents():
    agent = make_agent(make_config(eval_state_mean=True))
    batch = make_batch()
    obs = {k: v[:, 0] for k, v in batch.items() if k not in ("action", "task")}
    first, _ = agent.policy(obs, agent.initial(BATCH), "eval")
    second, _ = agent.policy(obs, agent.initial(BATCH), "eval")
    np.testing.assert_array_equal(first["action"], second["action"])


def test_imagination_starts_from_every_state():
    agent = make_agent()
    wm, behavior = agent.wm, agent.task_behavior
    batch = make_batch()
    _, _, outputs, _ = wm.loss(batch)
    seq = wm.imagine(behavior.actor, outputs["post"], batch["is_terminal"], 3)
    assert seq["feat"].shape == (4, BATCH * LENGTH, wm.rssm.feat_size)
    np.testing.assert_array_equal(seq["action"][0], np.zeros([BATCH * LENGTH, 6]))
    np.testing.assert_allclose(np.round(seq["action"][1:]).sum(-1), 1)
    terminal = batch["is_terminal"].numpy().reshape(-1)
    np.testing.assert_allclose(seq["discount"][0], 0.99 * ~terminal, rtol=1e-5)
    weight, discount = seq["weight"].numpy(), seq["discount"].numpy()
    np.testing.assert_array_equal(weight[0], 1)
    np.testing.assert_allclose(weight[2], discount[0] * discount[1], rtol=1e-5)


def test_without_a_discount_head_the_discount_is_constant():
    config = make_config(pred_discount=False, grad_heads=["decoder", "reward"])
    wm = make_agent(config).wm
    assert "discount" not in wm.heads
    np.testing.assert_allclose(wm._discount(tf.zeros([2, 3, 4]), None), 0.99)


def test_heads_outside_grad_heads_do_not_train_the_model():
    wm = make_agent(make_config(grad_heads=["decoder"]), seed=None).wm
    batch = make_batch()
    gradients = []
    for scale in (1.0, 100.0):
        wm.config = wm.config.update({"loss_scales.reward": scale})
        with tf.GradientTape() as tape:
            loss, *_ = wm.loss(batch)
        variables = [v.value for v in wm.encoder.variables]
        gradients.append(tape.gradient(loss, variables)[0].numpy())
    np.testing.assert_allclose(*gradients, rtol=1e-5)


def test_unknown_heads_are_an_error():
    with pytest.raises(ValueError, match="Received: 'rewards'"):
        make_agent(make_config(grad_heads=["rewards"]))


def test_open_loop_video():
    wm = make_agent().wm
    truth, model = wm.video_pred(make_batch(), "image", 2)
    assert truth.shape == model.shape == (BATCH, LENGTH, 10, 10, 10)
    np.testing.assert_array_equal(truth, make_batch()["image"])


def test_the_dream_does_not_see_later_frames():
    wm = make_agent(seed=None).wm
    batch = make_batch()
    changed = dict(batch)
    after = np.arange(LENGTH)[None, :, None, None, None] >= 2
    changed["image"] = tf.where(after, ~batch["image"], batch["image"])
    (_, first), (_, second) = (wm.video_pred(x, "image", 2) for x in (batch, changed))
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_the_same_seed_gives_the_same_model():
    config = make_config()
    models = [
        agent_lib.make_world_model(config.update(seed=s), obs_space(), act_space())
        for s in (1, 1, 2)
    ]
    kernels = [m.rssm.img_in.kernel.numpy() for m in models]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).any()
    losses = [float(m.loss(make_batch())[0]) for m in models]
    assert losses[0] == losses[1] != losses[2]


def test_training_does_not_retrace():
    config = make_config(jit=True)
    wm = make_agent(config).wm
    train = tfutils.compiled(lambda b, s: wm.train(b, s)[0], config)
    state = wm.rssm.initial(BATCH)
    for _ in range(3):
        state = train(make_batch(), state)
    assert train.experimental_get_tracing_count() == 1

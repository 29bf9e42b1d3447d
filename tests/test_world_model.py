import gymnasium
import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from dreamerv2_transfer import world_model
from dreamerv2_transfer.common import blocks, tfutils
from dreamerv2_transfer.common.nets import dists
from tests import models


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def test_planes_enter_as_zeros_and_ones():
    wm = models.make_agent().wm
    obs = wm.preprocess(models.make_batch())
    assert sorted(np.unique(obs["image"])) == [0, 1]
    assert "task" not in obs


def test_log_keys_do_not_enter():
    spaces = {**models.obs_space(), "log_score": gymnasium.spaces.Box(-9, 9, (2,))}
    wm = world_model.WorldModel(models.make_config(), spaces, models.act_space(), None)
    batch = models.make_batch()
    batch["log_score"] = tf.ones([models.BATCH, models.LENGTH, 2])
    assert "log_score" not in wm.preprocess(batch)


def test_bytes_enter_around_zero():
    wm = models.make_agent().wm
    batch = models.make_batch()
    batch["image"] = tf.cast(batch["image"], tf.uint8) * 255
    assert sorted(np.unique(wm.preprocess(batch)["image"])) == [-0.5, 0.5]


def test_vectors_of_bytes_enter_around_zero_too():
    spaces = {**models.obs_space(), "ram": gymnasium.spaces.Box(0, 255, (4,), np.uint8)}
    wm = world_model.WorldModel(models.make_config(), spaces, models.act_space(), None)
    batch = models.make_batch()
    memory = np.broadcast_to(np.uint8([0, 51, 204, 255]), (*batch["reward"].shape, 4))
    entered = wm.preprocess({**batch, "ram": tf.constant(memory)})["ram"]
    np.testing.assert_allclose(entered[0, 0], [-0.5, -0.3, 0.3, 0.5], rtol=1e-6)


def test_vectors_of_integers_keep_what_half_precision_would_lose(precision):
    precision("mixed_float16")
    spaces = {**models.obs_space(), "score": gymnasium.spaces.Box(0, 10**6, (1,), int)}
    spaces["score"].dtype = np.dtype(np.int32)
    wm = world_model.WorldModel(models.make_config(), spaces, models.act_space(), None)
    batch = models.make_batch()
    score = tf.fill([*batch["reward"].shape, 1], 100_001)
    entered = wm.preprocess({**batch, "score": score})["score"]
    assert entered.dtype == tf.float32 and (entered.numpy() == 100_001).all()


def test_rewards_are_squashed_and_discounts_made():
    wm = models.make_agent(models.make_config(discount=0.9)).wm
    batch = models.make_batch()
    obs = wm.preprocess(batch)
    np.testing.assert_allclose(obs["reward"], np.tanh(batch["reward"]), rtol=1e-5)
    np.testing.assert_allclose(obs["discount"], 0.9 * ~batch["is_terminal"].numpy())


def test_model_loss_is_the_scaled_sum_of_named_losses():
    wm = models.make_agent(models.make_config(**{"loss_scales.kl": 0.1})).wm
    loss, _, _, metrics = wm.loss(models.make_batch())
    named = {
        k: float(metrics[f"{k}_loss"]) for k in ("kl", "image", "reward", "discount")
    }
    scales = {"kl": 0.1, "image": 1, "reward": 1, "discount": 5}
    wanted = sum(scales[k] * v for k, v in named.items())
    np.testing.assert_allclose(loss, wanted, rtol=1e-6)


def test_the_posterior_s_entropy_is_a_loss_if_asked_for():
    batch = models.make_batch()
    plain = models.make_agent(seed=None).wm.loss(batch)
    keras.utils.set_random_seed(0)
    config = models.make_config(**{"loss_scales.post_ent": 100.0})
    loss, _, outputs, metrics = models.make_agent(config, seed=None).wm.loss(batch)
    assert "post_ent_loss" not in plain[3]
    # Four latents of four classes: their entropy is at most 4 log 4.
    wanted = 5.5451774 - float(metrics["post_ent"])
    np.testing.assert_allclose(metrics["post_ent_loss"], wanted, rtol=1e-4)
    np.testing.assert_allclose(loss - plain[0], 100 * wanted, rtol=1e-3)
    assert outputs["losses"]["post_ent"].shape == (models.BATCH, models.LENGTH)


def test_prior_and_posterior_have_losses_of_their_own_if_asked_for():
    options = {"kl.separate": True, "kl.free": 50.0}
    options |= {"loss_scales.dyn": 30.0, "loss_scales.rep": 10.0}
    loss, _, _, metrics = models.make_agent(models.make_config(**options)).wm.loss(
        models.make_batch()
    )
    assert "kl_loss" not in metrics
    assert metrics["dyn_loss"] == metrics["rep_loss"] == 50
    rest = {"image": 1, "reward": 1, "discount": 5}
    rest = sum(float(metrics[f"{k}_loss"]) * scale for k, scale in rest.items())
    np.testing.assert_allclose(loss, 30 * 50 + 10 * 50 + rest, rtol=1e-6)


def test_balanced_losses_are_divided_by_their_scales_without_constants():
    config = models.make_config(loss_balance="harmony", **{"loss_scales.kl": 0.1})
    wm = models.make_agent(config).wm
    names = [v.path for v in wm.variables[-3:]]
    assert names == [f"loss_balance/{k}" for k in ("observation", "reward", "dynamics")]
    for variable, sigma in zip(wm.variables[-3:], (50, 0.5, 2), strict=True):
        variable.assign(np.log(sigma))
    loss, _, _, metrics = wm.loss(models.make_batch())
    kinds = ("image", "reward", "kl", "discount")
    image, reward, kl, discount = (float(metrics[f"{k}_loss"]) for k in kinds)
    image, reward = image - 918.93853, reward - 0.9189385
    balanced = image / 50 + reward / 0.5 + kl / 2 + 5 * discount
    prices = np.log(51) + np.log(1.5) + np.log(3)
    np.testing.assert_allclose(loss, balanced + prices, rtol=1e-4)
    factors = [float(metrics[f"{k}_factor"]) for k in wm.harmony.factors]
    np.testing.assert_allclose(factors, [0.02, 2, 0.5], rtol=1e-5)
    # What is compared between runs stays a sum with fixed factors.
    error = image + reward + 0.1 * kl + 5 * discount
    np.testing.assert_allclose(metrics["model_error"], error, rtol=1e-4)


def test_scales_of_losses_are_trained_and_saved_but_not_passed_on():
    wm = models.make_agent(models.make_config(**BALANCED)).wm
    batch, state = models.make_batch(), wm.rssm.initial(models.BATCH)
    wm.train(batch, state)
    assert all(v.numpy() != 0 for v in wm.harmony.variables)
    assert {*map(id, wm.harmony.variables)} <= {*map(id, wm.variables)}
    assert wm.components.keys() == models.make_agent().wm.components.keys()


def test_a_frozen_model_keeps_the_scales_of_its_losses():
    freeze = blocks.load_config(["freeze_world_model"]).freeze
    wm = models.make_agent(models.make_config(freeze=freeze, **BALANCED)).wm
    wm.train(models.make_batch(), wm.rssm.initial(models.BATCH))
    assert not wm.trainable_variables
    assert all(v.numpy() == 0 for v in wm.harmony.variables)


def test_a_balanced_update_is_the_same_eagerly_and_in_graphs():
    made = []
    for jit in (False, True):
        keras.utils.set_random_seed(0)
        config = models.make_config(jit=jit, **BALANCED)
        wm = models.make_agent(config, seed=None).wm
        train = tfutils.compiled(lambda b, s, wm=wm: wm.train(b, s)[2], config)
        for _ in range(2):
            metrics = train(models.make_batch(), wm.rssm.initial(models.BATCH))
        made.append({k: float(v) for k, v in metrics.items()})
    assert made[0] == pytest.approx(made[1], rel=1e-3, abs=1e-5)


def test_model_error_leaves_out_the_normals_constants():
    wm = models.make_agent().wm
    _, _, _, metrics = wm.loss(models.make_batch())
    # 1,000 cells and a reward, 0.9189385 each.
    difference = float(metrics["model_loss"] - metrics["model_error"])
    assert difference == pytest.approx(1001 * 0.9189385, rel=1e-5)


def test_binary_images_have_no_constant():
    wm = models.make_agent(models.make_config(**{"decoder.cnn_dist": "binary"})).wm
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
    config = models.make_config(**{"decoder.cnn_dist": given})
    assert world_model.image_dist(config, obs_space) == wanted


SEPARATE = {"kl.separate": True, "kl.free": 0.001}
BALANCED = {**SEPARATE, "loss_balance": "harmony", "loss_scales.post_ent": 0.5}


EQUAL = {"kl.balance": 0.5, "kl.free": 0.09}


@pytest.mark.parametrize("options", [{}, EQUAL, SEPARATE, BALANCED])
def test_losses_by_task_average_to_the_loss(options):
    wm = models.make_agent(models.make_config(**options)).wm
    batch = models.make_batch()
    loss, _, outputs, metrics = wm.loss(batch)
    by_task = wm.loss_by_task(outputs, batch["task"], 3)
    for name, values in by_task.items():
        # Two rows are of task 0, none of task 1, one of task 2.
        mean = (2 * values[0] + values[2]) / 3
        np.testing.assert_allclose(mean, metrics[name], rtol=1e-4)
    kl_loss = by_task["rep_loss" if "kl.separate" in options else "kl_loss"]
    assert float(kl_loss[1]) == 0


@pytest.mark.parametrize("free_avg", [True, False])
def test_free_nats_by_task(free_avg):
    config = models.make_config(**{"kl.free": 3.0, "kl.free_avg": free_avg})
    wm = models.make_agent(config).wm
    batch = models.make_batch()
    _, _, outputs, _ = wm.loss(batch)
    kl = outputs["kl"].numpy()[1]
    wanted = max(kl.mean(), 3) if free_avg else np.maximum(kl, 3).mean()
    by_task = wm.loss_by_task(outputs, batch["task"], 3)
    np.testing.assert_allclose(by_task["kl_loss"][2], wanted, rtol=1e-5)


def test_training_the_world_model_lowers_its_loss():
    wm = models.make_agent(models.make_config(**{"model_opt.lr": 3e-3})).wm
    batch, state = models.make_batch(), wm.rssm.initial(models.BATCH)
    losses = []
    for _ in range(30):
        _, _, metrics = wm.train(batch, state)
        losses.append(float(metrics["model_error"]))
    assert losses[-1] < 0.8 * losses[0]


def test_the_state_after_a_batch_is_its_last_posterior():
    wm = models.make_agent(seed=None).wm
    _, state, outputs, _ = wm.loss(models.make_batch())
    np.testing.assert_array_equal(state["deter"], outputs["post"]["deter"][:, -1])


def test_imagination_starts_from_every_state():
    agent = models.make_agent()
    wm, behavior = agent.wm, agent.task_behavior
    batch = models.make_batch()
    _, _, outputs, _ = wm.loss(batch)
    seq = wm.imagine(behavior.actor, outputs["post"], batch["is_terminal"], 3)
    assert seq["feat"].shape == (4, models.BATCH * models.LENGTH, wm.rssm.feat_size)
    np.testing.assert_array_equal(
        seq["action"][0], np.zeros([models.BATCH * models.LENGTH, 6])
    )
    np.testing.assert_allclose(np.round(seq["action"][1:]).sum(-1), 1)
    terminal = batch["is_terminal"].numpy().reshape(-1)
    np.testing.assert_allclose(seq["discount"][0], 0.99 * ~terminal, rtol=1e-5)
    weight, discount = seq["weight"].numpy(), seq["discount"].numpy()
    np.testing.assert_array_equal(weight[0], 1)
    np.testing.assert_allclose(weight[2], discount[0] * discount[1], rtol=1e-5)


def test_the_first_discount_is_the_true_one_and_the_rest_are_predicted():
    wm = models.make_agent().wm
    wm.heads["discount"] = lambda feat: tfd.Deterministic(feat[..., 0])
    # Four states of two dreams, the second of which starts in a terminal state.
    feat = tf.constant([[[0.1], [0.5]], [[0.2], [0.6]], [[0.3], [0.7]], [[0.4], [0.8]]])
    wanted = [[0.99, 0], [0.2, 0.6], [0.3, 0.7], [0.4, 0.8]]
    discount = wm._discount(feat, tf.constant([False, True]))
    np.testing.assert_allclose(discount, wanted)
    np.testing.assert_array_equal(wm._discount(feat, None), feat[..., 0])


def test_the_weight_of_a_state_is_the_product_of_the_discounts_before_it():
    wm = models.make_agent().wm
    wm._discount = lambda *args: tf.constant([[0.5], [0.25], [0.125], [0.0625]])
    start = {k: v[:, None] for k, v in wm.rssm.initial(1).items()}
    seq = wm.imagine(lambda feat: dists.OneHotDist(tf.zeros([1, 6])), start, None, 3)
    np.testing.assert_array_equal(seq["weight"], [[1], [0.5], [0.125], [0.015625]])


def test_an_action_leads_from_the_state_before_it_to_its_own():
    agent = models.make_agent()
    wm, batch = agent.wm, models.make_batch()
    _, _, outputs, _ = wm.loss(batch)
    seq = wm.imagine(agent.task_behavior.actor, outputs["post"], None, 3)
    for t in range(3):
        before = {k: seq[k][t] for k in ("stoch", "deter")}
        after = wm.rssm.img_step(before, seq["action"][t + 1])
        np.testing.assert_allclose(seq["deter"][t + 1], after["deter"], atol=1e-6)
    post = tf.reshape(outputs["post"]["deter"], seq["deter"][0].shape)
    np.testing.assert_array_equal(seq["deter"][0], post)


def test_the_actor_s_cache_is_of_all_states_but_the_last():
    agent = models.make_agent(models.make_config(**{"actor.layers": 2}))
    wm, actor = agent.wm, agent.task_behavior.actor
    _, _, outputs, _ = wm.loss(models.make_batch())
    seq = wm.imagine(actor, outputs["post"], None, 3)
    _, wanted = actor.call_with_cache(seq["feat"][:-1])
    assert len(wanted) == len(seq["actor_cache"]) == 2
    for got, layer in zip(seq["actor_cache"], wanted, strict=True):
        np.testing.assert_allclose(got, layer, atol=1e-6)


def test_without_a_discount_head_the_discount_is_constant():
    config = models.make_config(pred_discount=False, grad_heads=["decoder", "reward"])
    wm = models.make_agent(config).wm
    assert "discount" not in wm.heads
    np.testing.assert_allclose(wm._discount(tf.zeros([2, 3, 4]), None), 0.99)


def test_heads_outside_grad_heads_do_not_train_the_model():
    wm = models.make_agent(models.make_config(grad_heads=["decoder"]), seed=None).wm
    batch = models.make_batch()
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
        models.make_agent(models.make_config(grad_heads=["rewards"]))


def test_open_loop_video():
    wm = models.make_agent().wm
    truth, model = wm.video_pred(models.make_batch(), "image", 2)
    assert truth.shape == model.shape == (models.BATCH, models.LENGTH, 10, 10, 10)
    np.testing.assert_array_equal(truth, models.make_batch()["image"])


def test_the_dream_does_not_see_later_frames():
    wm = models.make_agent(seed=None).wm
    batch = models.make_batch()
    changed = dict(batch)
    after = np.arange(models.LENGTH)[None, :, None, None, None] >= 2
    changed["image"] = tf.where(after, ~batch["image"], batch["image"])
    (_, first), (_, second) = (wm.video_pred(x, "image", 2) for x in (batch, changed))
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_the_same_seed_gives_the_same_model():
    config = models.make_config()
    made = [
        world_model.make_world_model(
            config.update(seed=s), models.obs_space(), models.act_space()
        )
        for s in (1, 1, 2)
    ]
    kernels = [m.rssm.img_in.kernel.numpy() for m in made]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).any()
    losses = [float(m.loss(models.make_batch())[0]) for m in made]
    assert losses[0] == losses[1] != losses[2]


def test_training_does_not_retrace():
    config = models.make_config(jit=True)
    wm = models.make_agent(config).wm
    train = tfutils.compiled(lambda b, s: wm.train(b, s)[0], config)
    state = wm.rssm.initial(models.BATCH)
    for _ in range(3):
        state = train(models.make_batch(), state)
    assert train.experimental_get_tracing_count() == 1

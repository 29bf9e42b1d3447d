import numpy as np
import tensorflow as tf

from dreamerv2_transfer.trained.dreams import Dreams
from tests import models


def test_a_dream_without_noise_is_the_world_model_s_own():
    agent = models.make_agent(seed=None)
    start = agent.wm.rssm.initial(2)
    action = tf.one_hot([[1, 2], [3, 4], [5, 0]], 6)
    states, shown, taken = Dreams(agent.wm).imagine(start, action, None, 0)
    expected = agent.wm.rssm.imagine(tf.transpose(action, [1, 0, 2]), start)
    np.testing.assert_allclose(states["deter"][:, 1], expected["deter"][1], atol=1e-6)
    feat = agent.wm.rssm.get_feat(expected)
    image = agent.wm.heads["decoder"](feat)["image"].mean()
    # A squared error may predict less than 0, and a probability is shown.
    assert np.min(image) < 0
    expected_image = np.clip(image[1], 0, 1)
    np.testing.assert_allclose(shown["image"][:, 1], expected_image, atol=1e-6)
    assert taken is action


def test_what_is_observed_without_noise_is_the_world_model_s_own():
    agent = models.make_agent(seed=None)
    batch = models.make_batch()
    data = {
        k: tf.transpose(v, [1, 0, *range(2, v.ndim)])
        for k, v in batch.items()
        if k != "task"
    }
    start = agent.wm.rssm.initial(models.BATCH)
    found = Dreams(agent.wm).observe(start, data, None, 0)
    embed = agent.wm.encoder(agent.wm.preprocess(batch))
    post, _ = agent.wm.rssm.observe(embed, batch["action"], batch["is_first"])
    np.testing.assert_allclose(found["deter"][:, 0], post["deter"][0], atol=1e-6)


def test_the_discount_is_that_of_the_configuration_where_none_is_predicted():
    changes = {"pred_discount": False, "grad_heads": ["decoder", "reward"]}
    agent = models.make_agent(models.make_config(**changes))
    shown = Dreams(agent.wm).decode(agent.wm.rssm.initial(2))
    assert shown["discount"].numpy().tolist() == [np.float32(0.99)] * 2


def test_the_discount_is_that_of_the_terminal_head_where_there_is_one():
    heads = ["decoder", "reward", "terminal"]
    changes = {"pred_discount": False, "pred_terminal": True, "grad_heads": heads}
    wm = models.make_agent(models.make_config(**changes)).wm
    states = wm.rssm.initial(2)
    shown = Dreams(wm).decode(states)
    ends = wm.heads["terminal"](wm.rssm.get_feat(states)).mean()
    np.testing.assert_allclose(shown["discount"], 0.99 * (1 - ends), rtol=1e-6)
    assert 0.3 < shown["discount"][0] < 0.7

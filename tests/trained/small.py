"""Small trained models, whose weights are fresh."""

import numpy as np

from dreamerv2_transfer.trained.model import Model
from tests import models


def make_model(discrete=True, has_agent=True, seed=0, **changes) -> Model:
    """A model that computes step by step; its graphs take seconds to compile."""
    config = models.make_config(**changes)
    agent = models.make_agent(config, discrete)
    space = models.act_space(discrete)["action"]
    acting = agent if has_agent else None
    return Model(agent.wm, acting, space, config, "small", seed)


def reseeded(model: Model, seed: int) -> Model:
    """The same networks, whose noise has another seed."""
    space, config = model.action_space, model.config
    return Model(model.network, None, space, config, "small", seed)


def images(*lead) -> np.ndarray:
    return np.random.default_rng(0).random((*lead, 10, 10, 10)) < 0.2


def same(one, other) -> bool:
    return all(np.array_equal(one[key], other[key]) for key in one)

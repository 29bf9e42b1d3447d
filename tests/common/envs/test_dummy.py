import numpy as np
import pytest

from dreamerv2_transfer.common import envs


def test_dummy_counts():
    env = envs.make_env("dummy_continuous")
    env.reset()
    action = np.zeros(6, np.float32)
    obs, reward, *_ = [env.step(action) for _ in range(3)][-1]
    assert obs["image"].shape == (64, 64, 3)
    assert (obs["image"] == 3).all()
    assert (obs["vector"] == 3).all()
    assert reward == 3.0
    ends = [env.step(action)[2] for _ in range(7)]
    assert ends == [False] * 6 + [True]


def test_dummy_refuses_invalid_actions():
    env = envs.make_env("dummy_discrete")
    env.reset()
    with pytest.raises(ValueError, match="action=6"):
        env.step(6)

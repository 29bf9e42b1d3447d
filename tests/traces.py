"""Records what an environment returns for given actions, to compare episodes."""

import numpy as np


def play(env, seed, actions):
    """Images, rewards and ends, from a reset to the end of the episode."""
    trace = [env.reset(seed=seed)[0]["image"]]
    for action in actions:
        obs, reward, terminated, *_ = env.step(action)
        trace += [obs["image"], reward, terminated]
        if terminated:
            break
    return trace


def equal(one, other):
    pairs = zip(one, other, strict=False)
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in pairs)

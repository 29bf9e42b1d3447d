"""Several games that are stepped together, compared with each by itself."""

import numpy as np
import pytest

from dreamerv2_transfer.common import blocks, envs
from dreamerv2_transfer.common.envs import EnvError

GAMES = ("minatar_breakout", "minatar_freeway")


def make(number=2, tasks=GAMES):
    config = blocks.load_config(["minatar", "debug"]).update(time_limit=4)
    return envs.make_several(envs.makers(config, tasks), number)


def test_each_game_is_played_as_by_itself():
    both, alone = make(), [envs.make_vector_env(x, 2, time_limit=4) for x in GAMES]
    assert both.num_envs == 4 and both.action_space.shape == (4,)
    seen, _ = both.reset(seed=[3, 4, 5, 6])
    parts = [
        env.reset(seed=s)[0] for env, s in zip(alone, ([3, 4], [5, 6]), strict=True)
    ]
    joined = np.concatenate([x["image"] for x in parts])
    np.testing.assert_array_equal(seen["image"], joined)
    for action in np.random.default_rng(0).integers(6, size=(4, 4)):
        found = both.step(action)
        each = [
            env.step(action[i : i + 2]) for env, i in zip(alone, (0, 2), strict=True)
        ]
        images = np.concatenate([x[0]["image"] for x in each])
        np.testing.assert_array_equal(found[0]["image"], images)
        for place in (1, 2, 3):
            expected = np.concatenate([x[place] for x in each])
            np.testing.assert_array_equal(found[place], expected)
    assert found[3].all()  # The time limit.


def test_only_masked_copies_are_reset():
    env = make()
    before, _ = env.reset(seed=[3, 4, 5, 6])
    mask = np.array([False, False, True, False])
    after, _ = env.reset(seed=[None, None, 9, None], options={"reset_mask": mask})
    np.testing.assert_array_equal(after["image"][~mask], before["image"][~mask])
    assert (after["image"][2] != before["image"][2]).any()
    env.close()


def test_games_of_other_actions_are_refused():
    config = blocks.load_config(["atari", "debug"])
    with pytest.raises(EnvError, match="same observations and actions.*atari_all_act"):
        envs.make_several(envs.makers(config, ("atari_pong", "atari_boxing")), 1)

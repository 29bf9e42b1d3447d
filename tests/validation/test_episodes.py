import contextlib

import pytest

from dreamerv2_transfer import validation
from dreamerv2_transfer.common import envs, logger
from dreamerv2_transfer.common.counter import Counter
from tests import models

TASK = "minatar_breakout"


@pytest.mark.parametrize(("name", "suffix"), [("", ""), (TASK, f"/{TASK}")])
def test_returns_and_a_video_bear_the_name_of_the_game(tmp_path, name, suffix):
    config = models.make_config(eval_eps=2)
    found = []
    log = logger.Logger(Counter(), [found.extend])
    episodes = validation.Episodes(models.make_agent(config), config, log, tmp_path)
    with contextlib.closing(envs.make_vector_env(TASK, 2, time_limit=3)) as env:
        episodes.log(env, TASK, name)
    log.write()
    logged = {key: value for _, key, value in found}
    assert logged[f"eval_episodes{suffix}"] == 2
    assert logged[f"eval_length_mean{suffix}"] == 3
    assert f"eval_return_ci95_low{suffix}" in logged
    assert len(logged[f"eval_policy_image{suffix}"]) == 4
    file = f"eval_policy_image{suffix.replace('/', '_')}.gif"
    assert [x.name for x in (tmp_path / "videos").iterdir()] == [file]

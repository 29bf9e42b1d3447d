import pytest

from dreamerv2_transfer import validation
from dreamerv2_transfer.common import logger
from dreamerv2_transfer.common.counter import Counter
from dreamerv2_transfer.common.replay import offline, packed, store
from tests import fakes, models

TASKS = ("minatar_breakout", "minatar_freeway")


def test_losses_are_those_of_each_game_and_their_mean(tmp_path):
    for i, task in enumerate(TASKS):
        (tmp_path / task).mkdir()
        for number in range(2):
            store.save_episode(tmp_path / task, fakes.episode(20, 10 * i + number))
    config = models.make_config(**{"video.length": 8, "dataset.batch": 2})
    dataset = offline.make_dataset(config, packed.open_dataset(tmp_path, TASKS))
    world_model, found = models.make_agent(config).wm, []
    log = logger.Logger(Counter(), [found.extend])
    recorded = validation.Recorded(world_model, config, dataset, log, tmp_path)
    recorded.log()
    log.write()
    logged = {key: value for _, key, value in found}
    each = [logged[f"eval_model_error/{task}"] for task in TASKS]
    assert logged["eval_model_error"] == pytest.approx(sum(each) / 2)
    assert each[0] != each[1]
    assert {f"openl_image/{task}" for task in TASKS} <= logged.keys()

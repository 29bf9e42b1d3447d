import json

from dreamerv2_transfer.common.logger.averages import Averages


def test_weighted_means():
    averages = Averages()
    averages.add({"loss": 1.0, "kl": 5.0}, weight=1)
    averages.add({"loss": 4.0}, weight=2)
    averages.add({"loss": 100.0}, weight=0)
    assert averages.result() == {"loss": 3.0, "kl": 5.0}


def test_a_result_starts_anew():
    averages = Averages()
    averages.add({"loss": 1.0})
    averages.result()
    assert averages.result() == {}


def test_half_filled_averages_survive_json_exactly():
    first, second = Averages(), Averages()
    first.add({"loss": 0.1}, weight=3)
    second.load_state(json.loads(json.dumps(first.state())))
    for averages in (first, second):
        averages.add({"loss": 0.2})
    assert first.result() == second.result()

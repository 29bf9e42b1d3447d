import json

from dreamerv2_transfer.common import counter


def test_behaves_like_the_integer_it_holds():
    step = counter.Counter(3)
    step.increment()
    step.increment(16)
    assert int(step) == 20
    assert step == 20 and step != 21 and step > 19 and step <= 20
    assert step == counter.Counter(20)
    assert step + 5 == 25
    assert list(range(30))[step] == 20


def test_goes_on_from_its_saved_state():
    step = counter.Counter()
    step.increment(7)
    resumed = counter.Counter()
    resumed.load_state(json.loads(json.dumps(step.state())))
    resumed.increment()
    assert int(resumed) == 8

import gzip
import json
import re

import pytest
import tensorflow as tf

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.ops import lowering
from tests import models

# What a program must not have, if all of it is to stay on a GPU at one size: arrays of
# float64 or of unknown size, and whatever talks to the host.
UNWANTED = re.compile(
    r"xf64>|tensor<\?|x\?x|bounds|infeed|outfeed|stablehlo\.send|stablehlo\.recv|"
    r"custom_call"
)


def test_a_program_tells_what_to_feed_back():
    total = tf.Variable(tf.zeros([2, 20]), name="total")

    def step(batch, state):
        total.assign_add(batch["x"] * state)
        return state + 1, {"sum": tf.reduce_sum(total), "constant": tf.constant(3.0)}

    args = {"x": tf.ones([2, 20])}, tf.zeros([1, 20])
    lowered = lowering.lower(step, *args, feedback={0: 1})
    inputs = [re.sub(r"\d+$", "N", x["name"]) for x in lowered.inputs]
    assert inputs == ["0/x", "N", "total/N"]
    shapes = [x["shape"] for x in lowered.outputs]
    assert shapes == [[1, 20], [], [], [2, 20]]
    assert [x["name"] for x in lowered.outputs[1:3]] == ["1/constant", "1/sum"]
    assert lowered.feedback == [(0, 1), (3, 2)]
    assert "mhlo.copy" not in lowered.program


def test_results_fit_the_arguments_that_they_become():
    def step(x, state):
        return (state, state), x

    args = tf.zeros([2]), tf.zeros([3])
    with pytest.raises(ValueError, match="Result 0 has 2 tensors, argument 1 has 1"):
        lowering.lower(step, *args, feedback={0: 1})


def test_a_saved_program_can_be_read_without_tensorflow(tmp_path):
    lowered = lowering.lower(lambda x: x * 2, tf.ones([3, 7]))
    lowered.save(tmp_path / "twice", gflop=1.5)
    told = json.loads((tmp_path / "twice.json").read_text())
    assert told["gflop"] == 1.5 and told["feedback"] == []
    assert told["inputs"][0]["shape"] == [3, 7] and told["inputs"][0]["value"] == 1
    program = gzip.decompress((tmp_path / "twice.mlir.gz").read_bytes()).decode()
    assert program == lowered.program and "stablehlo.multiply" in program


def test_a_training_step_stays_on_the_gpu(precision):
    precision("mixed_float16")
    with tfutils.for_gpu():
        agent = models.make_agent(models.make_config(jit=False))
        batch, state = models.make_batch(), agent.wm.rssm.initial(models.BATCH)
        lowered = lowering.lower(agent.update, batch, state, feedback={0: 1})
    assert UNWANTED.findall(lowered.program) == []
    # The running mean of rewards is the only float64: one number.
    doubles = [x["name"] for x in lowered.inputs if x["dtype"] == "float64"]
    assert [name.rpartition("/")[0] for name in doubles] == ["mag"]
    fed = {given for _, given in lowered.feedback}
    assert len(fed) == len(lowered.feedback)
    rest = {x["name"] for i, x in enumerate(lowered.inputs) if i not in fed}
    assert all(x.startswith("0/") or "learning_rate" in x for x in rest)


def test_the_seeds_of_a_run_have_one_program_and_so_one_entry_in_the_cache_of_xla():
    def program(seed: int) -> str:
        agent = models.make_agent(models.make_config(seed=seed), seed=seed)
        args = models.make_batch(), agent.wm.rssm.initial(models.BATCH)
        found = lowering.lower(lambda *args: agent.wm.train(*args)[0], *args).program
        return re.sub(r"_\d{3,}", "", found)  # A process counts its functions.

    with tfutils.for_gpu():
        assert program(seed=3) == program(seed=4)

"""bench/gpu/: what counts is tried on text; what runs programs needs a Python with jax.

It is this one, or the one that JAX_PYTHON names.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

from dreamerv2_transfer.common import foreign, tfutils
from dreamerv2_transfer.common.ops import arguments, lowering
from tests import models, runs

GPU = runs.ROOT / "bench" / "gpu"
PYTHON = os.environ.get("JAX_PYTHON", sys.executable)
LOOK = [PYTHON, "-c", "import jax"]
HAS_JAX = subprocess.run(LOOK, capture_output=True).returncode == 0
needs_jax = pytest.mark.skipif(not HAS_JAX, reason="needs jax, here or in JAX_PYTHON")
PROGRAM = """HloModule step, is_scheduled=true

%fused (p0: f32[48,4,8], p1: s32[]) -> f32[1,4,8] {
  %p0 = f32[48,4,8]{2,1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %now = f32[1,4,8]{2,1,0} dynamic-slice(%p0, %p1, %zero, %zero)
}

%store (p0.1: f32[48,4,8], p1.1: s32[], p2: f32[1,4,8]) -> f32[48,4,8] {
  %p0.1 = f32[48,4,8]{2,1,0} parameter(0)
  %p1.1 = s32[] parameter(1)
  %p2 = f32[1,4,8]{2,1,0} parameter(2)
  %none = s32[] constant(0)
  ROOT %new = f32[48,4,8]{2,1,0} dynamic-update-slice(%p0.1, %p2, %p1.1, %none, %none)
}

%body (s: (s32[], f32[48,4,8])) -> (s32[], f32[48,4,8]) {
  %s = (s32[], f32[48,4,8]{2,1,0}) parameter(0)
  %t = s32[] get-tuple-element(%s), index=0
  %x = f32[48,4,8]{2,1,0} get-tuple-element(%s), index=1
  %read = f32[1,4,8]{2,1,0} fusion(%x, %t), kind=kLoop, calls=%fused
  %write = f32[48,4,8]{2,1,0} fusion(%x, %t, %read), kind=kLoop, calls=%store
  %next = s32[] add(%t, %t)
  ROOT %both = (s32[], f32[48,4,8]{2,1,0}) tuple(%next, %write)
}

%more (s.1: (s32[], f32[48,4,8])) -> pred[] {
  %s.1 = (s32[], f32[48,4,8]{2,1,0}) parameter(0)
  ROOT %go = pred[] constant(true)
}

ENTRY %main (a: f32[48,4,8], b: f16[8,8]) -> f32[48,4,8] {
  %a = f32[48,4,8]{2,1,0} parameter(0)
  %b = f16[8,8]{1,0} parameter(1)
  %first = s32[] constant(0)
  %gemm = (f16[8,8]{1,0}, s8[64]{0}) custom-call(%b, %b), custom_call_target="cublas"
  %start = (s32[], f32[48,4,8]{2,1,0}) tuple(%first, %a)
  %loop = (s32[], f32[48,4,8]{2,1,0}) while(%start), condition=%more, body=%body, TRIPS
  ROOT %result = f32[48,4,8]{2,1,0} get-tuple-element(%loop), index=1
}
"""


@pytest.fixture
def hlo(monkeypatch):
    monkeypatch.syspath_prepend(str(GPU))
    import hlo

    return hlo


def run(script: str, *args, answer: str = "") -> list[dict]:
    """Runs a script on the CPU; the lines of JSON that it prints."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment.pop("PYTHONPATH", None)  # Its Python has other packages.
    command = [PYTHON, str(GPU / script), *map(str, args)]
    done = subprocess.run(
        command, input=answer, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(x) for x in done.stdout.splitlines() if x.startswith("{")]


@pytest.mark.parametrize(
    ("attribute", "turns"),
    [('backend_config={"known_trip_count":{"n":"48"}}', 48), ("metadata={}", None)],
)
def test_kernels_and_bytes_are_counted_by_the_turns_of_loops(hlo, attribute, turns):
    module = hlo.Module(PROGRAM.replace("TRIPS", attribute))
    total = module.count()
    (loop,) = module.loops
    assert loop.trips == turns and loop.carried == 2
    assert loop.body.kernels == 3
    kinds = {"elementwise": 2, "dynamic-update-slice": 1}
    assert loop.body.kinds == kinds
    step = 4 * 8 * 4  # Bytes of what a turn reads and writes of the array.
    numbers = 4  # Bytes of an index.
    # Read and write a step; write one, in place, and read it; add.
    assert loop.body.bytes == (2 * step + numbers) + (2 * step + numbers) + 3 * numbers
    assert total.kernels == 1 + 3 * (turns or 1)
    assert total.kinds["product"] == 1
    product = 2 * 8 * 8 * 2 + 8 * 8 * 2  # Without its workspace.
    assert total.bytes == product + (turns or 1) * loop.body.bytes


@needs_jax
def test_jax_computes_the_numbers_of_tensorflow(tmp_path):
    with tfutils.for_gpu():
        agent = models.make_agent(models.make_config(jit=False))
        args = models.make_batch(), agent.wm.rssm.initial(models.BATCH)

        def step(batch, state):
            state, _, metrics = agent.wm.train(batch, state)
            return state, metrics

        lowered = lowering.lower(step, *args, feedback={0: 1})
        lowered.save(tmp_path / "wm", gflop=0, dtype="float32")
        graph = tf.function(step, jit_compile=True, autograph=False)
        concrete = graph.get_concrete_function(*args)
    rng = np.random.default_rng(0)
    values = [arguments.fill(x, rng) for x in lowered.inputs]
    count = len(tf.nest.flatten(args))
    pairs = zip(concrete.captured_inputs, values[count:], strict=True)
    for variable, value in pairs:
        tf.raw_ops.AssignVariableOp(resource=variable, value=value)
    batch, state = tf.nest.pack_sequence_as(args, values[:count])
    expected = []
    for _ in range(2):
        state, metrics = graph(batch, state)
        expected.append({f"1/{k}": float(v) for k, v in metrics.items()})
    found = run("step.py", tmp_path / "wm", "cpu", 0, answer="now\n")[-1]["numbers"]
    for one, other in zip(found, expected, strict=True):
        # As the golden tests; `model_error` differs by 1.7e-4, all others by less.
        assert one == pytest.approx(other, rel=1e-3, abs=1e-6)


def test_tensorflow_executes_the_exported_policy(monkeypatch):
    monkeypatch.syspath_prepend(str(GPU))
    monkeypatch.syspath_prepend(str(GPU.parent))
    import export
    import train_step

    config = models.make_config(dataset={"batch": 2, "length": 3}, jit=False)
    with tfutils.for_gpu():
        agent, batch, wm_step = train_step.prepare(config)
        policy, args, _ = export.find_step("policy", agent, batch, wm_step)
        lowered = lowering.lower(policy, *args, feedback={0: 1})
        graph = tf.function(policy, jit_compile=True, autograph=False)
        captured = graph.get_concrete_function(*args).captured_inputs
        assert {x.dtype for x in captured} == {tf.resource}
        variables = [foreign.read_variable(x)[1] for x in captured]
        outputs = gen_xla_ops.xla_call_module(
            [*tf.nest.flatten(args), *variables],
            version=10,
            module=lowered.program,
            Sout=[x["shape"] for x in lowered.outputs],
            Tout=[x["dtype"] for x in lowered.outputs],
            platforms=["CPU"],
        )
        # As XLA draws other noise than TensorFlow does without it.
        expected = tf.nest.flatten(graph(*args))
    names = [x["name"] for x in lowered.outputs]
    assert names[len(expected) - 1] == "1/action"
    for name, one, other in zip(names, outputs, expected, strict=False):
        np.testing.assert_allclose(one, other, 1e-4, 1e-5, err_msg=name)
    # The generator has drawn the same noise.
    np.testing.assert_array_equal(outputs[len(expected)], agent.rng.state)


@needs_jax
def test_one_script_measures_all_exported_steps(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(GPU))
    monkeypatch.syspath_prepend(str(GPU.parent))
    import export

    few = ("--imag_horizon", 3, "--dataset.batch", 2, "--dataset.length", 6)
    args = ("--configs", "minatar", "debug", "--precision", 32, *few)
    assert export.main([*map(str, args), "--steps", "wm", "--to", str(tmp_path)]) == 0
    out = tmp_path / "result.json"
    where = ("--exported", tmp_path, "--to", out, "--platform", "cpu")
    run("run_all.py", *where, "--steps", 1, "--peak_size", 64)
    found = json.loads(out.read_text())
    assert found["failed"] == {} and found["peak"]["float32"] > 0
    step = found["steps"]["minatar_debug/32.wm"]
    assert step["is_finite"] and step["seconds"] > 0 and step["steps_a_second"] > 0
    assert step["share_of_peak"] > 0 and step["memory"]["temporary"] > 0
    assert step["profile"]["kernels"] > 100 and step["profile"]["top"]
    assert max(step["difference"].values()) == 0  # The same program on the same CPU.
    (counted,) = run("count.py", tmp_path / "minatar_debug/32.wm", "--target", "cpu")
    assert [x["turns"] for x in counted["loops"]] == [6, 6]
    assert counted["host"] == [] and counted["kernels"] > 100

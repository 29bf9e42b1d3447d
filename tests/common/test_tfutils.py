import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.config import Config


def test_the_compute_dtype_follows_keras(precision):
    assert tfutils.compute_dtype() == tf.float32
    precision("mixed_bfloat16")
    assert tfutils.compute_dtype() == tf.bfloat16


def test_leading_dimensions_are_numbers_where_the_graph_knows_them():
    assert tfutils.lead(tf.zeros([2, 3, 4]), 1) == [2, 3]

    @tf.function(input_signature=[tf.TensorSpec([None, 3, 4])])
    def lead(x):
        first, second = tfutils.lead(x, 1)
        assert second == 3
        return first

    assert lead(tf.zeros([5, 3, 4])) == 5


@pytest.mark.parametrize(
    ("gpus", "strategy", "xla", "wanted"),
    [
        ([], "none", False, None),
        ([], "none", True, True),
        (["GPU:0"], "none", False, True),
        (["GPU:0"], "mirrored", False, None),  # Replicas share the update.
    ],
)
def test_graphs_use_xla_on_a_gpu_or_where_asked(
    monkeypatch, gpus, strategy, xla, wanted
):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf, "function", lambda fn, **options: (fn, options))
    made = tfutils.compiled(len, Config({"jit": True, "strategy": strategy}), xla)
    assert made == (len, {"jit_compile": wanted, "autograph": False})


def test_without_jit_a_function_stays_as_it_is():
    assert tfutils.compiled(len, Config({"jit": False, "strategy": "none"})) is len


def test_seeds_come_from_the_generator():
    rng = tf.random.Generator.from_seed(1)
    first, second = tfutils.make_seeds(rng, 2)
    assert first.shape == (2,) and first.dtype == tf.int32
    assert (first.numpy() != second.numpy()).any()
    assert tfutils.make_seeds(None, 2) == [None, None]
    assert tfutils.split_seed(None, 3) == [None] * 3
    assert tfutils.step_seeds(None, 3) == {}
    assert tfutils.step_seeds(first, 3)["seed"].shape == (3, 2)


def test_reseeding_leaves_the_generator_as_it_was():
    rng = tf.random.Generator.from_seed(1)
    before = rng.state.numpy()
    with tfutils.reseeded(rng, 7):
        inside = rng.uniform([3]).numpy()
    np.testing.assert_array_equal(rng.state, before)
    with tfutils.reseeded(rng, 7):
        np.testing.assert_array_equal(rng.uniform([3]), inside)


def test_scan_stacks_over_time():
    def step(previous, now):
        return {"sum": previous["sum"] + now["x"]}

    inputs = {"x": tf.constant([[1.0], [2.0], [3.0]])}
    got = tfutils.scan(step, inputs, {"sum": tf.constant([10.0])}, 3)
    np.testing.assert_array_equal(got["sum"], [[11], [13], [16]])


def test_scan_needs_no_inputs():
    got = tfutils.scan(lambda previous, _: previous * 2, {}, tf.constant(1.0), 3)
    np.testing.assert_array_equal(got, [2, 4, 8])


def test_a_structure_of_variables_takes_the_values_of_another():
    made = tfutils.variables({"a": tf.constant(1), "b": tf.constant([2.0, 3])})
    assert not made["a"].trainable
    tfutils.assign(made, {"a": tf.constant(4), "b": tf.constant([5.0, 6])})
    assert made["a"] == 4
    np.testing.assert_array_equal(made["b"], [5, 6])


def test_variables_have_other_values_within_a_scope():
    variable = keras.Variable([1.0])
    with tfutils.with_values([variable], [tf.constant([2.0])]):
        assert variable.value == 2
    assert variable.value == 1


def test_graphs_can_be_built_for_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert not tfutils.on_gpu()
    with tfutils.for_gpu():
        assert tfutils.on_gpu()
    assert not tfutils.on_gpu()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    assert tfutils.on_gpu()


@pytest.mark.parametrize("how", ["eagerly", "in a graph"])
def test_scanning_back_passes_what_is_later_to_what_is_earlier(how):
    def run(x):
        def step(later, now):
            total = {"sum": later["sum"] + now["x"]}
            return total, [total["sum"] * 2]

        return tfutils.scan_back(step, {"x": x}, {"sum": tf.constant(10.0)}, [x])

    run = run if how == "eagerly" else tf.function(run, jit_compile=True)
    first, (outputs,) = run(tf.constant([1.0, 2.0, 3.0]))
    assert first["sum"] == 16
    np.testing.assert_array_equal(outputs, [32, 30, 26])


def test_xla_knows_how_often_a_scan_back_runs():
    def run(x):
        first, outputs = tfutils.scan_back(
            lambda later, now: (later + now, later), x, tf.zeros([3]), x
        )
        return first + outputs[0]

    graph = tf.function(run, jit_compile=True, autograph=False)
    program = graph.experimental_get_compiler_ir(tf.ones([7, 3]))("optimized_hlo")
    assert '"known_trip_count":{"n":"7"}' in program

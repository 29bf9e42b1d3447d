import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common.ops import fuse


@fuse.fused
def shifted(x):
    return x * 2 + 1


def test_a_function_is_compiled_in_graphs_on_a_cpu_alone(monkeypatch):
    def compiled() -> bool:
        graph = tf.function(shifted).get_concrete_function(tf.TensorSpec([3]))
        nested = graph.graph.as_graph_def().library.function
        return any(f.attr["_XlaMustCompile"].b for f in nested)

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert not fuse.on()
    assert shifted(tf.constant(3.0)) == 7
    assert tf.function(shifted)(tf.constant(3.0)) == 7
    assert compiled()
    with fuse.unfused():
        assert not compiled()
    assert compiled()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    assert not compiled()


@pytest.mark.parametrize("how", [None, True])
def test_a_recomputed_function_has_its_gradient_within_loops(how):
    """In a graph, and in one that XLA compiles as a whole."""

    def bent(x, y):
        return tf.concat(tf.split(x * y, 2, -1)[::-1], -1)

    def gradient(fn, x, y):
        with tf.GradientTape() as tape:
            tape.watch((x, y))
            steps = tf.scan(lambda x, _: fn(x, y), tf.range(3), x)
            loss = tf.reduce_sum(steps)
        return tape.gradient(loss, (x, y))

    args = tf.constant([[1.0, 2, 3, 4]]), tf.constant([0.5, -1.0, 2.0, 0.25])
    compiled = tf.function(gradient, jit_compile=how, autograph=False)
    for one, other in zip(
        compiled(fuse.recomputed(bent), *args), gradient(bent, *args), strict=True
    ):
        np.testing.assert_allclose(one, other)

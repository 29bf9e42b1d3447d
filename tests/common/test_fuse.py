import tensorflow as tf

from dreamerv2_transfer.common import fuse


@fuse.fused
def shifted(x):
    return x * 2 + 1


def test_a_function_is_compiled_in_graphs_on_a_cpu_alone(monkeypatch):
    def compiled() -> bool:
        graph = tf.function(shifted).get_concrete_function(tf.TensorSpec([3]))
        nested = graph.graph.as_graph_def().library.function
        return any(f.attr["_XlaMustCompile"].b for f in nested)

    assert not fuse.on()
    assert shifted(tf.constant(3.0)) == 7
    assert tf.function(shifted)(tf.constant(3.0)) == 7
    assert compiled()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    assert not compiled()

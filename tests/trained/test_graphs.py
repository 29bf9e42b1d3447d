import keras
import numpy as np
import tensorflow as tf

from dreamerv2_transfer.trained import graphs


def test_turns_hold_few_frames():
    assert graphs.turns(5, 100) == [(0, 2), (2, 2), (4, 1)]
    assert graphs.turns(2, 1000) == [(0, 1), (1, 1)]


def test_the_precision_is_that_of_before_afterwards():
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        with graphs.precision():
            assert keras.mixed_precision.dtype_policy().name == "float32"
        assert keras.mixed_precision.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.mixed_precision.set_dtype_policy("float32")


def test_a_graph_takes_any_number_of_steps():
    traces = []

    def double(x, nothing):
        traces.append(x.shape)
        return {"twice": 2 * x}

    runner = graphs.Graphs()
    for steps in (1, 2, 3, 4, 1):
        found = runner.run(double, 1, np.ones((steps, 1), np.float32), None)
        assert found["twice"].tolist() == [[2.0]] * steps
    assert len(traces) == 2


def test_many_models_in_a_script_make_tensorflow_warn_of_nothing(caplog):
    def double(x):
        return 2 * x

    tf.get_logger().addHandler(caplog.handler)
    for batch in range(1, 9):
        for runner in (graphs.Graphs(), graphs.Graphs()):
            runner.run(double, batch, np.ones((1, batch), np.float32))
    tf.get_logger().removeHandler(caplog.handler)
    assert caplog.messages == []


def test_the_noise_of_a_step_depends_on_its_number_alone():
    key = tf.constant([1, 2])
    assert graphs.seed_of_step(key, 3).numpy().tolist() != [1, 2]
    assert graphs.seed_of_step(None, 3) is None

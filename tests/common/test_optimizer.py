import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import optimizer as optimizer_lib


def variable(*values):
    return keras.Variable(np.array(values, np.float32), name="kernel")


def step(optimizer, loss_fn):
    with tf.GradientTape() as tape:
        loss = loss_fn()
    return optimizer(tape, loss)


def test_weight_decay_is_not_scaled_by_the_learning_rate():
    var = variable(100.0)
    optimizer = optimizer_lib.Optimizer("model", [var], lr=0.01, wd=0.1, opt="sgd")
    step(optimizer, lambda: var.value[0] * 2.0)
    # 100 * (1 - 0.1), then a step of 0.01 * 2.
    np.testing.assert_allclose(var.value, [89.98], rtol=1e-6)


def test_weight_decay_leaves_variables_without_a_gradient_alone():
    used, unused = variable(1.0), variable(100.0)
    optimizer = optimizer_lib.Optimizer(
        "model", [used, unused], lr=0.1, wd=0.5, opt="sgd"
    )
    step(optimizer, lambda: used.value[0])
    np.testing.assert_allclose(used.value, [0.4], rtol=1e-6)
    np.testing.assert_array_equal(unused.value, [100])


def test_weight_decay_by_pattern():
    kernel, bias = variable(1.0), keras.Variable([1.0], name="bias")
    optimizer = optimizer_lib.Optimizer(
        "model", [kernel, bias], lr=0.0, wd=0.5, opt="sgd", wd_pattern=r"model/.*kernel"
    )
    step(optimizer, lambda: kernel.value[0] + bias.value[0])
    np.testing.assert_allclose(kernel.value, [0.5])
    np.testing.assert_allclose(bias.value, [1.0])


def test_weights_that_were_loaded_are_pulled_to_their_start():
    loaded, fresh = (keras.Variable([1.0], name=x) for x in ("loaded", "fresh"))
    optimizer = optimizer_lib.Optimizer(
        "model", [loaded, fresh], lr=0.1, wd_start=0.25, opt="sgd"
    )
    optimizer.keep_start([loaded.path])
    metrics = step(optimizer, lambda: loaded.value[0] + fresh.value[0])
    assert float(metrics["model_start_distance"]) == 0
    for variable in (loaded, fresh):
        np.testing.assert_allclose(variable.value, [0.9], rtol=1e-6)
    metrics = step(optimizer, lambda: loaded.value[0] + fresh.value[0])
    np.testing.assert_allclose(metrics["model_start_distance"], 0.1, rtol=1e-5)
    # 0.9 + 0.25 * (1 - 0.9), then a step of 0.1.
    np.testing.assert_allclose(loaded.value, [0.825], rtol=1e-6)
    np.testing.assert_allclose(fresh.value, [0.8], rtol=1e-6)


def test_a_step_that_overflows_pulls_nothing(precision):
    precision("mixed_float16")
    var = variable(1.0)
    optimizer = optimizer_lib.Optimizer("model", [var], lr=0.0, wd_start=0.5, opt="sgd")
    optimizer.keep_start([var.path])
    var.assign([2.0])
    step(optimizer, lambda: var.value[0] * np.inf)
    np.testing.assert_array_equal(var.value, [2.0])
    step(optimizer, lambda: var.value[0])
    np.testing.assert_array_equal(var.value, [1.5])


@pytest.mark.parametrize(
    "opt, steps",
    [("sgd", (0.2, 0.1)), ("adam", (0.02, 0.01)), ("nadam", (0.021256, 0.010628))],
)
def test_a_components_learning_rate_has_its_factor(opt, steps):
    layers = [keras.layers.Dense(1, use_bias=False, name=x) for x in ("rssm", "reward")]
    for layer in layers:
        layer.build((None, 1))
        layer.kernel.assign([[0.0]])
    kernels = [layer.kernel for layer in layers]
    lr = 0.1 if opt == "sgd" else 0.01
    optimizer = optimizer_lib.Optimizer(
        "model", kernels, lr=lr, eps=1e-9, opt=opt, lr_by={"rssm": 2.0, "reward": 1.0}
    )
    step(optimizer, lambda: kernels[0].value[0, 0] + kernels[1].value[0, 0])
    moved = [-float(kernel.value[0, 0]) for kernel in kernels]
    np.testing.assert_allclose(moved, steps, rtol=1e-4)


def test_gradients_are_clipped_by_their_global_norm():
    a, b = variable(0.0), variable(0.0)
    optimizer = optimizer_lib.Optimizer("model", [a, b], lr=1.0, clip=10, opt="sgd")
    metrics = step(optimizer, lambda: 30.0 * a.value[0] + 40.0 * b.value[0])
    assert float(metrics["model_grad_norm"]) == 50
    np.testing.assert_allclose([a.value[0], b.value[0]], [-6, -8], rtol=1e-6)


def test_small_gradients_are_not_clipped():
    var = variable(0.0)
    optimizer = optimizer_lib.Optimizer("model", [var], lr=1.0, clip=10, opt="sgd")
    step(optimizer, lambda: 3.0 * var.value[0])
    np.testing.assert_allclose(var.value, [-3], rtol=1e-6)


def test_adam_as_in_tensorflow():
    var = variable(1.0)
    optimizer = optimizer_lib.Optimizer("model", [var], lr=0.1, eps=1e-5)
    step(optimizer, lambda: 5.0 * var.value[0])
    # The first step of Adam is lr * g / (|g| + eps / sqrt(1 - beta2)).
    np.testing.assert_allclose(
        var.value, [1 - 0.1 * 5 / (5 + 1e-5 / 0.0316)], rtol=1e-4
    )


def test_adamw_is_that_of_pytorch():
    """`torch.optim.AdamW([1.0], lr=0.1, eps=0.5)` takes these steps.

    With gradients 0.3 and -0.1 and its decay of 0.01.
    """
    weight = variable(1.0)
    opt = optimizer_lib.Optimizer("x", [weight], lr=0.1, eps=0.5, wd=1e-3, opt="adamw")
    value, m, v = 1.0, 0.0, 0.0
    for t, gradient in enumerate((0.3, -0.1), 1):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(weight.value * gradient)
        opt(tape, loss)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
        value = value * (1 - 0.1 * 0.01) - 0.1 * m_hat / (v_hat**0.5 + 0.5)
        np.testing.assert_allclose(weight.numpy(), [value], rtol=1e-5)
    assert {*opt.moments} == {"iterations", f"m/{weight.path}", f"v/{weight.path}"}
    np.testing.assert_allclose(opt.moments[f"m/{weight.path}"], [m], rtol=1e-5)


def test_adam_takes_the_steps_of_keras():
    ours = variable(1.0, -2.0), variable(3.0)
    theirs = variable(1.0, -2.0), variable(3.0)
    optimizer = optimizer_lib.Optimizer("model", ours, lr=0.1, eps=1e-5)
    keras_adam = keras.optimizers.Adam(0.1, epsilon=1e-5)
    for slope in (5.0, -1.0, 1e-4):
        gradients = [tf.constant([slope, 2 * slope]), tf.constant([-slope])]
        step(
            optimizer,
            lambda g=gradients: sum(
                tf.reduce_sum(v.value * x) for v, x in zip(ours, g, strict=True)
            ),
        )
        keras_adam.apply(gradients, theirs)
    for got, wanted in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got.value, wanted.value, rtol=1e-5)


def test_loss_scaling_skips_steps_that_overflow(precision):
    precision("mixed_float16")
    var = variable(1.0)
    optimizer = optimizer_lib.Optimizer(
        "model", [var], lr=1.0, wd=0.1, clip=100, opt="sgd"
    )
    scaled = tf.function(lambda factor: step(optimizer, lambda: var.value[0] * factor))
    metrics = scaled(tf.constant(2.0))
    np.testing.assert_allclose(var.value, [0.9 - 2.0], rtol=1e-6)
    assert float(metrics["model_grad_norm"]) == 2
    assert float(metrics["model_loss_scale"]) == 2.0**15
    assert float(metrics["model_overflow"]) == 0
    before = var.numpy()
    assert float(scaled(tf.constant(1e37))["model_overflow"]) == 1
    np.testing.assert_array_equal(var.value, before)
    assert float(scaled(tf.constant(1.0))["model_loss_scale"]) == 2.0**14


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wd": 1.0}, "Received: wd=1.0"),
        ({"clip": 0.5}, "Received: clip=0.5"),
        ({"opt": "lion"}, "Received: 'lion'"),
    ],
)
def test_optimizer_checks_its_options(options, message):
    with pytest.raises(ValueError, match=message):
        optimizer_lib.Optimizer("model", [variable(1.0)], lr=1.0, **options)

"""Settings that must be made before TensorFlow is imported."""

import atexit
import os
import shutil
import signal
import sys
import tempfile

import hypothesis
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "TF_XLA_FLAGS" not in os.environ:  # Shared by all processes of one test run.
    cache = tempfile.mkdtemp(prefix="dreamerv2-xla-")
    os.environ["TF_XLA_FLAGS"] = f"--tf_xla_persistent_cache_directory={cache}"
    atexit.register(shutil.rmtree, cache, ignore_errors=True)

# Property-based tests draw the same examples in each run; with
# `--hypothesis-profile thorough` they draw many new ones.
SETTINGS = {
    "deadline": None,
    "database": None,
    "suppress_health_check": [
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
}
hypothesis.settings.register_profile(
    "quick", max_examples=30, derandomize=True, **SETTINGS
)
hypothesis.settings.register_profile("thorough", max_examples=2000, **SETTINGS)
hypothesis.settings.load_profile("quick")


@pytest.fixture(autouse=True)
def default_settings():
    """Undoes what a run sets for its process: eager mode and precision."""
    yield
    if "keras" in sys.modules:  # Their import would take seconds.
        import keras
        import tensorflow as tf

        tf.config.run_functions_eagerly(False)
        keras.mixed_precision.set_dtype_policy("float32")


@pytest.fixture
def precision():
    """Sets Keras' global policy, such as `mixed_bfloat16`, for one test."""
    import keras  # After the settings above.

    return keras.mixed_precision.set_dtype_policy


@pytest.fixture
def usual_signals():
    """Handles signals as usual; whoever runs the tests may ignore some, as `nohup`."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, x) for number, x in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)

"""Settings that must be made before TensorFlow is imported."""

import atexit
import os
import shutil
import tempfile

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "TF_XLA_FLAGS" not in os.environ:  # Shared by all processes of one test run.
    cache = tempfile.mkdtemp(prefix="dreamerv2-xla-")
    os.environ["TF_XLA_FLAGS"] = f"--tf_xla_persistent_cache_directory={cache}"
    atexit.register(shutil.rmtree, cache, ignore_errors=True)


@pytest.fixture
def precision():
    """Sets Keras' global policy, such as `mixed_bfloat16`, for one test."""
    import keras  # After the settings above.

    yield keras.mixed_precision.set_dtype_policy
    keras.mixed_precision.set_dtype_policy("float32")

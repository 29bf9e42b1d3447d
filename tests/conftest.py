"""Settings that have to stand before TensorFlow is imported."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "TF_XLA_FLAGS" not in os.environ:  # All processes of one run of the tests share it.
    cache = tempfile.mkdtemp(prefix="dreamerv2-xla-")
    os.environ["TF_XLA_FLAGS"] = f"--tf_xla_persistent_cache_directory={cache}"
    atexit.register(shutil.rmtree, cache, ignore_errors=True)

"""All uses of other libraries' private names, with the versions they were written for.

A release may change a private name without notice, so `tests/common/test_foreign.py`
checks that each is still there. Methods that a library tells its subclasses to
override, such as `_sample_n` of TensorFlow Probability, are not listed. Imports are
inside the functions, so that importing this module costs nothing.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import importlib
import inspect
import logging
import re
import sys
import types
from collections.abc import Callable
from typing import Any

# The first of the modules that MinAtar's display imports.
PLOTTING = "matplotlib.pyplot"
SEABORN = "seaborn"
# The module by which TensorFlow opens its libraries to all others of the process.
GLOBAL_FLAGS = "tensorflow.python.pywrap_dlopen_global_flags"
# Modules of Keras that import scikit-learn, Matplotlib or pandas if they can.
UNUSED = (
    "keras.wrappers",
    "keras.visualization",
    "keras.src.visualization",
    "keras.src.trainers.data_adapters.array_slicing",
    "keras._tf_keras.keras.wrappers",
    "keras._tf_keras.keras.visualization",
)
# Packages of TensorFlow Probability that import all of their modules. Under these names
# they do not import Keras 2, as `tensorflow_probability.distributions` does.
COLLECTIONS = (
    "tensorflow_probability.python.bijectors",
    "tensorflow_probability.python.distributions",
)


# Keras 3.12 to 3.15.


def skip_gradient_sum(optimizer: Any) -> None:
    """Makes an optimizer take the gradients as they are.

    Keras would sum them over the replicas, but they are already averaged: the global
    norm that clips them is that of the mean.
    """
    optimizer._all_reduce_sum_gradients = lambda pairs: pairs


def adam_moments(optimizer: Any, variable: Any) -> tuple[Any, Any]:
    """Returns the variables of Adam's first and second moment of a variable.

    Keras has no public name for them; they go into one operation that updates all.
    """
    index = variable_index(optimizer, variable)
    return optimizer._momentums[index], optimizer._velocities[index]


def variable_index(optimizer: Any, variable: Any) -> int:
    """Returns which of an optimizer's variables this one is.

    Keras hands `update_step` TensorFlow's variables, which do not have their paths.
    """
    return optimizer._get_variable_index(variable)


# TensorFlow 2.21.


def read_variable(handle: Any) -> tuple[str, Any]:
    """Returns the name and the value of the variable that a resource is.

    A graph captures resources; which variables hold them it does not always tell.
    """
    import tensorflow as tf

    name = re.search(r'name="([^"]*)"', repr(handle))
    dtype = handle._handle_data.shape_and_type[0].dtype
    value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype)
    return name[1] if name else "", value


def write_event(writer: Any, event: bytes) -> None:
    """Writes a serialized `tf.compat.v1.Event` by a writer of `tf.summary`.

    Its public functions write summaries alone.
    """
    import tensorflow as tf

    tf.raw_ops.ImportEvent(writer=writer._resource, event=event)


# Python 3.11 to 3.14.


def set_compressor(member: Any, compressor: Any) -> None:
    """Compresses a member of a ZIP file that is open for writing by another library.

    Args:
        member: What `zipfile.ZipFile.open` returned.
        compressor: Makes a raw deflate stream, as `zlib.compressobj` with `-MAX_WBITS`.
    """
    member._compressor = compressor


# TensorFlow 2.21, with MuJoCo and dm_control.


def hide_tensorflow_symbols() -> None:
    """Keeps TensorFlow from opening its libraries to others, if it is not loaded yet.

    It has a copy of LLVM, and so has Mesa, which renders for MuJoCo. Mesa would call
    TensorFlow's copy and crash; if Mesa is loaded first, it is the other way round.
    TensorFlow also works without the module that opens its libraries.
    """
    sys.modules.setdefault(GLOBAL_FLAGS, None)  # As if there were no such module.


# MinAtar 1.0.15.


def import_minatar() -> types.ModuleType:
    """Imports MinAtar without its display.

    The display alone needs seaborn, whose import takes seconds in every process.
    Without matplotlib, MinAtar warns and leaves the display out.
    """
    hidden = PLOTTING if "matplotlib" in sys.modules else "matplotlib"
    return _import_without(hidden, "minatar")


def register_minatar() -> None:
    """Registers MinAtar's environments at Gymnasium, once, without their rendering."""
    import gymnasium

    import_minatar()
    module = _import_without(SEABORN, "minatar.gym")
    if not any(spec.namespace == "MinAtar" for spec in gymnasium.registry.values()):
        module.register_envs()


def _import_without(hidden: str, name: str) -> types.ModuleType:
    """Imports a module as if another one that it only warns about were missing."""
    if name not in sys.modules and hidden not in sys.modules:
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)
        sys.modules[hidden] = None  # As if it were not installed.
        try:
            importlib.import_module(name)
        finally:
            del sys.modules[hidden]
            logging.disable(level)
    return importlib.import_module(name)


# Gymnasium 1.1 to 1.4.


def ask_to_close(env: Any) -> None:
    """Asks the processes of an `AsyncVectorEnv` to end."""
    for pipe in filter(None, getattr(env, "parent_pipes", [])):
        with contextlib.suppress(OSError):  # The process may have died.
            pipe.send(("close", None))


def async_worker() -> Callable[..., None]:
    """Returns what the processes of an `AsyncVectorEnv` run.

    It takes `index`, `env_fn`, `pipe`, `parent_pipe`, `shared_memory`, `error_queue`
    and `autoreset_mode`.
    """
    from gymnasium.vector import async_vector_env

    worker = async_vector_env._async_worker
    if "semaphore" in inspect.signature(worker).parameters:  # Not in 1.1.
        return functools.partial(worker, semaphore=None)
    return worker


# Crafter 1.8.


def seed_crafter(env: Any, seed: int) -> None:
    """Sets the seed of the next episode.

    Crafter makes a world from the seed and the number of the episode.
    """
    env._seed, env._episode = seed, 0


def keep_creatures_in_order(env: Any) -> None:
    """Makes Crafter visit the creatures of a chunk in the order they were added.

    Crafter draws from sets of creatures, whose order is that of addresses in memory.
    """
    world = env._world
    reset = world.reset

    def reset_in_order(seed: int | None = None) -> None:
        reset(seed)
        world._chunks = collections.defaultdict(_OrderedSet)

    world.reset = reset_in_order


class _OrderedSet(dict):
    """A set that is iterated in the order in which items were added."""

    def add(self, item: Any) -> None:
        self[item] = None

    def remove(self, item: Any) -> None:
        del self[item]


# fsspec 2025.3 to 2026.9.


def lists_by_walking(fs: Any) -> bool:
    """Whether a file system lists files by fsspec's own walk through the folders.

    Only that takes `on_error`: a file system's own method may refuse the argument.
    """
    import fsspec
    from fsspec.asyn import AsyncFileSystem

    if isinstance(fs, AsyncFileSystem):
        return type(fs)._find is AsyncFileSystem._find
    return type(fs).find is fsspec.AbstractFileSystem.find


# Optuna 5.0.


def trial_id(trial: Any) -> int:
    """Returns what Optuna's storage knows a trial by, to resume the trial."""
    return trial._trial_id

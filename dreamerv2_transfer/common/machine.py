"""Prepares TensorFlow for the machine: precision, memory, cache of compiled code."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re

import keras
import tensorflow as tf

from dreamerv2_transfer.common.choices import PRECISIONS
from dreamerv2_transfer.common.distributed import gpus, replicas
from dreamerv2_transfer.common.files import cache, memory
from dreamerv2_transfer.common.tfutils import compute_dtype, on_gpu

CPUINFO = pathlib.Path("/proc/cpuinfo")


def setup(config) -> str:
    """Prepares TensorFlow for a run: precision, eager or graphs, GPU memory.

    Returns:
        A sentence that says what was chosen, and why.
    """
    memory.keep_freed()
    if config.jit:
        keep_compiled()
    devices = tf.config.list_physical_devices("GPU")
    for one in devices:
        tf.config.experimental.set_memory_growth(one, True)
    tf.config.run_functions_eagerly(not config.jit)
    precision, reason = choose_precision(config.precision, bool(devices))
    keras.mixed_precision.set_dtype_policy(PRECISIONS[precision])
    device = f"{len(devices)} GPU(s)" if devices else "CPU"
    if config.strategy != "none":  # Starts TensorFlow, so it must come last.
        count = replicas.strategy(config.strategy).num_replicas_in_sync
        device += f", {config.strategy} with {count} replica(s)"
    mode = "graphs" if config.jit else "eager"
    return f"TensorFlow {tf.__version__} on {device}, {mode}, precision {reason}."


def keep_compiled(
    cpuinfo: pathlib.Path = CPUINFO, drivers: pathlib.Path = gpus.FOLDER
) -> pathlib.Path | None:
    """Makes XLA cache what it compiles, so that the next run starts faster.

    Call it before the first call that asks for devices, which reads the flags. The
    cache is machine code, so each version of TensorFlow, each kind of CPU and each
    model of GPU has a folder of its own in the user's cache folder, which machines may
    share. XLA writes its files atomically.

    Args:
        cpuinfo: Describes the CPU.
        drivers: Has a folder for each GPU, made by NVIDIA's driver.

    Returns:
        The folder; None if none can be made, or if TF_XLA_FLAGS already names one.
    """
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if "persistent_cache_directory" in flags:
        return None
    found = re.search(r"^flags.*$", _read(cpuinfo), re.MULTILINE)
    described = (found[0] if found else "") + "".join(gpus.models(drivers))
    kind = hashlib.sha256(described.encode()).hexdigest()[:8]
    folder = cache.folder() / f"xla-{tf.__version__}-{kind}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    # Another user's folder could hold code that would run as ours.
    if folder.stat().st_uid != os.getuid() or not os.access(folder, os.W_OK):
        return None
    # TensorFlow splits its flags at spaces, but for those in quotes.
    marks = ("'", '"') if re.search(r"\s", str(folder)) else ("",)
    mark = next((x for x in marks if not x or x not in str(folder)), None)
    if mark is None:
        return None
    flag = f"--tf_xla_persistent_cache_directory={mark}{folder}{mark}"
    os.environ["TF_XLA_FLAGS"] = f"{flags} {flag}".strip()
    return folder


def _read(path: pathlib.Path) -> str:
    return path.read_text() if path.exists() else ""


def choose_precision(
    precision: str, gpu: bool, cpuinfo: pathlib.Path = CPUINFO
) -> tuple[str, str]:
    """Resolves `precision: auto`.

    Args:
        precision: `auto` or a key of `PRECISIONS`.
        gpu: Whether there is a GPU.
        cpuinfo: Describes the CPU.

    Returns:
        A key of `PRECISIONS`, and a phrase that says why it was chosen.
    """
    if precision != "auto":
        return precision, f"{PRECISIONS[precision]} as configured"
    if gpu:
        return "16", "mixed_float16 (auto: a GPU)"
    if multiplies_bfloat16(cpuinfo):
        return "bf16", "mixed_bfloat16 (auto: a CPU with bfloat16 products)"
    return "32", "float32 (auto: a CPU without bfloat16 products)"


def multiplies_bfloat16(cpuinfo: pathlib.Path = CPUINFO) -> bool:
    """Whether the CPU has instructions for products of bfloat16 numbers."""
    return bool(re.search(r"\b(avx512_bf16|amx_bf16)\b", _read(cpuinfo)))


def conv_dtype(cpuinfo: pathlib.Path = CPUINFO) -> str | None:
    """Returns the dtype policy of convolutions; None for the global one.

    On a CPU without bfloat16 instructions, convolutions in bfloat16 take five times as
    long as in float32; other products are about as fast in both.
    """
    slow = compute_dtype() == tf.bfloat16 and not multiplies_bfloat16(cpuinfo)
    return "float32" if slow and not on_gpu() else None

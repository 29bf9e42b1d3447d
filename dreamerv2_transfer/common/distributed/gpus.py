"""NVIDIA's GPUs of this machine, and why TensorFlow may not see them.

None of this imports TensorFlow, which takes seconds and memory of a GPU.
"""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

FOLDER = pathlib.Path("/proc/driver/nvidia/gpus")  # NVIDIA's driver: a folder for each.
PATIENCE = 10.0  # Seconds for nvidia-smi, which may hang on a broken driver.
# Oldest driver for each major version of CUDA, as NVIDIA's page on minor version
# compatibility has them.
DRIVERS = {"12": 525, "13": 580}
EXTRA = "and-cuda"  # Of TensorFlow: the wheels with CUDA's libraries.
INSTALL = "Install TensorFlow with CUDA's libraries: pip install '.[gpu]'."


def models(folder: pathlib.Path = FOLDER) -> list[str]:
    """Returns the models of this machine's GPUs, each once."""
    files = [file for file in folder.glob("*/information") if file.is_file()]
    text = "\n".join(file.read_text() for file in files)
    return sorted(set(re.findall(r"^Model:\s*(.+)$", text, re.MULTILINE)))


def nvidia_smi() -> list[str]:
    """Returns name, memory and driver of each GPU; nothing without a driver."""
    query = "--query-gpu=name,memory.free,memory.total,driver_version"
    command = ["nvidia-smi", query, "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, text=True)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [row.split(", ") for row in done.stdout.splitlines()]
    return [
        f"{name} ({free} of {total} are free, driver {driver})"
        for name, free, total, driver in (row for row in rows if len(row) == 4)
    ]


def why_unseen(
    driver: Sequence[str], build: Mapping[str, Any], requires: Sequence[str] = ()
) -> tuple[str, str]:
    """Returns why TensorFlow sees no GPU although the driver does, and what to do.

    Args:
        driver: What `nvidia_smi` returned.
        build: `tf.sysconfig.get_build_info()`.
        requires: What TensorFlow's distribution requires; by default the installed one.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides them", "Unset CUDA_VISIBLE_DEVICES."
    if not build.get("is_cuda_build"):
        return "it is built without CUDA", INSTALL
    cuda = str(build["cuda_version"])
    oldest = DRIVERS.get(cuda.partition(".")[0], 0)
    found = re.search(r"driver (\d+)", " ".join(driver))
    if found and int(found[1]) < oldest:
        cause = f"CUDA {cuda} needs a driver of version {oldest} or later"
        return cause, f"Install a driver of version {oldest} or later."
    if missing := _missing(requires or metadata.requires("tensorflow") or []):
        return f"missing {', '.join(missing)}", INSTALL
    return (
        "CUDA's libraries are installed",
        "TF_CPP_MIN_LOG_LEVEL=0 shows which library cannot be loaded, or what else it "
        "lacks.",
    )


def _missing(requires: Sequence[str]) -> list[str]:
    """Returns the wheels of CUDA's libraries that are not installed."""
    lines = [line for line in requires if f'extra == "{EXTRA}"' in line]
    names = [re.findall(r"^[\w.-]+", line)[0] for line in lines]
    return [name for name in names if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True

"""Reports what this machine can run. `python -m dreamerv2_transfer.doctor`

Each line of the one-screen report is a finding, followed by what to do about it. The
exit status is 1 if training cannot run, else 0; a GPU is not required. `--logdir
LOGDIR` checks that folder. `--quick` leaves TensorFlow out, so that a check beside
a run does not take memory of its GPU.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
import pathlib
import platform
import re
import shutil
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any, cast

from dreamerv2_transfer.common.distributed import cores, gpus
from dreamerv2_transfer.common.errors import describe
from dreamerv2_transfer.common.files import memory, paths

# The rest of the package is imported later: a missing dependency must be a finding.

OPTIONS = {
    "logdir": "logdir",  # The folder of future runs.
    "quick": False,  # Leave out TensorFlow and the suites that are extras.
}
OK, NOTE, TROUBLE = "ok", "note", "TROUBLE"
FAILED = 1  # Exit status if training cannot run.
GIB = 2**30
MEMORY = 2.0  # GiB. A run of the block minatar needs up to 1.7 on a CPU.
DISK = 1.0  # GiB. 800,000 steps of MinAtar need 0.1, checkpoints and videos the rest.
WIDTH = 100  # Most columns of the report.
SLOW = "Each start compiles again, which takes seconds."
EXTRAS = {  # Top-level module of each extra in setup.cfg.
    "crafter": "crafter",
    "dmc": "dm_control",
    "fast": "isal",
    "gcs": "gcsfs",
    "hub": "huggingface_hub",
    "minari": "minari",
    "mlflow": "mlflow",
    "play": "aiohttp",
    "ray": "ray",
    "s3": "s3fs",
    "sweep": "optuna",
    "wandb": "wandb",
}
REINSTALL = "Install again, in a fresh virtual environment: pip install ."


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        status: `ok`, `note` (training runs, but something is worth knowing), or
            `TROUBLE` (it cannot run).
        topic: What was checked.
        found: What was found.
        todo: What to do about it; empty if there is nothing to do.
    """

    status: str
    topic: str
    found: str
    todo: str = ""

    def text(self, width: int) -> str:
        """Returns the finding in lines of at most `width` columns."""
        lead = f"{self.status:7}  {self.topic:11}  "
        wrap = functools.partial(
            textwrap.fill,
            width=width,
            subsequent_indent=" " * len(lead),
            break_on_hyphens=False,
        )
        lines = [wrap(self.found, initial_indent=lead)]
        if self.todo:
            lines.append(wrap(self.todo, initial_indent=f"{'->':>{len(lead) - 1}} "))
        return "\n".join(lines)


# The machine.


def check_python() -> Finding:
    """Finds the interpreter and the cores that this process may use."""
    version, system = platform.python_version(), platform.system()
    found = f"{version} on {system}, {cores.count()} cores"
    return Finding(OK, "Python", found)


def check_packages(required: Iterable[str] | None = None) -> Finding:
    """Compares the installed packages with the required ones.

    Args:
        required: Requirements such as `numpy >= 2.0, < 3`; by default the package's.
    """
    if required is None:
        required = _required()
    missing, other, shown = [], [], []
    for name, version, fits in map(_installed, required):
        if not version:
            missing.append(name)
        elif not fits:
            other.append(f"{name} {version}")
        shown += [f"{name} {version}"] if name in ("tensorflow", "keras") else []
    if missing:
        return Finding(TROUBLE, "Packages", f"Missing: {', '.join(missing)}", REINSTALL)
    if other:
        found = f"Not among the tested versions: {', '.join(other)}"
        return Finding(NOTE, "Packages", found, REINSTALL)
    return Finding(OK, "Packages", ", ".join(shown) or "All are installed")


def _required() -> list[str]:
    try:
        lines = metadata.requires("dreamerv2_transfer") or []
    except metadata.PackageNotFoundError:  # A checkout that was never installed.
        return []
    return [line for line in lines if "extra ==" not in line]


def _installed(requirement: str) -> tuple[str, str, bool]:
    """Returns a package's name, its version (empty if missing), and whether it fits."""
    name = re.findall(r"^[\w.-]+", requirement)[0]
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return name, "", False
    from packaging.requirements import Requirement  # A dependency of Keras.

    fits = Requirement(requirement).specifier.contains(version, prereleases=True)
    return name, version, fits


def check_configs() -> Finding:
    """Finds the file of configuration blocks."""
    from dreamerv2_transfer.common import blocks

    return Finding(OK, "Configs", str(blocks.find_configs()))


def check_memory(
    meminfo: pathlib.Path = memory.MEMINFO,
    limits: Sequence[pathlib.Path] = memory.LIMITS,
) -> Finding:
    """Finds the memory that a run can take, within a container's limit."""
    known = memory.free_and_total(meminfo, limits)
    if known is None:
        return Finding(OK, "Memory", "Unknown on this system")
    free, limit = known
    found = f"{free / GIB:.1f} of {limit / GIB:.1f} GiB are free"
    if free >= MEMORY * GIB:
        return Finding(OK, "Memory", found)
    todo = (
        f"A run of the block minatar needs up to {MEMORY:g} GiB. Close other programs, "
        "raise the container's limit, or use the block small."
    )
    return Finding(NOTE, "Memory", found, todo)


def check_disk(logdir: pathlib.Path) -> Finding:
    """Finds the free space where the logdir is, or would be."""
    free = shutil.disk_usage(_nearest(logdir)).free / GIB
    found = f"{free:.1f} GiB are free for {logdir}"
    if free >= DISK:
        return Finding(OK, "Disk", found)
    todo = (
        f"A MinAtar run needs up to {DISK:g} GiB. Free some space, or choose another "
        "--logdir."
    )
    return Finding(NOTE, "Disk", found, todo)


def check_logdir(logdir: pathlib.Path) -> Finding:
    """Checks that a run could write to its folder and lock it. Leaves nothing there."""
    from dreamerv2_transfer.common.files import atomic, locks

    try:
        folder = _nearest(logdir)
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix=".doctor_") as temporary,
            locks.locked(pathlib.Path(temporary)),
        ):
            pass
    except (OSError, atomic.OutputError) as error:
        # The cause of an OutputError is an OSError.
        cause = cast(OSError, error.__cause__ or error)
        found = f"{logdir} cannot be written: {cause.strerror}"
        todo = (
            "Give yourself the right to write there, on a file system that has locks, "
            "or choose another --logdir."
        )
        return Finding(TROUBLE, "Logdir", found, todo)
    state = "can be written" if folder == logdir else "can be created"
    return Finding(OK, "Logdir", f"{logdir} {state}")


def _nearest(path: pathlib.Path) -> pathlib.Path:
    """Returns the path, or the nearest folder above it that exists."""
    return next(x for x in (path, *path.parents) if x.exists())


# The games.


def check_minatar() -> Finding:
    """Plays every game of MinAtar."""
    from dreamerv2_transfer.common import envs

    for game in envs.MINATAR_GAMES:
        _play(f"minatar_{game}")
    return Finding(OK, "MinAtar", f"All {len(envs.MINATAR_GAMES)} games can be played")


def check_atari() -> Finding:
    """Checks that ALE has its ROMs, and plays one of them."""
    from dreamerv2_transfer.common.envs import atari

    roms = len(atari.games())
    if not roms:
        return Finding(TROUBLE, "Atari", "ale-py has no ROMs", REINSTALL)
    _play("atari_pong")
    return Finding(OK, "Atari", f"Pong can be played; ale-py has {roms} ROMs")


def check_suite(extra: str, task: str) -> Finding:
    """Plays a task of an optional suite that is installed."""
    from dreamerv2_transfer.common.errors import EnvError

    try:
        _play(task)
    except EnvError as error:
        return Finding(NOTE, extra, f"{task}: {error}")
    return Finding(OK, extra, f"{task} can be played")


def _play(task: str) -> None:
    from dreamerv2_transfer.common import envs

    with envs.make_env(task) as env:
        env.reset(seed=0)
        env.step(env.action_space.sample())


def check_extras(has: Callable[[str], bool]) -> Finding:
    """Lists the extras that are installed, or those that are not.

    Args:
        has: Tells whether a module can be imported.
    """
    there = [extra for extra, module in EXTRAS.items() if has(module)]
    absent = [extra for extra in EXTRAS if extra not in there]
    if not absent:
        return Finding(OK, "Extras", ", ".join(there))
    found = f"Optional, not installed: {', '.join(absent)}"
    todo = f"To install one: pip install '.[{absent[0]}]'"
    return Finding(NOTE, "Extras", found, todo)


def has_module(name: str) -> bool:
    """Returns whether a top-level module is installed, without importing it."""
    return importlib.util.find_spec(name) is not None


# TensorFlow.


def check_driver(driver: Sequence[str]) -> Finding:
    """Finds the GPUs that the driver reports, without TensorFlow."""
    if not driver:
        return _no_gpu()
    return Finding(OK, "GPU", f"The driver reports {len(driver)}: {'; '.join(driver)}")


def check_gpus(
    seen: int, driver: Sequence[str], build: Callable[[], Mapping[str, Any]]
) -> Finding:
    """Finds the GPUs that TensorFlow would train on.

    Args:
        seen: Number of GPUs that TensorFlow sees.
        driver: The GPUs that the driver reports.
        build: Returns how TensorFlow was built, see `gpus.why_unseen`.
    """
    if seen:
        names = f": {'; '.join(driver)}" if driver else ""
        return Finding(OK, "GPU", f"TensorFlow sees {seen}{names}")
    if not driver:
        return _no_gpu()
    cause, todo = gpus.why_unseen(driver, build())
    found = f"TensorFlow sees none ({cause}), but the driver reports "
    return Finding(NOTE, "GPU", found + "; ".join(driver), todo)


def _no_gpu() -> Finding:
    todo = (
        "Sizes for two cores: --configs minatar small pretrain. If there is a GPU, "
        "install its driver and pip install '.[gpu]'; in Docker, run with --gpus all."
    )
    return Finding(NOTE, "GPU", "None; training runs on the CPU", todo)


def check_precision(gpu: bool) -> Finding:
    """Finds what `precision: auto` means on this machine, and why."""
    from dreamerv2_transfer.common import machine

    return Finding(OK, "Precision", machine.choose_precision("auto", gpu)[1])


def check_xla(
    cache: pathlib.Path | None, compile_and_run: Callable[[], None]
) -> Finding:
    """Checks that XLA compiles, and that it caches what it has compiled.

    Args:
        cache: Folder of the cache; None if there is none.
        compile_and_run: Raises an exception if XLA does not work.
    """
    begin = time.perf_counter()
    try:
        compile_and_run()
    except Exception as error:  # TensorFlow has many kinds.
        todo = "Training runs without it, at a fraction of the speed: --jit False"
        return Finding(NOTE, "XLA", f"It fails: {describe(error):.200}", todo)
    found = f"It compiles, a small product in {time.perf_counter() - begin:.1f} s"
    if cache is None:
        todo = f"{SLOW} Set XDG_CACHE_HOME to a folder that can be written."
        return Finding(NOTE, "XLA", f"{found}, but has no cache", todo)
    return Finding(OK, "XLA", f"{found}; the cache is {cache}")


def compile_product() -> None:
    """Multiplies two small matrices with XLA, on the GPU if there is one."""
    import tensorflow as tf

    multiply = tf.function(lambda x: tf.matmul(x, x), jit_compile=True)
    result = float(multiply(tf.ones([8, 8]))[0, 0])
    if result != 8:
        raise ArithmeticError(f"The product must be 8. Received: {result}")


def build_info() -> Mapping[str, Any]:
    """Returns how TensorFlow was built: with which CUDA, if any."""
    import tensorflow as tf

    return tf.sysconfig.get_build_info()


def start_tensorflow() -> tuple[int, pathlib.Path | None]:
    """Starts TensorFlow; returns the number of GPUs and the folder of XLA's cache."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from dreamerv2_transfer.common import machine

    machine.keep_compiled()  # Sets the folder, unless TF_XLA_FLAGS has one.
    flags = os.environ.get("TF_XLA_FLAGS", "")
    found = re.search(r"persistent_cache_directory=(['\"]?)(.+?)\1(\s|$)", flags)
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    for device in devices:
        tf.config.experimental.set_memory_growth(device, True)
    return len(devices), pathlib.Path(found[2]) if found else None


# The report.


def examine(topic: str, check: Callable[[], Finding]) -> Finding:
    """Returns what a check finds; if the check fails, that is the finding."""
    try:
        return check()
    except Exception as error:  # A broken package may raise anything.
        return Finding(TROUBLE, topic, f"{describe(error):.300}", REINSTALL)


def basics(logdir: pathlib.Path) -> Iterator[Finding]:
    """Yields what can be found without TensorFlow, in about a second."""
    yield examine("Configs", check_configs)
    yield examine("Memory", check_memory)
    yield examine("Disk", functools.partial(check_disk, logdir))
    yield examine("Logdir", functools.partial(check_logdir, logdir))
    yield examine("MinAtar", check_minatar)
    yield examine("Atari", check_atari)


def extras() -> Iterator[Finding]:
    """Yields findings about what is optional."""
    for extra, task in {"dmc": "dmc_walker_walk", "crafter": "crafter_reward"}.items():
        if has_module(EXTRAS[extra]):
            yield examine(extra, functools.partial(check_suite, extra, task))
    yield check_extras(has_module)


def tensorflow() -> Iterator[Finding]:
    """Yields what TensorFlow finds on this machine."""
    try:
        seen, cache = start_tensorflow()
    except Exception as error:
        yield Finding(TROUBLE, "TensorFlow", f"{describe(error):.300}", REINSTALL)
        return
    yield examine("GPU", lambda: check_gpus(seen, gpus.nvidia_smi(), build_info))
    yield examine("Precision", lambda: check_precision(bool(seen)))
    yield examine("XLA", lambda: check_xla(cache, compile_product))


def show(findings: Iterable[Finding]) -> list[str]:
    """Prints each finding as soon as it is there; returns their statuses."""
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns)
    statuses = []
    for finding in findings:
        print(finding.text(width), flush=True)
        statuses.append(finding.status)
    return statuses


def conclude(statuses: Sequence[str]) -> int:
    """Prints whether training can run, and returns the exit status."""
    if TROUBLE in statuses:
        print("Training cannot run: see TROUBLE above.")
        return FAILED
    print("Training can run.")
    return 0


def main(argv: list[str]) -> int:
    """Prints the report and returns the exit status."""
    from dreamerv2_transfer.common import flags
    from dreamerv2_transfer.common.files import remote

    reader = flags.Flags(OPTIONS)
    reader.paths = ["logdir"]
    options = reader.parse(argv)
    is_url = remote.is_remote(options.logdir)
    logdir = (remote.local_folder if is_url else paths.local)(options.logdir)
    logdir = logdir.absolute()
    statuses = show([check_python(), examine("Packages", check_packages)])
    statuses += show(basics(logdir))
    if options.quick:
        statuses += show([examine("GPU", lambda: check_driver(gpus.nvidia_smi()))])
    else:
        statuses += show(extras())
        statuses += show(tensorflow())
    return conclude(statuses)


def can_start() -> bool:
    """Returns whether the required packages are installed; if not, reports that."""
    packages = examine("Packages", check_packages)
    if packages.status == TROUBLE:
        conclude(show([check_python(), packages]))
    return packages.status != TROUBLE


def start() -> int:
    """Runs `main`, or only reports the packages if one is missing."""
    if not can_start():
        return FAILED
    from dreamerv2_transfer.common import cli

    return cli.run(main)


if __name__ == "__main__":
    sys.exit(start())

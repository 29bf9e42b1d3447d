"""Counts what a GPU would run in an exported step, on a machine without one.

    JAX_PLATFORMS=cpu python bench/gpu/count.py exported/minatar/32.whole [...]

needs jax and jax-cuda13-plugin with the wheels nvidia-cuda-nvcc, nvidia-nvvm and
nvidia-nvjitlink, but no GPU and no driver: XLA compiles for an H100 that it only knows
from h100.txtpb. All of its passes for a GPU run, so fusions, loops, kernels and memory
are those of that version of XLA, but for what it would try out on the device: which
library or tile computes a product or a convolution, and how. So this counts kernels and
bytes, and says nothing about seconds. Without the plugin, `--target cpu` counts what
XLA's passes for a CPU leave, where fusions are others.

A line of JSON for each program: `kernels` a step and their kinds, `gigabytes` that they
read and write, memory, whether products may be Triton's, and each loop with its turns
(null: XLA does not know them, and the host waits for the device in each), the kernels
of a turn, and the arrays that pass from turn to turn.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import pathlib
import re

import hlo
import jax
import jaxlib
import program
from jax._src.interpreters import mlir
from jax._src.lib import _jax, xla_client
from jax._src.lib.mlir import ir
from jax.errors import JaxRuntimeError

TARGET = pathlib.Path(__file__).resolve().parent / "h100.txtpb"
NO_TRITON = ("xla_gpu_enable_triton_gemm", "False")
PLUGINS = ("jax_plugins.xla_cuda13", "jax_plugins.xla_cuda12")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", help="exported files without an ending")
    parser.add_argument("--target", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--text", help="a folder for the optimized programs' texts")
    options = parser.parse_args()
    device, settings = (gpu if options.target == "gpu" else cpu)()
    for path in options.paths:
        executable = compiled(path, device, settings)
        text = executable.hlo_modules()[0].to_string()
        if options.text:
            name = "_".join(pathlib.Path(path).parts[-2:])
            pathlib.Path(options.text, f"{name}.txt").write_text(text)
        stats = executable.get_compiled_memory_stats()
        found = {
            "program": path,
            "target": device.device_kind,
            "jaxlib": jaxlib.__version__,
            "triton": NO_TRITON not in settings.env_option_overrides,
            **counted(text),
            "temporary_megabytes": round(stats.temp_size_in_bytes / 1e6, 1),
        }
        print(json.dumps(found), flush=True)


def counted(text: str) -> dict:
    """Returns what a call of an optimized program runs."""
    module = hlo.Module(text)
    total = module.count()
    return {
        "kernels": total.kernels,
        "kinds": dict(total.kinds.most_common()),
        "gigabytes": round(total.bytes / 1e9, 3),
        "loops": [
            {
                "turns": loop.trips,
                "kernels": loop.body.kernels,
                "kinds": dict(loop.body.kinds.most_common()),
                "megabytes": round(loop.body.bytes / 1e6, 2),
                "carried": loop.carried,
            }
            for loop in module.loops
        ],
        "host": host_operations(text),
    }


def host_operations(text: str) -> list[str]:
    """Returns the instructions of a program that exchange something with the host."""
    found = re.findall(r" (infeed|outfeed|send|recv)\(", text)
    return found + re.findall(r'custom_call_target="([^"]*callback[^"]*)"', text)


def compiled(path: str, device: jax.Device, settings: xla_client.CompileOptions):
    """Compiles an exported step; the result need not be executable here.

    Fusions around a product by Triton need a tile, which XLA may only find by trials on
    the device. If it finds none, all products are left to cuBLAS.
    """
    with mlir.make_ir_context():
        module = ir.Module.parse(program.read(path))
    devices = xla_client.DeviceList((device,))
    try:
        return device.client.compile(module, devices, settings)
    except JaxRuntimeError as error:
        if "triton_gemm" not in str(error):
            raise
    settings.env_option_overrides = [*settings.env_option_overrides, NO_TRITON]
    return device.client.compile(module, devices, settings)


def cpu() -> tuple[jax.Device, xla_client.CompileOptions]:
    return jax.devices("cpu")[0], xla_client.CompileOptions()


def gpu() -> tuple[jax.Device, xla_client.CompileOptions]:
    """Returns a GPU that is not there, and how to compile for it."""
    specs = filter(None, map(_find, PLUGINS))
    spec = next(specs, None)
    if spec is None:
        raise SystemExit("count.py needs jax-cuda13-plugin, or --target cpu.")
    library = pathlib.Path(spec.origin).parent / "xla_cuda_plugin.so"
    xla_client.load_pjrt_plugin_dynamically("cuda", str(library))
    options = {"target_config": TARGET.read_text(), "topology": "1x1x1"}
    topology = _jax.get_default_c_api_topology("cuda", "", options)
    settings = xla_client.CompileOptions()
    settings.env_option_overrides = [("xla_gpu_autotune_level", "0")]
    return topology._make_compile_only_devices()[0], settings


def _find(name: str):
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None


if __name__ == "__main__":
    main()

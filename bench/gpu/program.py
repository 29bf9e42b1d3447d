"""An exported step on a device that JAX sees; needs jax and numpy, no TensorFlow."""

from __future__ import annotations

import gzip
import json
import pathlib
import sys

import jax
import numpy as np

# JAX has no public function that compiles given StableHLO.
from jax._src.lib import xla_client

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from dreamerv2_transfer.common.ops import arguments

jax.config.update("jax_enable_x64", True)  # Counters and random states are int64.


class Program:
    """A step that is called again and again, with its results fed back.

    Args:
        path: That of the exported files, without an ending.
        device: Where it runs.

    Attributes:
        told: What the exported file says.
        inputs: The arrays of the next call, once `fill` has been called.
    """

    def __init__(self, path: str, device: jax.Device):
        self.told = json.loads(pathlib.Path(f"{path}.json").read_text())
        self.inputs: list[jax.Array] = []
        self._device = device
        self._executable = device.client.compile_and_load(
            read(path), xla_client.DeviceList((device,)), xla_client.CompileOptions()
        )

    def fill(self) -> None:
        """Fills the inputs with the same numbers on every device."""
        self.inputs = [jax.device_put(x, self._device) for x in filled(self.told)]

    def step(self) -> list[jax.Array]:
        """Starts a step and returns its outputs, which may not be there yet.

        An output that is fed back is overwritten by the next call.
        """
        results = self._executable.execute_sharded(self.inputs)
        arrays = results.disassemble_into_single_device_arrays()
        outputs = [x[0] for x in arrays]
        for output, given in self.told["feedback"]:
            self.inputs[given] = outputs[output]
        return outputs

    def metrics(self, outputs: list[jax.Array]) -> dict[str, float]:
        """Returns the results that are single numbers, by name."""
        variables = {x["name"] for x in self.told["inputs"]}
        return {
            told["name"]: float(x)
            for told, x in zip(self.told["outputs"], outputs, strict=True)
            if not told["shape"] and told["name"] not in variables
        }

    def memory(self) -> dict[str, int]:
        """Returns the bytes of a step: what it reads, changes, and needs besides."""
        stats = self._executable.get_compiled_memory_stats()
        return {
            "arguments": stats.argument_size_in_bytes,
            "results": stats.output_size_in_bytes - stats.alias_size_in_bytes,
            "temporary": stats.temp_size_in_bytes,
        }


def read(path: str) -> bytes:
    """Returns a program as MLIR's text."""
    return gzip.decompress(pathlib.Path(f"{path}.mlir.gz").read_bytes())


def filled(told: dict) -> list[np.ndarray]:
    """Returns the inputs of an exported step; the same ones at every call."""
    rng = np.random.default_rng(0)
    return [arguments.fill(x, rng) for x in told["inputs"]]

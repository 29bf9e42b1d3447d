"""Lowers functions of tensors to StableHLO, which every runtime of XLA executes.

NAME.mlir.gz   the program, as MLIR's text
NAME.json      what fills each input (see `arguments`), the outputs' names and shapes,
               `feedback`: the outputs that are inputs of the next call, and facts

An input is an argument of the function or a variable that it uses; an output is a
result or a variable that it changes.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from dreamerv2_transfer.common import foreign
from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.common.ops import arguments

FORMAT = 1
# An operation of TensorFlow's own dialect, which others cannot read; it does nothing.
COPY = re.compile(r"mhlo\.copy (%\w+) : (tensor<[^>]*>)")
ALIAS = re.compile(r"parameter_number = (\d+) : i64}, output_index = array<i64: (\d+)>")


@dataclasses.dataclass(frozen=True)
class Lowered:
    """A function as a program for XLA.

    Attributes:
        program: StableHLO.
        inputs: `name` and what `arguments.describe` returns of each input.
        outputs: `name`, `shape` and `dtype` of each output.
        feedback: Pairs of an output and the input that it is in the next call.
    """

    program: str
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    feedback: list[tuple[int, int]]

    def save(self, path: pathlib.Path, **facts: Any) -> None:
        """Writes both files.

        Args:
            path: Their path without an ending.
            facts: What else to say in the second.
        """
        known = {
            "format": FORMAT,
            "tensorflow": tf.__version__,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "feedback": self.feedback,
        }
        packed = gzip.compress(self.program.encode(), mtime=0)
        with atomic.atomic_write(path.with_name(f"{path.name}.mlir.gz")) as file:
            file.write(packed)
        text = json.dumps({**known, **facts}, indent=1) + "\n"
        atomic.write_text(path.with_name(f"{path.name}.json"), text)


def lower(
    function: Callable, *args: Any, feedback: Mapping[int, int] | None = None
) -> Lowered:
    """Traces a function and lowers it.

    Within `tfutils.for_gpu` it is the program that a GPU would run.

    Args:
        function: Takes and returns structures of tensors, and may change variables.
        args: Its arguments.
        feedback: The arguments that are results of the call before, by the result's
            position.
    """
    graph = tf.function(function, jit_compile=True, autograph=False)
    concrete = graph.get_concrete_function(*args)
    to = graph.experimental_get_compiler_ir(*args)
    program = COPY.sub(r"stablehlo.reshape \1 : (\2) -> \2", to("stablehlo"))
    results = concrete.structured_outputs
    inputs = [*_named(args), *map(_captured, concrete.captured_inputs)]
    changed = sorted((int(o), int(i)) for i, o in ALIAS.findall(program))
    outputs = [*_named(results), *(inputs[i] for _, i in changed)]
    return Lowered(
        program=program,
        inputs=[{"name": name, **arguments.describe(x.numpy())} for name, x in inputs],
        outputs=[
            {"name": name, "shape": x.shape.as_list(), "dtype": x.dtype.name}
            for name, x in outputs
        ],
        feedback=[*_fed_back(args, results, feedback or {}), *changed],
    )


def _named(structure: Any) -> list[tuple[str, tf.Tensor]]:
    """Returns the tensors of a structure with their paths."""
    return [
        ("/".join(map(str, path)), x)
        for path, x in keras.tree.flatten_with_path(structure)
        if x is not None
    ]


def _captured(x: tf.Tensor) -> tuple[str, tf.Tensor]:
    """Returns the name and the value of what a graph uses besides its arguments."""
    return foreign.read_variable(x) if x.dtype == tf.resource else ("", x)


def _fed_back(
    args: tuple, results: Any, feedback: Mapping[int, int]
) -> list[tuple[int, int]]:
    """Returns pairs of an output and an input, for positions of whole structures."""
    pairs = []
    for result, arg in feedback.items():
        first, count = _span(results, result)
        begin, expected = _span(args, arg)
        if count != expected:
            raise ValueError(
                f"Result {result} has {count} tensors, argument {arg} has {expected}."
            )
        pairs += [(first + i, begin + i) for i in range(count)]
    return pairs


def _span(structures: Any, position: int) -> tuple[int, int]:
    """Returns the number of tensors before a structure, and within it."""
    sizes = [len(_named(x)) for x in structures]
    return sum(sizes[:position]), sizes[position]

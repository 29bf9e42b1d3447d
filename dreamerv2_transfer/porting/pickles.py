"""The original's `variables.pkl`: a pickled tuple of arrays without names.

No unpickler reads one, because even numpy's own functions reach outside of their memory
where a file chooses the arguments. A pickle is a program for a small machine. Ours
knows the few instructions that make up a tuple of arrays, calls nothing, and keeps what
the file would have called as data, from which the arrays are built at the end.

Writing refers to nothing but `numpy.ndarray` and `numpy.dtype`, which have the same
names in numpy 1, that the original needs, and 2.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import pickle
import pickletools
from collections.abc import Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.common.errors import UserError, describe
from dreamerv2_transfer.common.files import atomic

# Each can take the memory of a list; an agent's pickle has 1,000 to 3,000.
MAX_INSTRUCTIONS = 10**5
MAX_AXES = 32  # What numpy 1 allows.
MOST_SAID = 200  # Characters of what is wrong with a file.

# Instructions that push their argument, as pickletools reads it.
_CONSTANTS = {
    *("BININT", "BININT1", "BININT2", "LONG1"),
    *("BINUNICODE", "SHORT_BINUNICODE"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_VALUES: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SIZES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()

# What versions of numpy call to make arrays and numbers.
_CALLABLE = {
    "numpy.ndarray",
    "numpy.dtype",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.core.numeric._frombuffer",
}
_DTYPES = {
    "b1",
    *("i1", "i2", "i4", "i8"),
    *("u1", "u2", "u4", "u8"),
    *("f2", "f4", "f8"),
}


class PortError(UserError):
    """An old checkpoint that cannot be read or does not fit."""


class _Unfit(Exception):
    """The file is something else than a tuple of arrays; the text says what."""


@dataclasses.dataclass(frozen=True)
class _Name:
    """The name of something that a pickle refers to."""

    name: str


@dataclasses.dataclass
class _Call:
    """A call that a pickle asks for. It is never made.

    Attributes:
        name: What would be called.
        args: The arguments.
        state: What the result would be given by `__setstate__`.
    """

    name: str
    args: tuple
    state: Any = None


def load_variables(path: str | pathlib.Path) -> tuple[np.ndarray, ...]:
    """Reads the arrays of an original `variables.pkl`, read-only.

    Takes no more memory than some copies of the file, whatever sizes it claims.

    Raises:
        PortError: If the file is missing, truncated, or holds anything but a tuple of
            numeric arrays. Nothing of it is executed.
    """
    path = pathlib.Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PortError(f"Cannot read {path}: {error.strerror}.") from error
    try:
        values = _Machine(content).run()
        if not isinstance(values, tuple | list):
            raise _Unfit(f"it holds {_kind(values)}, not a tuple of numeric arrays")
        return tuple(_array(value) for value in values)
    except Exception as error:  # A damaged pickle can raise anything.
        fault = str(error) if isinstance(error, _Unfit) else describe(error)
        fault = ascii(fault)[1:-1]  # Texts of the file may control a terminal.
        raise PortError(
            f"{path} is not a variables.pkl of DreamerV2: {fault[:MOST_SAID]}. None of "
            "it was run."
        ) from error


class _Machine:
    """Follows the instructions of a pickle.

    Args:
        content: The pickle.
    """

    def __init__(self, content: bytes):
        self._content = content
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Returns the pickled object, of plain values, tuples, lists and `_Call`s."""
        instructions = pickletools.genops(self._content)
        for count, (opcode, argument, place) in enumerate(instructions):
            if count == MAX_INSTRUCTIONS:
                raise _Unfit(f"it has more than {MAX_INSTRUCTIONS:,} instructions")
            if not self._step(opcode.name, argument):
                raise _Unfit(
                    f"it has {opcode.name} at byte {place}, and so is not a tuple of "
                    "numeric arrays"
                )
        (value,) = self._stack
        return value

    def _step(self, name: str, argument: Any) -> bool:
        """Follows one instruction; returns whether it is known."""
        push, pop = self._stack.append, self._pop
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                push(_MARK)
            case _ if name in _CONSTANTS:
                push(argument)
            case _ if name in _VALUES:
                push(_VALUES[name])
            case _ if name in _SIZES:
                push(tuple(pop(_SIZES[name])))
            case "TUPLE":
                push(tuple(self._pop_to_mark()))
            case "EMPTY_LIST":
                push([])
            case "APPEND":
                self._extend(pop(1))
            case "APPENDS":
                self._extend(self._pop_to_mark())
            case "MEMOIZE":
                self._memo[len(self._memo)] = self._stack[-1]
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self._stack[-1]
            case "BINGET" | "LONG_BINGET":
                push(self._memo[argument])
            case "GLOBAL":
                push(_name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                push(_name(*pop(2)))
            case "REDUCE":
                push(_call(*pop(2)))
            case "BUILD":
                self._set_state(*pop(1))
            case _:
                return False
        return True

    def _pop(self, number: int) -> list:
        """Takes values off the stack, in the order in which they were put there."""
        start = len(self._stack) - number
        if start < 0:
            raise _Unfit("it takes more values than it has put down")
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def _pop_to_mark(self) -> list:
        for number, value in enumerate(reversed(self._stack), 1):
            if value is _MARK:
                return self._pop(number)[1:]
        raise _Unfit("it takes more values than it has put down")

    def _extend(self, values: list) -> None:
        if not isinstance(self._stack[-1], list):
            raise _Unfit(f"it appends to {_kind(self._stack[-1])}")
        self._stack[-1].extend(values)

    def _set_state(self, state: Any) -> None:
        value = self._stack[-1]
        if not isinstance(value, _Call) or value.state is not None:
            raise _Unfit(f"it changes {_kind(value)}")
        value.state = state


def _name(module: Any, name: Any) -> _Name:
    if not isinstance(module, str) or not isinstance(name, str):
        raise _Unfit(f"it calls {_kind(name)} of {_kind(module)}")
    # numpy 1 and numpy 2 wrote different module paths.
    full = f"{module}.{name}".replace("numpy._core.", "numpy.core.", 1)
    if full not in _CALLABLE:
        raise _Unfit(f"it refers to {module}.{name}, which is no numpy array")
    return _Name(full)


def _call(function: Any, args: Any) -> _Call:
    if not isinstance(function, _Name) or not isinstance(args, tuple):
        raise _Unfit(f"it calls {_kind(function)} with {_kind(args)}")
    return _Call(function.name, args)


def _array(value: Any) -> np.ndarray:
    """Builds an array from one of the calls by which numpy pickles them."""
    match value:
        case _Call(
            "numpy.core.multiarray._reconstruct",
            (_Name("numpy.ndarray"), (0,), b"b"),
            (1, tuple() as shape, _Call() as dtype, bool() as is_fortran, content),
        ):
            return _filled(shape, dtype, content, "F" if is_fortran else "C")
        case _Call(
            "numpy.core.numeric._frombuffer",
            (content, _Call() as dtype, tuple() as shape, "C" | "F" as order),
            None,
        ):
            return _filled(shape, dtype, content, order)
        case _Call("numpy.core.multiarray.scalar", (_Call() as dtype, content), None):
            return _filled((), dtype, content)
        case _Call(
            "numpy.ndarray", (tuple() as shape, _Call() as dtype, content), None
        ):
            return _filled(shape, dtype, content)
    if isinstance(value, _Call):
        raise _Unfit(f"it calls {value.name} in another way than numpy does")
    raise _Unfit(f"it holds {_kind(value)}, not a tuple of numeric arrays")


def _filled(shape: tuple, call: _Call, content: Any, order: Any = "C") -> np.ndarray:
    """Returns an array over the bytes, which must be exactly as many as it needs."""
    dtype = _dtype(call)
    if len(shape) > MAX_AXES or not all(type(x) is int and x >= 0 for x in shape):
        raise _Unfit(f"an array's shape is not at most {MAX_AXES} numbers from 0 on")
    if not isinstance(content, bytes | bytearray):
        raise _Unfit(f"the values of an array are {_kind(content)}")
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise _Unfit(
            f"an array of {dtype} has {len(content):,} bytes and the shape {shape}"
        )
    array = np.ndarray(shape, dtype, content, order=order)
    array.flags.writeable = False
    return array


def _dtype(call: _Call) -> np.dtype:
    """Returns the type of numbers that a call of `numpy.dtype` describes."""
    match call:
        case _Call("numpy.dtype", (str() as code, 0, 1), state) if code in _DTYPES:
            match state:
                case None:
                    return np.dtype(code)
                case (3, "<" | ">" | "|" | "=" as order, None, None, None, -1, -1, 0):
                    return np.dtype(code).newbyteorder(order)
    raise _Unfit(
        "its values are no plain numbers, so it is not a tuple of numeric arrays"
    )


def _kind(value: Any) -> str:
    """Describes a value without printing it, since it may be huge."""
    return value.name if isinstance(value, _Call | _Name) else type(value).__name__


def save_variables(path: str | os.PathLike, arrays: Sequence[np.ndarray]) -> None:
    """Writes arrays as the original's `Agent.load` reads them, atomically.

    Raises:
        OutputError: If the file cannot be written.
    """
    with atomic.atomic_write(path) as file:
        pickler = pickle.Pickler(file, protocol=4)
        # numpy's own way names a module that is called otherwise in numpy 1.
        pickler.dispatch_table = {np.ndarray: _reduce}
        pickler.dump(tuple(np.asarray(array) for array in arrays))


def _reduce(array: np.ndarray):
    return np.ndarray, (array.shape, array.dtype, array.tobytes())

"""Reads the text of an optimized program of XLA, and counts what a device runs.

A device runs a kernel for each instruction but those that only name what others made.
The body of a loop counts as often as it runs, where XLA knows that (`known_trip_count`;
a loop of unknown length counts once, and is reported).
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re

# Instructions that start nothing on the device.
SILENT = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
SILENT |= {"opt-barrier", "partition-id", "replica-id", "add-dependency"}
WIDTHS = {"pred": 1, "s4": 1, "u4": 1}  # Bytes; the others' names end in their bits.
SHAPE = re.compile(r"\b(pred|bf16|[suf]\d+|c\d+)\[([\d,<=]*)\]")
HEAD = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
LINE = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
CALLED = re.compile(
    r"(calls|body|condition|to_apply|true_computation|false_computation)="
    r"%?([\w.\-]+)"
)
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
# What a library's call may use while it computes; how much of it is not told.
WORKSPACE = re.compile(r", [su]8\[\d+\](\{0\})?(?=\)$)")
PRODUCTS = re.compile(r"cublas|gemm|matmul|\bdot\b", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    rest: str  # Attributes, and what else follows the operands.
    is_root: bool

    @property
    def called(self) -> dict[str, str]:
        """The computations that it calls, by what they are to it."""
        found = dict(CALLED.findall(self.rest))
        for branches in BRANCHES.findall(self.rest):
            names = re.findall(r"[\w.\-]+", branches)
            found |= {f"branch{i}": name for i, name in enumerate(names)}
        return found


Computation = dict[str, Instruction]


@dataclasses.dataclass
class Count:
    """What runs.

    Attributes:
        kernels: Instructions that start something on the device.
        kinds: Of these, the products, convolutions, gathers and so on.
        bytes: That they read and write, if all of it passes through memory; without
            what libraries take as workspace.
    """

    kernels: int = 0
    kinds: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    bytes: int = 0

    def add(self, other: Count, times: int = 1) -> None:
        self.kernels += times * other.kernels
        self.bytes += times * other.bytes
        for kind, number in other.kinds.items():
            self.kinds[kind] += times * number


@dataclasses.dataclass(frozen=True)
class Loop:
    """A loop, its length if XLA knows it, and one turn of its body.

    `carried` are the arrays that pass from turn to turn.
    """

    name: str
    trips: int | None
    body: Count
    carried: int


class Module:
    """A program.

    Args:
        text: What XLA prints of it.
    """

    def __init__(self, text: str):
        self.entry = ""
        self.computations: dict[str, Computation] = {}
        self.loops: list[Loop] = []
        self._counts: dict[str, Count] = {}
        current: Computation = {}
        for line in text.splitlines():
            if head := HEAD.match(line):
                current = self.computations.setdefault(head[1], {})
                self.entry = head[1] if line.startswith("ENTRY") else self.entry
            elif found := LINE.match(line):
                instruction = _instruction(found)
                current[instruction.name] = instruction

    def count(self) -> Count:
        """Returns what a call of the program runs, and fills `loops`."""
        return self._count(self.entry)

    def _count(self, name: str) -> Count:
        if name not in self._counts:
            total = self._counts[name] = Count()
            for instruction in self.computations[name].values():
                self._add(total, instruction, self.computations[name])
        return self._counts[name]

    def _add(self, total: Count, one: Instruction, around: Computation) -> None:
        opcode, called = one.opcode, one.called
        if opcode == "while":
            body = self._count(called["body"])
            known = TRIPS.search(one.rest)
            trips = int(known[1]) if known else None
            carried = len(SHAPE.findall(one.shape))
            self.loops.append(Loop(one.name, trips, body, carried))
            total.add(body, 1 if trips is None else trips)
        elif opcode in ("call", "conditional", "async-start"):
            for name in called.values():
                total.add(self._count(name))
        elif opcode not in SILENT and not opcode.endswith(("-done", "-update")):
            total.kernels += 1
            total.kinds[self._kind(one)] += 1
            total.bytes += self._bytes(one, around)

    def _kind(self, one: Instruction) -> str:
        inner = self.computations.get(one.called.get("calls", ""), {})
        opcodes = {one.opcode, *(x.opcode for x in inner.values())}
        target = re.search(r'custom_call_target="([^"]*)"', one.rest)
        if "convolution" in opcodes or (target and "conv" in target[1]):
            return "convolution"
        if "dot" in opcodes or (target and PRODUCTS.search(target[1])):
            return "product"
        for opcode in ("scatter", "gather", "sort", "dynamic-update-slice", "reduce"):
            if opcode in opcodes:
                return opcode
        return "custom-call" if target else "elementwise"

    def _bytes(self, one: Instruction, around: Computation) -> int:
        inner = self.computations.get(one.called.get("calls", ""), {})
        written, updated = _written(one, inner)
        read = 0
        parameters = [x for x in inner.values() if x.opcode == "parameter"]
        at = {int(re.match(r"(\d+)", x.rest)[1]): x.name for x in parameters}
        for position, operand in enumerate(one.operands):
            if operand in around and at.get(position, "") not in updated:
                size = size_of(around[operand].shape)
                read += _read(inner, at[position], size) if position in at else size
        return read + written


def size_of(shape: str) -> int:
    """Returns the bytes of an array or a tuple."""
    return sum(
        _width(kind) * math.prod(int(n) for n in dims.split(",") if n)
        for kind, dims in SHAPE.findall(shape.replace("<=", ""))
    )


def _width(kind: str) -> int:
    return WIDTHS.get(kind) or int(re.search(r"\d+$", kind)[0]) // 8


def _instruction(found: re.Match) -> Instruction:
    text = found[3]
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    shape, text = text[:end], text[end:].strip()
    opcode, _, text = text.partition("(")
    end = _closing(f"({text}", 0) - 1
    inside, after = text[:end], text[end + 1 :]
    operands = tuple(re.findall(r"%([\w.\-]+)", inside))
    rest = inside + after if opcode in ("parameter", "constant") else after
    return Instruction(found[2], shape, opcode, operands, rest, bool(found[1]))


def _closing(text: str, start: int) -> int:
    """Returns where the parenthesis at a position is closed."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if not depth:
            return i
    raise ValueError(f"A parenthesis is not closed: {text[:80]}")


def _read(inner: Computation, name: str, size: int) -> int:
    """Returns the bytes of a fusion's operand that it reads: less, if it slices."""
    users = [x for x in inner.values() if name in x.operands]
    sliced = ("dynamic-slice", "gather", "slice")
    if users and all(x.opcode in sliced and x.operands[0] == name for x in users):
        return min(size, sum(size_of(x.shape) for x in users))
    return size


def _written(one: Instruction, inner: Computation) -> tuple[int, set[str]]:
    """Returns the bytes that an instruction writes, and operands updated in place."""
    updates = [x for x in inner.values() if x.opcode == "dynamic-update-slice"]
    # The shape of an operation that is only started has its operands' shapes as well.
    shape = next((x.shape for x in inner.values() if x.is_root), one.shape)
    shape = WORKSPACE.sub("", shape)
    if not updates:
        return size_of(shape), set()
    rest = size_of(shape) - sum(size_of(x.shape) for x in updates)
    new = sum(size_of(inner[x.operands[1]].shape) for x in updates)
    return max(0, rest) + new, {_origin(x.operands[0], inner) for x in updates}


def _origin(name: str, inner: Computation) -> str:
    """Returns the operand of which a value is another view."""
    while inner[name].opcode == "bitcast":
        name = inner[name].operands[0]
    return name

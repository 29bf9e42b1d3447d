"""The report's tables: rows of text, bars, intervals, verdicts and names of arms."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, ClassVar, TypeAlias

# A scale of ratios ends between these. A ratio beyond is drawn at its end.
WIDEST = 4.0
NARROWEST = 2.0


@dataclasses.dataclass(frozen=True)
class Bar:
    """A number with a bar as long as its share.

    Attributes:
        text: The number.
        percent: Length of the bar, from 0 to 100.
        mark: Position of a mark to compare the bar with; None if there is none.
    """

    kind: ClassVar[str] = "bar"
    text: str
    percent: float
    mark: float | None = None


@dataclasses.dataclass(frozen=True)
class Interval:
    """A ratio with its interval, drawn on a logarithmic scale.

    Attributes:
        text: Ratio and interval as text.
        one: Position of a ratio of 1, in per cent of the scale, like the next ones.
        value: Position of the ratio; None if it is undefined.
        low: Position of the interval's lower end; None if there is no interval.
        high: Position of its upper end.
        other: Position of a ratio to compare with, such as the paper's.
        seeds: Position of each seed's own ratio.
    """

    kind: ClassVar[str] = "interval"
    text: str
    one: float
    value: float | None = None
    low: float | None = None
    high: float | None = None
    other: float | None = None
    seeds: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Badge:
    """A verdict.

    Attributes:
        text: The verdict in words.
        tone: `good`, `bad` or `open`.
    """

    kind: ClassVar[str] = "badge"
    text: str
    tone: str = "open"


@dataclasses.dataclass(frozen=True)
class Name:
    """The name of an arm, beside a sample of its line.

    Attributes:
        text: The name.
        arm: Number of the arm among those drawn; None if it has no curve.
    """

    kind: ClassVar[str] = "name"
    text: str
    arm: int | None = None


@dataclasses.dataclass(frozen=True)
class Strong:
    """A text that stands out.

    Attributes:
        text: The text.
    """

    kind: ClassVar[str] = "strong"
    text: str


Cell: TypeAlias = str | Bar | Interval | Badge | Name | Strong


@dataclasses.dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        cells: A cell per heading, or fewer; the last one then extends to the end.
        is_heading: Whether the rows below, up to the next heading, belong to it.
    """

    cells: tuple[Cell, ...]
    is_heading: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        headings: The heading of each column.
        rows: Its rows.
        title: What it shows; may be ''.
        note: How to read it; may be ''.
        texts: Number of columns of words at the left; the others hold numbers.
    """

    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    title: str = ""
    note: str = ""
    texts: int = 1


class Scale:
    """A logarithmic scale of ratios, symmetric around 1.

    Args:
        ratios: What is to be drawn on it; None, 0 and infinity are ignored.
    """

    def __init__(self, ratios: Iterable[float | None]):
        known = [x for x in ratios if x and x > 0 and math.isfinite(x)]
        furthest = max([abs(math.log(x)) for x in known], default=0.0)
        reach = max(furthest * 1.1, math.log(NARROWEST))
        self._reach = min(reach, math.log(WIDEST))

    def position(self, ratio: float | None) -> float | None:
        """Returns where a ratio is, in per cent of the scale; 1 is in the middle."""
        if ratio is None or math.isnan(ratio):
            return None
        lowest = math.exp(-self._reach)
        at = math.log(min(max(ratio, lowest), 1 / lowest)) / self._reach
        return round(50 + 50 * at, 2)

    @classmethod
    def of(cls, compared: Iterable[dict[str, Any]]) -> Scale:
        """Returns the scale of what arms gain, as of `gains_table.numbers`."""
        return cls(x for one in compared for x in (one["area_ratio"] or {}).values())

    def interval(
        self,
        text: str,
        estimate: dict | None,
        other: float | None = None,
        seeds: Iterable[float] = (),
    ) -> Interval:
        """Returns an `Estimate` in dict form as a cell, with the seeds' own ratios."""
        known = estimate or {}
        ends = [self.position(known.get(key)) for key in ("value", "low", "high")]
        dots = [self.position(seed) for seed in seeds]
        shown = tuple(dot for dot in dots if dot is not None)
        return Interval(text, 50.0, *ends, self.position(other), shown)


def seeds_of(compared: dict[str, Any]) -> list[float]:
    """Returns each seed's area over the mean of scratch, of one of the comparisons."""
    return (compared.get("normalized") or {}).get("transfer", [])


def number(value: float | None, digits: str = ".2f") -> str:
    """Formats a number; an unknown one is a dash."""
    return "-" if value is None else f"{value:{digits}}"


def share(value: float | None, digits: str = ".2f", mark: float | None = None) -> Bar:
    """Returns a bar of a value from 0 to 1, with its number."""
    return Bar(number(value, digits), _percent(value) or 0.0, _percent(mark))


def of(part: int, whole: int) -> Bar:
    """Returns a bar that says how many of how many."""
    return Bar(f"{part} of {whole}", _percent(part / max(whole, 1)) or 0.0)


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * min(max(value, 0.0), 1.0), 2)

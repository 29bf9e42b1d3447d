"""What a sweep searches: the file that names keys with ranges or choices.

    space:
      model_opt.lr: {low: 1e-4, high: 3e-3, log: True}
      imag_horizon: {low: 5, high: 20}
      train_every: {choices: [4, 8, 16]}
    returns:                          # of random play and of a good player
      minatar_breakout: [0.5, 21.7]

A key may be a regular expression, as on the command line.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dreamerv2_transfer.common.blocks import STAGE_KEYS
from dreamerv2_transfer.common.choices import SCHEDULED, range_of
from dreamerv2_transfer.common.config import (
    Config,
    ConfigError,
    check_names,
    locating,
    read_mapping,
    suggestion,
    type_name,
)

if TYPE_CHECKING:
    from optuna.trial import Trial

SECTIONS = ("space", "returns")
FIELDS = ("low", "high", "log", "step", "choices")
# Keys, and groups of keys, that the sweep or the stage sets.
SET_ELSEWHERE = ("logdir", "seed", "task", "stage", "stages", "reproduce", *STAGE_KEYS)


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes:
        name: The key, or a regular expression for several.
        keys: The keys that get the number.
        low: The smallest number; an int where the keys are ints.
        high: The largest.
        log: Whether equal ratios, not equal differences, are equally likely.
        step: Difference of two numbers; 0 for any.
    """

    name: str
    keys: tuple[str, ...]
    low: float
    high: float
    log: bool = False
    step: float = 0

    def suggest(self, trial: Trial) -> float:
        """Returns the number of a trial, which is drawn if it has none."""
        if isinstance(self.low, int):
            step = int(self.step) or 1
            return trial.suggest_int(
                self.name, self.low, int(self.high), step=step, log=self.log
            )
        step = self.step or None
        return trial.suggest_float(
            self.name, self.low, self.high, step=step, log=self.log
        )

    def drawn_as(self, value: Any) -> float | None:
        """Returns a value of the configuration as Optuna holds it; None if outside."""
        if isinstance(value, str) or not self.low <= value <= self.high:
            return None
        steps = (value - self.low) / self.step if self.step else 0
        return value if math.isclose(steps, round(steps), abs_tol=1e-9) else None

    def value(self, drawn: Any) -> Any:
        """Returns what the configuration gets for what Optuna drew."""
        return drawn

    def __str__(self) -> str:
        step = f" in steps of {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{step}{', log' * self.log}"


@dataclasses.dataclass(frozen=True)
class Choices:
    """One of several values.

    Attributes:
        name: The key, or a regular expression for several.
        keys: The keys that get the value.
        values: The values. Optuna holds their texts, as it knows no lists.
    """

    name: str
    keys: tuple[str, ...]
    values: tuple[Any, ...]

    def suggest(self, trial: Trial) -> str:
        """Returns the text of a trial's value, which is drawn if it has none."""
        return trial.suggest_categorical(self.name, [*map(as_text, self.values)])

    def drawn_as(self, value: Any) -> str | None:
        """Returns a value of the configuration as Optuna holds it; None if outside."""
        return as_text(value) if value in self.values else None

    def value(self, drawn: Any) -> Any:
        """Returns what the configuration gets for what Optuna drew."""
        return next(value for value in self.values if as_text(value) == drawn)

    def __str__(self) -> str:
        return " or ".join(map(as_text, self.values))


Parameter = Range | Choices


@dataclasses.dataclass(frozen=True)
class Space:
    """What is searched.

    Attributes:
        parameters: What is drawn, at least one.
        returns: By game, the returns of random play and of a good player.
    """

    parameters: tuple[Parameter, ...]
    returns: Mapping[str, tuple[float, float]]

    def baseline(self, config: Config) -> dict[str, Any] | None:
        """Returns a configuration as Optuna would have drawn it; None if outside."""
        drawn = {}
        for parameter in self.parameters:
            values = {config[key] for key in parameter.keys}
            found = parameter.drawn_as(values.pop()) if len(values) == 1 else None
            if found is None:
                return None
            drawn[parameter.name] = found
        return drawn

    def plain(self) -> dict[str, Any]:
        """Returns all of it as values for JSON, to tell it from another space."""
        return {
            "space": {x.name: str(x) for x in self.parameters},
            "returns": {game: list(pair) for game, pair in self.returns.items()},
        }


def as_text(value: Any) -> str:
    """Returns a value as a flag takes it, with all of its digits."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def shown(value: Any) -> str:
    """Returns a value with few digits."""
    return f"{value:.3g}" if isinstance(value, float) else as_text(value)


def read(path: str | os.PathLike, config: Config) -> Space:
    """Reads the file of a search space.

    Args:
        path: The file.
        config: The configuration that is searched around; it has all keys.

    Raises:
        ConfigError: The file cannot be read, or has an unknown key, an impossible
            range or a value that its key does not take.
    """
    path = pathlib.Path(path)
    mapping = read_mapping(path)
    with locating(path):
        hint = "A search space has the section space and, for several games, returns."
        check_names("section", mapping, SECTIONS, hint)
        listed = mapping.get("space")
        if not isinstance(listed, dict) or not listed:
            raise ConfigError(
                "The section space is empty. Name what to search, such as "
                "model_opt.lr: {low: 1e-4, high: 1e-3, log: True}."
            )
        parameters = tuple(_parameter(*item, config) for item in listed.items())
        _check_apart(parameters)
        return Space(parameters, _returns(mapping.get("returns", {})))


def _parameter(name: Any, fields: Any, config: Config) -> Parameter:
    """Returns what the file says about one key."""
    keys = tuple(config.match(str(name)))
    for key in keys:
        if any(f"{key}.".startswith(f"{x}.") for x in SET_ELSEWHERE):
            raise ConfigError(
                f"Key '{key}' cannot be searched: the sweep or the stage sets it."
            )
    if not isinstance(fields, dict) or not fields:
        raise ConfigError(
            f"Key '{name}' needs low and high, or choices, in braces. Received: "
            f"{fields!r:.80}"
        )
    for field in fields:
        if field not in FIELDS:
            raise ConfigError(
                f"Key '{name}' has the unknown field '{field}'."
                f"{suggestion(str(field), FIELDS)} Fields: {', '.join(FIELDS)}."
            )
    if "choices" in fields:
        return _choices(str(name), keys, fields, config)
    return _range(str(name), keys, fields, config)


def _choices(name: str, keys: tuple[str, ...], fields: dict, config: Config) -> Choices:
    listed = fields["choices"]
    if len(fields) > 1:
        raise ConfigError(f"Key '{name}' has choices, so it takes no other field.")
    if not isinstance(listed, list):
        raise ConfigError(f"The choices of '{name}' are a list. Received: {listed!r}")
    values = tuple(_cast(keys, value, config) for value in listed)
    if len({*map(as_text, values)}) < max(len(values), 2):
        raise ConfigError(
            f"Key '{name}' needs at least two choices, which differ. Received: "
            f"{listed!r:.200}"
        )
    return Choices(name, keys, values)


def _range(name: str, keys: tuple[str, ...], fields: dict, config: Config) -> Range:
    kinds = {float if key in SCHEDULED else type(config[key]) for key in keys}
    if kinds not in ({int}, {float}):
        received = ", ".join(sorted({type_name(config[key]) for key in keys}))
        raise ConfigError(
            f"Key '{name}' has no range, as its values are not all ints or all floats. "
            f"Give it choices. Received: {received}"
        )
    if not {"low", "high"} <= fields.keys():
        raise ConfigError(f"Key '{name}' needs low and high, or choices.")
    low, high = (_cast(keys, fields[end], config) for end in ("low", "high"))
    step, log = fields.get("step", 0), fields.get("log", False)
    if isinstance(low, str) or isinstance(high, str):
        raise ConfigError(f"Key '{name}' has schedules, which are choices.")
    if not low < high:
        raise ConfigError(
            f"The low of '{name}' must be less than its high. Received: low={low}, "
            f"high={high}"
        )
    if not isinstance(log, bool):
        raise ConfigError(f"The log of '{name}' is True or False. Received: {log!r}")
    if log and low <= 0:
        raise ConfigError(
            f"A logarithmic range begins above 0. Received: {name} from {low}"
        )
    if log and step:
        raise ConfigError(f"Key '{name}' has either log or step, not both.")
    for key in keys:
        # 0 may be allowed as an exception, with no numbers up to the range.
        if low < range_of(key).low:
            raise ConfigError(f"{key} must be {range_of(key)}. Received: low={low}")
    return Range(name, keys, low, high, log, _step(name, step, low, high))


def _step(name: str, step: Any, low: float, high: float) -> float:
    """Returns the step of a range, which has to divide it."""
    is_number = isinstance(step, int | float) and not isinstance(step, bool)
    whole = not isinstance(low, int) or (is_number and step == int(step))
    if not is_number or step < 0 or not whole:
        raise ConfigError(
            f"The step of '{name}' is a number above 0"
            f"{', a whole one,' * isinstance(low, int)} or missing. Received: {step!r}"
        )
    steps = (high - low) / step if step else 1
    if not math.isclose(steps, round(steps), abs_tol=1e-9) or round(steps) < 1:
        raise ConfigError(
            f"The range of '{name}' is not a number of whole steps. Received: "
            f"low={low}, high={high}, step={step}"
        )
    return type(low)(step)


def _cast(keys: Sequence[str], value: Any, config: Config) -> Any:
    """Returns a value of the file in the type of the keys, all of which take it."""
    for key in keys:
        cast = config.update({key: value})[key]
        for number in cast if isinstance(cast, tuple) else (cast,):
            if isinstance(number, bool | str):
                continue
            if wanted := range_of(key).fault(number):
                raise ConfigError(f"{key} must be {wanted}. Received: {number}")
    return cast


def _check_apart(parameters: Sequence[Parameter]) -> None:
    """Refuses a key that two parameters set."""
    owners: dict[str, str] = {}
    for parameter in parameters:
        for key in parameter.keys:
            if key in owners:
                raise ConfigError(
                    f"Key '{key}' is searched twice, by '{owners[key]}' and "
                    f"'{parameter.name}'."
                )
            owners[key] = parameter.name


def _returns(section: Any) -> dict[str, tuple[float, float]]:
    """Returns the section of the returns that games are measured by."""
    if not isinstance(section, dict):
        raise ConfigError(f"The section returns holds games. Received: {section!r:.80}")
    found = {}
    for game, pair in section.items():
        known = pair if isinstance(pair, list) else []
        numbers = [
            float(x)
            for x in known
            if isinstance(x, int | float) and not isinstance(x, bool)
        ]
        if len(known) != 2 or len(numbers) != 2 or not math.isfinite(sum(numbers)):
            raise ConfigError(
                f"The returns of {game} are a pair, that of random play and that of a "
                f"good player, such as [0.5, 21.7]. Received: {pair!r:.80}"
            )
        if numbers[0] == numbers[1]:
            raise ConfigError(f"The two returns of {game} are equal: {pair}")
        found[str(game)] = (numbers[0], numbers[1])
    return found

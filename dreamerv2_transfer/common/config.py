"""Configurations: immutable, nested, with keys and values that are checked."""

from __future__ import annotations

import contextlib
import difflib
import io
import json
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from dreamerv2_transfer.common.choices import (
    CHOICES,
    CONFLICTS,
    SCHEDULED,
    UNUSED,
    parse_schedule,
    range_in,
)
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic, documents

# Other spellings of keys: a shorter one, and one as a group of its own.
ALIASES = {"init": "init.path", "envs.restart": "envs_restart"}
SUFFIXES = (".json", ".yaml", ".yml")
SURROGATE = re.compile(r"[\ud800-\udfff]")  # Half a character, which no file can hold.


class ConfigError(UserError):
    """A configuration block, key, value or file that cannot be used."""


class Config(dict):
    """An immutable nested configuration whose keys can also be written with dots.

    `config.rssm.deter`, `config["rssm.deter"]` and `config["rssm"]["deter"]` are the
    same value. Values are bools, ints, floats, strings, or non-empty lists (read back
    as tuples) of one of these.

    Args:
        *args: A mapping, nested or with dotted keys, as for `dict`.
        **kwargs: Further keys and values.

    Raises:
        ConfigError: A key is a pattern, or a value is null or of another type.
    """

    SEP = "."
    IS_PATTERN = re.compile(r".*[^A-Za-z0-9_.-].*")

    def __init__(self, *args, **kwargs):
        flat = _flatten(dict(*args, **kwargs))
        self._flat = {key: _check(key, value) for key, value in flat.items()}
        stage = self._flat.get("stage", "")
        stages = {key.split(".")[1] for key in flat if key.startswith("stages.")}
        if stage != "" and stages and stage not in stages:
            raise _wrong("stage", stage, f"'' or one of {', '.join(sorted(stages))}")
        super().__init__(_nest(self._flat))

    @property
    def flat(self) -> dict[str, Any]:
        """A copy of the values by dotted key."""
        return dict(self._flat)

    def match(self, name: str, others: Sequence[str] = ()) -> list[str]:
        """Returns the dotted keys that match a key or a regular expression.

        As in the original, a name with any character other than letters, digits, `_`,
        `-` and `.` is an expression, for all keys that begin with a match; but where
        some keys match in full, it is for those alone.

        Args:
            name: A key or an expression.
            others: Names that the error may suggest besides the keys.

        Raises:
            ConfigError: No key matches; the message suggests the nearest one.
        """
        if name in ALIASES and ALIASES[name] in self._flat:
            return [ALIASES[name]]
        if not self.IS_PATTERN.match(name):
            keys = [name] if name in self._flat else []
        else:
            try:
                pattern = re.compile(name)
            except re.error as error:
                fault = f"Key '{name}' is not a regular expression: {error}."
                raise ConfigError(fault) from error
            found = [*filter(pattern.match, self._flat)]
            keys = [*filter(pattern.fullmatch, found)] or found
        if not keys:
            raise ConfigError(self._unknown(name, others))
        return keys

    def update(self, *args: Any, **kwargs: Any) -> Self:  # type: ignore[override]
        """Returns a copy with other values; keys may be regular expressions.

        A value takes the type of the one it replaces: whole floats become ints, ints
        become floats, and strings (of a command line) are read as numbers or bools.

        Args:
            *args: A mapping, nested or with dotted keys, as for `dict`.
            **kwargs: Further keys and values.

        Raises:
            ConfigError: A key is unknown or a value has the wrong type.
        """
        result = dict(self._flat)
        for name, value in _flatten(dict(*args, **kwargs)).items():
            for key in self.match(name):
                result[key] = _cast(key, value, self._flat[key])
        return type(self)(result)

    def matches(self, mapping: Mapping[str, Any]) -> list[str]:
        """Returns the dotted keys that `update` with a mapping sets.

        Raises:
            ConfigError: A key is unknown.
        """
        return [key for name in _flatten(mapping) for key in self.match(name)]

    def save(self, path: str | os.PathLike) -> None:
        """Writes the configuration to a .yaml, .yml or .json file, atomically.

        Raises:
            ConfigError: The file has another suffix.
            OutputError: The file cannot be written.
        """
        path = Path(path)
        _check_suffix(path)
        text = io.StringIO()
        if path.suffix == ".json":
            json.dump(dict(self), text, indent=2)
        else:
            documents.safe_yaml().dump(dict(self), text)
        atomic.write_text(path, text.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Reads a .yaml, .yml or .json file, also one of the original DreamerV2.

        Raises:
            ConfigError: The file cannot be read or has a bad key or value.
        """
        mapping = read_mapping(Path(path))
        with locating(path):
            return cls(mapping)

    def get(self, name: str, default: Any = None) -> Any:
        with contextlib.suppress(KeyError):
            return self[name]
        return default

    def __contains__(self, name):
        try:
            self[name]
        except KeyError:
            return False
        return True

    def __getitem__(self, name):
        node = self
        for part in name.split(self.SEP):
            if not isinstance(node, dict):
                raise KeyError(name)
            node = dict.__getitem__(node, part)
        return type(self)(node) if isinstance(node, dict) else node

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(self._unknown(name)) from None

    def __setattr__(self, name, value):
        if not name.startswith("_"):
            self._refuse(name)
        super().__setattr__(name, value)

    def _refuse(self, *args, **kwargs):
        raise AttributeError(
            "A config is immutable; make a changed copy with config.update({...}). "
            f"Received: {', '.join(map(repr, args))}"
        )

    __setitem__ = __delitem__ = __delattr__ = __ior__ = _refuse
    pop = popitem = clear = setdefault = _refuse

    def __reduce__(self):
        return type(self), (dict(self),)

    def __str__(self):
        rows = [
            (f"{key}:", format_value(value), f"({type_name(value)})")
            for key, value in self._flat.items()
        ]
        return table("Config:", rows)

    def _unknown(self, name: str, others: Sequence[str] = ()) -> str:
        if self.IS_PATTERN.match(name):
            return f"Pattern '{name}' matches no key."
        group = [key for key in self._flat if key.startswith(name + self.SEP)]
        if group:
            return f"Key '{name}' is a group; name one of {', '.join(group)}."
        return f"Unknown key '{name}'.{suggestion(name, [*self._flat, *others])}"


def check_least(config: Config, least: Mapping[str, float]) -> None:
    """Checks that numbers are finite and not too small.

    Args:
        config: A configuration.
        least: The smallest allowed value by dotted key, of each number of a list.

    Raises:
        ConfigError: A value is smaller or infinite; the message names its key.
    """
    for key, value in least.items():
        numbers = config[key] if isinstance(config[key], tuple) else (config[key],)
        if not all(value <= number < math.inf for number in numbers):
            received = " ".join(map(str, numbers))
            raise ConfigError(f"{key} must be at least {value}. Received: {received}")


def check_ranges(config: Config) -> None:
    """Checks that all numbers are in the ranges of `choices.RANGES`.

    Raises:
        ConfigError: One is not; the message names its key.
    """
    for key, value in config.flat.items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, bool | str):
                continue
            if wanted := range_in(config, key).fault(number):
                raise ConfigError(f"{key} must be {wanted}. Received: {number}")


def check_conflicts(config: Config) -> None:
    """Checks that no values exclude each other, see `choices.CONFLICTS`.

    Raises:
        ConfigError: Two do; the message names their keys.
    """
    for values, reason in CONFLICTS:
        if all(config.get(key) in excluded for key, excluded in values.items()):
            first, second = (f"{key}={config[key]}" for key in values)
            raise ConfigError(
                f"{first} and {second} exclude each other: {reason}. "
                f"Change one of them. Received: {first} {second}"
            )


def check_used(config: Config, named: Collection[str]) -> None:
    """Checks that the keys which a user named have an effect, see `choices.UNUSED`.

    Raises:
        ConfigError: One has none; the message names it.
    """
    for (option, value), (unused, reason) in UNUSED.items():
        for key in unused:
            if key in named and config.get(option) == value:
                raise ConfigError(
                    f"{key} has no effect with {option}={value}, {reason}. "
                    f"Leave out one of them. Received: --{key} {config[key]}"
                )


def difference(
    old: Config, new: Config, ignore: Sequence[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """Returns the (old, new) values of the dotted keys that differ.

    Args:
        old: A configuration.
        new: Another configuration. A key that only one of them has is None in the
            other.
        ignore: Keys, or groups of keys such as `video`, that may differ.
    """
    keys = [*old.flat, *(key for key in new.flat if key not in old.flat)]
    pairs = {key: (old.flat.get(key), new.flat.get(key)) for key in keys}
    ignored = tuple(f"{name}." for name in ignore)
    return {
        key: (before, after)
        for key, (before, after) in pairs.items()
        if before != after and not f"{key}.".startswith(ignored)
    }


# Text.


def table(title: str, rows: Sequence[Sequence[str]]) -> str:
    """Returns lines of text: the title, then the rows with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([title, *lines])


def format_value(value: Any) -> str:
    """Returns a value as it is written in a YAML file, lists in one line."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(format_value, value))}]"
    return str(value)


def type_name(value: Any) -> str:
    """Returns the name of a value's type, such as `int`, or `ints` for a list."""
    name = type(value).__name__
    return f"{type_name(value[0])}s" if isinstance(value, tuple) else name


def suggestion(name: str, known: Iterable[str]) -> str:
    """Returns a sentence with the known name that a mistyped one is like, if any is."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean '{match[0]}'?" if match else ""


# Files.


def read_mapping(path: Path) -> dict:
    """Reads the mapping in a .yaml, .yml or .json file.

    Raises:
        ConfigError: The file cannot be read or holds something else.
    """
    _check_suffix(path)
    is_json = path.suffix == ".json"
    try:
        text = documents.read(path, documents.YAML_BYTES).decode()
        if is_json:
            mapping = documents.parse_json(text, finite=False)
        else:
            mapping = documents.parse_yaml(text)
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        kind = path.suffix[1:]
        raise ConfigError(f"{path} is not a {kind} file: {error}") from error
    if not isinstance(mapping, dict):
        raise ConfigError(f"{path} has no keys. Received: {mapping!r:.80}")
    return mapping


def check_names(kind: str, names: Iterable, known: Sequence[str], hint: str) -> None:
    """Refuses unknown names of a kind, such as section; the error ends in a hint.

    Raises:
        ConfigError: One is not known.
    """
    for name in names:
        if name not in known:
            found = suggestion(str(name), known)
            raise ConfigError(f"Unknown {kind} '{name}'.{found} {hint}")


@contextlib.contextmanager
def locating(place: object) -> Iterator[None]:
    """Prefixes the message of a `ConfigError` with the file or block it is about."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"A configuration file ends in .yaml, .yml or .json. Received: {path}"
        )


# Keys.


def _flatten(mapping: Mapping, prefix: str = "") -> dict[str, Any]:
    """Returns the values of a nested mapping by dotted key or by pattern."""
    result: dict[str, Any] = {}
    for key, value in mapping.items():
        if not isinstance(key, str):
            raise ConfigError(f"A key has to be a string. Received: {key!r}")
        if prefix:
            is_pattern = Config.IS_PATTERN.match(prefix + key)
            key = f"{prefix}\\.{key}" if is_pattern else f"{prefix}.{key}"
        result |= _flatten(value, key) if isinstance(value, Mapping) else {key: value}
    return result


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in flat.items():
        *groups, leaf = key.split(Config.SEP)
        if len(groups) >= documents.LEVELS:
            raise ConfigError(f"A key has too many dots. Received: {key:.80}")
        node = result
        for group in groups:
            node = node.setdefault(group, {})
            if not isinstance(node, dict):
                raise ConfigError(
                    f"Key '{key}' lies below '{group}', which has a value."
                )
        if leaf in node:
            raise ConfigError(f"Key '{key}' has a value and keys below it.")
        node[leaf] = value
    return result


# Values.


def _check(key: str, value: Any) -> Any:
    """Returns a value in the form that a config holds it, or raises a ConfigError."""
    if Config.IS_PATTERN.match(key):
        raise ConfigError(f"A pattern can only update known keys. Received: {key}")
    if isinstance(value, list | tuple):
        types = {type(element) for element in value}
        if len(types) != 1 or not types <= {bool, int, float, str}:
            raise _wrong(key, value, "a non-empty list whose elements have one type")
        return tuple(_check_choice(key, element) for element in value)
    if not isinstance(value, bool | int | float | str):
        raise _wrong(key, value, "a bool, int, float, str or a list of them")
    if key in SCHEDULED and isinstance(value, str):
        return _number_or_schedule(key, value)
    return _check_choice(key, value)


def _check_choice(key: str, value: Any) -> Any:
    if isinstance(value, str) and SURROGATE.search(value):
        raise _wrong(key, value, "text that is UTF-8")
    # The original wrote an int for its two precisions.
    if key == "precision" and type(value) is int:
        value = str(value)
    is_flag = isinstance(value, bool)  # As freeze.rssm.cell, not rssm.cell.
    if key in CHOICES and not is_flag and value not in CHOICES[key]:
        raise _wrong(key, value, f"one of {', '.join(CHOICES[key])}")
    return value


def _cast(key: str, value: Any, like: Any) -> Any:
    """Returns `value` with the type of `like`, the value that it replaces."""
    if isinstance(like, tuple):
        if not isinstance(value, list | tuple) or not value:
            raise _wrong(key, value, f"a non-empty list of {type_name(like)}")
        return tuple(_cast(key, element, like[0]) for element in value)
    if key in SCHEDULED:
        return _number_or_schedule(key, value)
    if key == "precision":
        return _check_choice(key, value)
    try:
        return _convert(value, type(like))
    except (ValueError, TypeError, OverflowError):
        raise _wrong(key, value, f"of type {type_name(like)}") from None


def _number_or_schedule(key: str, value: Any) -> float | str:
    try:
        return _convert(value, float)
    except (ValueError, TypeError, OverflowError):
        pass
    try:
        parse_schedule(str(value))
    except ValueError:
        wanted = "a float or a schedule such as linear(1,0.1,1e5)"
        raise _wrong(key, value, wanted) from None
    return value


def _convert(value: Any, kind: type) -> Any:
    """Converts a value, or its text, to a bool, int, float or str without loss.

    Raises:
        ValueError, TypeError, OverflowError: It cannot be converted.
    """
    if kind is bool and value in ("True", "true", "False", "false"):
        return value in ("True", "true")
    if kind in (bool, str):
        if not isinstance(value, kind):
            raise TypeError(value)
        return value
    number = float(value)
    if isinstance(value, bool) or math.isnan(number):
        raise ValueError(value)
    if kind is float:
        return number
    if number != int(number):
        raise ValueError(value)
    # An int does not become a float on the way, which holds only 53 bits.
    return value if isinstance(value, int) else int(number)


def _wrong(key: str, value: Any, wanted: str) -> ConfigError:
    received = f"{key}={value!r:.200} ({type(value).__name__})"
    return ConfigError(f"Key '{key}' must be {wanted}. Received: {received}")

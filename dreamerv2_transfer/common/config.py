"""Configuration: the named blocks of `configs.yaml`, merged, checked and saved."""

import contextlib
import difflib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from dreamerv2_transfer.common.errors import UserError

# Keys whose value is a float or one of the schedules, which take so many numbers.
SCHEDULED = ("actor_ent", "actor_grad_mix")
SCHEDULES = {"linear": 3, "warmup": 2, "exp": 3, "horizon": 3}
CHOICES = {
    "strategy": ("none", "mirrored", "multiworker"),
    "precision": ("auto", "32", "16", "bf16"),
    "clip_rewards": ("identity", "sign", "tanh"),
    "actor_grad": ("auto", "dynamics", "reinforce", "both"),
    "decoder.cnn_dist": ("auto", "mse", "binary"),
    "envs_parallel": ("none", "thread", "process"),
    "outputs": ("terminal", "jsonl", "tensorboard", "wandb", "mlflow"),
}
# Other spellings of keys, short or as a group of their own.
ALIASES = {"init": "init.path", "envs.restart": "envs_restart"}
SUFFIXES = (".json", ".yaml", ".yml")


class ConfigError(UserError):
    """A configuration block, key, value or file that cannot be used."""


class Config(dict):
    """An immutable nested configuration whose keys are also reached with dots.

    `config.rssm.deter`, `config["rssm.deter"]` and `config["rssm"]["deter"]` are the
    same value. Values are bools, ints, floats, strings, or non-empty lists (read back
    as tuples) of one of these.

    Args:
      *args, **kwargs: What `dict` takes: a mapping, nested or with dotted keys.

    Raises:
      ConfigError: A key is a pattern, or a value is null or of another type.
    """

    SEP = "."
    IS_PATTERN = re.compile(r".*[^A-Za-z0-9_.-].*")

    def __init__(self, *args, **kwargs):
        flat = _flatten(dict(*args, **kwargs))
        self._flat = {key: _check(key, value) for key, value in flat.items()}
        _check_stage(self._flat)
        super().__init__(_nest(self._flat))

    @property
    def flat(self) -> dict[str, Any]:
        """A copy of the values by dotted key."""
        return dict(self._flat)

    def match(self, name: str, others: Sequence[str] = ()) -> list[str]:
        """Returns the dotted keys that a key or a regular expression names.

        As in the original, a name with any character beyond letters, digits, `_`, `-`
        and `.` is an expression, which has to match from a key's beginning on.

        Args:
          name: A key or an expression.
          others: Names that the error may suggest besides the keys.

        Raises:
          ConfigError: No key is named; the message has the nearest one.
        """
        if name in ALIASES and ALIASES[name] in self._flat:
            return [ALIASES[name]]
        if not self.IS_PATTERN.match(name):
            keys = [name] if name in self._flat else []
        else:
            pattern = _compile(name)
            keys = [key for key in self._flat if pattern.match(key)]
        if not keys:
            raise ConfigError(self._unknown(name, others))
        return keys

    def update(self, *args, **kwargs) -> Self:
        """Returns a copy with other values; keys may be regular expressions.

        A value takes the type of the one it replaces: whole floats become ints, ints
        become floats, and strings (of a command line) are read as numbers or bools.

        Args:
          *args, **kwargs: What `dict` takes: a mapping, nested or with dotted keys.

        Raises:
          ConfigError: A key is unknown or a value has the wrong type.
        """
        result = dict(self._flat)
        for name, value in _flatten(dict(*args, **kwargs)).items():
            for key in self.match(name):
                result[key] = _cast(key, value, self._flat[key])
        return type(self)(result)

    def save(self, path: str | os.PathLike) -> None:
        """Writes the configuration as .yaml, .yml or .json, whole or not at all.

        Raises:
          ConfigError: The file's suffix is another, or it cannot be written.
        """
        path = Path(path)
        _check_suffix(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                _dump(dict(self), file, path.suffix)
            os.replace(temporary, path)
        except OSError as error:
            raise ConfigError(f"Cannot write {path}: {error.strerror}.") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Reads a .yaml, .yml or .json file, one of the original DreamerV2 too.

        Raises:
          ConfigError: The file cannot be read or holds a bad key or value.
        """
        mapping = _read(Path(path))
        with _naming(path):
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
        rows = [(f"{key}:", _text(v), f"({_type(v)})") for key, v in self._flat.items()]
        return table("Config:", rows)

    def _unknown(self, name: str, others: Sequence[str] = ()) -> str:
        if self.IS_PATTERN.match(name):
            return f"Pattern '{name}' matches no key."
        group = [key for key in self._flat if key.startswith(name + self.SEP)]
        if group:
            return f"Key '{name}' is a group; name one of {', '.join(group)}."
        return f"Unknown key '{name}'.{_nearest(name, [*self._flat, *others])}"


def table(title: str, rows: Sequence[Sequence[str]]) -> str:
    """Returns lines of text: the title, then the rows with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([title, *lines])


def check_least(config: Config, least: Mapping[str, float]) -> None:
    """Checks that numbers are finite and not too small.

    Args:
      config: A configuration.
      least: By dotted key, the least that its value may be.

    Raises:
      ConfigError: Names the key and its value.
    """
    for key, value in least.items():
        if not value <= config[key] < math.inf:
            raise ConfigError(
                f"{key} must be at least {value}. Received: {config[key]}"
            )


def difference(
    old: Config, new: Config, ignore: Sequence[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """Returns the (old, new) values of the dotted keys that differ.

    Args:
      old: A configuration.
      new: Another; a key that one of the two lacks counts as None there.
      ignore: Keys, or groups of keys such as `video`, that may differ.
    """
    keys = [*old.flat, *(key for key in new.flat if key not in old.flat)]
    pairs = {key: (old.flat.get(key), new.flat.get(key)) for key in keys}
    return {
        key: (before, after)
        for key, (before, after) in pairs.items()
        if before != after and not _is_within(key, ignore)
    }


def _is_within(key: str, groups: Sequence[str]) -> bool:
    return any(key == group or key.startswith(f"{group}.") for group in groups)


# Blocks and files.


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    return yaml


def _dump(mapping: dict, file, suffix: str) -> None:
    if suffix == ".json":
        json.dump(mapping, file, indent=2)
    else:
        _yaml().dump(mapping, file)


def _read(path: Path) -> dict:
    _check_suffix(path)
    try:
        text = path.read_text(encoding="utf-8")
        mapping = json.loads(text) if path.suffix == ".json" else _yaml().load(text)
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror}.") from error
    except (ValueError, YAMLError) as error:
        kind = path.suffix[1:]
        raise ConfigError(f"{path} is not a {kind} file: {error}") from error
    if not isinstance(mapping, dict):
        raise ConfigError(f"{path} holds no keys. Received: {mapping!r:.80}")
    return mapping


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"A configuration file ends in .yaml, .yml or .json. Received: {path}"
        )


@contextlib.contextmanager
def _naming(place: object) -> Iterator[None]:
    """Puts the file or block before the message of an error about its keys."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error


# Keys.


def _flatten(mapping: Mapping, prefix: str = "") -> dict[str, Any]:
    result = {}
    for key, value in mapping.items():
        if not isinstance(key, str):
            raise ConfigError(f"A key has to be a string. Received: {key!r}")
        name = _join(prefix, key)
        result |= _flatten(value, name) if isinstance(value, Mapping) else {name: value}
    return result


def _join(prefix: str, key: str) -> str:
    if not prefix:
        return key
    is_pattern = Config.IS_PATTERN.match(prefix) or Config.IS_PATTERN.match(key)
    return f"{prefix}\\.{key}" if is_pattern else f"{prefix}.{key}"


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    result = {}
    for key, value in flat.items():
        *groups, leaf = key.split(Config.SEP)
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


def _nearest(name: str, known: Iterable[str]) -> str:
    """Returns a sentence that names what the mistyped `name` is most like."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)
    return f" The nearest that is known is '{match[0]}'." if match else ""


def _compile(pattern: str) -> re.Pattern:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"Key '{pattern}' is not a regular expression: {error}."
        ) from error


# Values.


def _check(key: str, value: Any) -> Any:
    """Returns a value as a config holds it, or raises a ConfigError."""
    if Config.IS_PATTERN.match(key):
        raise ConfigError(f"A pattern can only update known keys. Received: {key}")
    if isinstance(value, list | tuple):
        return _check_list(key, value)
    if not isinstance(value, bool | int | float | str):
        raise _wrong(key, value, "a bool, int, float, str or a list of them")
    if key in SCHEDULED and isinstance(value, str):
        return _number_or_schedule(key, value)
    return _check_choice(key, value)


def _check_list(key: str, value: Sequence) -> tuple:
    types = {type(element) for element in value}
    if len(types) != 1 or not types <= {bool, int, float, str}:
        raise _wrong(key, value, "a non-empty list whose elements have one type")
    return tuple(_check_choice(key, element) for element in value)


def _check_choice(key: str, value: Any) -> Any:
    # The original wrote an int for its two precisions.
    if key == "precision" and type(value) is int:
        value = str(value)
    if key in CHOICES and value not in CHOICES[key]:
        raise _wrong(key, value, f"one of {', '.join(CHOICES[key])}")
    return value


def _check_stage(flat: Mapping[str, Any]) -> None:
    stage = flat.get("stage", "")
    stages = {key.split(".")[1] for key in flat if key.startswith("stages.")}
    if stage != "" and stages and stage not in stages:
        raise _wrong("stage", stage, f"'' or one of {', '.join(sorted(stages))}")


def _cast(key: str, value: Any, like: Any) -> Any:
    """Returns `value` with the type of the value `like` that it replaces."""
    if isinstance(like, tuple):
        return _cast_list(key, value, like)
    if key in SCHEDULED:
        return _number_or_schedule(key, value)
    if key == "precision":
        return _check_choice(key, value)
    try:
        return _CASTS[type(like)](value)
    except (ValueError, TypeError, OverflowError):
        raise _wrong(key, value, f"a value of type {_type(like)}") from None


def _cast_list(key: str, value: Any, like: tuple) -> tuple:
    if not isinstance(value, list | tuple) or not value:
        raise _wrong(key, value, f"a non-empty list of {_type(like)}")
    return tuple(_cast(key, element, like[0]) for element in value)


def _number_or_schedule(key: str, value: Any) -> float | str:
    if isinstance(value, str) and _is_schedule(value):
        return value
    try:
        return _to_float(value)
    except (ValueError, TypeError, OverflowError):
        wanted = "a float or a schedule such as linear(1,0.1,1e5)"
        raise _wrong(key, value, wanted) from None


def _is_schedule(text: str) -> bool:
    match = re.fullmatch(r"(\w+)\((.*)\)", text)
    if not match or match[1] not in SCHEDULES:
        return False
    arguments = match[2].split(",")
    return len(arguments) == SCHEDULES[match[1]] and all(map(_is_float, arguments))


def _is_float(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in ("True", "true", "False", "false"):
        return value in ("True", "true")
    raise ValueError(value)


def _to_int(value: Any) -> int:
    number = _to_float(value)
    if number != int(number):
        raise ValueError(value)
    # Not by way of a float, which holds only 53 bits.
    return value if isinstance(value, int) else int(number)


def _to_float(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or math.isnan(number):
        raise ValueError(value)
    return number


def _to_str(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


_CASTS = {bool: _to_bool, int: _to_int, float: _to_float, str: _to_str}


def _wrong(key: str, value: Any, wanted: str) -> ConfigError:
    received = f"{key}={value!r} ({type(value).__name__})"
    return ConfigError(f"Key '{key}' wants {wanted}. Received: {received}")


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_text, value))}]"
    return str(value)


def _type(value: Any) -> str:
    return f"{_type(value[0])}s" if isinstance(value, tuple) else type(value).__name__

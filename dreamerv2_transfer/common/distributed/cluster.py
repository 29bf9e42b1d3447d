"""Identifies this process among the workers of a run, from `TF_CONFIG`.

`TF_CONFIG` is TensorFlow's own description of a cluster, the same in every process
except for its task:

    TF_CONFIG='{"cluster": {"worker": ["host1:2222", "host2:2222"]},
                "task": {"type": "worker", "index": 0}}'
"""

from __future__ import annotations

import os

from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.files import documents

VARIABLE = "TF_CONFIG"
SHOWN = 500  # Characters of a long value.
EXAMPLE = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
# TensorFlow also takes an index in quotes; more keys are its own business.
SCHEMA = documents.Schema(
    {
        "type": "object",
        "required": ["cluster", "task"],
        "properties": {
            "cluster": {
                "type": "object",
                "required": ["worker"],
                "additionalProperties": False,
                "properties": {
                    "worker": {
                        "type": "array",
                        "items": {"type": "string", "minLength": 1},
                    }
                },
            },
            "task": {
                "type": "object",
                "required": ["type", "index"],
                "properties": {
                    "type": {"const": "worker"},
                    "index": {
                        "anyOf": [
                            {"type": "integer"},
                            {"type": "string", "pattern": "^[0-9]{1,9}$"},
                        ]
                    },
                },
            },
        },
    }
)


def is_chief(config) -> bool:
    """Returns whether this process is the one that logs, evaluates and saves.

    Args:
        config: The resolved configuration. Without `strategy: multiworker` there is a
            single process, which is the chief.

    Raises:
        ConfigError: `TF_CONFIG` names no workers or is none of them.
    """
    return config.strategy != "multiworker" or task()[1] == 0


def task() -> tuple[list[str], int]:
    """Returns the addresses of all workers, and the index of this one.

    Raises:
        ConfigError: `TF_CONFIG` names no workers or is none of them.
    """
    received = os.environ.get(VARIABLE, "")
    try:
        described = SCHEMA.parse(received)
    except ValueError:
        raise _wrong(received) from None
    workers, index = described["cluster"]["worker"], int(described["task"]["index"])
    if not 0 <= index < len(workers):
        raise _wrong(received)
    return workers, index


def _wrong(received: str) -> ConfigError:
    shown = received if len(received) <= SHOWN else f"{received[:SHOWN]}..."
    return ConfigError(
        f"strategy multiworker needs the workers in {VARIABLE}, such as {EXAMPLE}, "
        f"with a different index in each process. Received: {VARIABLE}={shown!r}"
    )

"""Identifies this process among the workers of a run, from `TF_CONFIG`.

`TF_CONFIG` is TensorFlow's own description of a cluster, the same in every process
except for its task:

    TF_CONFIG='{"cluster": {"worker": ["host1:2222", "host2:2222"]},
                "task": {"type": "worker", "index": 0}}'
"""

from __future__ import annotations

import json
import os

from dreamerv2_transfer.common.config import ConfigError

VARIABLE = "TF_CONFIG"
EXAMPLE = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
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
        described = json.loads(received)
        workers = list(described["cluster"]["worker"])
        kind, index = described["task"]["type"], int(described["task"]["index"])
    except (ValueError, KeyError, TypeError):
        raise _wrong(received) from None
    if set(described["cluster"]) != {"worker"} or kind != "worker":
        raise _wrong(received)
    if not 0 <= index < len(workers):
        raise _wrong(received)
    return workers, index


def _wrong(received: str) -> ConfigError:
    return ConfigError(
        f"strategy multiworker needs the workers in {VARIABLE}, such as {EXAMPLE}, "
        f"with a different index in each process. Received: {VARIABLE}={received!r}"
    )

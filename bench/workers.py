"""Describes several workers of one run on this machine, for benchmarks."""

from __future__ import annotations

import json
import socket


def descriptions(number: int) -> list[str]:
    """Returns each worker's `TF_CONFIG`, the chief's first, with free ports."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    addresses = [f"127.0.0.1:{x.getsockname()[1]}" for x in sockets]
    for x in sockets:
        x.close()
    tasks = [{"type": "worker", "index": index} for index in range(number)]
    return [json.dumps({"cluster": {"worker": addresses}, "task": x}) for x in tasks]

"""Times the paper authors' PyTorch step on the device, in its turn (see turns.py).

    python bench/gpu/authors.py FOLDER CHECKOUT STEPS

FOLDER has `inputs.npz` and `config.json` of export.py, CHECKOUT is one of
https://github.com/JonaSchulz/pydreamer. Packages that their code imports but a step
does not need may be missing.
"""

from __future__ import annotations

import importlib
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from unittest import mock

import turns

WARM_UP = 3
UNUSED = ("mlflow", "mlflow.tracking", "mlflow.tracking.fluent", "gym", "gym.spaces")
UNUSED += ("cv2", "matplotlib", "matplotlib.pyplot", "PIL")


def main(folder: str, checkout: str, steps: str) -> None:
    for name in UNUSED:
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = mock.MagicMock()
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    made: list[Callable[[str], float]] = []

    def prepare() -> dict:
        import peer_authors

        where = pathlib.Path(folder), pathlib.Path(checkout)
        made.append(peer_authors.make_step(*where))
        return {"torch": peer_authors.torch.__version__}

    def measure() -> dict:
        return {kind: seconds(made[0], kind, int(steps)) for kind in ("wm", "whole")}

    turns.take(prepare, measure)


def seconds(step: Callable[[str], float], kind: str, steps: int) -> dict:
    times = []
    for _ in range(WARM_UP + steps):
        start = time.perf_counter()
        loss = step(kind)
        times.append(time.perf_counter() - start)
    times = times[WARM_UP:]
    return {"seconds": statistics.median(times), "fastest": min(times), "loss": loss}


if __name__ == "__main__":
    main(*sys.argv[1:])

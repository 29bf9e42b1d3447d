"""DreamerV2 on today's TensorFlow and Keras 3, with transfer between games.

    import dreamerv2_transfer as dt

    model = dt.load("results/minatar_small_pretrain")

The names of `dreamerv2_transfer.api` that a script needs are here too. They are looked
up at their first use, as TensorFlow takes seconds to import.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.2.0"
__all__ = ("DreamEnv", "Latents", "Model", "load", "models", "save_gif")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dreamerv2_transfer import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

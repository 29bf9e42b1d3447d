"""Freezes weights, by a flag for each component and each sublayer of the RSSM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras


def freeze(components: Mapping[str, keras.layers.Layer], flags: Mapping) -> None:
    """Makes components untrainable, before an optimizer is built for the others.

    Frozen weights have no slots in the optimizer, get no gradient and no weight decay,
    and stay bit-identical.

    Args:
        components: Built layers by name; `rssm` has named `parts`.
        flags: `freeze` of a configuration: a boolean for each component, and for each
            part of the RSSM. Flags of components that do not exist have no effect.
    """
    for name, layers in _layers(components).items():
        if _flag(flags, name):
            for layer in layers:
                layer.trainable = False


def _layers(components: Mapping[str, Any]) -> dict[str, list[keras.layers.Layer]]:
    """Returns the layers that each flag freezes, by the flag's dotted name."""
    layers = {name: [layer] for name, layer in components.items() if name != "rssm"}
    layers.pop("action_mask", None)  # It learns always, as it costs little.
    if "terminal" in layers:  # It is there in place of the discount head.
        layers["discount"] = layers.pop("terminal")
    for name, parts in components["rssm"].parts.items():
        layers[f"rssm.{name}"] = parts
    return layers


def _flag(flags: Mapping, name: str) -> bool:
    for part in name.split("."):
        flags = flags[part]
    return bool(flags)

"""What adapted an RSSM in files of weights: kept, or merged into the kernels.

    kernel of LAYER     kernel + adapter.scale * adapter.LAYER.down @ adapter.LAYER.up
    img_in's actions    softmax(SHARPNESS * adapter.align) @ img_in's known actions

`common/nets/adapter.py` has the equations. A model without corrections, or with others,
starts from the merged kernels; so does a port to a format that has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamerv2_transfer.common.errors import CheckpointError

PREFIX = "rssm/adapter."
SCALE, ALIGN = f"{PREFIX}scale", f"{PREFIX}align"
IMG_IN = "rssm/img_in/kernel"


def merged(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arrays by name, without corrections: they are part of the kernels.

    Args:
        arrays: The arrays of a file of weights, which need not be read yet.

    Raises:
        CheckpointError: A correction lacks its other half or its kernel.
    """
    plain = {k: v for k, v in arrays.items() if not k.startswith(PREFIX)}
    for name in (x for x in arrays if x.startswith(PREFIX) and x.endswith(".down")):
        base = name.removesuffix(".down")
        layer = base.removeprefix(PREFIX).replace(".", "/")
        names = f"rssm/{layer}/kernel", SCALE, name, f"{base}.up"
        if missing := [x for x in names if x not in arrays]:
            raise CheckpointError(
                f"The weights have {name}, but no {missing[0]}. Use another copy."
            )
        kernel, scale, down, up = (np.asarray(arrays[x][()]) for x in names)
        plain[names[0]] = kernel + scale * (down @ up)
    if ALIGN in arrays and IMG_IN in plain:
        plain[IMG_IN] = _aligned(arrays[ALIGN][()], plain[IMG_IN][()])
    return plain


def _aligned(align: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Returns the kernel of `img_in` with rows for the new game's actions."""
    from dreamerv2_transfer.common.nets.adapter import SHARPNESS  # Needs TensorFlow.

    known = align.shape[1]
    mixture = np.exp(SHARPNESS * (align - align.max(1, keepdims=True)))
    mixture /= mixture.sum(1, keepdims=True)
    return np.concatenate([kernel[:-known], mixture @ kernel[-known:]])


def fitted(
    rssm: Any | None, arrays: Mapping[str, Any], other_actions: bool = False
) -> Mapping[str, Any]:
    """Returns arrays that an RSSM can start from.

    Args:
        rssm: The RSSM. Corrections of its rank and scale stay as they are.
        arrays: The arrays of a file of weights.
        other_actions: Whether its game has other actions than the RSSM's.

    Raises:
        CheckpointError: As `merged`.
    """
    theirs = {k: v for k, v in arrays.items() if k.startswith(PREFIX)}
    keeps = not (other_actions and ALIGN in theirs)
    if not theirs or (keeps and _are_same(theirs, own(rssm))):
        return arrays
    return merged(arrays)


def own(rssm: Any | None) -> dict[str, Any]:
    """Returns the variables of an RSSM's corrections, by path; {} without an RSSM."""
    variables = rssm.variables if rssm else ()
    return {v.path: v for v in variables if v.path.startswith(PREFIX)}


def _are_same(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    shapes = [{k: tuple(v.shape) for k, v in x.items()} for x in (theirs, ours)]
    if shapes[0] != shapes[1]:
        return False
    return SCALE not in ours or theirs[SCALE][()] == ours[SCALE].numpy()

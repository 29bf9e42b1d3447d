"""Low-rank corrections in files of weights: kept, or merged into the kernels.

    rssm/img_in/kernel + rssm/adapter.scale * rssm/adapter.img_in.down @ ....up

`common/nets/adapter.py` has the layers. A model without corrections, or with others,
starts from the merged kernels; so does a port to a format that has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamerv2_transfer.common.errors import CheckpointError

PREFIX = "rssm/adapter."
SCALE = f"{PREFIX}scale"


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
    return plain


def fitted(rssm: Any | None, arrays: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns arrays that an RSSM can start from.

    Args:
        rssm: The RSSM. Corrections of its rank and scale stay as they are.
        arrays: The arrays of a file of weights.

    Raises:
        CheckpointError: As `merged`.
    """
    theirs = {k: v for k, v in arrays.items() if k.startswith(PREFIX)}
    if not theirs or _are_same(theirs, own(rssm)):
        return arrays
    return merged(arrays)


def own(rssm: Any | None) -> dict[str, Any]:
    """Returns the variables of an RSSM's corrections, by path; {} without an RSSM."""
    variables = rssm.variables if rssm else ()
    return {v.path: v for v in variables if v.path.startswith(PREFIX)}


def _are_same(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    shapes = [{k: tuple(v.shape) for k, v in x.items()} for x in (theirs, ours)]
    return shapes[0] == shapes[1] and theirs[SCALE][()] == ours[SCALE].numpy()

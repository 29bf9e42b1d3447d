"""The kinds of features that are compared: trained, untrained, and noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamerv2_transfer.analysis import features
from dreamerv2_transfer.analysis.frames import Frames
from dreamerv2_transfer.analysis.latents import Found, Targets
from dreamerv2_transfer.analysis.models import Models
from dreamerv2_transfer.common.config import Config
from dreamerv2_transfer.common.progress import Progress

KINDS = ("trained", "untrained", "random")
NAMES = {"trained": "Features", "untrained": "Untrained features"}


def make(
    kind: str, models: Models, frames: Frames, config: Config, seed: int, task: str
) -> np.ndarray:
    """Computes one kind of features of each frame, and shows the progress.

    Args:
        kind: One of `KINDS`.
        models: The models, trained and untrained.
        frames: N frames.
        config: The run's configuration.
        seed: Seed of the latents or of the noise.
        task: The game, for the progress.

    Returns:
        float32 `(N, F)`.
    """
    if kind == "random":
        shape = len(frames), models.trained.rssm.feat_size
        return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    model = models.trained if kind == "trained" else models.untrained
    with Progress(len(frames), 0, f"{NAMES[kind]} of {task}", "frame") as bar:
        return features.posterior(model, frames, config, seed, bar.update)


def side_by_side(
    found: Mapping[str, Found], targets: Targets, number: int, size: int
) -> dict[str, Any]:
    """Returns the numbers of all kinds of features, as in `analysis.json`.

    Args:
        found: What was found, by kind.
        targets: What they were analysed against.
        number: Number of clusters.
        size: Number of features.

    Returns:
        `clusters`, their number, and `cluster_sizes`, shares of the held-out frames;
        `events` and `probes`, by name and kind. If there is a place, `canonical`, by
        kind, and `best_feature`, by kind and with the ratios of the trained |r| to the
        others.
    """
    numbers = {kind: x.numbers for kind, x in found.items()}
    labels = found["trained"].labels[targets.rows.test]
    sizes = np.bincount(labels, minlength=number) / len(labels)
    result = {"clusters": number, "cluster_sizes": sizes.tolist()}
    for key in ("events", "probes"):
        result[key] = {
            name: {kind: x[key][name] for kind, x in numbers.items() if name in x[key]}
            for name in numbers["trained"][key]
        }
    if not targets.place:
        return result
    best = {kind: dict(x["best_feature"]) for kind, x in numbers.items()}
    shuffles = len(best["trained"]["null"])
    for x in best.values():
        null = np.array(x.pop("null"))
        x["null_median"], x["null_max"] = np.median(null), null.max()
    largest = {kind: abs(x["train_r"]) for kind, x in best.items()}
    result["canonical"] = {
        "variables": list(targets.place),
        **{kind: x["canonical"] for kind, x in numbers.items()},
    }
    result["best_feature"] = {
        "variable": targets.place[0],
        "features": size,
        "shuffles": shuffles,
        **best,
        "ratio_to_random": largest["trained"] / max(largest["random"], 1e-9),
        "ratio_to_untrained": largest["trained"] / max(largest["untrained"], 1e-9),
    }
    return result

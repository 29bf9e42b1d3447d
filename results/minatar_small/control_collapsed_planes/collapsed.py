"""MinAtar as the paper's own code sees it: one plane a cell, the first that is on.

    python collapsed.py DATASET TO

writes a dataset of the same episodes with such images. Where this folder is on
PYTHONPATH, `--task gym_collapsed:SpaceInvaders-v0` plays the game with them. In Space
Invaders an alien covers the two planes that tell in which direction the aliens move.
"""

import pathlib
import shutil
import sys

import gymnasium
import numpy as np
from tqdm import tqdm

from dreamerv2_transfer.common import envs


def collapse(image: np.ndarray) -> np.ndarray:
    """`(..., channels)` bool: of each cell the first plane that is on."""
    return image & (np.cumsum(image, -1) == 1)


class Collapsed(gymnasium.ObservationWrapper):
    def observation(self, obs):
        return {**obs, "image": collapse(obs["image"])}


gymnasium.register(
    "SpaceInvaders-v0", lambda: Collapsed(envs.make_env("minatar_space_invaders"))
)


def main(source: str, target: str) -> None:
    for path in tqdm(sorted(pathlib.Path(source).rglob("*.npz")), unit="episode"):
        with np.load(path) as episode:
            arrays = dict(episode)
        arrays["image"] = collapse(arrays["image"])
        to = pathlib.Path(target, *path.relative_to(source).parts)
        to.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(to, **arrays)
    for path in pathlib.Path(source).rglob("manifest.json"):
        shutil.copy2(path, pathlib.Path(target, *path.relative_to(source).parts))


if __name__ == "__main__":
    main(*sys.argv[1:])

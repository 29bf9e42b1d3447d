"""Makes training steps of the paper authors' code, one for each line that it reads.

peers.py runs it with a Python that has PyTorch. The arguments are a folder with
`inputs.npz`, the batch, and `config.json`, values by dotted key of which the sizes are
used, and the checkout of the authors' code. A step is what their train.py does between
a batch and the next, without its log.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Callable

import numpy as np
import torch
import yaml
from peer_answers import answer, reserve_output

# Their names of sizes, by ours.
SIZES = {
    "rssm.deter": "deter_dim",
    "rssm.stoch": "stoch_dim",
    "rssm.discrete": "stoch_discrete",
    "rssm.hidden": "hidden_dim",
    "encoder.cnn_depth": "cnn_depth",
    "dataset.batch": "batch_size",
    "dataset.length": "batch_length",
    "imag_horizon": "imag_horizon",
}
MINATAR = 10  # Pixels a side.


def main() -> None:
    answers = reserve_output()
    answer(make_step(*map(pathlib.Path, sys.argv[1:])), answers)


def make_step(folder: pathlib.Path, checkout: pathlib.Path) -> Callable[[str], float]:
    """Returns a step of a kind, `whole` or `wm`, which returns its loss."""
    sys.path.insert(0, str(checkout))
    from pydreamer.models import Dreamer

    torch.distributions.Distribution.set_default_validate_args(False)
    inputs = dict(np.load(folder / "inputs.npz"))
    keys = json.loads((folder / "config.json").read_text())
    conf = make_conf(checkout, keys, inputs)
    model = Dreamer(conf).to(conf.device)
    optimizers = model.init_optimizers(
        conf.adam_lr, conf.adam_lr_actor, conf.adam_lr_critic, conf.adam_eps
    )
    batch = make_batch(inputs, conf)
    start = model.init_state(conf.batch_size * conf.iwae_samples)
    states = {"whole": start, "wm": start}
    run = {"whole": model.training_step, "wm": model.training_step_wm}
    # Those of the world model come first, see their train_wm_only.py.
    stepped = {"whole": optimizers, "wm": optimizers[:-2]}

    def step(kind: str) -> float:
        losses, states[kind], *_ = run[kind](dict(batch), states[kind])
        for optimizer in stepped[kind]:
            optimizer.zero_grad()
        for loss in losses:
            loss.backward()
        model.grad_clip(conf.grad_clip, conf.grad_clip_ac)
        for optimizer in stepped[kind]:
            optimizer.step()
        return losses[0].item()  # Waits for the device.

    return step


def make_conf(checkout: pathlib.Path, keys: dict, inputs: dict) -> argparse.Namespace:
    """Returns their defaults for the kind of game, at our sizes."""
    blocks = yaml.safe_load((checkout / "config" / "defaults.yaml").read_text())
    size, channels = inputs["image"].shape[-2:]
    is_minatar = size == MINATAR
    conf = {**blocks["defaults"], **blocks["minatar" if is_minatar else "atari"]}
    conf |= {theirs: keys[ours] for ours, theirs in SIZES.items()}
    # They have one category more in a cell of MinAtar: nothing.
    conf |= {"image_size": size, "image_channels": channels + is_minatar}
    conf |= {"action_dim": inputs["action"].shape[-1]}
    conf |= {"device": "cuda:0" if torch.cuda.is_available() else "cpu"}
    return argparse.Namespace(**conf)


def make_batch(inputs: dict, conf: argparse.Namespace) -> dict[str, torch.Tensor]:
    """Returns the batch as they read it: time first, channels before the pixels."""
    image = inputs["image"].astype(np.float32)
    if conf.image_categorical:
        empty = np.zeros((*image.shape[:-1], 1), np.float32)
        index = np.concatenate([empty, image], -1).argmax(-1)
        image = np.eye(conf.image_channels, dtype=np.float32)[index]
    else:
        image = image / 255 - 0.5
    arrays = {
        "image": image.transpose(1, 0, 4, 2, 3),
        "action": inputs["action"].swapaxes(0, 1),
        "reward": inputs["reward"].swapaxes(0, 1),
        "terminal": inputs["is_terminal"].swapaxes(0, 1).astype(np.float32),
        "reset": inputs["is_first"].swapaxes(0, 1),
    }
    return {
        key: torch.tensor(np.ascontiguousarray(value)).to(conf.device)
        for key, value in arrays.items()
    }


if __name__ == "__main__":
    main()

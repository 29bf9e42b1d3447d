"""Files of DQN players, as we, the paper's authors and others write them."""

import gzip

import h5py
import numpy as np

from dreamerv2_transfer.common.files import torch_file

BREAKOUT = "minatar_breakout"


def planes(batch=5, seed=0):
    return np.random.default_rng(seed).random((batch, 10, 10, 10)) < 0.2


def screens(batch=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (batch, 4, 84, 84), np.uint8)


def scaled(rng, *shape):
    """Draws weights with which a network's values are of the order of one."""
    deviation = np.prod(shape[:-1]) ** -0.5 if len(shape) > 1 else 1.0
    return rng.normal(0, deviation, shape).astype(np.float32)


def own_weights(network, planes=4, actions=6, seed=1):
    rng = np.random.default_rng(seed)
    shapes = {
        "mlp": {
            "layer1": (planes * 100, 128),
            "layer2": (128, 128),
            "layer3": (128, actions),
        },
        "conv": {
            "conv": (3, 3, planes, 16),
            "hidden": (1024, 128),
            "out": (128, actions),
        },
    }[network]
    kernels = {f"{k}/kernel": scaled(rng, *v) for k, v in shapes.items()}
    return kernels | {f"{k}/bias": scaled(rng, v[-1]) for k, v in shapes.items()}


def write_own(path, weights, network="mlp", task=BREAKOUT):
    with h5py.File(path, "w") as file:
        for name, array in weights.items():
            file[name] = array
        file.attrs.update(task=task, steps=100, seed=0, network=network)
    return path


def minatar_state(planes=4, actions=6):
    """The state dict of what the authors trained, for a game's flattened planes."""
    shapes = {
        "layer1": (128, planes * 100),
        "layer2": (128, 128),
        "layer3": (actions, 128),
    }
    return torch_state(shapes)


def atari_state(actions=4, support=False):
    """The state dict of a public Atari agent, with the atoms of C51 or without."""
    atoms = {"_AtariNet__support": np.linspace(-10, 10, 51, dtype=np.float32)}
    shapes = {
        "_AtariNet__features.0": (32, 4, 8, 8),
        "_AtariNet__features.2": (64, 32, 4, 4),
        "_AtariNet__features.4": (64, 64, 3, 3),
        "_AtariNet__head.0": (512, 3136),
        "_AtariNet__head.2": (actions * 51 if support else actions, 512),
    }
    # Larger than PyTorch begins with, where all values are about the same.
    return (atoms if support else {}) | torch_state(shapes, scale=3)


def torch_state(shapes, scale=1):
    """Weights and biases by PyTorch's names, of about the sizes that it begins with."""
    rng, state = np.random.default_rng(0), {}
    for name, shape in shapes.items():
        limit = np.prod(shape[1:]) ** -0.5
        weight = rng.uniform(-limit, limit, shape)
        state[f"{name}.weight"] = (scale * weight).astype(np.float32)
        bias = rng.uniform(-limit, limit, shape[0])
        state[f"{name}.bias"] = bias.astype(np.float32)
    return state


def write_torch(path, content):
    torch_file.write(path, content)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(path.read_bytes(), 1))
    return path

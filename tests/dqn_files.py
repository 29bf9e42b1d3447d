"""Files of DQN players, as we, the paper's authors and others write them."""

import gzip

import h5py
import numpy as np
import pytest

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


def minatar_torch(planes=4, actions=6):
    """Creates what the authors trained, for the flattened planes of a game."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    class Dqn(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer1 = torch.nn.Linear(planes * 100, 128)
            self.layer2 = torch.nn.Linear(128, 128)
            self.layer3 = torch.nn.Linear(128, actions)

        def forward(self, x):
            x = torch.relu(self.layer1(x.flatten(1)))
            return self.layer3(torch.relu(self.layer2(x)))

    return Dqn()


def write_torch(path, state, new=True):
    torch = pytest.importorskip("torch")
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wb") as file:
        torch.save(state, file, _use_new_zipfile_serialization=new)
    return path


def atari_torch(actions=4, support=False):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    nn = torch.nn

    class AtariNet(nn.Module):
        def __init__(self):
            super().__init__()
            if support:
                atoms = torch.linspace(-10, 10, 51)
                self.__support = nn.Parameter(atoms, requires_grad=False)
            self.__features = nn.Sequential(
                nn.Conv2d(4, 32, 8, 4),
                nn.ReLU(),
                nn.Conv2d(32, 64, 4, 2),
                nn.ReLU(),
                nn.Conv2d(64, 64, 3),
                nn.ReLU(),
            )
            outputs = actions * 51 if support else actions
            self.__head = nn.Sequential(
                nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, outputs)
            )

        def forward(self, images):
            x = self.__head(self.__features(images / 255).flatten(1))
            if not support:
                return x
            x = torch.softmax(x.reshape(-1, actions, 51), -1)
            return (x * self.__support).sum(-1)

    network = AtariNet()
    for parameter in network.parameters():  # Otherwise all values are about the same.
        if parameter.ndim > 1:
            parameter.data *= 3
    return network

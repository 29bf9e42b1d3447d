"""Networks in numpy have the values that their definitions and PyTorch give."""

import gzip
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

from dreamerv2_transfer.dqn import agents
from tests import dqn_files


def relu(x):
    return np.maximum(x, 0)


def test_our_own_mlp(tmp_path):
    w = dqn_files.own_weights("mlp")
    ours = agents.load(
        dqn_files.write_own(tmp_path / "model_100.weights.h5", w), dqn_files.BREAKOUT
    )
    assert (ours.kind, ours.actions, ours.stack) == ("mlp", 6, 1)
    x = dqn_files.planes()[..., :4].astype(np.float64).reshape(5, 400)
    x = relu(x @ w["layer1/kernel"] + w["layer1/bias"])
    x = relu(x @ w["layer2/kernel"] + w["layer2/bias"])
    x = x @ w["layer3/kernel"] + w["layer3/bias"]
    values = ours(dqn_files.planes())
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, x, atol=1e-4)


def test_our_own_convolution(tmp_path):
    w = dqn_files.own_weights("conv")
    path = dqn_files.write_own(tmp_path / "model_100.weights.h5", w, "conv")
    ours = agents.load(path, dqn_files.BREAKOUT)
    assert (ours.kind, ours.actions, ours.stack) == ("conv", 6, 1)
    images = dqn_files.planes()[..., :4].astype(np.float64)
    x = np.zeros((5, 8, 8, 16))
    for row, column in np.ndindex(8, 8):
        window = images[:, row : row + 3, column : column + 3]
        x[:, row, column] = np.einsum("bhwi,hwio->bo", window, w["conv/kernel"])
    x = relu(x + w["conv/bias"]).reshape(5, 1024)
    x = relu(x @ w["hidden/kernel"] + w["hidden/bias"])
    x = x @ w["out/kernel"] + w["out/bias"]
    np.testing.assert_allclose(ours(dqn_files.planes()), x, atol=1e-4)


def save(torch, path, content, new):
    """Writes a checkpoint by PyTorch, in its format of today or the one before."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wb") as file:
        torch.save(content, file, _use_new_zipfile_serialization=new)
    return path


def torch_network(torch, state):
    """The network of a state dict, as its authors write it."""
    nn = torch.nn
    if "layer1.weight" in state:
        sizes = [state[f"layer{i}.weight"].shape for i in (1, 2, 3)]
        layers = [nn.Linear(inputs, outputs) for outputs, inputs in sizes]
        one, two, three = layers
        network = nn.Sequential(nn.Flatten(), one, nn.ReLU(), two, nn.ReLU(), three)
    else:
        outputs = len(state["_AtariNet__head.2.bias"])
        convs = [nn.Conv2d(4, 32, 8, 4), nn.Conv2d(32, 64, 4, 2), nn.Conv2d(64, 64, 3)]
        layers = [*convs, nn.Linear(3136, 512), nn.Linear(512, outputs)]
        body = [x for conv in convs for x in (conv, nn.ReLU())] + [nn.Flatten()]
        network = nn.Sequential(*body, layers[3], nn.ReLU(), layers[4])
    arrays = [x for name, x in state.items() if name != "_AtariNet__support"]
    for layer, weight, bias in zip(layers, arrays[::2], arrays[1::2], strict=True):
        layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
    return network


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(("game", "number"), [("breakout", 4), ("seaquest", 10)])
def test_the_authors_networks_match_pytorch(tmp_path, game, number, new):
    torch = pytest.importorskip("torch")
    state = dqn_files.minatar_state(number)
    network = torch_network(torch, state)
    state = {name: torch.tensor(x) for name, x in state.items()}
    path = save(torch, tmp_path / "model_100.pt", state, new)
    ours = agents.load(path, f"minatar_{game}")
    assert (ours.kind, ours.actions, ours.stack) == ("mlp", 6, 1)
    expected = network(torch.tensor(dqn_files.planes()[..., :number]).float())
    np.testing.assert_allclose(ours(dqn_files.planes()), expected.detach(), atol=1e-4)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(("kind", "support"), [("atari", False), ("atari_c51", True)])
def test_atari_networks_match_pytorch(tmp_path, kind, support, new):
    torch = pytest.importorskip("torch")
    state = dqn_files.atari_state(support=support)
    network = torch_network(torch, state)
    state = {name: torch.tensor(x) for name, x in state.items()}
    content = {"step": 50_000_000, "estimator_state": state}
    path = save(torch, tmp_path / "model_50000000.gz", content, new)
    ours = agents.load(path, "atari_breakout")
    assert (ours.kind, ours.actions, ours.stack) == (kind, 4, 4)
    expected = network(torch.tensor(dqn_files.screens()) / 255).detach()
    if support:
        atoms = torch.softmax(expected.reshape(-1, 4, 51), -1)
        expected = (atoms * state["_AtariNet__support"]).sum(-1)
    expected = expected.numpy()
    assert expected.std(axis=1).min() > 0.05
    values = ours(dqn_files.screens())
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, atol=1e-4)


def test_an_image_alone_has_the_values_that_it_has_in_a_batch(tmp_path):
    state = {"estimator_state": dqn_files.atari_state()}
    path = dqn_files.write_torch(tmp_path / "model_1.gz", state)
    ours = agents.load(path, "atari_breakout")
    alone = [ours(image[None])[0] for image in dqn_files.screens()]
    np.testing.assert_allclose(ours(dqn_files.screens()), alone, atol=1e-4)
    # Environments may hold the stack in any order of memory.
    last = np.ascontiguousarray(dqn_files.screens().transpose(0, 2, 3, 1))
    np.testing.assert_allclose(ours(last.transpose(0, 3, 1, 2)), alone, atol=1e-4)
    with pytest.raises(ValueError):
        ours(last)


def test_networks_go_to_other_processes(tmp_path):
    weights = dqn_files.own_weights("conv")
    path = dqn_files.write_own(tmp_path / "model_100.weights.h5", weights, "conv")
    ours = agents.load(path, dqn_files.BREAKOUT)
    other = pickle.loads(pickle.dumps(ours))
    np.testing.assert_array_equal(other(dqn_files.planes()), ours(dqn_files.planes()))


def test_acting_needs_no_framework():
    code = (
        "import sys, dreamerv2_transfer.dqn.agents as agents;"
        "agents.minimal_actions('atari_pong');"
        "print({'torch', 'tensorflow', 'keras'} & set(sys.modules))"
    )
    root = pathlib.Path(agents.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root
    )
    assert done.stdout.strip() == "set()", done.stderr

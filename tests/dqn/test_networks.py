import h5py
import numpy as np
import pytest

from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.dqn import agents, networks

MLP = {
    "q/layer1/kernel": (400, 128),
    "q/layer1/bias": (128,),
    "q/layer2/kernel": (128, 128),
    "q/layer2/bias": (128,),
    "q/layer3/kernel": (128, 6),
    "q/layer3/bias": (6,),
}
CONV = {
    "q/conv/kernel": (3, 3, 4, 16),
    "q/conv/bias": (16,),
    "q/hidden/kernel": (1024, 128),
    "q/hidden/bias": (128,),
    "q/out/kernel": (128, 6),
    "q/out/bias": (6,),
}


def images(seed=0, planes=4):
    """Draws two images of a game with `planes` planes, padded to ten."""
    found = np.random.default_rng(seed).random((2, 10, 10, 10)) < 0.2
    found[..., planes:] = False
    return found


@pytest.mark.parametrize(("kind", "shapes"), [("mlp", MLP), ("conv", CONV)])
def test_layers_have_the_shapes_of_their_papers(kind, shapes):
    network = networks.make_network(kind, 4, 6, seed=0)
    assert {v.path: tuple(v.shape) for v in network.variables} == shapes
    assert {v.dtype for v in network.variables} == {"float32"}


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_values_are_those_of_the_copy_that_acts(kind):
    network = networks.make_network(kind, 4, 6, seed=0)
    for variable in network.variables:  # Biases are zero at first.
        variable.assign(np.random.default_rng(1).normal(0, 0.3, variable.shape))
    seen = images()
    values = network(seen[..., :4].astype(np.float32)).numpy()
    assert values.shape == (2, 6) and np.abs(values).max() > 0.1
    acting = networks.in_numpy(kind, network)
    np.testing.assert_allclose(acting(seen), values, rtol=1e-4, atol=1e-5)


def test_the_copy_that_acts_does_not_learn():
    network = networks.make_network("mlp", 4, 6, seed=0)
    acting = networks.in_numpy("mlp", network)
    before = acting(images())
    network.variables[0].assign(np.ones((400, 128)))
    np.testing.assert_array_equal(acting(images()), before)


def test_fresh_weights_depend_on_the_seed_alone():
    first, again, other = (
        networks.make_network("mlp", 4, 6, seed).get_weights() for seed in (3, 3, 4)
    )
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert all((first[i] != other[i]).any() for i in (0, 2, 4))
    assert (first[2] != first[0][:128]).any()


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_a_saved_agent_plays_as_the_network(tmp_path, kind):
    network = networks.make_network(kind, 4, 6, seed=0)
    path = tmp_path / "breakout" / "model_100.weights.h5"
    about = dict(task="minatar_breakout", steps=100, seed=7, network=kind)
    networks.save(path, network, about)
    with h5py.File(path) as file:
        assert dict(file.attrs) == about
        shapes = MLP if kind == "mlp" else CONV
        for name, shape in shapes.items():
            assert file[name.removeprefix("q/")].shape == shape
    loaded = agents.load(path, "minatar_breakout")
    acting = networks.in_numpy(kind, network)
    np.testing.assert_array_equal(loaded(images()), acting(images()))
    assert [p.name for p in path.parent.iterdir()] == ["model_100.weights.h5"]


def test_an_unknown_kind_is_named():
    with pytest.raises(ConfigError, match="dqn.network=lstm. It must be mlp or conv"):
        networks.make_network("lstm", 4, 6, seed=0)

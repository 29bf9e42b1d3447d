import gzip
import pathlib
import pickle
import subprocess
import sys

import h5py
import numpy as np
import pytest

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.dqn import agents
from tests import fakes

BREAKOUT = "minatar_breakout"


def planes(batch=5, seed=0):
    return np.random.default_rng(seed).random((batch, 10, 10, 10)) < 0.2


def screens(batch=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (batch, 4, 84, 84), np.uint8)


def scaled(rng, *shape):
    """Weights with which a network's values are of the order of one."""
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


def relu(x):
    return np.maximum(x, 0)


def test_our_own_mlp(tmp_path):
    w = own_weights("mlp")
    agent = agents.load(write_own(tmp_path / "model_100.weights.h5", w), BREAKOUT)
    assert (agent.kind, agent.actions, agent.stack) == ("mlp", 6, 1)
    x = planes()[..., :4].astype(np.float64).reshape(5, 400)
    x = relu(x @ w["layer1/kernel"] + w["layer1/bias"])
    x = relu(x @ w["layer2/kernel"] + w["layer2/bias"])
    x = x @ w["layer3/kernel"] + w["layer3/bias"]
    values = agent(planes())
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, x, atol=1e-4)


def test_our_own_convolution(tmp_path):
    w = own_weights("conv")
    path = write_own(tmp_path / "model_100.weights.h5", w, "conv")
    agent = agents.load(path, BREAKOUT)
    assert (agent.kind, agent.actions, agent.stack) == ("conv", 6, 1)
    images = planes()[..., :4].astype(np.float64)
    x = np.zeros((5, 8, 8, 16))
    for row, column in np.ndindex(8, 8):
        window = images[:, row : row + 3, column : column + 3]
        x[:, row, column] = np.einsum("bhwi,hwio->bo", window, w["conv/kernel"])
    x = relu(x + w["conv/bias"]).reshape(5, 1024)
    x = relu(x @ w["hidden/kernel"] + w["hidden/bias"])
    x = x @ w["out/kernel"] + w["out/bias"]
    np.testing.assert_allclose(agent(planes()), x, atol=1e-4)


def minatar_torch(planes=4, actions=6):
    """What the authors' agents are, for the flattened planes of a game."""
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


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(("game", "number"), [("breakout", 4), ("seaquest", 10)])
def test_the_authors_agents_match_pytorch(tmp_path, game, number, new):
    torch = pytest.importorskip("torch")
    network = minatar_torch(number)
    path = write_torch(tmp_path / "model_100.pt", network.state_dict(), new)
    agent = agents.load(path, f"minatar_{game}")
    assert (agent.kind, agent.actions, agent.stack) == ("mlp", 6, 1)
    expected = network(torch.tensor(planes()[..., :number]).float())
    np.testing.assert_allclose(agent(planes()), expected.detach(), atol=1e-4)


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
    for parameter in network.parameters():  # Else all values are about the same.
        if parameter.ndim > 1:
            parameter.data *= 3
    return network


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(("kind", "support"), [("atari", False), ("atari_c51", True)])
def test_atari_agents_match_pytorch(tmp_path, kind, support, new):
    torch = pytest.importorskip("torch")
    network = atari_torch(support=support)
    state = {"step": 50_000_000, "estimator_state": network.state_dict()}
    path = write_torch(tmp_path / "model_50000000.gz", state, new)
    agent = agents.load(path, "atari_breakout")
    assert (agent.kind, agent.actions, agent.stack) == (kind, 4, 4)
    expected = network(torch.tensor(screens())).detach().numpy()
    assert expected.std(axis=1).min() > 0.05
    values = agent(screens())
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, atol=1e-4)


def test_an_image_alone_has_the_values_that_it_has_in_a_batch(tmp_path):
    state = {"estimator_state": atari_torch().state_dict()}
    path = write_torch(tmp_path / "model_1.gz", state)
    agent = agents.load(path, "atari_breakout")
    alone = [agent(image[None])[0] for image in screens()]
    np.testing.assert_allclose(agent(screens()), alone, atol=1e-4)
    # Environments may hold the stack in any order of memory.
    last = np.ascontiguousarray(screens().transpose(0, 2, 3, 1))
    np.testing.assert_allclose(agent(last.transpose(0, 3, 1, 2)), alone, atol=1e-4)
    with pytest.raises(ValueError):
        agent(last)


def test_agents_go_to_other_processes(tmp_path):
    weights = own_weights("conv")
    path = write_own(tmp_path / "model_100.weights.h5", weights, "conv")
    agent = agents.load(path, BREAKOUT)
    other = pickle.loads(pickle.dumps(agent))
    np.testing.assert_array_equal(other(planes()), agent(planes()))


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


# What is wrong with a file.


def refused(path, task=BREAKOUT):
    """The message with which it is refused, which names the file."""
    with pytest.raises(agents.DqnError) as error:
        agents.load(path, task)
    assert str(path) in str(error.value)
    return str(error.value)


def without(weights, name):
    return {k: v for k, v in weights.items() if k != name}


def test_another_architecture_is_refused(tmp_path):
    path, w = tmp_path / "model_1.weights.h5", own_weights("mlp")
    write_own(path, without(w, "layer2/bias"))
    assert "lacks layer2/bias" in refused(path)
    write_own(path, w | {"layer4/bias": np.zeros(3)})
    assert "layer4/bias in addition" in refused(path)
    write_own(path, w | {"layer2/bias": np.zeros(64, np.float32)})
    assert "layer2/bias has shape (64,), not (128,)" in refused(path)
    write_own(path, w | {"layer2/bias": np.zeros(128, np.int64)})
    assert "layer2/bias holds int64" in refused(path)
    write_own(path, w, "transformer")
    assert "network=transformer" in refused(path)
    write_own(path, w, "conv")
    assert "lacks conv/kernel" in refused(path)


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300])
def test_numbers_that_are_not_finite_are_refused(tmp_path, number):
    w = own_weights("mlp")
    w["layer3/bias"] = np.full(6, number)
    path = write_own(tmp_path / "model_1.weights.h5", w)
    assert "layer3/bias that are not finite" in refused(path)


def test_our_agent_of_another_game_is_refused(tmp_path):
    path = tmp_path / "model_1.weights.h5"
    write_own(path, own_weights("mlp"), task="minatar_asterix")
    assert "task=minatar_asterix, not for minatar_breakout" in refused(path)


def test_a_pytorch_agent_of_another_game_is_refused(tmp_path):
    state = minatar_torch(7).state_dict()
    path = write_torch(tmp_path / "model_1.pt", state)
    assert "layer1.weight has shape (128, 700), not (128, 400)" in refused(path)
    assert agents.load(path, "minatar_freeway").actions == 6
    state = minatar_torch(4, actions=3).state_dict()
    path = write_torch(tmp_path / "model_2.pt", state)
    assert "layer3.weight has shape (3, 128), not (6, 128)" in refused(path)


@pytest.mark.parametrize("support", [False, True])
def test_an_atari_agent_of_another_game_is_refused(tmp_path, support):
    state = {"estimator_state": atari_torch(support=support).state_dict()}
    path = write_torch(tmp_path / "model_1.gz", state)
    outputs = "(204, 512), not (306, 512)" if support else "(4, 512), not (6, 512)"
    assert f"head.2.weight has shape {outputs}" in refused(path, "atari_pong")


def test_a_support_of_other_atoms_is_refused(tmp_path):
    state = atari_torch(support=True).state_dict()
    state["_AtariNet__support"] = state["_AtariNet__support"][:21].clone()
    path = write_torch(tmp_path / "model_1.gz", state)
    assert "__support has shape (21,), not (51,)" in refused(path, "atari_breakout")


def test_an_atari_agent_without_its_head_is_refused(tmp_path):
    state = without(atari_torch().state_dict(), "_AtariNet__head.2.bias")
    path = write_torch(tmp_path / "model_1.gz", {"estimator_state": state})
    assert "lacks _AtariNet__head.2.bias" in refused(path, "atari_breakout")


@pytest.mark.parametrize("cut", [0, 4, 100, 5000, -1])
@pytest.mark.parametrize("kind", ["own", "minatar", "atari"])
def test_truncated_files_are_refused(tmp_path, kind, cut):
    task = "atari_breakout" if kind == "atari" else BREAKOUT
    if kind == "own":
        path = write_own(tmp_path / "model_1.weights.h5", own_weights("mlp"))
    elif kind == "minatar":
        path = write_torch(tmp_path / "model_1.pt", minatar_torch().state_dict())
    else:
        path = write_torch(tmp_path / "model_1.gz", atari_torch().state_dict())
    agents.load(path, task)
    path.write_bytes(path.read_bytes()[:cut])
    refused(path, task)


@pytest.mark.parametrize("name", ["model_1.pt", "model_1.gz"])
def test_a_hostile_pickle_runs_nothing(tmp_path, name):
    pytest.importorskip("torch")
    path, target = tmp_path / name, tmp_path / "touched"
    content = pickle.dumps({"estimator_state": fakes.Touch(target)})
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    task = "atari_breakout" if path.suffix == ".gz" else BREAKOUT
    assert "None of it was run" in refused(path, task)
    assert not target.exists()
    pickle.loads(content)  # It is hostile indeed.
    assert target.exists()


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("model_1.pkl", BREAKOUT, "with .pt or .weights.h5"),
        ("model_1.gz", BREAKOUT, "with .pt or .weights.h5"),
        ("model_1.pt", "atari_pong", "with .gz"),
        ("model_1.pt", BREAKOUT, "No such file"),
        ("model_1.weights.h5", BREAKOUT, "No such file"),
    ],
)
def test_other_files_are_refused(tmp_path, name, task, message):
    assert message in refused(tmp_path / name, task)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("minatar_brekout", "Did you mean minatar_breakout"),
        ("atari_beamrider", "Did you mean atari_beam_rider"),
        ("gym_CartPole-v1", "MinAtar and Atari"),
    ],
)
def test_an_unknown_game_is_refused(tmp_path, task, message):
    for call in agents.load, agents.find:
        with pytest.raises(agents.DqnError, match=message):
            call(tmp_path, task)


# Where the agents are.


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(folder, task):
    return [x.relative_to(folder).as_posix() for x in agents.find(folder, task)]


def test_finds_the_agents_of_a_game_in_the_order_of_their_steps(tmp_path):
    touch(
        tmp_path,
        "breakout/model_1000.pt",
        "breakout/model_100.pt",
        "breakout/model_10000.pt",
        "breakout/seed1/model_20.weights.h5",
        "breakout/.model_7.pt.tmp",
        "breakout/model_best.pt",
        "breakout/metrics.jsonl",
        "asterix/model_1.pt",
        "minatar_Breakout/model_5.weights.h5",
    )
    assert found(tmp_path, BREAKOUT) == [
        "breakout/model_100.pt",
        "breakout/model_1000.pt",
        "breakout/model_10000.pt",
        "breakout/seed1/model_20.weights.h5",
        "minatar_Breakout/model_5.weights.h5",
    ]


def test_finds_published_atari_agents_below_their_algorithm(tmp_path):
    touch(
        tmp_path,
        "DQN_modern/BeamRider/0/model_50000000.gz",
        "DQN_modern/BeamRider/0/model_00250000.gz",
        "C51_classic/BeamRider/10/model_1.gz",
        "C51_classic/BeamRider/2/model_1.gz",
        "MDQN_modern/Jamesbond/0/model_1.gz",
        "beam_rider/model_3.gz",
        "atari_beam_rider/model_3.gz",
        "beam_rider/model_3.pt",
    )
    assert found(tmp_path, "atari_beam_rider") == [
        "C51_classic/BeamRider/2/model_1.gz",
        "C51_classic/BeamRider/10/model_1.gz",
        "DQN_modern/BeamRider/0/model_00250000.gz",
        "DQN_modern/BeamRider/0/model_50000000.gz",
        "atari_beam_rider/model_3.gz",
        "beam_rider/model_3.gz",
    ]
    for task in "atari_jamesbond", "atari_james_bond":
        assert found(tmp_path, task) == ["MDQN_modern/Jamesbond/0/model_1.gz"]


def test_games_of_two_suites_with_one_name_are_not_mixed(tmp_path):
    touch(tmp_path, "breakout/model_1.pt", "breakout/model_2.gz")
    assert found(tmp_path, BREAKOUT) == ["breakout/model_1.pt"]
    assert found(tmp_path, "atari_breakout") == ["breakout/model_2.gz"]
    touch(tmp_path / "other", "minatar_breakout/model_2.gz")
    with pytest.raises(agents.DqnError):
        agents.find(tmp_path / "other", "atari_breakout")


def test_follows_links_but_not_in_circles(tmp_path):
    touch(tmp_path / "a", "model_1.pt")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "breakout").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "back").symlink_to(tmp_path / "b")
    assert found(tmp_path / "b", BREAKOUT) == ["breakout/model_1.pt"]


def test_says_which_games_there_are_instead(tmp_path):
    touch(
        tmp_path,
        "DQN_modern/Seaquest/0/model_1.gz",
        "asterix/model_1.pt",
        "breakthrough/model_1.pt",
    )
    with pytest.raises(agents.DqnError) as error:
        agents.find(tmp_path, BREAKOUT)
    assert "breakout/**/model_STEPS with .pt or .weights.h5" in str(error.value)
    assert "breakthrough (.pt), Seaquest (.gz), asterix (.pt)." in str(error.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(agents.DqnError, match="no players at all"):
        agents.find(tmp_path / "empty", BREAKOUT)
    with pytest.raises(agents.DqnError, match="There is no folder .*none"):
        agents.find(tmp_path / "none", BREAKOUT)


# The actions of a game.


def test_minimal_actions_among_all_18_of_ale():
    assert agents.full_actions("atari_breakout") == (0, 1, 3, 4)
    assert agents.full_actions("atari_pong") == (0, 1, 3, 4, 11, 12)
    assert agents.full_actions("atari_private_eye") == tuple(range(18))
    assert agents.full_actions("atari_james_bond") == tuple(range(18))
    with pytest.raises(agents.DqnError, match="task=minatar_breakout"):
        agents.full_actions(BREAKOUT)


def test_a_minimal_action_is_the_full_one_that_it_maps_to():
    minimal = envs.make_env("atari_beam_rider")
    full = envs.make_env("atari_beam_rider", all_actions=True)
    mapped = agents.full_actions("atari_beam_rider")
    assert len(mapped) == minimal.action_space.n == 9
    minimal.reset(seed=0)
    full.reset(seed=0)
    for step in range(90):
        one, *_ = minimal.step(step // 10)
        other, *_ = full.step(mapped[step // 10])
        np.testing.assert_array_equal(one["image"], other["image"])


@pytest.mark.parametrize(
    ("task", "actions"),
    [(BREAKOUT, 6), ("minatar_freeway", 6), ("atari_breakout", 4), ("atari_pong", 6)],
)
def test_number_of_actions(task, actions):
    assert agents.minimal_actions(task) == actions
    assert envs.make_env(task).action_space.n == actions


def test_a_missing_rom_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    with pytest.raises(agents.DqnError, match="ROM of atari_tennis cannot be used"):
        agents.minimal_actions("atari_tennis")

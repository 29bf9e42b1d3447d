import errno
import hashlib
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common.errors import ModelError
from dreamerv2_transfer.common.files.atomic import OutputError
from dreamerv2_transfer.trained import export, load
from dreamerv2_transfer.trained.latents import Latents
from dreamerv2_transfer.trained.steps import Steps
from tests.trained import small

ROOT = pathlib.Path(__file__).parents[2]
EARLIER = ROOT / "tests" / "earlier_layout" / "finetune"
PASSED_ON = ("action", "deter", "stoch")
ALONE = """
import sys
import numpy as np
import tensorflow as tf

sys.modules["dreamerv2_transfer"] = None  # An import of it fails.
steps = tf.saved_model.load(sys.argv[1]).signatures
results = {}


def call(name, **inputs):
    found = steps[name](**{k: tf.constant(v) for k, v in inputs.items()})
    for key, value in found.items():
        results.setdefault(f"{name}.{key}", []).append(value.numpy())
    return {k: found[k] for k in ("action", "deter", "stoch") if k in found}


given = np.load(sys.argv[2])
image, action, state = given["image"], given["action"], {}
seed = np.random.SeedSequence(5).generate_state(2).astype(np.int32)
for name in ("act", "act_sample", "act_mode"):
    state = call("initial_state", batch=np.int32(len(image)))
    for step in range(2):
        noise = {} if name == "act_mode" else {"seed": seed}
        is_first = np.full(len(image), step == 0)
        state = call(name, image=image[:, step], is_first=is_first, **state, **noise)
for name in ("observe", "observe_mode", "dream", "dream_mode"):
    parts = {k: state[k] for k in ("deter", "stoch")}
    for step in range(3):
        more = {} if "mode" in name else {"seed": seed, "step": np.int32(step)}
        if name.startswith("observe"):
            more |= {"image": image[:, step], "is_first": np.zeros(len(image), bool)}
        parts = call(name, **parts, action=action[:, step], **more)
np.savez(sys.argv[3], **{k: np.stack(v, 1) for k, v in results.items()})
"""


@pytest.fixture(scope="module")
def model():
    return small.make_model()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported")
    export.write(model, out, {"world_model.weights.h5": {"sha256": "0", "bytes": 1}})
    return out


def test_without_this_package_each_step_has_the_same_results(model, folder, tmp_path):
    image = small.images(2, 3)
    action = np.eye(6, dtype=np.float32)[[[1, 0, 5], [2, 3, 1]]]
    np.savez(tmp_path / "given.npz", image=image, action=action)
    files = folder, tmp_path / "given.npz", tmp_path / "found.npz"
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, *map(str, files)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = np.load(files[-1])

    def check(name, expected):
        assert {x for x in found if x.startswith(f"{name}.")} == {
            f"{name}.{key}" for key in expected
        }
        for key, value in expected.items():
            np.testing.assert_allclose(found[f"{name}.{key}"], value, atol=1e-5)

    for name, sample in (("act", False), ("act_sample", True)):
        state, states = None, []
        for step in range(2):
            state = model.agent.act(image[:, step], state, seed=5, sample=sample)[1]
            states.append(state)
        check(name, {k: np.stack([x[k] for x in states], 1) for k in PASSED_ON})
    state = acted_by_modes(model, image[:, :2])
    check("act_mode", state)
    parts = {k: state[k][:, -1] for k in ("deter", "stoch")}
    start = Latents({**model.initial(2), **parts}, True)
    for name, sample in (("", True), ("_mode", False)):
        noise = {"seed": 5, "sample": sample}
        seen = model.observe(image, action, start, **noise)
        check(f"observe{name}", {k: seen[k] for k in ("deter", "stoch", "logit")})
        dream = model.imagine(start, action, **noise)
        shown = {k: dream[k] for k in ("image", "reward", "discount")}
        check(f"dream{name}", {**dream["latents"], **shown})


def acted_by_modes(model, image):
    """The states and actions of a policy without noise, `(B, T, ...)`."""
    state, found = model.agent.network.initial(len(image)), []
    for step in range(image.shape[1]):
        seen = {"image": image[:, step], "is_first": np.full(len(image), step == 0)}
        seen = tf.nest.map_structure(tf.constant, seen)
        _, state = model.agent.network.policy_step(seen, state, [None] * 3, "eval")
        found.append({**state[0], "action": state[1]})
    return {k: np.stack([x[k] for x in found], 1) for k in PASSED_ON}


def test_what_is_written_about_the_signatures_is_true(folder):
    told = json.loads((folder / "signatures.json").read_text())
    assert told["tasks"][0] == "minatar_asterix" and told["format"] == 1
    assert told["observations"] == {"image": "image"}
    assert told["spaces"]["action"]["n"] == 6
    assert told["files"] == {"world_model.weights.h5": {"sha256": "0", "bytes": 1}}
    steps = tf.saved_model.load(folder).signatures
    assert {*steps} == {*told["signatures"]} and len(steps) == 8
    for name, graph in steps.items():
        about = told["signatures"][name]
        specs = graph.structured_input_signature[1]
        assert export._described(specs) == about["inputs"]
        assert export._described(graph.structured_outputs) == about["outputs"]
        assert f"| `{name}` |" in (folder / "README.md").read_text()
    assert told["signatures"]["act"]["inputs"]["image"] == {
        "shape": [None, 10, 10, 10],
        "dtype": "bool",
    }
    ops = {x.type for graph in steps.values() for x in graph.graph.get_operations()}
    assert "XlaLaunch" not in ops


def test_tensorflow_lite_takes_a_step_without_noise(model):
    step = export._graph(Steps(model).all()["act_mode"])
    module = tf.Module()
    module.weights = list(step.graph.variables)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([step], module)
    lite = tf.lite.Interpreter(model_content=converter.convert())
    runner = lite.get_signature_runner("serving_default")
    specs = step.structured_input_signature[1]
    rng = np.random.default_rng(0)
    given = {k: rng.random([n or 1 for n in v.shape]) for k, v in specs.items()}
    given = {k: tf.cast(v > 0.5, specs[k].dtype) for k, v in given.items()}
    found = runner(**given)
    for key, value in step(**given).items():
        np.testing.assert_allclose(found[key], value, atol=1e-5)


@pytest.fixture
def fast(monkeypatch):
    """Loads a model without graphs, and exports its first step alone."""
    monkeypatch.setitem(load.SETTINGS, "jit", False)
    steps = export.Steps.all
    first = "initial_state"
    monkeypatch.setattr(export.Steps, "all", lambda x: {first: steps(x)[first]})


def test_a_run_is_exported_with_its_hashes(fast, tmp_path):
    out = tmp_path / "out"
    out.mkdir()  # It may be empty.
    assert export.export(EARLIER, out).has_agent
    told = json.loads((out / "signatures.json").read_text())
    file = EARLIER / "actor_critic.weights.h5"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert told["files"][file.name]["sha256"] == digest
    assert {*told["files"]} == {
        *("actor_critic.weights.h5", "config.yaml", "world_model.weights.h5")
    }
    assert (out / "saved_model.pb").is_file() and (out / "config.yaml").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ModelError, match="is not empty. Name a new folder by --to"):
        export.export(EARLIER, tmp_path)


def test_a_dqn_is_refused(tmp_path):
    with pytest.raises(ModelError, match="is a DQN, which does not dream"):
        export.export("minatar_dqn_breakout", tmp_path / "out")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "No space left on device"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_a_full_disk_leaves_nothing(fast, monkeypatch, tmp_path, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OutputError, match="No space left on device. Free some space"):
        export.export(EARLIER, tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_a_model_of_several_games_is_refused(tmp_path, monkeypatch):
    games = {"size": 3, "games": ["minatar_asterix"]}
    model = small.make_model(has_agent=False, task_embed=games)
    monkeypatch.setattr(export, "load", lambda source: model)
    with pytest.raises(ModelError, match="small has a vector of each game"):
        export.export("small", tmp_path / "out")
    assert not (tmp_path / "out").exists()

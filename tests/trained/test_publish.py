import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.errors import CheckpointError, ModelError
from dreamerv2_transfer.trained import load, preview, publish
from dreamerv2_transfer.transfer import cards
from tests import hub as fake

EARLIER = pathlib.Path(__file__).parents[1] / "earlier_layout" / "finetune"
TOLD = publish.Told(hardware="an abacus", licence="cc0-1.0")
FRAMES = np.zeros((2, 4, 4, 3), np.uint8)


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setitem(load.SETTINGS, "jit", False)
    monkeypatch.setattr(preview, "draw", lambda model: FRAMES)


@pytest.fixture
def run(tmp_path):
    ignored = shutil.ignore_patterns("checkpoints", "train_episodes")
    return shutil.copytree(EARLIER, tmp_path / "run", ignore=ignored)


def log(run, *rows):
    lines = [json.dumps(row) for row in rows]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")


EVALUATED = {
    "step": 40,
    "eval_return_mean": 2.123456,
    "eval_return_ci95_low": 1.5,
    "eval_return_ci95_high": 2.75,
    "eval_episodes": 20.0,
}


def test_a_card_names_the_recorded_episodes_of_a_run_offline(run, tmp_path):
    games = "minatar_breakout", "minatar_asterix"
    manifest = {"steps": 1234, "policies": [{"name": "random", "share": 1.0}]}
    (tmp_path / "data" / games[0]).mkdir(parents=True)
    (tmp_path / "data" / games[0] / "manifest.json").write_text(json.dumps(manifest))
    config = blocks.load_old(run / "config.yaml")[0].update(
        {
            "stage": "offline",
            "task": games[0],
            "tasks": games,
            "dataset.directory": str(tmp_path / "data"),
        }
    )
    config.save(run / "config.yaml")
    publish.publish(run, str(tmp_path / "out"), TOLD)
    assert cards.read(tmp_path / "out").own["data"] == (
        "1,234 steps of minatar_breakout by random (1), recorded steps of "
        "minatar_asterix"
    )


def test_recorded_episodes_may_be_of_a_game_whose_folder_has_another_name(tmp_path):
    config = blocks.load_config(["minatar", "debug", "pretrain"])
    config = config.update({"tasks": ["gym_A/B-v0"]})
    (tmp_path / "dataset" / "gym_A@B-v0").mkdir(parents=True)
    manifest = {"steps": 7, "policies": [{"name": "random", "share": 1.0}]}
    file = tmp_path / "dataset" / "gym_A@B-v0" / "manifest.json"
    file.write_text(json.dumps(manifest))
    assert publish._data(tmp_path, config) == "7 steps of gym_A/B-v0 by random (1)"


def test_weights_are_written_as_safetensors_alone_if_asked(run, tmp_path):
    told = dataclasses.replace(TOLD, hdf5=False)
    out = tmp_path / "out"
    publish.publish(run, str(out), told)
    assert not [*out.glob("*.h5")]
    assert not [name for name in cards.read(out).own["files"] if "h5" in name]
    assert load.load(out).has_agent


def test_a_run_becomes_a_folder_that_is_loaded_again(run, tmp_path):
    log(run, {**EVALUATED, "step": 20, "eval_return_mean": 9}, EVALUATED)
    out = tmp_path / "breakout"
    assert publish.publish(run, str(out), TOLD) == str(out)
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "actor_critic.safetensors",
        "actor_critic.weights.h5",
        "config.yaml",
        "preview.gif",
        "world_model.safetensors",
        "world_model.weights.h5",
    ]
    own = cards.read(out).own
    assert own["results"] == [
        {
            "game": "minatar_space_invaders",
            "metric": "return",
            "value": 2.1235,
            "interval": [1.5, 2.75],
            "episodes": 20,
            "step": 40,
        }
    ]
    assert (own["kind"], own["hardware"]) == ("agent", "an abacus")
    one = load.load(run)
    for file in out.glob("*.h5"):
        file.unlink()
    other = load.load(out)  # From safetensors alone.
    dreams = [x.imagine(one.initial(), x.agent, 2, seed=0) for x in (one, other)]
    np.testing.assert_array_equal(*(x["image"] for x in dreams))
    assert other.observation_space == one.observation_space


def test_a_published_model_is_published_again_with_another_card(run, tmp_path):
    log(run, EVALUATED)
    out = tmp_path / "out"
    told = dataclasses.replace(TOLD, data="a few games", hdf5=False)
    publish.publish(run, str(out), told)
    before = load.weights.read_weights(out / "world_model.safetensors")
    told = publish.Told(summary="the same, said better", licence="mit")
    publish.publish(out, str(out), told)
    own = cards.read(out).own
    assert (own["hardware"], own["data"]) == ("an abacus", "a few games")
    assert own["summary"] == "the same, said better"
    assert own["results"][0]["value"] == 2.1235
    after = load.weights.read_weights(out / "world_model.safetensors")
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before)
    assert load.load(out).has_agent


def test_a_model_that_cannot_be_published_leaves_the_folder_as_it_was(
    run, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    publish.publish(run, str(out), TOLD)
    monkeypatch.setattr(preview, "draw", lambda model: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        publish.publish(run, str(out), TOLD)
    assert load.load(out).has_agent
    with pytest.raises(CheckpointError, match="no weights to start from"):
        publish.publish(tmp_path / "none", str(tmp_path / "new"), TOLD)
    assert not (tmp_path / "new").exists()


def test_a_truncated_file_of_a_published_model_is_refused(run, tmp_path):
    publish.publish(run, str(tmp_path / "out"), TOLD)
    file = tmp_path / "out" / "world_model.weights.h5"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="not the file that its card describes"):
        load.load(tmp_path / "out")


def test_an_evaluation_of_its_own_comes_before_that_of_training(run):
    log(run, EVALUATED)
    told = {"task": "minatar_breakout", "return_mean": 3, "return_ci95": [2, 4]}
    (run / "evaluation.json").write_text(json.dumps({**told, "episodes": 100}))
    (found,) = publish.results(run, ("minatar_breakout",))
    assert found["value"] == 3 and found["interval"] == [2, 4]
    assert found["file"] == "evaluation.json"


def test_an_agent_of_several_games_has_the_return_of_each(run):
    games = ("minatar_breakout", "minatar_asterix")
    row = {f"eval_return_mean/{game}": i for i, game in enumerate(games, 1)}
    log(run, {"step": 7, **row, "eval_episodes/minatar_asterix": 20.0})
    assert publish.results(run, games) == [
        {"game": games[0], "metric": "return", "value": 1, "step": 7},
        {"game": games[1], "metric": "return", "value": 2, "episodes": 20, "step": 7},
    ]


def test_a_world_model_has_the_held_out_error_of_each_game(run):
    row = {"step": 9, "eval_model_error": 2.0, "eval_model_error/a": 1.0}
    log(run, row)
    found = publish.results(run, ("a", "b"))
    assert [(x["game"], x["value"]) for x in found] == [("a", 1.0), ("b", 2.0)]


def test_no_figure_is_invented(run):
    (run / "metrics.jsonl").unlink()
    assert publish.results(run, ("a",)) == []


def test_a_folder_of_something_else_is_left_alone(run, tmp_path):
    with pytest.raises(ModelError, match="something else than a published model"):
        publish.publish(run, str(run), TOLD)


def test_a_model_travels_through_the_hub(run, tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_test")
    with fake.serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        url = publish.publish(run, "hf://ada/invaders", TOLD)
        model = load.load("hf://ada/invaders")
        assert model.source == url and "@" in url
        files = server.find("ada/invaders", "main")
        server.push("ada/invaders", {**files, "world_model.safetensors": b"other"})
        assert load.load(url).has_agent
        with pytest.raises(CheckpointError, match="world_model.safetensors is not the"):
            load.load("hf://ada/invaders")

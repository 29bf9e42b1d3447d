"""The analysis of a run, as a process of its own."""

import contextlib
import json
import pathlib

import pytest

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer import commands
from dreamerv2_transfer.analysis import analyze
from dreamerv2_transfer.common import blocks, envs
from dreamerv2_transfer.transfer import weights
from tests import runs

FEW = ["--frames", 300, "--permutations", 9, "--horizon", 3, "--envs", 6]


@pytest.fixture(scope="module")
def logdir(tmp_path_factory) -> pathlib.Path:
    """As pre-training leaves it, but for the training."""
    path = tmp_path_factory.mktemp("run")
    settings = blocks.load_config(["minatar", "debug", "pretrain"])
    settings.save(path / "config.yaml")
    with contextlib.closing(envs.make_env("minatar_breakout")) as env:
        spaces = envs.obs_space(env), envs.act_space(env)
    model = agent_lib.make_world_model(settings, *spaces)
    weights.save_weights(path / weights.WORLD_MODEL, model.components)
    return path


def test_it_writes_figures_and_numbers_and_says_what_it_found(logdir):
    done = runs.run(
        "launch/analyze.py", "--logdir", logdir, "--task", "minatar_breakout", *FEW
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((logdir / "analysis" / "analysis.json").read_text())
    assert result["tasks"]["minatar_breakout"]["policy"] == "random play"
    assert result["findings"][0] in done.stdout
    for figure in result["figures"]:
        assert (logdir / "analysis" / figure["file"]).stat().st_size > 0


def test_results_go_to_a_store(logdir, tmp_path, monkeypatch):
    class Fake:
        def __init__(self, settings, options, directory, *makers):
            self.file = directory / "analysis.json"

        def run(self, tasks):
            self.file.write_text("{}")
            return {"findings": [], "figures": []}

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(analyze, "Analysis", Fake)
    store = tmp_path / "store" / "run" / "analysis"
    args = ["analyze", "--logdir", str(logdir), "--output", store.as_uri()]
    assert commands.main(args) == 0
    assert (store / "analysis.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("given", "games"),
    [
        ([], ["asterix", "breakout", "freeway", "seaquest"]),
        (["--task", "minatar_space_invaders"], ["space_invaders"]),
    ],
)
def test_the_games_are_those_that_the_run_learned(logdir, monkeypatch, given, games):
    asked = []

    class Fake:
        def __init__(self, *args):
            pass

        def run(self, tasks):
            asked.extend(tasks)
            return {"findings": [], "figures": []}

    monkeypatch.setattr(analyze, "Analysis", Fake)
    assert commands.main(["analyze", "--logdir", str(logdir), *given]) == 0
    assert asked == [f"minatar_{game}" for game in games]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "--logdir LOGDIR"),
        (["--logdir", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--logdir", "/nowhere", "--frames", 0], "at least 1. Received: 0"),
        (["--logdir", "/nowhere", "--envs", 2], "at least 3. Received: 2"),
    ],
)
def test_bad_input_is_one_line_that_names_it(args, message):
    done = runs.run("launch/analyze.py", *args)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr

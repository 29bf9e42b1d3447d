"""The whole of an analysis, on small models and games."""

import json
import math

import numpy as np
import pytest

from dreamerv2_transfer import agent as agent_lib
from dreamerv2_transfer.analysis import analyze, players
from dreamerv2_transfer.analysis.models import Models
from dreamerv2_transfer.common import blocks, config, envs
from dreamerv2_transfer.common.errors import UserError

SETTINGS = blocks.load_config(["minatar", "debug", "pretrain"])
VECTORS = SETTINGS.update(
    {
        "encoder": {"mlp_keys": ".*", "cnn_keys": "$^"},
        "decoder": {"mlp_keys": ".*", "cnn_keys": "$^"},
    }
)
OPTIONS = config.Config(
    {
        "frames": 400,
        "clusters": 4,
        "permutations": 9,
        "context": 2,
        "horizon": 3,
        "sequences": 6,
        "seed": 0,
    }
)


def make_env(task):
    return envs.make_vector_env(task, 6)


def run(path, tasks, settings=SETTINGS, with_agent=False):
    def make_models(env):
        spaces = envs.obs_space(env), envs.act_space(env)
        fresh = settings.update(seed=9)
        untrained = agent_lib.make_world_model(fresh, *spaces)
        if with_agent:
            agent = agent_lib.make_agent(settings, *spaces)
            return Models(agent.wm, untrained, agent)
        return Models(agent_lib.make_world_model(settings, *spaces), untrained)

    def make_player(env, task, models):
        return players.random(env, task, 0)

    stage = analyze.Analysis(
        settings, OPTIONS, path, make_env, make_models, make_player
    )
    return stage.run(tasks)


def read(path):
    def refuse(constant):
        raise ValueError(constant)

    text = (path / "analysis.json").read_text()
    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Of two games, with an agent."""
    path = tmp_path_factory.mktemp("analysis")
    tasks = ["minatar_breakout", "minatar_asterix"]
    return path, run(path, tasks, with_agent=True)


def test_the_file_holds_what_is_returned_and_no_nan(both):
    path, result = both
    assert read(path) == result
    assert list(result) == ["settings", "tasks", "transfer", "findings", "figures"]
    assert result["settings"]["frames"] == 400


def test_each_figure_is_there_and_described(both):
    path, result = both
    named = [x["file"] for x in result["figures"]]
    written = {p.name for p in path.iterdir()} - {"analysis.json"}
    assert len(named) == len(set(named)) and set(named) == written
    assert all(x["title"] and x["caption"].endswith(".") for x in result["figures"])
    for name in named:
        magic = b"GIF8" if name.endswith(".gif") else b"\x89PNG"
        assert (path / name).read_bytes()[:4] == magic


def test_both_games_are_analysed_and_compared(both):
    _, result = both
    assert list(result["tasks"]) == ["minatar_breakout", "minatar_asterix"]
    shared = result["transfer"]["trained"]["player_x"]["games"]
    assert shared == ["minatar_breakout", "minatar_asterix"]
    told = "\n".join(result["findings"])
    assert "minatar_asterix: held-out R2" in told and "player_x in minatar_b" in told


def test_a_game_has_its_numbers_for_each_kind_of_features(both):
    found = both[1]["tasks"]["minatar_breakout"]
    assert found["named"] and found["frames"] >= 400 and found["variables"] == 7
    assert set(found["probes"]["ball_y"]) == {"trained", "untrained"}
    for kind in ("trained", "untrained", "random"):
        assert len(found["canonical"][kind]) == 1
        assert 0 < found["best_feature"][kind]["train_p"] <= 1
    assert set(found["events"]["episode_ends"]) == {"trained", "untrained", "random"}
    assert sum(found["cluster_sizes"]) == pytest.approx(1, abs=1e-4)


def test_dreams_have_errors_beside_baselines(both):
    found = both[1]["tasks"]["minatar_breakout"]["dreams"]
    assert found["horizon"] == 3 and found["sequences"] == 6
    assert found["unit"] == "wrong cells an image"
    for curve in found["error"].values():
        assert len(curve["mean"]) == 3
        assert all(np.less_equal(curve["low"], curve["mean"]))
    # Paddle, ball and trail move; 30 bricks and these are all that is in an image.
    assert 1 < found["error"]["last frame repeated"]["mean"][0] < 7
    assert found["error"]["untrained model"]["mean"][0] == pytest.approx(33, abs=3)


def test_an_actor_dreams_without_a_truth(both):
    names = [x["file"] for x in both[1]["figures"]]
    assert "minatar_breakout_actor.png" in names


def test_the_same_seed_gives_the_same_numbers(both, tmp_path):
    again = run(tmp_path, ["minatar_breakout"], with_agent=True)
    assert again["tasks"]["minatar_breakout"] == both[1]["tasks"]["minatar_breakout"]
    assert again["transfer"] is None


def test_without_names_and_images_the_rest_is_done(tmp_path):
    result = run(tmp_path, ["gym_CartPole-v1"], VECTORS)
    found = result["tasks"]["gym_CartPole-v1"]
    assert not found["named"] and {*found["probes"]} == {"reward", "score", "step"}
    assert found["canonical"]["variables"] == ["score", "step"]
    assert "predicts no images" in found["dreams"]["skipped"]
    assert "no named variables" in result["findings"][0]


def test_games_of_other_spaces_cannot_be_analysed_together(tmp_path):
    with pytest.raises(UserError, match="Received: gym_CartPole-v1"):
        run(tmp_path, ["minatar_breakout", "gym_CartPole-v1"])


def test_numbers_become_plain():
    found = analyze.plain(
        {
            "a": np.float32(1 / 3),
            "b": (math.nan, np.int64(2)),
            "c": np.array([math.inf]),
        }
    )
    assert found == {"a": 0.3333, "b": [None, 2], "c": [None]}

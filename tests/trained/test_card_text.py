import pytest

from dreamerv2_transfer.trained import card_text, publish
from dreamerv2_transfer.transfer import cards
from tests import models, runs

RESULT = {
    "game": "minatar_breakout",
    "metric": "return",
    "value": 2.5,
    "interval": [2.0, 3.0],
    "episodes": 20,
    "step": 1000,
}


def about(**changes):
    told = {
        "name": "breakout",
        "source": "",
        "told": publish.Told(),
        "config": models.make_config(stage="finetune"),
        "kind": "agent",
        "games": ["minatar_breakout"],
        "steps": 1000,
        "version": "0.2.0",
        "published_by": "0.3.0",
        "data": "what it played",
        "results": [RESULT],
        "files": {"preview.gif": {"sha256": "0" * 64, "bytes": 3}},
    }
    return card_text.About(**{**told, **changes})


def test_the_metadata_is_that_of_hugging_face():
    told = card_text.metadata(about())
    assert told["library_name"] == "dreamerv2_transfer"
    assert told["license"] == "mit"
    (index,) = told["model-index"]
    (result,) = index["results"]
    assert result["dataset"]["name"] == "minatar_breakout"
    assert result["metrics"] == [
        {
            "type": "mean_reward",
            "name": "return",
            "value": 2.5,
            "args": {"ci95": [2.0, 3.0]},
        }
    ]


def test_a_card_is_read_again(tmp_path):
    (tmp_path / "README.md").write_text(card_text.write(about()))
    card = cards.read(tmp_path)
    assert card.summary == "agent of minatar_breakout, 1,000 updates"
    assert card.own["results"] == [RESULT]
    assert "&id" not in (tmp_path / "README.md").read_text()


def test_the_text_has_figures_with_their_intervals():
    text = card_text.text(about())
    row = "| minatar_breakout | return | 2.5 | 2 to 3, 20 episodes | step 1,000 |"
    assert row in text.splitlines()
    assert "![preview](preview.gif)" in text
    assert "hardware: not recorded" in text.lower()
    assert 'model = dt.load("breakout")  # or its path' in text


def test_a_card_on_the_hub_loads_its_own_repository():
    text = card_text.text(about(source="hf://ada/breakout"))
    assert 'model = dt.load("hf://ada/breakout")\n' in text


@pytest.mark.parametrize("kind", ["agent", "DQN"])
def test_what_an_agent_acts_on_is_an_observation_of_its_game(kind):
    code = card_text.text(about(kind=kind)).split("```python\n")[1].split("```")[0]
    game = 'games.make_game("minatar_breakout", model.config)'
    asks = f"observation, _ = {game}.reset(seed=0)\n"
    acts = "action, state = model.agent.act(observation)\n"
    assert code.endswith(asks + acts)


def test_an_environment_that_only_its_owner_makes_is_asked_for():
    text = card_text.text(about(games=["CartPole-v1"]))
    assert "observation, _ = YOUR_ENVIRONMENT.reset(seed=0)\n" in text


def test_the_code_of_a_card_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("minatar_small_breakout", "minatar_dqn_breakout"):
        text = (runs.ROOT / "models" / name / "README.md").read_text()
        found = {}
        exec(text.split("```python\n")[1].split("```")[0], found)
        assert found["action"] in range(6)
    assert (tmp_path / "dream.gif").read_bytes()[:4] == b"GIF8"


def test_a_single_run_without_an_interval_says_so():
    loss = {k: v for k, v in RESULT.items() if k != "interval"}
    assert "none: a single run" in card_text.text(about(results=[loss]))
    assert "no evaluation" in card_text.text(about(results=[]))


def test_a_dqn_is_trained_by_its_own_command():
    assert "dreamerv2-transfer train-dqn --configs" in about(kind="DQN").command
    assert "model.imagine" not in card_text.text(about(kind="DQN"))

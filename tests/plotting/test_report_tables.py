"""The report's tables of runs, gains and claims."""

import pathlib

import numpy as np

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.plotting import report_tables, tables
from dreamerv2_transfer.plotting.aggregates import Aggregate
from dreamerv2_transfer.plotting.claims import Claim
from dreamerv2_transfer.plotting.pairs import Pair
from dreamerv2_transfer.plotting.runs import Run
from dreamerv2_transfer.plotting.statistics import Estimate
from dreamerv2_transfer.plotting.tables import Badge, Name

CONFIG = blocks.load_config(["minatar", "debug", "scratch"])
PRETRAIN = blocks.load_config(["minatar", "debug", "pretrain"])


def make_run(name="run", config=CONFIG, level=2.5, metric="train_return", **changes):
    held = {metric: (np.array([0.0, 5000.0]), np.array([1.0, level]))}
    changed = config and config.update(changes)
    return Run(name, pathlib.Path(name), changed, held)


def test_a_run_is_summed_up_by_what_it_logged_last():
    assert report_tables.summary(make_run()) == {
        "name": "run",
        "task": "minatar_space_invaders",
        "arm": "scratch",
        "seed": "0",
        "step": 5000,
        "levels": [2.5, *[None] * 7],
    }


def test_what_is_compared_is_counted():
    found = [
        make_run("a"),
        make_run("b", seed=1),
        make_run("c", PRETRAIN, tasks=("minatar_breakout", "minatar_space_invaders")),
    ]
    assert report_tables.facts(found) == [
        ("Runs", "3"),
        ("Games", "2"),
        ("Arms", "2"),
        ("Seeds per arm and game", "1 to 2"),
        ("Last step", "5,000"),
    ]
    assert report_tables.facts(found[:2])[3] == ("Seeds per arm and game", "2")


def test_runs_stand_below_their_arm_with_its_mean():
    found = [
        make_run("a"),
        make_run("b", None, 30.0, "model_error"),
        make_run("c", level=3.5, seed=1),
    ]
    table = report_tables.runs(found, {"scratch": 1})
    assert table.headings == (
        "run",
        "seed",
        "last step",
        "return of training episodes",
        "model error (nats a step)",
    )
    scratch = Name("Space Invaders (MinAtar): from scratch", 1)
    assert [(row.is_heading, row.cells) for row in table.rows] == [
        (True, (scratch, "mean", "", "3", "-")),
        (False, ("a", "0", "5,000", "2.5", "-")),
        (False, ("c", "1", "5,000", "3.5", "-")),
        (True, (Name("unknown game: b"), "", "", "", "")),
        (False, ("b", "b", "5,000", "-", "30")),
    ]


def compared(task, arm, value):
    estimate = {"value": value, "low": value - 0.5, "high": value + 0.5}
    unknown = {"value": None, "low": None, "high": None}
    steps = {**unknown, "reached": 1, "by_seed": [None, 3.0]}
    return {
        "task": task,
        "metric": "train_return",
        "arm": arm,
        "seeds": {"transfer": 2, "scratch": 3},
        "area_ratio": estimate,
        "jump_start": estimate,
        "asymptotic_difference": unknown,
        "threshold": 7.0,
        "steps_to_threshold": steps,
        "steps_to_threshold_scratch": steps,
    }


def test_gains_stand_below_their_game_with_a_verdict():
    found = [
        compared("minatar_seaquest", "pretrained", 2.0),
        compared("minatar_seaquest", "dqn", 1.2),
        compared("other", "pretrained", 0.4),
    ]
    table = report_tables.gains(found, {"pretrained": 0})
    first, one, two, second, three = table.rows
    assert first.is_heading and second.is_heading
    assert first.cells == ("Seaquest (MinAtar): return of training episodes",)
    assert second.cells == ("other: return of training episodes",)
    assert one.cells[:2] == (Name("pre-trained", 0), Badge("better", "good"))
    assert two.cells[:2] == (Name("DQN"), Badge("not settled", "open"))
    assert three.cells[1] == Badge("worse", "bad")
    assert one.cells[2].text == "2 (1.5 to 2.5)" and one.cells[2].low > 50
    assert one.cells[3:] == (
        "2\N{NO-BREAK SPACE}vs\N{NO-BREAK SPACE}3 (97%)",
        "2 (1.5 to 2.5)",
        "-",
        "7",
        "reached by 1 of 2",
        "reached by 1 of 2",
    )
    assert len(table.headings) == len(one.cells)
    assert report_tables.gains([], {}) is None


def test_claims_stand_below_their_game_with_the_papers_ratio():
    estimate = Estimate(2.0, 1.5, 3.0)
    claim = Claim("other", "model_error", "pretrained", 5000, 2.5, estimate, (3, 3))
    heading, row = report_tables.paper([claim], {}).rows
    assert heading.cells == ("other: model error (nats a step)",)
    name, badge, ours, *rest = row.cells
    assert (name, badge) == (Name("pre-trained"), Badge("agrees", "good"))
    scale = tables.Scale([3.0])
    assert ours.other == scale.position(2.5) and ours.value == scale.position(2.0)
    seeds = "3\N{NO-BREAK SPACE}vs\N{NO-BREAK SPACE}3 (97%)"
    assert rest == ["2.50", "5,000", seeds]
    assert report_tables.paper([], {}) is None


def test_arms_on_other_games_have_a_heading_of_their_own():
    def together(arm, *games):
        middle = Estimate(1.4, 1.1, 1.8)
        return Aggregate("train_return", arm, games, (3, 3), middle, middle, 2, {})

    made = [
        together("pretrained", "minatar_seaquest", "minatar_asterix"),
        together("dqn", "minatar_breakout", "minatar_asterix"),
        together("offline", "minatar_seaquest", "minatar_asterix"),
    ]
    (table,) = report_tables.aggregates(made, [], {})
    texts = [getattr(row.cells[0], "text", row.cells[0]) for row in table.rows]
    assert texts == [
        "2 games (Seaquest, Asterix): return of training episodes",
        "pre-trained",
        "offline, in dreams alone",
        "2 games (Breakout, Asterix): return of training episodes",
        "DQN",
    ]


def test_several_games_and_pairs_have_tables_of_their_own():
    together = Aggregate(
        metric="train_return",
        arm="pretrained",
        games=("a", "b"),
        seeds=(3, 3),
        interquartile_mean=Estimate(1.4, 1.1, 1.8),
        improvement=Estimate(0.9, 0.7, 1.0),
        better=2,
        profiles={},
    )
    ratio, by_model = Estimate(0.9, 0.7, 1.1), (0.8, 1.0)
    pair = Pair("other", "train_return", "frozen_cell", ratio, by_model, higher=0)
    games, pairs = report_tables.aggregates([together], [pair], {"pretrained": 1})
    heading, row = games.rows
    assert heading.cells == ("2 games: return of training episodes",)
    assert row.cells[:2] == (Name("pre-trained", 1), Badge("better", "good"))
    assert row.cells[2].text == "1.40 (1.10 to 1.80)"
    assert row.cells[3:] == ("3 (95%)", "0.90 (0.70 to 1.00)", "2 of 2")
    assert len(games.headings) == len(row.cells)
    _, row = pairs.rows
    assert row.cells[0] == Name("pre-trained, cell frozen")
    assert len(row.cells[1].seeds) == 2
    assert row.cells[2:] == ("2 (94%)", "0 of 2")
    assert len(pairs.headings) == len(row.cells)
    assert report_tables.aggregates([], [], {}) == []

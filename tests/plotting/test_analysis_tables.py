"""The numbers of an analysis as tables."""

import pytest

from dreamerv2_transfer.analysis import dream_errors, findings
from dreamerv2_transfer.plotting import analysis_tables, tables


def score(r2, low, high):
    return {"r2": r2, "low": low, "high": high}


def probe(trained, untrained):
    return {"trained": score(*trained), "untrained": score(*untrained)}


def event(share, p, rates):
    trained = {"share": share, "p_adjusted": p, "rate": 0.1, "rates": rates}
    return {"trained": trained, "untrained": {"share": 0.02}}


def correlated(test):
    return {"test_r": test, "test_p": 0.002, "train_r": 0.6, "null_max": 0.2}


GAME = {
    "policy": "random play",
    "frames": 2000,
    "episodes": 40,
    "variables": 3,
    "named": True,
    "clusters": 4,
    "probes": {
        "player_x": probe((0.4, 0.3, 0.5), (0.1, 0.0, 0.2)),
        "player_y": probe((0.8, 0.7, 0.9), (0.75, 0.6, 0.85)),
    },
    "events": {
        "reward": event(0.05, 0.6, [0.2, 0.1, None, 0.0]),
        "enemy_goes": event(0.3, 0.01, [0.1, 0.5, 0.1, 0.0]),
    },
    "best_feature": {
        "variable": "player_x",
        "features": 1280,
        "shuffles": 500,
        "trained": correlated(-0.56),
        "untrained": correlated(0.2),
        "random": correlated(0.01),
    },
    "canonical": {
        "variables": ["player_x", "player_y"],
        "trained": [0.9, 0.7],
        "untrained": [0.5, 0.4],
        "random": [0.0, -0.01],
    },
    "dreams": {
        "horizon": 3,
        "sequences": 20,
        "unit": "wrong cells an image",
        "error": {
            "model": {"mean": [1.0, 2.0, 3.0]},
            "last frame repeated": {"mean": [0.5, 2.5, 4.0]},
            "mean of all frames": {"mean": [3.0, 3.0, 3.5]},
        },
        "better": {"last frame repeated": [2, 3], "mean of all frames": [1, 2, 3]},
    },
}
SKIPPED = {**GAME, "dreams": {"skipped": "no dreams."}, "probes": {}, "events": {}}
SKIPPED = {k: v for k, v in SKIPPED.items() if k not in ("best_feature", "canonical")}


def test_the_overview_has_a_row_per_game():
    games = {"minatar_seaquest": GAME, "other": SKIPPED}
    first, second = analysis_tables.overview(games).rows
    assert first.cells == (
        "Seaquest (MinAtar)",
        tables.Bar("1 of 2", 50.0),
        tables.Bar("1 of 2", 50.0),
        "1 of 2",
        tables.Bar("2 of 3", 66.67),
        tables.Bar("3 of 3", 100.0),
    )
    assert second.cells[1] == second.cells[2] == tables.Bar("0 of 0", 0.0)
    assert second.cells[0] == "other" and second.cells[3:] == ("0 of 0", "-", "-")


def test_a_probe_without_an_interval_is_shown_and_not_compared():
    alone = probe((0.9, None, None), (0.1, None, None))
    unsure = {**GAME, "probes": {"enemies": alone}}
    some = {**GAME, "probes": {**GAME["probes"], "enemies": alone}}
    analysis_tables.SCHEMA.check({"tasks": {"a": {**some, "events": {}}}})
    first, second = analysis_tables.overview({"a": unsure, "b": some}).rows
    assert first.cells[1:3] == (tables.Bar("1 of 1", 100.0), "no interval")
    assert second.cells[1:3] == (tables.Bar("2 of 3", 66.67), tables.Bar("1 of 2", 50))
    row, *_ = analysis_tables.probes(some["probes"]).rows
    assert row.cells == (
        "enemies",
        tables.Bar("0.90", 90.0, 10.0),
        "no interval",
        "0.10",
    )


def test_a_sentence_says_what_was_measured():
    assert analysis_tables.measured(GAME) == (
        "2,000 frames of 40 episodes of random play; 3 variables read from the game. "
        "All numbers are of held-out episodes."
    )
    assert "only reward, score and step" in analysis_tables.measured(
        {**GAME, "named": False}
    )


def test_a_game_has_a_table_of_each_kind_that_was_measured():
    assert [table.title for table in analysis_tables.of_game(GAME)] == [
        "What a linear probe reads",
        "What 4 clusters of features tell",
        "The feature closest to player x",
        "How far dreams come true",
    ]
    assert [*analysis_tables.of_game(SKIPPED)] == []


def test_variables_are_ranked_by_how_well_they_are_read():
    first, second = analysis_tables.probes(GAME["probes"]).rows
    assert first.cells == (
        "player y",
        tables.Bar("0.80", 80.0, 75.0),
        "0.70 to 0.90",
        "0.75",
    )
    assert second.cells[0] == "player x"


def test_events_are_ranked_and_their_cluster_is_named():
    first, second = analysis_tables.events(GAME["events"], 4).rows
    assert first.cells == (
        "enemy goes",
        tables.Bar("30%", 30.0, 2.0),
        "50% in no. 1",
        "10.0%",
        "0.010",
    )
    assert second.cells[2] == "20% in no. 0"


def test_the_single_feature_stands_beside_canonical_correlations():
    table = analysis_tables.single(GAME["best_feature"], GAME["canonical"])
    trained, _, random = [row.cells for row in table.rows]
    assert trained == ("trained", "-0.56", "0.002", "0.60", "0.20", "0.90", "0.70")
    assert random[0] == "random" and random[-1] == "-0.01"
    assert table.headings[1:5] == ("r", "p", "r in training", "largest |r| by chance")
    assert len(table.headings) == 7


def test_dreams_show_errors_at_some_steps_and_where_the_model_is_better():
    table = analysis_tables.dreams(GAME["dreams"])
    assert table.headings == (
        "prediction",
        "step 1",
        "step 3",
        "model is better",
    )
    model, last, mean = [row.cells for row in table.rows]
    assert model == ("model", "1.00", "3.00", "")
    assert last[1:] == ("0.50", "4.00", tables.Bar("2 of 3", 66.67))
    assert mean[3] == tables.Bar("3 of 3", 100.0)


def test_games_are_compared_off_the_diagonal():
    found = {
        "games": ["a", "b"],
        "r": [[0.9, 0.3], [0.5, 0.7]],
        "r2": [[0.8, -3], [-3, 0.4]],
        "cosine": [[1, 0.1], [0.3, 1]],
        "others_r": [0.3, 0.5],
        "joint_r2": [0.5, 0.7],
    }
    numbers = {"trained": {"player_x": found}, "untrained": {}}
    (row,) = analysis_tables.across_games(numbers).rows
    assert row.cells == (
        "player x",
        "2",
        "0.80",
        tables.Bar("0.40", 40.0),
        "0.30 to 0.50",
        "-",
        "0.40",
        "0.60",
        "0.60",
        "0.20",
    )


@pytest.mark.parametrize("numbers", [None, {}, {"trained": {}, "untrained": {}}])
def test_one_game_is_not_compared(numbers):
    assert analysis_tables.across_games(numbers) is None


def test_names_and_limits_are_those_of_the_analysis():
    assert analysis_tables.READABLE == findings.READABLE
    assert analysis_tables.SIGNIFICANT == findings.SIGNIFICANT
    assert analysis_tables.LAST_FRAME == dream_errors.LAST_FRAME
    assert analysis_tables.MEAN_FRAME == dream_errors.MEAN_FRAME

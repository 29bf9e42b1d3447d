"""What is said about numbers."""

import math

from dreamerv2_transfer.analysis import findings


def probe(r2, low, high):
    return {"r2": r2, "low": low, "high": high}


def best(r, p):
    values = {"feature": 4, "train_r": r, "test_r": r, "train_p": p, "test_p": p}
    return {**values, "null_max": 0.2}


def event(p, share=0.5):
    found = {"share": share, "p_adjusted": p, "rates": [0.0, 0.8], "rate": 0.1}
    return {"trained": found, "untrained": found | {"share": 0.01}}


def numbers(**changed):
    curve = {"mean": [1.0, 2.0, 3.0]}
    return {
        "policy": "random play",
        "frames": 2000,
        "episodes": 50,
        "variables": 7,
        "named": True,
        "clusters": 2,
        "probes": {
            "player_x": {
                "trained": probe(0.9, 0.8, 0.95),
                "untrained": probe(0.2, 0.1, 0.3),
            },
            "ball_x": {
                "trained": probe(0.05, 0.0, 0.3),
                "untrained": probe(0.0, -0.1, 0.1),
            },
        },
        "events": {"reward": event(0.01), "loss": event(0.4)},
        "best_feature": {
            "variable": "player_x",
            "features": 384,
            "shuffles": 500,
            "trained": best(0.7, 0.002),
            "untrained": best(0.2, 0.5),
            "random": best(0.1, 0.9),
            "ratio_to_random": 7.0,
            "ratio_to_untrained": 3.5,
        },
        "canonical": {
            "variables": ["player_x"],
            "trained": [0.9],
            "untrained": [0.3],
            "random": [0.0],
        },
        "dreams": {
            "horizon": 3,
            "wanted_horizon": 3,
            "sequences": 9,
            "error": {
                "model": curve,
                "last frame repeated": curve,
                "mean of all frames": curve,
            },
            "better": {"last frame repeated": [1, 2, 3], "mean of all frames": [1]},
        },
        **changed,
    }


def told(**changed):
    return "\n".join(findings.of_game("game", numbers(**changed)))


def test_every_line_names_its_game():
    assert all(x.startswith("game: ") for x in findings.of_game("game", numbers()))


def test_probes_are_told_by_how_well_they_read():
    text = told()
    assert "readable: player_x 0.90 (0.20); not (below 0.1): ball_x 0.05 (0.00)" in text
    assert "training makes 1 of 2 variables easier to read" in text


def test_a_variable_without_intervals_is_not_counted_as_no_easier_to_read():
    unsure = {
        "player_x": {
            "trained": probe(0.9, math.nan, math.nan),
            "untrained": probe(0.1, math.nan, math.nan),
        }
    }
    text = told(probes=unsure)
    assert "training makes 0" not in text and "do not overlap" not in text
    assert (
        "whether training makes variables easier to read is not known: there are no "
        "intervals, for too few held-out episodes." in text
    )
    assert (
        "training makes 1 of 2 variables easier to read (the 95% intervals do not "
        "overlap; 1 more without, for too few held-out episodes)."
        in told(probes=numbers()["probes"] | {"other": unsure["player_x"]})
    )


def test_events_are_told_when_the_test_says_so():
    text = told()
    assert "the 2 clusters say more than chance would about reward (50%" in text
    assert "about reward (50% of its entropy, untrained 1%; 80% of" in text
    assert "nothing was found in the clusters about loss" in text
    nothing = told(events={"loss": event(0.4)})
    assert "say more than chance would about no event" in nothing


def test_a_feature_counts_only_where_both_tests_say_so():
    assert "so this is more than chance" in told()
    weak = numbers()["best_feature"]
    weak["trained"] = best(0.7, 0.002) | {"test_p": 0.3}
    assert "so this may be chance" in told(best_feature=weak)


def test_correlations_are_told_with_their_signs():
    signed = numbers()["best_feature"]
    signed["trained"] = best(0.7, 0.002) | {"test_r": -0.7, "test_p": 1.0}
    signed["untrained"] = best(-0.2, 0.5) | {"test_r": 0.1}
    text = told(best_feature=signed)
    assert "r -0.70 on held-out episodes, p 1.000: so this may be chance" in text
    assert "that of an untrained model (r -0.20, held out 0.10)" in text


def test_what_is_missing_is_said():
    less = numbers(named=False, probes={}, events={}, dreams={"skipped": "no images."})
    del less["best_feature"], less["canonical"]
    text = "\n".join(findings.of_game("game", less))
    assert "no named variables" in text and "no images." in text
    assert "no variable changes enough" in text


def test_steps_are_told_as_ranges():
    text = told()
    assert "better than repeating the last frame at all 3 steps" in text
    assert "the mean of all frames at step 1 of 3" in text
    assert findings.step_ranges([], 5) == "at no step"
    assert findings.step_ranges([2, 3, 5], 5) == "at steps 2 to 3 and 5 of 5"
    assert findings.step_ranges([1, 3, 5, 7], 9) == "at 4 of 9 steps"


def across(away):
    matrix = [[0.9, away], [away, 0.9]]
    found = {
        "games": ["a", "b"],
        "r": matrix,
        "r2": [[0.8, 0.1], [0.1, 0.8]],
        "p": [[0.01, 0.01], [0.2, 0.01]],
        "cosine": [[1.0, 0.3], [0.3, 1.0]],
        "others_r": [away, away],
        "joint_r2": [0.7, 0.5],
    }
    return {"trained": {"player_x": found}, "untrained": {}}


def test_directions_are_called_the_same_by_what_a_probe_keeps():
    same, partly, different = (
        findings.of_games(across(r))[-1] for r in (0.8, 0.4, 0.1)
    )
    assert "keeps 89% of its correlation" in same
    assert "mostly along the same directions" in same
    assert "partly along the same directions" in partly
    assert "mostly along different directions" in different


def test_games_with_nothing_in_common_are_said_to_have_nothing():
    found = findings.of_games({"trained": {}, "untrained": {}})
    assert found == [
        "The games have no variable in common that changes in two of them."
    ]


def test_a_shared_variable_tells_how_many_pairs_are_beyond_chance():
    line = findings.of_games(across(0.4))[0]
    assert "another game with 0.40 (0.40 to 0.40, 1 of 2 beyond chance" in line
    assert "one probe for all games has a mean R2 of 0.60, their own 0.80" in line

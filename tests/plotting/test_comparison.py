"""Runs compared, as text and as JSON."""

import json
import pathlib

import numpy as np
import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.plotting import comparison, panels, runs
from dreamerv2_transfer.plotting.comparison import Comparison
from dreamerv2_transfer.plotting.panels import Selection
from dreamerv2_transfer.plotting.views import View

SCRATCH = blocks.load_config(["minatar", "debug", "scratch"])
TUNED = blocks.load_config(["minatar", "debug", "finetune"])


def make_run(name, config, level, end=5000.0):
    series = np.array([0.0, end]), np.array([level, level])
    notes = (f"{name}: damaged.",)
    return runs.Run(
        name, pathlib.Path("/x") / name, config, {"train_return": series}, notes
    )


FOUND = [
    make_run("a", SCRATCH, 1.0),
    make_run("b", SCRATCH.update(seed=1), 3.0, end=4000.0),
    make_run("c", TUNED, 5.0),
]


def compare(**options):
    made, _ = panels.make(FOUND, Selection(), View(**options), behind=True)
    return Comparison(FOUND, made)


def test_the_json_holds_runs_curves_and_gains():
    numbers = compare().numbers()
    assert list(numbers) == [
        "runs",
        "curves",
        "transfer",
        "games",
        "pairs",
        "paper",
    ]
    assert numbers["runs"][1] == {
        "name": "b",
        "folder": "/x/b",
        "task": "minatar_space_invaders",
        "arm": "scratch",
        "seed": "1",
        "notes": ("b: damaged.",),
    }
    scratch, pretrained = numbers["curves"]
    assert (scratch["arm"], scratch["runs"]) == ("scratch", ["a", "b"])
    assert scratch["steps"] == [0, 4000, 5000] and scratch["mean"] == [2, 2, 1]
    assert scratch["low"] == pytest.approx([2 - 12.7062] * 2 + [None]) and scratch[
        "count"
    ] == [2, 2, 1]
    assert pretrained["mean"] == [5, 5] and pretrained["high"] == [None, None]
    (gain,) = numbers["transfer"]
    assert gain["arm"] == "pretrained" and gain["area_ratio"]["value"] == 2.5


def test_without_a_band_the_json_holds_each_line():
    scratch, _ = compare(agg="none").numbers()["curves"]
    assert scratch["lines"] == [[[0, 5000], [1, 1]], [[0, 4000], [3, 3]]]


def test_the_file_is_json_without_nan(tmp_path):
    compare().save(tmp_path / "numbers.json")
    text = (tmp_path / "numbers.json").read_text()
    assert "NaN" not in text and text.endswith("\n")
    assert json.loads(text)["transfer"][0]["end"] == 4000


def test_tables_are_of_gains_and_where_curves_reach_a_step_of_claims():
    (gains,) = compare().tables()
    title, headings, row = gains.splitlines()
    assert title.startswith("Against training from scratch")
    assert headings.split()[:3] == ["task", "metric", "arm"]
    assert row.split()[:3] == ["minatar_space_invaders", "train_return", "pretrained"]
    long = [FOUND[0], FOUND[2]]
    made, _ = panels.make(long, behind=True)
    _, claims = Comparison(long, made).tables()
    assert claims.splitlines()[0].endswith("the paper's and ours:")
    assert "5,000" in claims and "1 against 1" in claims


def test_runs_alone_have_no_tables():
    made, _ = panels.make(FOUND[:2])
    assert Comparison(FOUND[:2], made).tables() == []


def test_all_that_is_wrong_is_told_of_both_kinds_of_folders(tmp_path):
    one = tmp_path / "one"
    layout = tmp_path / "in" / "atari_pong" / "mine" / "7"
    for folder in (one, layout, tmp_path / "in" / "empty"):
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n')
    (tmp_path / "in" / "empty" / "metrics.jsonl").write_text("")
    found, notes = comparison.read([str(one)], [str(tmp_path / "in")])
    assert [(run.name, run.layout) for run in found] == [
        ("one", None),
        ("in/atari_pong/mine/7", ("atari_pong", "mine", "7")),
    ]
    assert [note.split(" ")[0] for note in notes] == [
        "Left",
        "one",
        "in/atari_pong/mine/7",
    ]


def test_a_run_that_both_options_name_counts_once_by_its_layout(tmp_path):
    for name in ("one", "in/atari_pong/mine/7"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n')
    found, _ = comparison.read([str(tmp_path)], [str(tmp_path / "in")])
    assert {run.folder.name: run.layout for run in found} == {
        "one": None,
        "7": ("atari_pong", "mine", "7"),
    }
    assert len(found) == 2

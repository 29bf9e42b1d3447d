"""What is remembered of jobs."""

import json
import pathlib

import pytest

from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.ledger import Ledger


def job(name="a", args=("x",), needs=(), units=4.0):
    return Job(name, "train", args, tuple(needs), pathlib.Path("/x"), units, "unit")


def read(folder):
    return json.loads((folder / "reproduce.json").read_text())


def test_what_is_done_is_remembered_with_its_cost(tmp_path):
    Ledger(tmp_path).finish(job(), 10.0)
    assert read(tmp_path) == {
        "a": {
            "command": ["train", "x"],
            "needs": [],
            "seconds": 10.0,
            "units": 4.0,
            "unit": "unit",
        }
    }
    assert Ledger(tmp_path).is_done(job())
    assert Ledger(tmp_path).costs() == {"unit": 2.5}


def test_another_command_and_other_needs_are_not_done(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.finish(job(), 10.0)
    assert not ledger.is_done(job(args=("y",)))
    assert not ledger.is_done(job(needs=["b"]))
    assert not ledger.is_done(job("b"))


def test_a_study_of_the_first_release_without_needs_stays_done(tmp_path):
    entry = {"command": ["train", "x"], "seconds": 1.0, "units": 4, "unit": "unit"}
    (tmp_path / "reproduce.json").write_text(json.dumps({"a": entry}))
    assert Ledger(tmp_path).is_done(job(needs=["b"]))


def test_a_job_that_was_stopped_costs_all_of_its_parts(tmp_path):
    for seconds in (100.0, 20.0):
        Ledger(tmp_path).stop(job(), seconds)
    ledger = Ledger(tmp_path)
    assert not ledger.is_done(job()) and ledger.costs() == {}
    ledger.finish(job(), 3.0)
    assert ledger.finished() == {"a": {"units": 4.0, "unit": "unit", "seconds": 123.0}}


def test_the_parts_of_another_command_do_not_count(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.stop(job(args=("y",)), 100.0)
    ledger.finish(job(), 3.0)
    assert ledger.finished()["a"]["seconds"] == 3.0


def test_costs_are_of_all_jobs_together(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.finish(job("a", units=1), 10.0)
    ledger.finish(job("b", units=3), 2.0)
    assert ledger.costs() == {"unit": 3.0}


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_a_damaged_file_counts_as_empty(tmp_path, text):
    (tmp_path / "reproduce.json").write_text(text)
    ledger = Ledger(tmp_path)
    assert not ledger.is_done(job()) and ledger.costs() == {}


def test_seconds_are_known_of_a_job_that_is_done_or_was_stopped(tmp_path):
    ledger = Ledger(tmp_path, "jobs.json")
    assert ledger.seconds(job()) == ledger.spent(job()) == 0
    ledger.stop(job(), 5.0)
    assert ledger.seconds(job()) == ledger.spent(job()) == 5
    ledger.finish(job(), 2.0)
    again = Ledger(tmp_path, "jobs.json")
    assert again.seconds(job()) == 7 and again.spent(job()) == 0

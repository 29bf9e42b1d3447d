"""The plan as a person reads it."""

import pathlib

import pytest

from dreamerv2_transfer.reproduction import costs
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.ledger import Ledger

SMALL = ("minatar", "small")
UNIT = "update of an agent"


def job(name, units, needs=(), unit=UNIT):
    return Job(name, "train", (), tuple(needs), pathlib.Path("/x"), units, unit)


def lines(jobs, folder, ledger=None, blocks=SMALL, parallel=1):
    ledger = ledger or Ledger(folder)
    return costs.describe(jobs, folder, ledger, blocks, parallel).splitlines()


def test_a_plan_tells_the_work_the_minutes_and_the_disk(tmp_path):
    made = [job("a", 40_000), job("b", 40_000, "cdef")]
    study = tmp_path / "not" / "there"
    title, headings, a, b, last = lines(made, study, parallel=2)
    assert title == f"2 jobs in {study}:"
    assert headings.split() == ["job", "work", "minutes", "needs"]
    assert a.split() == ["a", "40,000", "x", *UNIT.split(), "60.0"]
    assert b.endswith("60.0     c, d, e, ...")
    assert last.startswith("About 1.0 hours, 2 at a time (guessed from another")
    assert "0.5 GiB of disk" in last


def test_a_plan_of_less_than_an_hour_tells_minutes(tmp_path):
    *_, last = lines([job("a", 400)], tmp_path)
    assert last.startswith("About 0.6 minutes, 1 at a time")


def test_larger_models_take_longer(tmp_path):
    *_, last = lines([job("a", 40_000)], tmp_path, blocks=("minatar",))
    assert last.startswith("About 25.0 hours, 1 at a time")


@pytest.mark.parametrize(
    "blocks", [("atari", "small"), ("atari", "small_v1"), ("minatar", "debug")]
)
def test_the_time_of_sizes_that_were_never_timed_is_unknown(tmp_path, blocks):
    *_, a, last = lines([job("a", 40_000)], tmp_path, blocks=blocks)
    assert a.split()[-1] == "unknown"
    told = "The time is unknown until jobs have been timed here; 0.2 GiB of disk"
    assert last.startswith(told)


def test_jobs_of_such_a_size_tell_the_time_of_others_of_their_kind(tmp_path):
    made = [job("a", 100), job("b", 1000), job("c", 1, unit="report")]
    ledger = Ledger(tmp_path)
    ledger.finish(made[0], 360.0)
    *_, b, c, last = lines(made, tmp_path, ledger, blocks=("atari", "small"))
    assert (b.split()[-1], c.split()[-1]) == ("60.0", "unknown")
    assert last.startswith(
        "About 1.0 hours, 1 at a time (as measured here), plus jobs whose time is "
        "unknown; "
    )


def test_what_is_done_costs_nothing_more_and_tells_what_the_rest_takes(tmp_path):
    made = [job("a", 100), job("b", 1000)]
    ledger = Ledger(tmp_path)
    ledger.finish(made[0], 360.0)
    *_, a, b, last = lines(made, tmp_path, ledger)
    assert a.split()[-1] == "done" and b.split()[-1] == "60.0"
    assert last.startswith("About 1.0 hours, 1 at a time (as measured here)")

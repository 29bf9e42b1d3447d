"""The plan as a person reads it."""

import pathlib

from dreamerv2_transfer.reproduction import costs
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.ledger import Ledger

SMALL = ("minatar", "small")
UNIT = "update of an agent"


def job(name, units, needs=()):
    return Job(name, "train", (), tuple(needs), pathlib.Path("/x"), units, UNIT)


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


def test_what_is_done_costs_nothing_more_and_tells_what_the_rest_takes(tmp_path):
    made = [job("a", 100), job("b", 1000)]
    ledger = Ledger(tmp_path)
    ledger.finish(made[0], 360.0)
    *_, a, b, last = lines(made, tmp_path, ledger)
    assert a.split()[-1] == "done" and b.split()[-1] == "60.0"
    assert last.startswith("About 1.0 hours, 1 at a time (as measured here)")

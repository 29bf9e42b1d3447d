"""The page about a sweep."""

import json
import re

import pytest

from dreamerv2_transfer.sweeps import figures, page, results, trials
from dreamerv2_transfer.sweeps.search import Search
from tests.sweeps.sweeping import make_plan

pytest.importorskip("optuna")
BASELINE = {"imag_horizon": 5, "model_opt.lr": 1e-3, "encoder.cnn_kernels": "3,3"}
GAMES = ("minatar_breakout", "minatar_seaquest")


def make(folder, monkeypatch, *values, **changes):
    """A sweep whose trials have these values; None is a failed one."""
    monkeypatch.setattr(figures, "make", lambda plan, search: [])
    plan = make_plan(folder, baseline=BASELINE, **changes)
    search = Search(plan)
    for value in values:
        trial = search.ask()
        if value is None:
            trial.set_user_attr(trials.ERROR, "<b>boom</b>")
            search.tell(trial, "FAIL")
            continue
        trial.set_user_attr(trials.LEVELS, dict.fromkeys(plan.games, value))
        trial.set_user_attr(trials.SHARE, 1.0)
        trial.set_user_attr(trials.SECONDS, 60.0)
        for place in plan.places():
            run = plan.logdir / "trials" / f"{trial.number:03}" / place
            run.mkdir(parents=True)
            lines = [{"step": x, "train_return": value * x} for x in (10, 20)]
            text = "\n".join(map(json.dumps, lines))
            (run / "metrics.jsonl").write_text(f"{text}\n")
        search.tell(trial, "COMPLETE", value)
    return plan, search


def cells(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_the_page_says_what_came_out(folder, monkeypatch):
    plan, search = make(folder, monkeypatch, 1.0, 3.0, None, games=GAMES)
    html = page.render(plan, search)
    text = cells(html)
    assert (
        "Trial 1 is best, with a normalized train_return of 3; the configuration as it "
        "was, trial 0, has 1." in text
    )
    assert "Complete" in text and "2 Complete" not in html
    assert "train --configs minatar small scratch" in text and results.BEST in text
    assert "Trial 2 failed: &lt;b&gt;boom&lt;/b&gt;" in html
    assert html.count('class="chart"') == 2  # A chart for each game.
    assert "trial normalized train_ return Breakout Seaquest imag_ horizon" in text
    table = text[text.index("budget used minutes") :]
    assert [*re.findall(r"trial (\d)", table)[:3]] == ["1", "0", "2"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((), "No trial is complete yet."),
        ((None,), "No trial is complete yet."),
        ((2.0, 1.0), "train_return of 2: no other beats the configuration as it was."),
        ((None, 1.0), "Trial 1 is best, with a train_return of 1."),
    ],
)
def test_the_verdict_is_about_the_best_trial(folder, monkeypatch, values, said):
    plan, search = make(folder, monkeypatch, *values)
    rows = page.ranked(plan, [results.row(plan, x) for x in search.ended])
    assert page.verdict(plan, rows).endswith(said)


def test_the_curves_are_those_of_the_best_and_of_the_first_trial(folder, monkeypatch):
    plan, search = make(folder, monkeypatch, *(float(x) for x in range(10)))
    rows = page.ranked(plan, [results.row(plan, x) for x in search.ended])
    (panel,), notes = page.curves(plan, rows)
    assert [*panel.arms] == [f"trial {x}" for x in (9, 8, 7, 6, 5, 4, 0)]
    assert panel.arms["trial 9"].band.mean.tolist() == [90.0, 180.0] and notes == []


def test_a_run_that_is_gone_is_noted(folder, monkeypatch):
    plan, search = make(folder, monkeypatch, 1.0)
    (plan.logdir / "trials/000/minatar_breakout/metrics.jsonl").unlink()
    assert "Trial 0: minatar_breakout has no metrics.jsonl." in page.render(
        plan, search
    )


def test_the_page_is_one_file(folder, monkeypatch):
    plan, search = make(folder, monkeypatch, 1.0)
    monkeypatch.undo()  # So that all is drawn.
    path = page.write(plan, search)
    assert path == plan.logdir / "index.html"
    html = re.sub(r"<script.*?</script>", "", path.read_text(), flags=re.DOTALL)
    assert html.count("<img") == 7 and "://" not in html

"""The shared loop, with steps that count and nothing that learns."""

import pytest
import tensorflow as tf

from dreamerv2_transfer.common import logger, trainer, updates
from dreamerv2_transfer.common.config import Config
from dreamerv2_transfer.common.counter import Counter
from dreamerv2_transfer.common.errors import EnvError
from dreamerv2_transfer.common.files import atomic
from tests.runs import rows

EVERY = {"log_every": 0, "eval_every": 0, "checkpoint_every": 0, "checkpoints_kept": 9}


class Counting(trainer.Trainer):
    """Counts `by` at each step; records what it was asked for."""

    def __init__(self, logdir, by=1, saved=lambda: None, **changes):
        config = Config({"steps": 6, **EVERY, **changes})
        log = logger.make_logger(logdir, Counter(), names=["jsonl"])
        super().__init__(config, logdir, log, "Counting", "step", saved)
        self.by = by
        self.total = tf.Variable(0)
        self.calls = []

    def step(self):
        self.counter.increment(self.by)
        self.total.assign_add(self.by)
        self.averages.add({"value": float(self.total)})

    def record(self, call):
        self.calls.append((call, int(self.counter)))

    def begin(self):
        self.record("begin")

    def evaluate(self):
        self.record("evaluate")

    def save_files(self):
        self.record("save")

    def variables(self):
        return {"total": self.total}

    def stateful(self):
        return {"step": self.counter, "averages": self.averages}


def never():
    return False


def run(logdir, **options):
    made = Counting(logdir, **options)
    made.start()
    return made, made.run(never)


def test_everything_is_done_at_its_interval_and_at_the_end(tmp_path):
    made, done = run(tmp_path, log_every=4, eval_every=3, checkpoint_every=2)
    assert done
    assert made.calls == [
        ("begin", 0),
        ("save", 2),
        ("evaluate", 3),
        ("save", 4),
        ("evaluate", 6),
        ("save", 6),
    ]
    assert [(r["step"], r["value"]) for r in rows(tmp_path)] == [(4, 2.5), (6, 5.5)]


def test_a_step_that_passes_a_multiple_is_due(tmp_path):
    made, _ = run(tmp_path, by=3, steps=12, eval_every=4)
    assert [n for call, n in made.calls if call == "evaluate"] == [6, 9, 12]


def test_the_rest_of_an_interval_may_be_left_to_a_longer_run(tmp_path, monkeypatch):
    monkeypatch.setattr(Counting, "logs_last", False)
    run(tmp_path, log_every=4)
    assert [r["step"] for r in rows(tmp_path)] == [4]
    run(tmp_path, log_every=4, steps=8)
    assert [(r["step"], r["value"]) for r in rows(tmp_path)] == [(4, 2.5), (8, 6.5)]


def test_a_run_resumes_from_its_checkpoint_and_cuts_the_log(tmp_path, capsys):
    run(tmp_path, steps=5, log_every=1)
    for path in (tmp_path / "checkpoints").glob("ckpt-5*"):
        path.unlink()
    first = Counting(tmp_path, log_every=1)
    first.counter.increment(3)
    first.save()
    made, done = run(tmp_path, log_every=1)
    assert done and made.calls == [("evaluate", 6), ("save", 6)]
    printed = capsys.readouterr().out
    assert "resumed from step 3" in printed and "nothing is left to do" not in printed
    assert [r["step"] for r in rows(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_a_finished_run_says_so_and_does_nothing(tmp_path, capsys):
    run(tmp_path)
    made, done = run(tmp_path)
    assert done and made.calls == []
    printed = capsys.readouterr().out
    assert "All 6 steps are done; nothing is left to do." in printed


@pytest.mark.parametrize("steps", [4, 6])
def test_files_that_a_kill_left_out_are_written_at_the_next_start(
    tmp_path, monkeypatch, capsys, steps
):
    run(tmp_path, steps=4)
    monkeypatch.setattr(Counting, "has_files", lambda self: False)
    made, done = run(tmp_path, steps=steps)
    assert done and made.calls[0] == ("save", 4)
    assert "Wrote the files of step 4" in capsys.readouterr().out


def test_a_run_that_is_asked_to_stop_saves_once(tmp_path, capsys):
    for every, saves in ((0, 1), (4, 1), (3, 2)):
        made = Counting(tmp_path / str(every), checkpoint_every=every)
        made.start()
        assert not made.run(lambda made=made: made.counter >= 4)
        assert len([x for x in made.calls if x[0] == "save"]) == saves
        assert made.calls[-1] == ("save", 4)
    assert "Stopped at step 4; the same command resumes from it." in (
        capsys.readouterr().out
    )


def test_a_step_that_counts_nothing_makes_nothing_due(tmp_path):
    made, _ = run(tmp_path / "a", steps=2, eval_every=1)
    idle = Counting(tmp_path / "b", steps=2, eval_every=1)
    steps, counted = [], idle.step

    def every_other():
        steps.append(None)
        if len(steps) % 2 == 0:
            counted()

    idle.step = every_other
    idle.start()
    assert idle.run(never) and len(steps) == 4
    assert idle.calls == made.calls


def test_an_environment_that_fails_leaves_a_checkpoint(tmp_path):
    made = Counting(tmp_path)

    def fail():
        Counting.step(made)
        if made.counter == 3:
            raise EnvError("the emulator crashed")

    made.step = fail
    made.start()
    with pytest.raises(EnvError, match="the emulator crashed"):
        made.run(never)
    assert made.calls[-1] == ("save", 3)
    assert (tmp_path / "checkpoints" / "ckpt-3.index").exists()


@pytest.mark.parametrize(("steps", "at"), [(6, 6), (6, 3)])
def test_an_evaluation_that_failed_is_made_by_the_next_start(tmp_path, steps, at):
    made, record = Counting(tmp_path, steps=steps, eval_every=3), Counting.evaluate

    def fail():
        if made.counter == at:
            raise EnvError("the emulator crashed")
        record(made)

    made.evaluate = fail
    made.start()
    with pytest.raises(EnvError, match="the emulator crashed"):
        made.run(never)
    made, done = run(tmp_path, steps=steps, eval_every=3)
    assert done and made.calls[:2] == [("evaluate", at), ("save", at)]
    assert [n for call, n in made.calls if call == "evaluate"][-1] == 6
    again, done = run(tmp_path, steps=steps, eval_every=3)
    assert done and again.calls == []


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    made = Counting(tmp_path, checkpoint_every=1)
    weight = tf.Variable(1.0)
    made.variables = lambda: {"total": made.total, "weight": weight}

    def diverge():
        Counting.step(made)
        if made.counter == 3:
            weight.assign(float("nan"))

    made.step = diverge
    made.start()
    with pytest.raises(updates.TrainingError, match="after step 3: weight. They"):
        made.run(never)
    assert made.calls[-1] == ("save", 2)
    steps = {path.name for path in (tmp_path / "checkpoints").glob("*.index")}
    assert steps == {"ckpt-1.index", "ckpt-2.index"}


def test_saved_is_called_after_the_files_are_written(tmp_path):
    told = []
    made = Counting(tmp_path, saved=lambda: told.append([*made.calls]))
    made.save()
    assert told == [[("save", 0)]]


def test_the_log_is_on_the_disk_before_the_checkpoint(tmp_path, monkeypatch):
    done, sync = [], atomic.sync
    monkeypatch.setattr(
        atomic, "sync", lambda path: done.append(path.name) or sync(path)
    )
    run(tmp_path, log_every=6)
    assert done[0] == "metrics.jsonl" and done[-1] == "ckpt-6.index"

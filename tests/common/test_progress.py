import contextlib
import io
import time

import pytest

from dreamerv2_transfer.common import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_file_gets_few_whole_lines():
    log = io.StringIO()
    with progress.Progress(1000, desc="Training", stream=log) as bar:
        for _ in range(1000):
            bar.update()
    lines = log.getvalue().splitlines(keepends=True)
    assert "\r" not in log.getvalue()
    assert len(lines) == 2 and all(line.endswith("\n") for line in lines)
    assert lines[0].startswith("Training:   0%") and "0/1000" in lines[0]
    assert lines[1].startswith("Training: 100%") and "1000/1000" in lines[1]
    assert "step/s]" in lines[1]


def test_a_log_file_gets_a_line_each_interval(monkeypatch):
    monkeypatch.setattr(progress, "LINE_INTERVAL", 0.0)
    log = io.StringIO()
    with progress.Progress(3, stream=log) as bar:
        bar.note("loss 2.5")
        bar.update()
        bar.update()
    first, second, last = log.getvalue().splitlines()
    assert "1/3" in second and "loss 2.5" in second
    assert "2/3" in last


@pytest.mark.parametrize(
    ("seconds", "hidden", "said"),
    [(0.5, False, "Compiling ...\n"), (0.0, False, ""), (0.5, True, "")],
)
def test_work_without_steps_is_explained_once_if_it_is_long(
    monkeypatch, capsys, seconds, hidden, said
):
    monkeypatch.setattr(progress, "PATIENCE", 0.1)
    with contextlib.ExitStack() as stack:
        if hidden:
            stack.enter_context(progress.hidden())
        with progress.explained("Compiling"):
            time.sleep(seconds)
    time.sleep(0.2)  # Nothing comes later.
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", said)


def test_earlier_steps_count_as_done():
    log = io.StringIO()
    with progress.Progress(100, initial=50, stream=log) as bar:
        bar.update(25)
    assert "50%" in log.getvalue().splitlines()[0]
    assert "75%" in log.getvalue().splitlines()[-1]


def test_the_last_state_is_shown_when_the_work_is_interrupted():
    log = io.StringIO()
    with pytest.raises(KeyboardInterrupt), progress.Progress(10, stream=log) as bar:
        bar.update(4)
        raise KeyboardInterrupt
    assert "4/10" in log.getvalue().splitlines()[-1]


def test_a_terminal_gets_a_bar_that_redraws_itself():
    terminal = Terminal()
    with progress.Progress(10, stream=terminal) as bar:
        bar.update(10)
    assert terminal.getvalue().count("\n") == 1
    assert "\r" in terminal.getvalue() and "10/10" in terminal.getvalue()


def test_bars_stand_below_each_other_until_they_end(monkeypatch):
    monkeypatch.setattr(progress, "REDRAW_INTERVAL", 0.0)
    terminal = Terminal()
    with progress.Progress(4, desc="Training", stream=terminal) as bar:
        with progress.Progress(2, desc="Upload", stream=terminal) as inner:
            inner.update(2)
        bar.update(3)
    *_, last = terminal.getvalue().split("Upload")
    assert "2/2" in last and "Training" in last and "3/4" in last


def test_a_dumb_terminal_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    with progress.Progress(10, stream=terminal) as bar:
        bar.update(10)
    assert "\r" not in terminal.getvalue() and terminal.getvalue().count("\n") == 2


def test_short_work_shows_nothing_where_bars_appear_late():
    log = io.StringIO()
    with progress.Progress(10, stream=log, delay=60) as bar:
        bar.update(10)
    assert log.getvalue() == ""


def test_nothing_is_shown_where_progress_is_hidden():
    log = io.StringIO()
    with progress.hidden(), progress.Progress(10, stream=log) as bar:
        bar.update(3)
    assert log.getvalue() == "" and bar.done == 3
    with progress.Progress(10, stream=log):
        pass
    assert "0/10" in log.getvalue()


def test_rate_and_remaining_time_are_those_of_this_process(monkeypatch):
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    log = io.StringIO()
    bar = progress.Progress(100, initial=50, unit="update", stream=log)
    now = 120.0
    bar.update(10)
    now = 140.0
    bar.update(10)
    bar.close()  # What it would say has been said.
    assert log.getvalue().splitlines() == [
        " 50% 50/100 [00:00<?, 0 update/s]",
        " 60% 60/100 [00:20<01:20, 2 s/update]",
        " 70% 70/100 [00:40<01:00, 2 s/update]",
    ]


def test_steps_that_are_skipped_are_done_but_do_not_count_for_the_rate(monkeypatch):
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    log = io.StringIO()
    bar = progress.Progress(100, unit="update", stream=log)
    now = 120.0
    bar.skip(70)
    bar.update(10)
    assert log.getvalue().splitlines()[-1] == " 80% 80/100 [00:20<00:40, 2 s/update]"


def test_more_steps_than_the_total_leave_no_time(monkeypatch):
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    log = io.StringIO()
    bar = progress.Progress(100, unit="step", stream=log)
    now = 120.0
    bar.update(60)
    now = 121.0  # Too soon for another rate.
    bar.update(50)
    bar.close()
    last = log.getvalue().splitlines()[-1]
    assert last == "110% 110/100 [00:21<00:00, 3 step/s]"


def test_a_high_rate_is_a_whole_number(monkeypatch):
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    log = io.StringIO()
    bar = progress.Progress(None, stream=log)
    now = 110.0
    bar.update(188_304)
    assert log.getvalue().splitlines()[-1] == "188304 steps [00:10, 18,830 step/s]"


def test_times_are_read_at_a_glance():
    assert [progress.clock(x) for x in (0, 59.6, 3599, 36061)] == [
        "00:00",
        "01:00",
        "59:59",
        "10:01:01",
    ]


def test_other_lines_go_to_standard_output(capsys):
    log = io.StringIO()
    with progress.Progress(10, stream=log) as bar:
        bar.write("resumed from step 7")
    assert capsys.readouterr().out == "resumed from step 7\n"
    assert "resumed" not in log.getvalue()


def test_a_reminder_comes_ever_more_rarely(monkeypatch, capsys):
    now = iter([100, 104, 110, 115, 120, 139, 140, 150])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    remind = progress.Reminder(10)
    for call in range(8):
        remind(f"call {call}")
    assert capsys.readouterr().out == "call 2\ncall 4\ncall 6\n"

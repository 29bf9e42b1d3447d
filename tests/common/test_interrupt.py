import os
import pty
import signal
import subprocess
import sys
import threading

import pytest

from dreamerv2_transfer.common import interrupt
from tests import runs

pytestmark = pytest.mark.usefixtures("usual_signals")


def send(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", interrupt.SIGNALS)
def test_a_signal_becomes_an_answer(number, capfd):
    before = signal.getsignal(number)
    with interrupt.caught() as stopped:
        assert not stopped()
        send(number)
        assert stopped()
    assert signal.getsignal(number) == before
    assert f"{number.name}: stops and saves after" in capfd.readouterr().err


def test_what_a_signal_brings_about_is_said(capfd):
    with interrupt.caught("continues until the first process stops"):
        send(signal.SIGTERM)
    said = "SIGTERM: continues until the first process stops. Ctrl-C or SIGTERM now"
    assert said in capfd.readouterr().err


@pytest.mark.parametrize("first", interrupt.SIGNALS)
def test_a_second_ctrl_c_ends_the_process_as_usual(first):
    with pytest.raises(KeyboardInterrupt), interrupt.caught():
        send(first, signal.SIGINT)


@pytest.mark.parametrize("first", interrupt.SIGNALS)
def test_a_terminal_that_closes_may_say_so_more_than_once(first):
    with interrupt.raised(), interrupt.caught() as stopped:
        send(first, signal.SIGHUP, signal.SIGHUP)
        assert stopped()


def test_a_second_sigterm_ends_a_command_as_ctrl_c_does():
    with pytest.raises(KeyboardInterrupt), interrupt.raised(), interrupt.caught():
        send(signal.SIGHUP, signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("number", interrupt.SIGNALS)
def test_outside_of_loops_each_signal_is_like_ctrl_c(number):
    with pytest.raises(KeyboardInterrupt), interrupt.raised():
        send(number)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_what_nohup_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interrupt.raised(), interrupt.caught() as stopped:
        send(signal.SIGHUP)
        assert not stopped()


def test_other_threads_may_ask_too_but_receive_no_signal():
    answers = []

    def ask():
        with interrupt.raised(), interrupt.caught() as stopped:
            answers.append(stopped())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert answers == [False]


OUTLIVES = """
import signal
from dreamerv2_transfer.common import interrupt

with interrupt.caught() as stopped:
    print("ready", flush=True)
    while not stopped():
        signal.pause()
    print("saved", flush=True)
"""


def test_a_process_outlives_its_terminal():
    """Printing to a terminal that was closed fails."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", OUTLIVES], stdout=theirs, stderr=theirs, cwd=runs.ROOT
    )
    assert os.read(ours, 5) == b"ready"
    os.close(theirs)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    assert process.wait(30) == 0

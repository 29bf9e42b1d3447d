import io
import os
import signal
import subprocess
import sys

import pytest

from dreamerv2_transfer.common import cli, interrupt
from dreamerv2_transfer.common.errors import UserError
from tests import runs


def test_configs_are_taken_out_of_the_command_line():
    argv = ["--configs", "minatar", "small", "pretrain", "--steps", "5"]
    assert cli.split_configs(argv) == (
        ("minatar", "small", "pretrain"),
        ["--steps", "5"],
    )


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("no such file: x"), 2, "Error: no such file: x\n"),
        (KeyboardInterrupt(), 130, "Interrupted; run the same command to resume.\n"),
    ],
)
def test_errors_for_a_person_have_no_traceback(capsys, error, status, message):
    def fail(argv):
        raise error

    assert cli.run(fail) == status
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_each_signal_is_like_ctrl_c(capsys, number):
    before = {x: signal.signal(x, signal.SIG_DFL) for x in interrupt.SIGNALS}
    try:
        assert cli.run(lambda argv: os.kill(os.getpid(), number)) == 130
    finally:
        for x, handler in before.items():
            signal.signal(x, handler)
    assert "run the same command to resume" in capsys.readouterr().err


def test_what_the_encoding_of_a_terminal_lacks_is_escaped(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert (
        cli.run(lambda argv: print(f"Logdir {argv[0]}") or 0, ["l\u00f6g/\udcff"]) == 0
    )
    sys.stdout.flush()
    assert written.getvalue() == b"Logdir l\\xf6g/\\udcff\n"


class ResourceExhaustedError(Exception):
    """As TensorFlow's."""


@pytest.mark.parametrize("kind", [MemoryError, ResourceExhaustedError])
def test_a_lack_of_memory_is_one_line(capsys, kind):
    def fail(argv):
        raise kind("Unable to allocate 9 TiB")

    assert cli.run(fail) == 2
    line = capsys.readouterr().err
    assert "Error: Not enough memory: " in line and "allocate 9 TiB Choose" in line


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("no_color", "style"), [("", "1;31"), ("1", "1")])
def test_an_error_has_a_red_head_on_a_terminal(monkeypatch, no_color, style):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", no_color)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Terminal())
        cli.show_error("no such file: [x]")
        line = sys.stderr.getvalue()
    assert line == f"\x1b[{style}mError:\x1b[0m no such file: [x]\n"


def test_bugs_keep_their_traceback():
    def fail(argv):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        cli.run(fail)


def test_a_reader_that_has_enough_gets_no_traceback():
    code = (
        "import sys; from dreamerv2_transfer.common import cli\n"
        "sys.exit(cli.run(lambda argv: [print(x) for x in range(100_000)] and 0))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"0\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_results_are_shown_where_all_else_is_hidden(capsys):
    with cli.hidden():
        print("a note")
        cli.show("a result")
    print("after")
    assert capsys.readouterr().out == "a result\nafter\n"


def test_a_command_imports_tensorflow_without_its_notes():
    code = (
        "import sys; from dreamerv2_transfer.common import cli\n"
        "def main(argv):\n    import tensorflow\n    return len(argv)\n"
        "sys.exit(cli.run(main, ['x', 'y']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(runs.ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")

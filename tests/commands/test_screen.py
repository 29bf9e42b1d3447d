import io
import sys

from rich.text import Text

from dreamerv2_transfer.commands import screen


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_a_terminal(monkeypatch) -> str:
    monkeypatch.setenv("TERM", "xterm")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Terminal())
        screen.console().print(Text("small", screen.NAME))
        return sys.stdout.getvalue()


def test_a_pipe_gets_plain_text(capsys):
    screen.console().print(Text("small", screen.NAME))
    assert capsys.readouterr().out == "small\n"


def test_a_terminal_gets_colours(monkeypatch):
    assert on_a_terminal(monkeypatch) == "\x1b[36msmall\x1b[0m\n"


def test_no_color_is_respected(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert on_a_terminal(monkeypatch) == "small\n"


def test_an_explanation_stands_beside_its_name_or_below():
    short = screen.entry(Text("--seed 0"), "seed of all", 40, lead=14)
    assert short.plain == "  --seed 0    seed of all"
    text = "one two three four"
    long = screen.entry(Text("--stages.dqn.steps"), text, 36, "[a b]", 14)
    assert long.plain.splitlines() == [
        "  --stages.dqn.steps",
        " " * 14 + "one two three four [a",
        " " * 14 + "b]",
    ]
    assert [long.plain[x.start : x.end] for x in long.spans if x.style == "dim"] == [
        "[a\n" + " " * 14 + "b]"
    ]

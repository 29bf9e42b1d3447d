"""The command that opens a page to play in a dream."""

import importlib.util
import os
import signal

import pytest

from dreamerv2_transfer import commands
from dreamerv2_transfer.commands import play as command
from dreamerv2_transfer.common import config as config_lib
from dreamerv2_transfer.transfer import weights
from tests import models

aiohttp = pytest.importorskip("aiohttp", reason="the extra play is not installed")

from dreamerv2_transfer.play import server  # noqa: E402


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    """The run of a tiny model that has learned nothing."""
    folder = tmp_path_factory.mktemp("run")
    config = models.make_config()
    config.save(folder / "config.yaml")
    agent = models.make_agent(config)
    weights.save_weights(folder / "world_model.weights.h5", agent.wm.components)
    return folder


def ask(capsys, *argv):
    status = commands.main(["play", *map(str, argv)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_page_is_served_until_it_is_ended(logdir, capsys, monkeypatch, usual_signals):
    opened = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(command.webbrowser, "open", opened.append)
    show = command._show

    def show_and_end(url, opens):
        show(url, opens)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(command, "_show", show_and_end)
    status, out, err = ask(capsys, logdir, "--task", "minatar_freeway")
    assert status == 0 and "Traceback" not in err
    first, last = out.splitlines()[-2:]
    assert first == f"Play at {opened[0]} (Ctrl-C ends it)" and last == "Ended."
    assert opened[0].startswith("http://127.0.0.1:84")


@pytest.mark.parametrize(
    ("opens", "display", "number"), [(True, ":0", 1), (False, ":0", 0), (True, "", 0)]
)
def test_a_browser_opens_where_it_is_wanted_and_can_be_seen(
    monkeypatch, opens, display, number
):
    opened = []
    monkeypatch.setattr(command.sys, "platform", "linux")
    monkeypatch.setattr(command.webbrowser, "open", opened.append)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", display)
    command._show("http://127.0.0.1:8421/token/", opens)
    assert len(opened) == number


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "Usage"),
        (["--task", "minatar_freeway"], "Name a logdir or a model first"),
        (["NOWHERE"], "There are no weights"),
        (
            ["minatar_dqn_breakout"],
            "minatar_dqn_breakout is a DQN, which does not dream",
        ),
        (["LOGDIR", "--port", "70000"], "port must be at most 65535. Received: 70000"),
        (["LOGDIR", "--port", "-1"], "port must be at least 0. Received: -1"),
        (["LOGDIR", "--task", "minatar_brekout"], "Did you mean minatar_breakout"),
        (["LOGDIR", "--task", "gym_Pendulum-v1"], "actions are numbered"),
        (["LOGDIR", "--sede", "1"], "Did you mean 'seed'"),
    ],
)
def test_what_cannot_be_played_is_one_line(logdir, capsys, tmp_path, argv, message):
    paths = {"LOGDIR": logdir, "NOWHERE": tmp_path / "nowhere"}
    status, out, err = ask(capsys, *(paths.get(x, x) for x in argv))
    assert status == 2 and message in out + err and "Traceback" not in err
    assert not argv or err.splitlines()[-1].startswith("Error: ")


def test_a_port_that_is_taken_is_an_error_before_the_model_is_loaded(logdir, capsys):
    with server.listen() as sock:
        port = sock.getsockname()[1]
        status, _, err = ask(capsys, logdir / "nowhere", "--port", port)
    assert status == 2 and f"Port {port} cannot be used: it is taken" in err


def test_without_the_extra_it_says_what_to_install(logdir, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda x: None if x == "aiohttp" else find(x)
    )
    status, _, err = ask(capsys, logdir)
    assert status == 2 and "pip install 'dreamerv2_transfer[play]'" in err


def test_ports_end_where_they_do():
    assert command.MOST_PORT == 65535
    with pytest.raises(config_lib.ConfigError, match="Name a logdir or a model first"):
        command.main(["--seed", "1"])

"""The server of the page: who may connect, tabs, and how it ends."""

import asyncio
import contextlib
import os
import signal
import socket
import threading

import pytest

from dreamerv2_transfer.common.errors import EnvError
from dreamerv2_transfer.play.messages import Table
from tests.play import dreams

aiohttp = pytest.importorskip("aiohttp", reason="the extra play is not installed")

from dreamerv2_transfer.play import server as server_lib  # noqa: E402

ABOUT = {"name": "a model", "no_agent": ""}


class Played:
    """A server with fake sessions, and a client of it."""

    def __init__(self, client, server, sessions):
        self.client, self.server, self.sessions = client, server, sessions
        self.url = server.url

    async def get(self, url, **headers):
        async with self.client.get(url, headers=headers) as response:
            return response.status, await response.text(), response.headers

    async def tab(self, **headers):
        tab = await self.client.ws_connect(f"{self.url}socket", headers=headers)
        assert (await tab.receive_json())["type"] == "hello"
        return tab

    async def ask(self, tab, **message):
        await tab.send_json(message)
        return await tab.receive_json()


def play(scenario, make=dreams.make_session):
    """Runs a coroutine with a server, ends that, and runs what the first returned."""
    sessions = []

    def start(task, seed):
        sessions.append(make())
        return sessions[-1]

    async def run():
        table = lambda: Table(start, {"dummy_count": True}, ABOUT)  # noqa: E731
        server = server_lib.Server(sock, table)
        ready = asyncio.Event()
        serving = asyncio.create_task(server.run(ready.set))
        await ready.wait()
        async with aiohttp.ClientSession() as client:
            after = await scenario(Played(client, server, sessions))
            os.kill(os.getpid(), signal.SIGTERM)  # As Ctrl-C; it is the end of `run`.
            if after:
                await after()
            await asyncio.wait_for(serving, 10)

    with server_lib.listen() as sock:
        asyncio.run(run())
    assert all(session.game.closed for session in sessions)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def test_the_page_is_for_those_who_know_its_address():
    async def scenario(played):
        status, text, headers = await played.get(played.url)
        assert status == 200 and "<h1>Play in the dream</h1>" in text
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        for name, kind in {
            "page.js": "javascript",
            "page.css": "css",
            "palette.css": "css",
        }.items():
            status, text, headers = await played.get(played.url + name)
            assert status == 200 and kind in headers["Content-Type"]
            assert "http://" not in text and "https://" not in text
        root = played.url.rsplit("/", 2)[0]
        for path in ("", "/", "/page.js", "/x/page.js", "/x/socket", "/%FF/", "//"):
            status, text, _ = await played.get(root + path)
            assert status == 403 and "token is missing or another one's" in text
        for path in ("other.js", "../page.js", "%2e%2e%2fserver.py"):
            assert (await played.get(played.url + path))[0] in (403, 404)

    play(scenario)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:8421"},
        {"Host": "127.0.0.1:1"},
        {"Origin": "http://evil.example"},
        {"Origin": "https://127.0.0.1:8421"},
        {"Origin": "null"},
    ],
)
def test_other_hosts_and_their_pages_are_refused(headers):
    async def scenario(played):
        status, text, _ = await played.get(played.url, **headers)
        assert status == 403 and "this machine alone" in text
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await played.tab(**headers)
        assert refused.value.status == 403

    play(scenario)


def test_its_own_page_may_play():
    async def scenario(played):
        origin = played.url.rsplit("/", 2)[0]
        tab = await played.tab(Origin=origin)
        assert (await played.ask(tab, type="start"))["type"] == "started"
        assert (await played.ask(tab, type="step", action=2))["row"]["error"] == 1.0

    play(scenario)


def test_each_tab_has_a_session_of_its_own():
    async def scenario(played):
        one, other = await played.tab(), await played.tab()
        for tab in (one, other):
            await played.ask(tab, type="start")
        for _ in range(3):
            shown = await played.ask(one, type="step", action=1)
        assert shown["step"] == 3
        assert (await played.ask(other, type="step", action=1))["step"] == 1
        await one.close()
        await until(lambda: played.sessions[0].game.closed)
        assert not played.sessions[1].game.closed

    play(scenario)


def test_there_is_a_limit_of_tabs(monkeypatch):
    monkeypatch.setattr(server_lib, "MOST_TABS", 1)

    async def scenario(played):
        first = await played.tab()
        second = await played.client.ws_connect(f"{played.url}socket")
        ended = await second.receive()
        assert "1 tabs are open. Close one." in ended.extra
        await first.close()
        await until(lambda: not played.server._tabs)
        await played.tab()

    play(scenario)


def test_messages_that_make_no_sense_are_answered_and_play_goes_on():
    async def scenario(played):
        tab = await played.tab()
        await played.ask(tab, type="start")
        for data in ("{", '{"type": "fly"}', "null"):
            await tab.send_str(data)
            assert (await tab.receive_json())["type"] == "failed"
        await tab.send_bytes(b"\0\xff")
        assert "must be JSON" in (await tab.receive_json())["reason"]
        assert (await played.ask(tab, type="step", action=1))["step"] == 1
        await tab.send_str("x" * (server_lib.MOST_BYTES + 1))
        assert (await tab.receive()).type is aiohttp.WSMsgType.CLOSE

    play(scenario)


def test_a_game_that_cannot_be_made_is_told():
    def fail():
        raise EnvError("minatar_breakout could not be made: it is broken.")

    async def scenario(played):
        answer = await played.ask(await played.tab(), type="start")
        assert answer == {
            "type": "failed",
            "reason": "minatar_breakout could not be made: it is broken.",
        }

    play(scenario, fail)


def test_a_browser_that_goes_away_in_the_middle_frees_its_session(capfd):
    reached, go_on = threading.Event(), threading.Event()

    class Slow(dreams.Game):
        def after(self, actions):
            if actions:
                reached.set()
                go_on.wait(10)
            return super().after(actions)

    async def scenario(played):
        tab = await played.tab()
        await played.ask(tab, type="start")
        await tab.send_json({"type": "step", "action": 1})
        await asyncio.to_thread(reached.wait, 10)
        await played.client.connector.close()  # Without a goodbye.
        await asyncio.sleep(0.05)
        go_on.set()
        await until(lambda: played.sessions[0].game.closed)

    play(scenario, lambda: dreams.Session(dreams.Dreamer(), Slow()))
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(("before", "ends"), [("SIG_DFL", True), ("SIG_IGN", False)])
def test_a_terminal_that_closes_ends_it_but_for_nohup(before, ends, usual_signals):
    signal.signal(signal.SIGHUP, getattr(signal, before))

    async def run():
        with server_lib._signals() as received:
            os.kill(os.getpid(), signal.SIGHUP)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(received.wait(), 10 if ends else 0.1)
            return received.is_set()

    assert asyncio.run(run()) == ends


def test_open_tabs_are_told_of_the_end():
    async def scenario(played):
        tab = await played.tab()

        async def after():
            ended = await tab.receive()
            assert (ended.data, ended.extra) == (1001, "play has ended")

        return after

    play(scenario)


def test_a_port_that_is_taken_is_passed_over_or_named():
    with server_lib.listen() as first, server_lib.listen() as second:
        one, other = first.getsockname(), second.getsockname()
        assert one[0] == other[0] == "127.0.0.1" and one[1] < other[1]
        with pytest.raises(
            server_lib.ServerError,
            match=f"Port {one[1]} cannot be used: it is taken by another program",
        ):
            server_lib.listen(one[1])
    with contextlib.closing(server_lib.listen(one[1])) as again:
        assert again.getsockname() == one


def test_there_may_be_no_free_port(monkeypatch):
    def refuse(address):
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(server_lib.ServerError, match="None of the ports 8421 to 8470"):
        server_lib.listen()

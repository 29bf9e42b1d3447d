"""The page on which a dream is played, served to this machine alone.

The server is thin: a WebSocket carries what a player asks of a `Session`, and what the
session answers. Each tab has a session of its own; all share the model, which one
thread computes, so that tabs take turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import importlib.resources
import json
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

import dreamerv2_transfer
from dreamerv2_transfer.common import interrupt
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.play import messages
from dreamerv2_transfer.play.messages import Table

HOST = "127.0.0.1"  # The loopback: other machines cannot connect.
PORT = 8421  # The first that is tried where none is given,
TRIES = 50  # and how many.
MOST_TABS = 8
MOST_BYTES = 4096  # Of a message from a page.
HEARTBEAT = 20.0  # Seconds after which a page that does not answer is taken for closed.
FILES = {  # Of the package, by what a page asks for.
    "": "play/page/index.html",
    "page.css": "play/page/page.css",
    "page.js": "play/page/page.js",
    "palette.css": "plotting/page/palette.css",
}
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


class ServerError(UserError):
    """A page that cannot be served."""


def listen(port: int = 0) -> socket.socket:
    """Returns a socket that listens on the loopback.

    Args:
        port: The port; 0 takes the first that is free from `PORT` on.

    Raises:
        ServerError: The port cannot be used, or none is free.
    """
    for number in [port] if port else range(PORT, PORT + TRIES):
        try:
            return socket.create_server((HOST, number))
        except OSError as error:
            if port:
                taken = error.errno == errno.EADDRINUSE
                why = "is taken by another program" if taken else error.strerror
                raise ServerError(
                    f"Port {port} cannot be used: it {why}. Choose another, or leave "
                    f"--port out for one that is free. Received: --port {port}"
                ) from error
    raise ServerError(
        f"None of the ports {PORT} to {PORT + TRIES - 1} is free. Choose one: --port."
    )


class Server:
    """Serves the page to whoever knows its address.

    Args:
        sock: What `listen` returned.
        make_table: Makes what a tab plays at.

    Attributes:
        url: The address of the page, which has a secret in it.
    """

    def __init__(self, sock: socket.socket, make_table: Callable[[], Table]):
        self._sock = sock
        self._make_table = make_table
        self._token = secrets.token_urlsafe(24)
        port = sock.getsockname()[1]
        self._hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
        self.url = f"http://{HOST}:{port}/{self._token}/"
        self._worker = ThreadPoolExecutor(1, "play")  # Tabs take turns in it.
        self._tabs: set[web.WebSocketResponse] = set()
        self.app = web.Application(middlewares=[self._guard])
        self.app.router.add_get("/{token}/socket", self._play)
        self.app.router.add_get("/{token}/{name:[^/]*}", self._file)
        self.app.on_shutdown.append(self._say_goodbye)

    async def run(self, started: Callable[[], Any] = lambda: None) -> None:
        """Serves until Ctrl-C, SIGTERM or SIGHUP.

        Args:
            started: Called once the page can be opened.
        """
        runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        try:
            await web.SockSite(runner, self._sock).start()
            with _signals() as received:
                started()
                await received.wait()
        finally:
            await runner.cleanup()
            self._worker.shutdown(cancel_futures=True)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Callable) -> Any:
        """Refuses other hosts' pages and whoever does not know the token.

        A page of another site may send requests here, even under a name of its own
        that it has made point to the loopback.
        """
        origin = request.headers.get("Origin")
        if request.host not in self._hosts or (
            origin is not None and origin.removeprefix("http://") not in self._hosts
        ):
            raise web.HTTPForbidden(text="This page is for this machine alone.\n")
        token = request.path.split("/")[1]
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            raise web.HTTPForbidden(
                text="The address is not the one that play printed: its token is "
                "missing or another one's.\n"
            )
        return await handler(request)

    async def _file(self, request: web.Request) -> web.Response:
        name = FILES.get(request.match_info["name"])
        if name is None:
            raise web.HTTPNotFound
        file = importlib.resources.files(dreamerv2_transfer).joinpath(name)
        text = file.read_text("utf-8")
        policy = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
            f"connect-src 'self' ws://{request.host}; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'"
        )
        headers = {
            "Cache-Control": "no-store",
            "Content-Security-Policy": policy,
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        kind = KINDS[name.rpartition(".")[2]]
        return web.Response(
            text=text, content_type=kind, charset="utf-8", headers=headers
        )

    async def _play(self, request: web.Request) -> web.WebSocketResponse:
        """Plays with one tab until it goes away."""
        tab = web.WebSocketResponse(heartbeat=HEARTBEAT, max_msg_size=MOST_BYTES)
        await tab.prepare(request)
        if len(self._tabs) >= MOST_TABS:
            await tab.close(message=f"{MOST_TABS} tabs are open. Close one.".encode())
            return tab
        self._tabs.add(tab)
        table = self._make_table()
        try:
            await self._answer(tab, table.greet)
            async for message in tab:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._answer(tab, table.answer, message.data)
        except ConnectionResetError:  # It went away before it had its answer.
            pass
        finally:
            self._tabs.discard(tab)
            await self._in_thread(table.close)
        return tab

    async def _answer(
        self, tab: web.WebSocketResponse, function: Callable, *args: Any
    ) -> None:
        try:
            answer = await self._in_thread(function, *args)
        except UserError as error:
            answer = messages.failed(str(error))
        await tab.send_str(json.dumps(answer, allow_nan=False))

    async def _in_thread(self, function: Callable, *args: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, function, *args)

    async def _say_goodbye(self, app: web.Application) -> None:
        for tab in [*self._tabs]:
            await tab.close(code=WSCloseCode.GOING_AWAY, message=b"play has ended")


@contextlib.contextmanager
def _signals() -> Iterator[asyncio.Event]:
    """Yields what is set when the process is asked to end."""
    loop, received, handled = asyncio.get_running_loop(), asyncio.Event(), []
    for number in interrupt.SIGNALS:
        if number == interrupt.HANGUP and signal.getsignal(number) == signal.SIG_IGN:
            continue  # As of `nohup`.
        # Windows has none of this, and other threads than the main one get no signals.
        with contextlib.suppress(NotImplementedError, RuntimeError):
            loop.add_signal_handler(number, received.set)
            handled.append(number)
    try:
        yield received
    finally:
        for number in handled:
            loop.remove_signal_handler(number)

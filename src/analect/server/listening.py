"""The application on a socket: uvicorn, with dawdlers and crowds shown out, and an end that loses no answer."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import signal
import socket
import sys
import threading
from collections.abc import Collection
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from analect.config import Settings
from analect.errors import InputError
from analect.server.app import make_app
from analect.server.calls import ApiError
from analect.server.gate import SPARE, Gate, error_reply, too_many_connections
from analect.server.log import LogHandler
from analect.server.serving import Serving
from analect.server.settings import ServerSettings

_HEAD_BYTES = 64 * 1024
_POLL_SECONDS = 0.02
_BACKLOG = 4096
_SPARE = 256  # connections beyond the limit that may ask, at once, whether the server is alive
_SPARE_SECONDS = 1.0
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.IGNORECASE)


class GuardedProtocol(HttpToolsProtocol):
    """A connection with limits: a head in time and of size, an answer that is read, no more connections than set.

    Some connections beyond the limit are heard for a moment, so that whoever restarts servers that seem dead gets an
    answer of a full one; the gate refuses them all else.
    """

    limits: ServerSettings  # set on a subclass, since uvicorn makes the connections
    places: int
    spare: int

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or say that there are too many."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        beyond = len(self.connections) - self.places
        self._spare = beyond > 0
        if beyond > self.spare:
            self._refuse(too_many_connections())
        else:
            self._await_head()

    def _await_head(self) -> None:
        self._head_bytes = 0
        seconds = min(self.limits.head_seconds, _SPARE_SECONDS) if self._spare else self.limits.head_seconds
        self._timer = self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        if self._spare:
            self._refuse(too_many_connections())
        elif self._head_bytes:
            self._refuse(ApiError(408, "the request's head did not come in time"))
        else:
            self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        """Answer without the application, and close."""
        made = error_reply(error)
        assert isinstance(made.body, bytes)
        headers = {**made.headers, "content-type": made.content_type, "content-length": str(len(made.body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        status = f"HTTP/1.1 {error.status} Refused\r\n"
        if not self.transport.is_closing():
            self.transport.write(f"{status}{lines}connection: close\r\n\r\n".encode("latin-1") + made.body)
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Take bytes in; a head that never ends is refused."""
        if self.transport.is_closing():
            return
        if self._timer is not None:
            self._head_bytes += len(data)
        if b"pgrade" in data and (self.cycle is None or not self.cycle.more_body):
            data = _without_upgrade(data)
        super().data_received(data)
        if self._timer is not None and self._head_bytes > _HEAD_BYTES:
            self._refuse(ApiError(431, f"the request's head is larger than {_HEAD_BYTES:,} bytes"))

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's words
        """Refuse what is no HTTP, as everything else is refused."""
        self._refuse(ApiError(400, "this is no request of HTTP/1.1"))

    def on_message_begin(self) -> None:
        """Start the clock of a request on a connection that was kept."""
        super().on_message_begin()
        self.scope["state"][SPARE] = self._spare
        if self._timer is None:
            self._await_head()
            self._head_bytes = 1

    def on_headers_complete(self) -> None:
        """Stop the clock: the body has its own."""
        self._stop_timer()
        super().on_headers_complete()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause_writing(self) -> None:
        """Give a client that does not read its answer as long as a body may take, then let it go."""
        super().pause_writing()
        self._writing = self.loop.call_later(self.limits.body_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Forget the clock of a client that reads again."""
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the clocks back."""
        self._stop_timer()
        if self._writing is not None:
            self._writing.cancel()
        super().connection_lost(exc)


def _without_upgrade(data: bytes) -> bytes:
    """Return the bytes with the header `Upgrade` renamed: the parser would drop the body, as if h2c had been agreed.

    Clients on the JDK ask for h2c until they are told that it is spoken; they must be answered in HTTP/1.1.
    """
    head, blank, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nx-upgrade:", head) + blank + rest


class DrainingServer(uvicorn.Server):
    """A server that, told to end, finishes what is in flight and answers what is new with 503; told twice, it ends."""

    def __init__(self, config: uvicorn.Config, *, gate: Gate) -> None:
        super().__init__(config)
        self._gate = gate
        self._handler = LogHandler(gate.log)
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: Any = None) -> None:
        """Listen, and say so."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        logging.getLogger().addHandler(self._handler)
        address, port = self.servers[0].sockets[0].getsockname()[:2]
        names = ", ".join(self._gate.serving.models.names)
        shown = f"[{address}]" if ":" in address else address
        with suppress(OSError):  # nobody reads it: no reason not to serve
            sys.stdout.write(f"analect serves {names} at http://{shown}:{port} (API: /docs)\n")
            sys.stdout.flush()

    async def shutdown(self, sockets: Any = None) -> None:
        """Stop listening, let answers go out, then close what was served."""
        await super().shutdown(sockets=sockets)
        await asyncio.to_thread(self._gate.serving.close)
        logging.getLogger().removeHandler(self._handler)
        await asyncio.to_thread(self._gate.log.close)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Begin to end."""
        serving = self._gate.serving
        if serving.draining or sig not in (signal.SIGTERM, signal.SIGINT):
            self.should_exit = self.force_exit = True
        else:
            serving.draining = True
            self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._draining = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        serving = self._gate.serving
        end = self._loop.time() + serving.limits.drain_seconds
        while serving.metrics.in_flight and self._loop.time() < end:
            await asyncio.sleep(_POLL_SECONDS)
        self.should_exit = True


def bind(host: str, *, port: int) -> socket.socket:
    """Return a socket bound to the address. Raises `InputError` when that cannot be."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --host or --port"
        ) from error


def is_loopback(host: str) -> bool:
    """Return whether an address reaches this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_server(gate: Gate, *, host: str, port: int) -> DrainingServer:
    """Return the server, not yet listening."""
    limits = gate.serving.limits
    places, spare = _room(limits.connections)
    protocol = type("Protocol", (GuardedProtocol,), {"limits": limits, "places": places, "spare": spare})
    config = uvicorn.Config(
        gate,
        host=host,
        port=port,
        http=protocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="error",
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=int(max(limits.idle_seconds, 1)),
        timeout_graceful_shutdown=int(max(limits.drain_seconds, 1)),
    )
    return DrainingServer(config, gate=gate)


def make_app_server(
    settings: Settings, *, host: str, port: int, keys: Collection[str], anyone: bool = False
) -> DrainingServer:
    """Return the server of those settings, its models warming on a thread of their own until `/readyz` says so.

    Without keys, and unless `anyone` may come, it answers to this machine's names only.
    """
    _raise_file_limit()
    serving = Serving(settings)
    gate = make_app(serving, keys=keys, hosts=None if anyone else {host.strip("[]")})
    threading.Thread(target=serving.warm, name="analect-warm", daemon=True).start()
    return make_server(gate, host=host, port=port)


def _room(connections: int) -> tuple[int, int]:
    """Return how many connections may be held, and how many more may be heard, with the open files there may be."""
    try:
        import resource  # noqa: PLC0415  # not on Windows
    except ModuleNotFoundError:
        return connections, _SPARE
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files == resource.RLIM_INFINITY:
        return connections, _SPARE
    spare = min(_SPARE, files // 4)
    return max(1, min(connections, files - 2 * spare)), spare  # as many again are left to models and the corpus


def _raise_file_limit() -> None:
    """Allow as many open connections as the system lets this process have."""
    try:
        import resource  # noqa: PLC0415  # not on Windows
    except ModuleNotFoundError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

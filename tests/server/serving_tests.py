"""A running server, and ways to talk to it below any client library."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analect.config import Settings
from analect.protocols import Embedder
from analect.server.app import make_app
from analect.server.listening import DrainingServer, make_server
from analect.server.serving import Serving
from analect.server.settings import ServerSettings


@dataclass
class Answer:
    """Status, headers (lower case) and body of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, which must have OpenAI's four keys."""
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        return error


@dataclass
class Server:
    """A server under test."""

    url: str
    port: int
    serving: Serving
    server: DrainingServer
    log: io.StringIO = field(repr=False)

    @property
    def model(self) -> str:
        return self.serving.models.default

    def ask(
        self, path: str, body: Any = None, *, method: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request; a body that is not bytes is sent as JSON."""
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {"content-type": "application/json"} if sent is not None else {}
        request = urllib.request.Request(self.url + path, sent, {**given, **(headers or {})}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as found:
                return Answer(found.status, {key.lower(): each for key, each in found.headers.items()}, found.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, {key.lower(): each for key, each in error.headers.items()}, error.read())

    def embed(self, given: Any, **more: Any) -> Answer:
        return self.ask("/v1/embeddings", {"input": given, "model": self.model, **more})

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


@contextmanager
def running(folder: Path, *, embedder: Embedder, limits: ServerSettings, **given: Any) -> Iterator[Server]:
    """Run a server on a free port; `given` are keys, hosts, and settings."""
    keys, hosts = given.pop("keys", ()), given.pop("hosts", None)
    settings = Settings(corpus=folder / "corpus.db", ledger=folder / "ledger.db", **given)
    log = io.StringIO()
    serving = Serving(settings, limits=limits, embedder=embedder)
    serving.warm()
    server = make_server(make_app(serving, keys=keys, hosts=hosts, log=log), host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Server(f"http://127.0.0.1:{port}", port=port, serving=serving, server=server, log=log)
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(30)
        assert not thread.is_alive()


def resident(process: int) -> int:
    """Return a process's resident memory in kB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text(encoding="ascii"))
    assert found
    return int(found[1])


def until(true: Callable[[], bool], *, seconds: float = 20) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def read_all(connection: socket.socket) -> bytes:
    """Return everything until the other side closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)

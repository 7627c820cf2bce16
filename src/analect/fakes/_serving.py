"""A threaded HTTP/1.1 server on 127.0.0.1 that starts and stops with a `with`."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Server(ThreadingHTTPServer):
    """Keeps its connections open between requests and forgets its threads when it ends."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, and give it a thread."""
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection, and forget it."""
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Cut the connections that clients keep open."""
        with self._lock:
            kept = list(self._open)
        for connection in kept:
            with suppress(OSError):  # one that the client, or a fault, has already cut
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that a client, or a fault, has cut."""


class Handler(BaseHTTPRequestHandler):
    """Reads JSON bodies and sends replies in one piece."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # the name is the base class's
        """Log nothing: requests hold texts and keys."""

    def read_body(self) -> bytes:
        """Return the body of the request."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def send_json(self, status: int, document: Any, headers: Mapping[str, str] | None = None) -> None:
        """Send a JSON document."""
        body = json.dumps(document).encode()
        self.wfile.write(self.head(status, {**(headers or {}), "Content-Length": str(len(body))}) + body)

    def head(self, status: int, headers: Mapping[str, str]) -> bytes:
        """Return the status line and the headers as they go out."""
        lines = [f"HTTP/1.1 {status} {self.responses.get(status, ('Unknown',))[0]}"]
        kind = {} if "Content-Type" in headers else {"Content-Type": "application/json"}
        lines += [f"{name}: {value}" for name, value in {**kind, **headers}.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def cut(self, *, reset: bool) -> None:
        """Close the connection, with RST where that is asked for."""
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


class Serving:
    """What starts a server of `handler` on a free port (or `port`) and stops it."""

    handler: type[Handler]

    def __init__(self, *, port: int = 0) -> None:
        self._server = Server(("127.0.0.1", port), self.handler)
        self._server.fake = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> Self:
        """Start serving, in a thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

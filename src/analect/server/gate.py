"""What stands before every route: keys, limits, draining, errors, and one log line a request, without text."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import sys
import time
import traceback
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from typing import Any, TextIO
from urllib.parse import urlsplit

from analect.errors import AnalectError, EmbeddingError, InputError, NotFoundError, OverloadedError
from analect.server.calls import ApiError, Call, ClientLeftError, Receive, Reply, Send, event, reply
from analect.server.log import Log
from analect.server.routing import Route, Router
from analect.server.serving import Serving

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})
_PARTS_BETWEEN_YIELDS = 16  # parts of a long answer that are written before others get their turn
_DROPPED_BYTES = 1 << 30  # of a body that is too large; whoever sends more is cut off
_VITAL = ("/healthz", "/readyz", "/metrics")  # what a full server still answers
_LEFT = 499  # the log's status of a client that went away, as nginx has it


SPARE = "analect.spare"
"""What tells the gate, in the state of a request, that its connection is one too many."""


class Keys:
    """The API keys, kept as salted hashes and compared in constant time."""

    def __init__(self, keys: Collection[str]) -> None:
        self._salt = secrets.token_bytes(16)
        self._hashes = [self._hash(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def _hash(self, key: str) -> bytes:
        return hashlib.blake2b(key.encode("utf-8", "surrogateescape"), key=self._salt).digest()

    def admit(self, key: str) -> bool:
        """Return whether it is one of them; every one is compared, whichever fits."""
        given = self._hash(key)
        return sum(hmac.compare_digest(given, each) for each in self._hashes) > 0


class Gate:
    """The ASGI application. `hosts` are the names it may be called by (None: any), which stops other sites' pages."""

    def __init__(
        self,
        serving: Serving,
        router: Router,
        *,
        keys: Collection[str] = (),
        hosts: Collection[str] | None = None,
        log: TextIO | None = None,
    ) -> None:
        self.serving = serving
        self.router = router
        self._keys = Keys(keys)
        self._hosts = None if hosts is None or self._keys else _LOOPBACK | {host.lower() for host in hosts}
        self.log = Log(log or sys.stderr)
        self._buffered = 0

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            raise RuntimeError(f"no answer to {scope['type']}")

    async def _answer(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        call = Call(scope, receive, b"")
        request_id = secrets.token_hex(8)
        call.record.update(id=request_id, method=scope["method"], route="unknown")
        self.serving.metrics.in_flight += 1
        try:
            made = await self._made(call)
            made.headers["x-request-id"] = request_id
            if _is_spare(scope):
                made.headers["connection"] = "close"
            status = made.status
            if isinstance(made.body, AsyncGenerator):
                await self._stream(made, send, call)
            else:
                await _send(made, send, head=scope["method"] == "HEAD")
        except ClientLeftError:
            status = _LEFT
        finally:
            self.serving.metrics.in_flight -= 1
        seconds = time.perf_counter() - began
        record = call.record
        self.serving.metrics.count(record["route"], status=status, seconds=seconds)
        self.log.write({**record, "status": status, "ms": round(seconds * 1e3, 2)})

    async def _made(self, call: Call) -> Reply:
        """Return the handler's reply, or that of the error it raised."""
        route: Route | None = None
        try:
            # Not the decoded path: an id in it may hold a slash.
            path = call.scope.get("raw_path", call.scope["path"].encode()).decode("latin-1")
            route, call.params = self.router.find(call.scope["method"], path)
            call.record["route"] = route.path
            self._admit(call, route)
            await self._read_body(call)
            made = await route.handler(call)
            if isinstance(made.body, AsyncGenerator):
                made.body = await _begun(made.body)
        except Exception as error:  # noqa: BLE001  # whatever it is, the client gets an answer and never its text
            made = error_reply(self._as_api_error(error, call), azure=_is_azure(call.scope["path"]))
        finally:
            self._buffered -= len(call.body)
        return made

    async def _stream(self, made: Reply, send: Send, call: Call) -> None:
        """Send events as they are made. What fails in the middle is an event too: the status has been sent."""
        assert isinstance(made.body, AsyncGenerator)
        await send({"type": "http.response.start", "status": made.status, "headers": _headers(made)})
        try:
            async with aclosing(made.body) as parts:
                async for part in parts:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
        except Exception as error:  # noqa: BLE001  # as in `_made`
            body = event("error", _error_body(self._as_api_error(error, call)))
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _admit(self, call: Call, route: Route) -> None:
        if self.serving.draining and route.path != "/healthz":
            raise ApiError(503, "the server is ending", headers={"retry-after": "1", "connection": "close"})
        if _is_spare(call.scope) and route.path not in _VITAL:
            raise too_many_connections()
        if self._hosts is not None:
            self._check_site(call)
        if self._keys and not route.open:
            bearer = (call.header(b"authorization") or "").partition(" ")
            given = call.header(b"api-key") or (bearer[2].strip() if bearer[0].lower() == "bearer" else "")
            if not self._keys.admit(given):
                said = (
                    "Incorrect API key provided"
                    if given
                    else "no API key: send 'Authorization: Bearer KEY' or 'api-key: KEY'"
                )
                raise ApiError(401, said, code="invalid_api_key", headers={"www-authenticate": "Bearer"})

    def _check_site(self, call: Call) -> None:
        """Refuse pages of other sites: without keys, only programs on this machine are meant."""
        assert self._hosts is not None
        origin = call.header(b"origin")
        names = [_host_of("//" + (call.header(b"host") or "localhost")), *([_host_of(origin)] if origin else [])]
        if any(name not in self._hosts for name in names):
            raise ApiError(
                403, "without API keys only this machine is served: set ANALECT_API_KEYS, or --allow-anonymous"
            )

    async def _read_body(self, call: Call) -> None:
        """Read the body within the limits of size and time."""
        limits = self.serving.limits
        length = call.header(b"content-length")
        if length is None and call.header(b"transfer-encoding") is None:
            return
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(limits.body_seconds):
                if length is not None and length.isdigit() and int(length) > limits.body_bytes:
                    await _drop_body(call)
                    raise _too_large(limits.body_bytes)
                await self._collect(call, parts)
        except TimeoutError:
            said = f"the body did not come within {limits.body_seconds:.0f} seconds"
            raise ApiError(408, said, headers={"connection": "close"}) from None
        finally:
            call.body = parts[0] if len(parts) == 1 else b"".join(parts)

    async def _collect(self, call: Call, parts: list[bytes]) -> None:
        limits = self.serving.limits
        size = 0
        more = True
        while more:
            message = await call.receive()
            if message["type"] == "http.disconnect":
                raise ClientLeftError
            part = message.get("body", b"")
            more = message.get("more_body", False)
            size += len(part)
            self._buffered += len(part)
            parts.append(part)
            if size > limits.body_bytes or self._buffered > limits.buffered_bytes:
                if more:
                    await _drop_body(call)
                if size > limits.body_bytes:
                    raise _too_large(limits.body_bytes)
                raise ApiError(429, "too many bytes are being read", headers={"retry-after": "1"})

    def _as_api_error(self, error: Exception, call: Call) -> ApiError:
        if isinstance(error, ClientLeftError):
            raise error
        if isinstance(error, ApiError):
            return error
        if isinstance(error, OverloadedError):
            return overloaded(error)
        if isinstance(error, NotFoundError):
            return ApiError(404, str(error), code="not_found")
        if isinstance(error, InputError | EmbeddingError):
            return ApiError(400, str(error))
        # Its words may hold a path, a text or a secret: they go neither to the client nor to the log.
        call.record["error"] = type(error).__name__
        frames = traceback.extract_tb(error.__traceback__)
        call.record["at"] = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames[-4:]]
        if isinstance(error, AnalectError):
            return ApiError(503, f"this cannot be answered now; the server's log says why under {call.record['id']}")
        return ApiError(500, f"the server failed; its log has the place under {call.record['id']}")


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:  # a bracket that is never closed, and the like
        return ""


def overloaded(error: OverloadedError) -> ApiError:
    """Return a full queue as a 429 that says when to come back."""
    seconds = max(error.retry_after, 0.001)
    headers = {"retry-after": str(max(1, round(seconds))), "retry-after-ms": str(round(seconds * 1000))}
    return ApiError(429, str(error), code="rate_limit_exceeded", headers=headers)


def too_many_connections() -> ApiError:
    """Return what one connection too many is told."""
    return ApiError(503, "too many connections: come back soon", headers={"retry-after": "1"})


def _is_spare(scope: Mapping[str, Any]) -> bool:
    return bool(scope.get("state", {}).get(SPARE))


def error_reply(error: ApiError, *, azure: bool = False) -> Reply:
    """Return the error as OpenAI words it; Azure's code is the status where there is no other."""
    return reply(_error_body(error, azure=azure), status=error.status, headers=error.headers)


def _error_body(error: ApiError, *, azure: bool = False) -> dict[str, Any]:
    code = error.code or (str(error.status) if azure else None)
    return {"error": {"message": error.message, "type": error.type, "param": error.param, "code": code}}


def _is_azure(path: str) -> bool:
    return path.startswith("/openai/deployments/")


async def _drop_body(call: Call) -> None:
    """Read what is still coming and keep none of it: a client that is still sending could not read the answer."""
    if (call.header(b"expect") or "").lower() == "100-continue":
        return  # it waits for a word before it sends
    dropped, more = 0, True
    while more and dropped < _DROPPED_BYTES:
        message = await call.receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        dropped += len(message.get("body", b""))
        more = message.get("more_body", False)


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"the body is larger than {limit:,} bytes: send fewer texts", headers={"connection": "close"})


async def _begun(parts: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Return the parts with the first one made: what fails before it can still be answered with a status."""
    first = await anext(parts)

    async def all_of_them() -> AsyncGenerator[bytes]:
        async with aclosing(parts):
            yield first
            async for part in parts:
                yield part

    return all_of_them()


def _headers(made: Reply, **more: str) -> list[tuple[bytes, bytes]]:
    headers = {"content-type": made.content_type, **made.headers, **more}
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


async def _send(made: Reply, send: Send, *, head: bool) -> None:
    body = made.body
    assert not isinstance(body, AsyncGenerator)
    length = len(body) if isinstance(body, bytes) else sum(map(len, body))
    headers = _headers(made, **{"content-length": str(length)})
    await send({"type": "http.response.start", "status": made.status, "headers": headers})
    if isinstance(body, bytes) or head:
        await send({"type": "http.response.body", "body": body if isinstance(body, bytes) else b""})
        return
    for number in range(0, len(body), _PARTS_BETWEEN_YIELDS):
        part = b"".join(body[number : number + _PARTS_BETWEEN_YIELDS])
        await send({"type": "http.response.body", "body": part, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b""})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return

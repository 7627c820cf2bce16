"""One request and its answer, below any framework: what a handler is given, and what it gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qs

import msgspec
import orjson

Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[None]]
_T = TypeVar("_T")

_WATCH_AFTER = 0.05  # seconds: what is answered by then needs nobody to watch whether the client is still there
_END = object()
JSON = "application/json"


class ApiError(Exception):
    """An answer that is an error, in OpenAI's words: status, message, type, param, code."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    @property
    def type(self) -> str:
        """OpenAI's type of such an error."""
        return {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(
            self.status, "invalid_request_error" if self.status < 500 else "server_error"
        )


class ClientLeftError(Exception):
    """Whoever asked is gone: there is nobody to answer."""


@dataclass(slots=True)
class Reply:
    """An answer: a body, a body in parts whose size is known, or server-sent events."""

    body: bytes | list[bytes] | AsyncGenerator[bytes] = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON


def event(name: str, data: Any) -> bytes:
    """Return one server-sent event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))


def reply(document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply of one JSON document."""
    return Reply(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), status, dict(headers or {}))


@dataclass(slots=True)
class Call:
    """A request whose body is read. `record` is what its log line will say beside route, status and time."""

    scope: Mapping[str, Any]
    receive: Receive
    body: bytes
    params: Mapping[str, str] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def query(self) -> dict[str, str]:
        """The query string's values, the last of each name."""
        text = self.scope["query_string"].decode("latin-1")
        return {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}

    def header(self, name: bytes) -> str | None:
        """Return the header of that lower-case name."""
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == name), None)

    def json(self, decoder: msgspec.json.Decoder[_T]) -> _T:
        """Return the body as the decoder's type. Raises `ApiError` (415, 400) saying what is wrong and where."""
        kind = (self.header(b"content-type") or "").partition(";")[0].strip().lower()
        if kind and kind != JSON and not kind.endswith("+json"):
            raise ApiError(415, f"the body is {kind[:80]!r}: send JSON, with the header 'content-type: {JSON}'")
        try:
            return decoder.decode(self.body)
        except msgspec.ValidationError as error:
            raise _invalid(str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ApiError(400, f"the body is not JSON in UTF-8: {_said(error)}", code="invalid_json") from error
        except RecursionError as error:
            raise ApiError(400, "the body is nested too deeply", code="invalid_json") from error

    async def result_of(self, future: Future[_T], *, seconds: float) -> _T:
        """Return the future's result. A client that leaves, or time that runs out, cancels it.

        Raises `ClientLeftError`, or `ApiError` (503).
        """
        loop = asyncio.get_running_loop()
        waiting = asyncio.wrap_future(future)
        watchers: list[asyncio.Task[None]] = []
        timers = (
            loop.call_later(_WATCH_AFTER, lambda: watchers.append(loop.create_task(self._watch(waiting)))),
            loop.call_later(seconds, waiting.cancel),
        )
        try:
            return await waiting
        except asyncio.CancelledError:
            if not waiting.cancelled():
                raise
            if watchers and watchers[0].done():
                raise ClientLeftError from None
            raise _no_answer(seconds) from None
        finally:
            for timer in timers:
                timer.cancel()
            for watcher in watchers:
                watcher.cancel()

    async def _watch(self, waiting: asyncio.Future[_T]) -> None:
        await self._left()
        waiting.cancel()

    async def _left(self) -> None:
        """Return when the client has gone."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def each_of(self, pieces: Iterator[_T], *, threads: Executor, seconds: float) -> AsyncGenerator[_T]:
        """Yield the pieces as they are made, on those threads: the next is begun when the last was taken.

        A client that leaves, or time that runs out, closes `pieces` as soon as the one under way is made. Raises
        `ClientLeftError`, or `ApiError` (503).
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        leaving = loop.create_task(self._left())
        made: Future[Any] = threads.submit(next, pieces, _END)
        try:
            while True:
                waiting = asyncio.wrap_future(made)
                await asyncio.wait((waiting, leaving), timeout=end - loop.time(), return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    raise ClientLeftError if leaving.done() else _no_answer(seconds)
                if (piece := waiting.result()) is _END:
                    return
                yield piece
                made = threads.submit(next, pieces, _END)
        finally:
            leaving.cancel()
            waiting.cancel()
            made.add_done_callback(lambda _: pieces.close() if isinstance(pieces, Generator) else None)


def _no_answer(seconds: float) -> ApiError:
    return ApiError(503, f"no answer within {seconds:.0f} seconds", headers={"retry-after": "5"})


def _invalid(said: str) -> ApiError:
    """Return msgspec's complaint as OpenAI's: the place is the param."""
    what, _, place = said.partition(" - at `$")
    param = place.rstrip("`").lstrip(".") or None
    for sign, message in (
        ("Object contains unknown field `", "Unrecognized request argument supplied: {}"),
        ("Object missing required field `", "you must provide the parameter {!r}"),
    ):
        if what.startswith(sign):
            name = what.removeprefix(sign).rstrip("`")
            full = f"{param}.{name}" if param else name
            return ApiError(400, message.format(full), param=full)
    return ApiError(400, f"{param or 'the body'}: {what}", param=param)


def _said(error: Exception) -> str:
    """Return what a decoder said, which names a place and never quotes the body."""
    return str(error) if isinstance(error, msgspec.DecodeError) else type(error).__name__

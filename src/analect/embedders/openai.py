"""Embeddings of OpenAI, Azure OpenAI and compatible servers, through their own client: paced, packed, paid once.

Texts are packed into requests up to the three caps of the service at once (inputs, tokens of a request, tokens of an
input); some requests are under way at a time. Quota and retries are the governor's. A request that the service refuses
as such is halved until the text that it refuses is alone: that text fails, in the service's words, the others do not.
"""

from __future__ import annotations

import base64
import json
import math
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from analect.embedders._tokens import Tokens
from analect.errors import AnalectError, ConfigError, RemoteError
from analect.governor import SPOILED, TOO_MUCH, Governor
from analect.openai_service import Credential, Door, find_door, open_client, open_governor, remote_errors
from analect.types import Embeddings, Kind, Matrix

if TYPE_CHECKING:
    from openai import OpenAI

MAX_INPUTS = 2048
MAX_REQUEST_TOKENS = 300_000
_NATIVE = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
_FIXED = "text-embedding-ada-002"  # takes no `dimensions`
_REFUSED = (400, 413, 422)
_SHARE = 40  # requests that fill the quota of a minute: small ones fill it evenly
_AT_ONCE = 4  # a quarter of the quota may go in one request, when that is all there is to do
_UNIT = 1e-6


@dataclass(frozen=True, slots=True)
class _Part:
    """The vectors (n, dim) of the texts at `rows`; the reasons of those that were refused."""

    rows: list[int]
    vectors: Matrix
    failures: Mapping[int, str]


class OpenAIEmbedder:
    """Embeds with a model behind an API of OpenAI's kind.

    `model` names the model, and with `revision` and the dimensions it is the vector space: `deployment` (Azure's name
    for where it runs; default: the model), `query_deployment` (another one for queries), `endpoint` and key do not
    change what was paid for. `dimensions` shortens the vectors of models that can; of a model unknown here it must be
    told. `on_overflow` says what happens to a text of more than `max_tokens` tokens: "error" or "truncate". `tpm` and
    `rpm` are limits to keep to, besides those that the service tells. `credential` is "key", "entra" or "auto": a key
    when there is one. `in_flight` requests run at once, each for at most `timeout` seconds.

    Raises `ConfigError` for settings that cannot be; a missing key or library is told when it is first needed.
    """

    def __init__(  # noqa: PLR0913  # each is a setting
        self,
        *,
        model: str = "text-embedding-3-small",
        revision: str = "",
        dimensions: int | None = None,
        deployment: str | None = None,
        query_deployment: str | None = None,
        endpoint: str | None = None,
        api_version: str | None = None,
        credential: Credential = "auto",
        max_tokens: int = 8191,
        on_overflow: Literal["error", "truncate"] = "error",
        tpm: int | None = None,
        rpm: int | None = None,
        in_flight: int = 8,
        timeout: float = 60.0,
        quota: Path | None = None,
    ) -> None:
        self.dim = _dimensions(model, dimensions)
        self.id = f"{model}{'@' if revision else ''}{revision}/{self.dim}"
        self.max_tokens = max_tokens
        self._model = model
        self._asked = self.dim if model in _NATIVE and self.dim != _NATIVE[model] else None
        self._deployments: dict[Kind, str] = {"document": deployment or model}
        self._deployments["query"] = query_deployment or self._deployments["document"]
        self._where: dict[str, Any] = {"endpoint": endpoint, "api_version": api_version, "credential": credential}
        self._is_azure = deployment is not None
        self._tokens = Tokens(is_openai=model in _NATIVE)
        if on_overflow not in ("error", "truncate"):
            raise ConfigError(f"on_overflow is {on_overflow!r}: write 'error' or 'truncate'")
        if on_overflow == "truncate" and not self._tokens.exact:
            raise ConfigError(f"on_overflow = 'truncate' needs the tokenizer of {model}, which is not here")
        self._truncate = on_overflow == "truncate"
        self._limits = {"tpm": tpm, "rpm": rpm}
        self._in_flight = max(in_flight, 1)
        self._timeout = timeout
        self._quota = quota
        self._works = False  # until a request has succeeded, a refusal may be about all of them
        self._lock = threading.RLock()
        self._governors: dict[str, Governor] = {}
        self._made_client: OpenAI | None = None

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """Return the tokens of each text: int32 (n,). An upper bound where the model's tokenizer is not here."""
        return self._tokens.count(texts)

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        """Return one unit vector a text. Raises `RemoteError` when the service cannot be used, `ConfigError`."""
        found = _blank(len(texts), dim=self.dim)
        failures: dict[int, str] = {}
        for rows, part in self.embed_parts(texts, kind=kind):
            found.vectors[rows], found.tokens[rows], found.cut[rows] = part.vectors, part.tokens, part.cut
            failures |= {rows[index]: reason for index, reason in part.failures.items()}
        return Embeddings(found.vectors, found.tokens, found.cut, failures)

    def embed_parts(self, texts: Sequence[str], *, kind: Kind) -> Iterator[tuple[Sequence[int], Embeddings]]:
        """Yield the texts of each request with their embeddings, as requests are finished."""
        tokens = self.count_tokens(texts)
        sent, cut, failed = self._prepare(texts, tokens)
        if failed:
            yield self._embeddings(_Part(list(failed), _blank(len(failed), dim=self.dim).vectors, failed), tokens, cut)
        packs = self._pack(sent, tokens)
        parts = self._send_all(packs, sent, kind=kind) if len(packs) > 1 else self._send_one(packs, sent, kind=kind)
        for part in parts:
            yield self._embeddings(part, tokens, cut)

    def requests_for(self, tokens: Sequence[int], *, characters: int) -> int:
        """Return how many requests texts with these tokens take together; `characters` is what they cost the quota."""
        costs = np.full(len(tokens), characters / 4 / max(len(tokens), 1))
        return len(_packs(range(len(tokens)), tokens, costs, most=self._most(math.ceil(costs.sum()))))

    def quota(self) -> tuple[float | None, float | None]:
        """Return the tokens and the requests a minute that are set or learnt; None is unknown."""
        limits = self._governor("document").limits()
        return limits.tpm, limits.rpm

    def examine(self) -> Iterator[tuple[str, bool, str]]:
        """Yield the checks of endpoint, credential, deployments, dimensions and quota headers; costs some tokens."""
        for look in (self._see_endpoint, self._see_credential, self._see_deployments, self._see_quota):
            name = look.__name__.removeprefix("_see_")
            try:
                yield name, True, look()
            except AnalectError as error:
                yield name, False, str(error)
                return  # what follows would only say the same

    def _see_endpoint(self) -> str:
        door = self._door("document")
        route = "the route with deployments" if door.classic else "the route of OpenAI"
        try:
            socket.create_connection(door.address, timeout=10).close()
        except OSError as error:
            raise RemoteError(f"{door.host} cannot be reached: {error.strerror or error}") from error
        return f"{door.host}, {route}" + (f", api-version {door.api_version}" if door.classic else "")

    def _see_credential(self) -> str:
        key = self._door("document").key()
        _ = self._client
        return "Entra ID" if key == "entra" else f"the key in {key}"

    def _see_deployments(self) -> str:
        kinds: tuple[Kind, ...] = ("document", "query")
        for kind in kinds:
            self._request(["analect"], kind=kind)
        names = " and ".join(dict.fromkeys(self._deployments[kind] for kind in kinds))
        return f"{names} gives {self.dim} dimensions of {self._model}"

    def _see_quota(self) -> str:
        tpm, rpm = self.quota()
        if tpm is None and rpm is None:
            return "the service tells no limits: set tpm and rpm to be paced before it refuses"
        known = [f"{value:,.0f} {name}" for value, name in ((tpm, "tokens"), (rpm, "requests")) if value]
        return f"{' and '.join(known)} a minute"

    def _prepare(
        self, texts: Sequence[str], tokens: NDArray[np.int32]
    ) -> tuple[dict[int, str], set[int], dict[int, str]]:
        """Return what is to be sent, which of it was cut, and why the others are not sent."""
        sent: dict[int, str] = {}
        cut: set[int] = set()
        failed: dict[int, str] = {}
        for index, text in enumerate(texts):
            if not text.strip():
                failed[index] = "the text is empty"
            elif not self._tokens.exact or tokens[index] <= self.max_tokens:  # a bound decides nothing, the server does
                sent[index] = text
            elif self._truncate:
                sent[index] = self._tokens.cut(text, limit=self.max_tokens)
                cut.add(index)
            else:
                failed[index] = f"the text has {tokens[index]} tokens, the model takes {self.max_tokens}"
        return sent, cut, failed

    def _pack(self, sent: Mapping[int, str], tokens: NDArray[np.int32]) -> list[list[int]]:
        costs = {index: _cost(text) for index, text in sent.items()}
        bounded = np.minimum(tokens, self.max_tokens)
        return _packs(list(sent), bounded, costs, most=self._most(sum(costs.values())))

    def _most(self, cost: int) -> int:
        """Return what a request may cost the quota: all there is to do, when that is little, else a small share."""
        tpm, _ = self.quota()
        if not tpm or cost <= tpm / _AT_ONCE:
            return cost + 1
        return int(tpm * 0.98 / _SHARE)

    def _send_one(self, packs: list[list[int]], sent: Mapping[int, str], *, kind: Kind) -> Iterator[_Part]:
        """Send in this thread: a query does not wait for a thread that documents use."""
        parts: list[_Part] = []
        failure: BaseException | None = None
        try:
            for rows in packs:
                self._embed_rows(rows, sent, kind=kind, give=parts.append)
        except RemoteError as error:
            failure = error
        yield from parts
        if failure is not None:
            raise failure

    def _send_all(self, packs: list[list[int]], sent: Mapping[int, str], *, kind: Kind) -> Iterator[_Part]:
        """Send from several threads, and yield what each has as soon as it has it."""
        parts: SimpleQueue[_Part | BaseException | None] = SimpleQueue()

        def work(rows: list[int]) -> None:
            try:
                self._embed_rows(rows, sent, kind=kind, give=parts.put)
            except BaseException as error:  # noqa: BLE001  # it is raised where the parts are taken
                parts.put(error)
            else:
                parts.put(None)

        futures = [self._pool.submit(work, rows) for rows in packs]
        running, failure = len(futures), None
        try:
            while running:
                part = parts.get()
                if isinstance(part, _Part):
                    yield part
                    continue
                running -= 1
                if part is not None and failure is None:
                    failure = part
                    running -= _cancel(futures)  # what is under way is finished, and kept by whoever takes it
        finally:
            _cancel(futures)
        if failure is not None:
            raise failure

    def _embed_rows(
        self, rows: list[int], sent: Mapping[int, str], *, kind: Kind, give: Callable[[_Part], object]
    ) -> None:
        """Embed those texts in one request, or in halves where it is refused or more than the quota learnt since."""
        costs = {row: _cost(sent[row]) for row in rows}
        most = self._most(sum(costs.values()))
        if len(rows) > 1 and sum(costs.values()) > most:
            for pack in _packs(rows, dict.fromkeys(rows, 0), costs, most=most):
                self._embed_rows(pack, sent, kind=kind, give=give)
            return
        try:
            vectors = self._request([sent[row] for row in rows], kind=kind)
        except RemoteError as error:
            if error.status == 429 and error.code == TOO_MUCH and len(rows) > 1:
                self._embed_rows(rows, sent, kind=kind, give=give)  # the limit is known now
                return
            if error.status not in _REFUSED:
                raise
            if not self._works:
                self._try_out(error, kind=kind)
            if len(rows) > 1:
                self._halve(rows, sent, kind=kind, give=give)
                return
            give(_Part(rows, _blank(1, dim=self.dim).vectors, {rows[0]: str(error)}))
        else:
            give(_Part(rows, vectors, {}))

    def _halve(self, rows: list[int], sent: Mapping[int, str], *, kind: Kind, give: Callable[[_Part], object]) -> None:
        middle = len(rows) // 2
        for half in (rows[:middle], rows[middle:]):
            self._embed_rows(half, sent, kind=kind, give=give)

    def _try_out(self, refusal: RemoteError, *, kind: Kind) -> None:
        """Ask for a harmless text. Raises the refusal when that is refused too: then it is not about the texts."""
        try:
            self._request(["analect"], kind=kind)
        except RemoteError as error:
            raise (error if error.status in _REFUSED else refusal) from None

    def _request(self, texts: list[str], *, kind: Kind) -> Matrix:
        door, client = self._door(kind), self._client
        options: dict[str, Any] = {"dimensions": self._asked} if self._asked else {}

        def send() -> tuple[Matrix, Mapping[str, str]]:
            with remote_errors(door, texts=tuple(texts)):
                raw = client.embeddings.with_raw_response.create(
                    model=door.deployment, input=texts, encoding_format="base64", **options
                )
                reply = json.loads(raw.content)
            headers = {name.lower(): value for name, value in raw.headers.items()}
            return self._read(reply, count=len(texts), door=door), headers

        lane: Literal["query", "ingest"] = "query" if kind == "query" else "ingest"
        vectors = self._governor(kind).call(send, tokens=sum(map(_cost, texts)), lane=lane)
        self._works = True
        return vectors

    def _read(self, reply: Any, *, count: int, door: Door) -> Matrix:
        """Return the vectors of a reply in the order of the texts. Raises `RemoteError`, `ConfigError`."""
        items = reply.get("data") if isinstance(reply, dict) else None
        if not isinstance(items, list) or sorted(_index(item) for item in items) != list(range(count)):
            seen = len(items) if isinstance(items, list) else "no"
            raise RemoteError(f"{door.deployment!r} answered with {seen} vectors for {count} texts", code=SPOILED)
        model = str(reply.get("model") or "")
        if model.startswith("text-embedding-") and self._model in _NATIVE and not model.startswith(self._model):
            raise ConfigError(f"{door.deployment!r} serves {model}, the settings say {self._model}: correct 'model'")
        vectors = np.empty((count, self.dim), dtype=np.float32)
        for item in items:
            vector = _decoded(item.get("embedding"))
            if vector.shape != (self.dim,):
                message = f"{door.deployment!r} gives {vector.size} dimensions, not {self.dim}: correct 'dimensions'"
                raise ConfigError(message)
            vectors[item["index"]] = vector
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        if not np.isfinite(lengths).all() or not lengths.all():
            raise RemoteError(f"{door.deployment!r} answered with a vector that is none (NaN or zero)", code=SPOILED)
        off = np.abs(lengths - 1) > _UNIT
        vectors[off] = (vectors[off] / lengths[off, None]).astype(np.float32)
        return vectors

    def _embeddings(self, part: _Part, tokens: NDArray[np.int32], cut: set[int]) -> tuple[Sequence[int], Embeddings]:
        was_cut = np.array([row in cut for row in part.rows], dtype=np.bool_)
        counted = tokens[part.rows].astype(np.int32)
        failures = {place: part.failures[row] for place, row in enumerate(part.rows) if row in part.failures}
        return part.rows, Embeddings(part.vectors, counted, was_cut, failures)

    def _door(self, kind: Kind) -> Door:
        return find_door(deployment=self._deployments[kind], is_azure=self._is_azure, **self._where)

    @property
    def _client(self) -> OpenAI:
        with self._lock:  # one for all threads: they share its connections
            if self._made_client is None:
                self._made_client = open_client(self._door("document"), timeout=self._timeout)
            return self._made_client

    def _governor(self, kind: Kind) -> Governor:
        door = self._door(kind)
        with self._lock:
            if door.id not in self._governors:
                self._governors[door.id] = open_governor(door, path=self._quota, **self._limits)
            return self._governors[door.id]

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._in_flight, thread_name_prefix="analect-openai")

    def close(self) -> None:
        """Give back connections; what waits for quota is given up. Closing twice is allowed."""
        for governor in self._governors.values():
            governor.close()
        if "_pool" in self.__dict__:
            self._pool.shutdown(wait=True, cancel_futures=True)
        if self._made_client is not None:
            self._made_client.close()


def _dimensions(model: str, dimensions: int | None) -> int:
    native = _NATIVE.get(model)
    if dimensions is None and native is None:
        raise ConfigError(f"say how many dimensions {model!r} has: dimensions = N")
    found = dimensions or native or 0
    if found < 1 or (native and found > native):
        raise ConfigError(f"dimensions is {dimensions}: {model} has 1 to {native or 'as many as it has'}")
    if model == _FIXED and found != native:
        raise ConfigError(f"dimensions is {dimensions}: {model} has always {native}")
    return found


def _blank(count: int, *, dim: int) -> Embeddings:
    vectors = np.full((count, dim), np.nan, dtype=np.float32)
    return Embeddings(vectors, np.zeros(count, dtype=np.int32), np.zeros(count, dtype=np.bool_))


def _cost(text: str) -> int:
    """Return what a text costs the quota, by the service's own rule: a quarter of its characters."""
    return math.ceil(len(text) / 4)


def _packs(rows: Sequence[int], tokens: Any, costs: Any, *, most: int) -> list[list[int]]:
    """Return the rows in requests that keep all caps, in order; `most` bounds what a request costs the quota."""
    packs: list[list[int]] = []
    size, cost = 0, 0.0
    for row in rows:
        full = size + tokens[row] > MAX_REQUEST_TOKENS or cost + costs[row] > most
        if not packs or full or len(packs[-1]) >= MAX_INPUTS:
            packs.append([])
            size, cost = 0, 0.0
        packs[-1].append(row)
        size, cost = size + int(tokens[row]), cost + costs[row]
    return packs


def _index(item: Any) -> int:
    index = item.get("index") if isinstance(item, dict) else None
    return index if isinstance(index, int) else -1


def _decoded(embedding: Any) -> Matrix:
    """Return a vector from base64 of float32, as asked for, or from the numbers that some servers send all the same."""
    try:
        if isinstance(embedding, str):
            return np.frombuffer(base64.b64decode(embedding), dtype="<f4")
        return np.asarray(embedding, dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise RemoteError("the service answered with a vector that cannot be read", code=SPOILED) from error


def _cancel(futures: Sequence[Future[None]]) -> int:
    """Cancel what has not begun, and return how many these were."""
    return sum(not future.cancelled() and future.cancel() for future in futures)

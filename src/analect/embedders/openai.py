"""Embeddings of OpenAI, Azure OpenAI and compatible servers, through their own client: paced, packed, paid once.

Texts are packed into requests up to the three caps of the service at once (inputs, tokens of a request, tokens of an
input); some requests are under way at a time. Quota and retries are the governor's. A request that the service refuses
as such is halved until the text that it refuses is alone: that text fails, in the service's words, the others do not.
"""

from __future__ import annotations

import json
import math
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

from analect.embedders._packing import most_of, packed
from analect.embedders._replies import vectors_in
from analect.embedders._tokens import Tokens
from analect.errors import ConfigError, RemoteError
from analect.governor import TOO_MUCH
from analect.openai_connection import Connection
from analect.openai_service import Credential, cost_of
from analect.types import Embeddings, Kind, Matrix

if TYPE_CHECKING:
    from openai import OpenAI

_NATIVE = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
_FIXED = "text-embedding-ada-002"  # takes no `dimensions`
_REFUSED = (400, 413, 422)


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
    told. `on_overflow` says what happens to a text of more than `max_tokens` tokens: "error", "truncate", or "mean" of
    the vectors of its parts, weighted by their tokens. `tpm` and `rpm` are limits to keep to, besides those that the
    service tells. `credential` is "key", "entra" or "auto": a key when there is one. `in_flight` requests run at once,
    each for at most `timeout` seconds.

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
        on_overflow: Literal["error", "truncate", "mean"] = "error",
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
        self._connection = Connection(
            endpoint=endpoint,
            api_version=api_version,
            credential=credential,
            is_azure=deployment is not None,
            timeout=timeout,
            tpm=tpm,
            rpm=rpm,
            quota=quota,
        )
        self._tokens = Tokens(is_openai=model in _NATIVE)
        if on_overflow not in ("error", "truncate", "mean"):
            raise ConfigError(f"on_overflow is {on_overflow!r}: write 'error', 'truncate' or 'mean'")
        if on_overflow != "error" and not self._tokens.exact:
            raise ConfigError(f"on_overflow = {on_overflow!r} needs the tokenizer of {model}, which is not here")
        self._on_overflow = on_overflow
        if in_flight < 1:
            raise ConfigError(f"in_flight is {in_flight}: set 1 or more")
        self._in_flight = in_flight
        self._works = False  # until a request has succeeded, a refusal may be about all of them

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
        sent, split, cut, failed = self._prepare(texts, tokens)
        if failed:
            yield self._embeddings(_Part(list(failed), _blank(len(failed), dim=self.dim).vectors, failed), tokens, cut)
        packs = self._pack(sent, tokens)
        parts = self._send_all(packs, sent, kind=kind) if len(packs) > 1 else self._send_one(packs, sent, kind=kind)
        for part in parts:
            yield self._embeddings(part, tokens, cut)
        for row in split:  # one by one: what was paid for is given at once
            yield self._embeddings(self._averaged(row, texts[row], kind=kind), tokens, cut)

    def _averaged(self, row: int, text: str, *, kind: Kind) -> _Part:
        """Embed an over-long text in parts within the limit."""
        found = self.embed(self._tokens.split(text, limit=self.max_tokens), kind=kind)
        if found.failures:
            return _Part([row], _blank(1, dim=self.dim).vectors, {row: next(iter(found.failures.values()))})
        total = found.tokens.astype(np.float32) @ found.vectors
        return _Part([row], (total / max(float(np.linalg.norm(total)), 1e-12))[None, :], {})

    def requests_for(self, tokens: Sequence[int], *, characters: int) -> int:
        """Return how many requests texts with these tokens take together; `characters` is what they cost the quota."""
        costs = np.full(len(tokens), characters / 4 / max(len(tokens), 1))
        return len(packed(range(len(tokens)), tokens, costs, most=self._most(math.ceil(costs.sum()))))

    def quota(self) -> tuple[float | None, float | None]:
        """Return the tokens and the requests a minute that are set or learnt; None is unknown."""
        limits = self._connection.governor(self._deployments["document"]).limits()
        return limits.tpm, limits.rpm

    def examine(self) -> Iterator[tuple[str, bool, str]]:
        """Yield the checks of endpoint, credential, deployments, dimensions and quota headers; costs some tokens."""
        yield from self._connection.examine(self._deployments["document"], try_out=self._see_deployments)

    def _see_deployments(self) -> str:
        kinds: tuple[Kind, ...] = ("document", "query")
        for kind in kinds:
            self._request(["analect"], kind=kind)
        names = " and ".join(dict.fromkeys(self._deployments[kind] for kind in kinds))
        return f"{names} gives {self.dim} dimensions of {self._model}"

    def _prepare(
        self, texts: Sequence[str], tokens: NDArray[np.int32]
    ) -> tuple[dict[int, str], list[int], set[int], dict[int, str]]:
        """Return what is to be sent whole, what in parts, which of it was cut, and why the others are not sent."""
        sent: dict[int, str] = {}
        split: list[int] = []
        cut: set[int] = set()
        failed: dict[int, str] = {}
        for index, text in enumerate(texts):
            if not text.strip():
                failed[index] = "the text is empty"
            elif not self._tokens.exact or tokens[index] <= self.max_tokens:  # a bound decides nothing, the server does
                sent[index] = text
            elif self._on_overflow == "truncate":
                sent[index] = self._tokens.cut(text, limit=self.max_tokens)
                cut.add(index)
            elif self._on_overflow == "mean":
                split.append(index)
            else:
                failed[index] = f"the text has {tokens[index]} tokens, the model takes {self.max_tokens}"
        return sent, split, cut, failed

    def _pack(self, sent: Mapping[int, str], tokens: NDArray[np.int32]) -> list[list[int]]:
        costs = {index: cost_of(text) for index, text in sent.items()}
        bounded = np.minimum(tokens, self.max_tokens)
        return packed(list(sent), bounded, costs, most=self._most(sum(costs.values())))

    def _most(self, cost: int) -> int:
        return most_of(cost, tpm=self.quota()[0])

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
        """Send from several threads, and yield what each has as soon as it has it.

        A thread sends again when its part was taken: no more than `in_flight` requests are ever paid for and not kept.
        """
        parts: SimpleQueue[_Part | BaseException | None] = SimpleQueue()
        failed, taken = threading.Event(), threading.Semaphore(0)

        def give(part: _Part) -> None:
            parts.put(part)
            taken.acquire()

        def work(rows: list[int]) -> None:
            try:
                if not failed.is_set():
                    self._embed_rows(rows, sent, kind=kind, give=give)
            except BaseException as error:  # noqa: BLE001  # it is raised where the parts are taken
                failed.set()
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
                    taken.release()
                    continue
                running -= 1
                if part is not None and failure is None:
                    failure = part
                    running -= _cancel(futures)  # what is under way is finished, and kept by whoever takes it
        finally:
            _cancel(futures)
            taken.release(len(sent))  # nobody waits for whoever has gone: there are no more parts than texts
        if failure is not None:
            raise failure

    def _embed_rows(
        self, rows: list[int], sent: Mapping[int, str], *, kind: Kind, give: Callable[[_Part], object]
    ) -> None:
        """Embed those texts in one request, or in halves where it is refused or more than the quota learnt since."""
        costs = {row: cost_of(sent[row]) for row in rows}
        most = self._most(sum(costs.values()))
        if len(rows) > 1 and sum(costs.values()) > most:
            for pack in packed(rows, dict.fromkeys(rows, 0), costs, most=most):
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
        deployment = self._deployments[kind]
        options: dict[str, Any] = {"dimensions": self._asked} if self._asked else {}

        def send(client: OpenAI) -> tuple[Matrix, Mapping[str, str]]:
            raw = client.embeddings.with_raw_response.create(
                model=deployment, input=texts, encoding_format="base64", **options
            )
            reply = json.loads(raw.content)
            self._check_model(reply, deployment=deployment)
            return vectors_in(reply, count=len(texts), dim=self.dim, deployment=deployment), raw.headers

        lane: Literal["query", "ingest"] = "query" if kind == "query" else "ingest"
        cost = sum(map(cost_of, texts))
        vectors = self._connection.call(send, deployment=deployment, tokens=cost, lane=lane, texts=tuple(texts))
        self._works = True
        return vectors

    def _check_model(self, reply: Any, *, deployment: str) -> None:
        """Check that the deployment serves the model of the settings, as far as both are known."""
        model = str(reply.get("model") or "") if isinstance(reply, dict) else ""
        if model.startswith("text-embedding-") and self._model in _NATIVE and not model.startswith(self._model):
            raise ConfigError(f"{deployment!r} serves {model}, the settings say {self._model}: correct 'model'")

    def _embeddings(self, part: _Part, tokens: NDArray[np.int32], cut: set[int]) -> tuple[Sequence[int], Embeddings]:
        was_cut = np.array([row in cut for row in part.rows], dtype=np.bool_)
        counted = tokens[part.rows].astype(np.int32)
        failures = {place: part.failures[row] for place, row in enumerate(part.rows) if row in part.failures}
        return part.rows, Embeddings(part.vectors, counted, was_cut, failures)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._in_flight, thread_name_prefix="analect-openai")

    def close(self) -> None:
        """Give back connections; what waits for quota is given up. Closing twice is allowed."""
        self._connection.give_up()
        if "_pool" in self.__dict__:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._connection.close()


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


def _cancel(futures: Sequence[Future[None]]) -> int:
    """Cancel what has not begun, and return how many these were."""
    return sum(not future.cancelled() and future.cancel() for future in futures)

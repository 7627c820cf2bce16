"""The corpus over HTTP: search, ask, documents, status. Fields are those of the command line's `--json`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from analect.fields import answer_fields, hit_fields, report_fields, status_fields
from analect.server.calls import ApiError, Call, Reply, event, reply
from analect.server.routing import Route
from analect.server.serving import Serving
from analect.types import Answer, Document, Hit, Message, Metadata, ReadFailure

_STATUSES = (400, 401, 404, 408, 413, 415, 429, 503)
_PAGE = 1000  # documents of one listing at most
_K = Annotated[int, Meta(ge=1, le=1000)]
_Where = str | list[str]


class SearchRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A query; `where` holds conditions such as "price<100", which must all hold."""

    query: str
    k: _K = 10
    where: _Where = msgspec.field(default_factory=list)
    mode: Literal["dense", "lexical", "hybrid"] | None = None


class Turn(msgspec.Struct, forbid_unknown_fields=True):
    """What was said in a conversation before the question."""

    role: Literal["user", "assistant"]
    content: str


class AskRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A question; with `stream` the answer comes as server-sent events: hits, text, citation, done (or error).

    `history` is the conversation before it: its last questions are searched for as well, and a chat model reads all.
    """

    question: str
    k: _K = 10
    where: _Where = msgspec.field(default_factory=list)
    history: list[Turn] = msgspec.field(default_factory=list)
    stream: bool = False


class NewDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A document to be added; its text is Markdown. `record` keeps it whole while it fits the model."""

    id: Annotated[str, Meta(min_length=1, max_length=1024)]
    text: str
    title: str | None = None
    uri: str | None = None
    metadata: dict[str, str | int | float | bool | list[str] | None] = msgspec.field(default_factory=dict)
    record: bool = False


class AddRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Documents to be added under a source's name; documents of the same ids are replaced."""

    documents: Annotated[list[NewDocument], Meta(min_length=1, max_length=10_000)]
    source: Annotated[str, Meta(min_length=1, max_length=200)] = "api"


class DeleteRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Ids of documents to be deleted: all, or none when one is not there."""

    ids: Annotated[list[str], Meta(min_length=1, max_length=10_000)]


class Deleted(msgspec.Struct):
    """How many documents were deleted."""

    deleted: int


class _Posted:
    """The documents of one request as a source: nothing is removed because it is not among them."""

    roots: tuple[str, ...] = ()

    def __init__(self, documents: list[Document], *, name: str) -> None:
        self.name = name
        self._documents = documents

    def total(self) -> int:
        return len(self._documents)

    def read(self) -> Iterator[Document | ReadFailure]:
        yield from self._documents


_SEARCH = msgspec.json.Decoder(SearchRequest)
_ASK = msgspec.json.Decoder(AskRequest)
_ADD = msgspec.json.Decoder(AddRequest)
_DELETE = msgspec.json.Decoder(DeleteRequest)


class CorpusRoutes:
    """The handlers of this family."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        fields: dict[str, Any] = {"family": "corpus", "gives": dict[str, Any], "statuses": _STATUSES}
        page = (("limit", False, f"At most so many, 1 to {_PAGE}"), ("after", False, "Only ids after this one"))
        reading: dict[str, Any] = {**fields, "statuses": (400, 401, 404, 429, 503)}
        return (
            Route("POST", "/v1/search", self.search, "Find the chunks that fit a query", takes=SearchRequest, **fields),
            Route("POST", "/v1/ask", self.ask, "Answer a question, with citations", takes=AskRequest, streams=True,
                  **fields),
            Route("GET", "/v1/documents", self.documents, "List documents", query=page, **reading),
            Route("POST", "/v1/documents", self.add, "Add or replace documents", takes=AddRequest,
                  **{**fields, "statuses": (*_STATUSES, 409)}),
            Route("DELETE", "/v1/documents", self.delete, "Delete documents", takes=DeleteRequest,
                  **{**fields, "gives": Deleted}),
            Route("GET", "/v1/documents/{id}", self.document, "Show a document", **reading),
            Route("DELETE", "/v1/documents/{id}", self.delete_one, "Delete a document",
                  **{**reading, "gives": Deleted}),
            Route("GET", "/v1/status", self.status, "What the corpus holds", **reading),
        )  # fmt: skip

    async def search(self, call: Call) -> Reply:
        """Answer with the hits."""
        asked = call.json(_SEARCH)
        where = [asked.where] if isinstance(asked.where, str) else asked.where

        def work() -> dict[str, Any]:
            corpus = self._serving.corpus()
            hits = corpus.search(asked.query, k=asked.k, where=where, mode=asked.mode)
            used = asked.mode or self._serving.settings.retriever.use
            return {
                "query": asked.query,
                "mode": used,
                "hits": [hit_fields(hit) for hit in hits],
                "counters": corpus.counters(),
            }

        found = await self._serving.working(work)
        call.record["hits"] = len(found["hits"])
        return reply(found)

    async def ask(self, call: Call) -> Reply:
        """Answer the question, at once or as events."""
        asked = call.json(_ASK)
        if asked.stream:
            # A proxy that gathers an answer before it passes it on would undo the stream.
            headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
            return Reply(self._events(call, asked), content_type="text/event-stream", headers=headers)
        async with aclosing(self._serving.asking(call, self._pieces(asked))) as pieces:
            last = [piece async for piece in pieces][-1]
        assert isinstance(last, Answer)
        return reply(answer_fields(last))

    def _pieces(self, asked: AskRequest) -> Iterator[list[Hit] | str | Answer]:
        """Yield the hits, the text as it is made, and the answer."""
        corpus = self._serving.corpus()
        where = [asked.where] if isinstance(asked.where, str) else asked.where
        history = [Message(turn.role, turn.content) for turn in asked.history]
        hits = corpus.retrieve(asked.question, k=asked.k, where=where, history=history)
        yield hits
        yield from corpus.stream(asked.question, hits=hits, history=history)

    async def _events(self, call: Call, asked: AskRequest) -> AsyncGenerator[bytes]:
        """Yield an answer as events: what it rests on, its text as it is made, each citation, and the whole."""
        async with aclosing(self._serving.asking(call, self._pieces(asked))) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    yield event("text", {"delta": piece})
                elif isinstance(piece, Answer):
                    fields = answer_fields(piece)
                    for citation in fields["citations"]:
                        yield event("citation", citation)
                    yield event("done", fields)
                else:
                    yield event("hits", {"hits": [hit_fields(hit) for hit in piece]})

    async def documents(self, call: Call) -> Reply:
        """List documents by id, a page at a time; `next` is the `after` of the next page."""
        said = call.query.get("limit", "100")
        limit = int(said) if said.isascii() and said.isdigit() and len(said) < 6 else 0
        if not 1 <= limit <= _PAGE:
            raise ApiError(400, f"limit is {said[:20]!r}: it must be 1 to {_PAGE}", param="limit")
        after = call.query.get("after", "")

        def work() -> dict[str, Any]:
            found = [each for each in self._serving.corpus().documents() if each.id > after]
            shown = [
                {"id": each.id, "source": each.source, "uri": each.uri, "version": each.version}
                for each in found[:limit]
            ]
            return {"documents": shown, "next": shown[-1]["id"] if len(found) > limit else None}

        return reply(await self._serving.working(work))

    async def document(self, call: Call) -> Reply:
        """Show one document."""
        found = await self._serving.working(lambda: self._serving.corpus().read_document(call.params["id"]))
        names = ("id", "text", "title", "uri", "source")
        return reply({**{name: getattr(found, name) for name in names}, "metadata": dict(found.metadata)})

    async def add(self, call: Call) -> Reply:
        """Add documents, and tell what was done as `analect add --json` does."""
        asked = call.json(_ADD)
        documents = [
            Document(
                id=each.id,
                text=each.text,
                source=asked.source,
                uri=each.uri or f"{asked.source}:{each.id}",
                title=each.title,
                metadata=_metadata(each),
                record=each.record,
            )
            for each in asked.documents
        ]
        source = _Posted(documents, name=asked.source)

        def work() -> dict[str, Any]:
            corpus = self._serving.corpus(create=True)
            return {**report_fields(corpus.add(source)), "counters": corpus.counters()}

        found = await self._serving.working(work)
        call.record.update(documents=found["documents"], failed=len(found["failed"]))
        return reply(found)

    async def delete(self, call: Call) -> Reply:
        """Delete documents by id."""
        return await self._deleted(call.json(_DELETE).ids)

    async def delete_one(self, call: Call) -> Reply:
        """Delete the document in the path."""
        return await self._deleted([call.params["id"]])

    async def _deleted(self, ids: list[str]) -> Reply:
        return reply({"deleted": await self._serving.working(lambda: self._serving.corpus().delete(*ids))})

    async def status(self, _: Call) -> Reply:
        """Tell what the corpus holds."""
        return reply(await self._serving.working(lambda: status_fields(self._serving.corpus().status())))


def _metadata(document: NewDocument) -> Metadata:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in document.metadata.items()}

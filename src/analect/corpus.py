"""The flow: source → read → chunk → embed → store → retrieve → answer. This page is the product; all else is a part."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from analect.answering import answer, query_of, stream
from analect.config import Settings, load_settings, nearest
from analect.encoding import check_text
from analect.errors import InputError, NotFoundError, ReadError
from analect.filters import as_filter, matches
from analect.parts import Parts
from analect.protocols import Embedder, Source, Store
from analect.types import (
    AddProgress,
    AddReport,
    Answer,
    Condition,
    Document,
    Filter,
    Hit,
    Message,
    Metadata,
    Mode,
    Status,
    Stored,
)

Where = Filter | Iterable[Condition | str]
"""A filter, as conditions or as strings such as "price<100"; all must hold."""


class View:
    """What may be searched and asked: a whole corpus, or the part of it that a filter lets through."""

    def __init__(self, parts: Parts, *, where: Filter = ()) -> None:
        self._parts = parts
        self._where = where

    def search(self, query: str, *, k: int = 10, where: Where = (), mode: Mode | None = None) -> list[Hit]:
        """Return the k best hits for the query, best first.

        `mode` is "dense" (by meaning), "lexical" (by words) or "hybrid" (both, the default of the settings). Raises
        `InputError` for an empty query, a k below 1, or a condition that cannot be read.
        """
        if not query.strip():
            raise InputError("the query is empty: write what to look for")
        try:
            check_text(query)
        except ReadError as error:
            raise InputError(f"the query {error}") from error
        if k < 1:
            raise InputError(f"k is {k}: ask for at least 1 hit")
        return self._parts.retriever(mode).retrieve(query, k=k, where=self._where + as_filter(where))

    def ask(self, question: str, *, k: int = 10, where: Where = (), history: Sequence[Message] = ()) -> Answer:
        """Return an answer that quotes the k best hits, every citation checked; `answered` is False when none answers.

        `history` is the conversation before the question: the last questions in it are searched for with this one, and
        a chat model reads all of it. Raises `InputError` as `search` does.
        """
        hits = self.retrieve(question, k=k, where=where, history=history)
        return answer(question, hits, answerer=self._parts.answerer, history=history)

    def stream(
        self,
        question: str,
        *,
        k: int = 10,
        where: Where = (),
        history: Sequence[Message] = (),
        hits: Sequence[Hit] | None = None,
    ) -> Iterator[str | Answer]:
        """Yield the text of an answer as it is made, then the `Answer` itself, as `ask` would return it.

        Give the `hits` of `retrieve` or `search` where you have them: it is not searched again. Those that this view
        does not show are left out.
        """
        if hits is None:
            hits = self.retrieve(question, k=k, where=where, history=history)
        elif self._where:
            hits = [hit for hit in hits if matches(self._where, hit.chunk.metadata)]
        return stream(question, hits, answerer=self._parts.answerer, history=history)

    def retrieve(self, question: str, *, k: int = 10, where: Where = (), history: Sequence[Message] = ()) -> list[Hit]:
        """Return the hits that `ask` would answer from: those of the question, and of the last ones in the history."""
        asked = question.strip() and query_of(question, history=history, embedder=self._parts.embedder)
        return self.search(asked, k=k, where=where)

    def restricted(self, where: Where) -> View:
        """Return a view that can show nothing but what passes the filter, whatever is asked of it."""
        return View(self._parts, where=self._where + as_filter(where))


class Corpus(View):
    """Documents that can be searched and asked. Safe for several threads; closes as a context manager.

    >>> with Corpus.open("corpus.db") as corpus:      # doctest: +SKIP
    ...     corpus.add("handbook/")
    ...     print(corpus.ask("When does the garden open?").text)
    """

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        settings: Settings | None = None,
        embedder: Embedder | None = None,
        store: Store | None = None,
        create: bool = True,
    ) -> Self:
        """Return the corpus in the file `path` (default: that of the settings, `.analect/corpus.db`).

        `settings` default to `analect.toml` and the environment; `embedder` and `store` take the place of those that
        the settings name. Raises `NotFoundError` when the file is not there and `create` is False, `StoreError` when
        it cannot be used, `ModelError` when the model is not there.
        """
        settings = settings or load_settings()
        file = Path(path) if path is not None else settings.corpus
        if not create and store is None and settings.store.use == "sqlite" and not file.exists():
            raise NotFoundError(f"there is no corpus at {file}: make one with 'analect add PATH'")
        return cls(Parts(settings, file=file, embedder=embedder, store=store))

    def add(
        self,
        *what: str | os.PathLike[str] | Source,
        text: str | None = None,
        id: str | None = None,
        source: str | None = None,
        on_progress: Callable[[AddProgress], None] | None = None,
    ) -> AddReport:
        """Take in paths, folders, globs, URLs or sources, and return what was done.

        `text` is the template and `id` the id field of records; `source` names the source (default: the path).
        Unchanged documents cost nothing, changed ones are replaced whole, vanished ones removed; what fails is in the
        report and the rest goes on. May be killed at any moment and run again. Raises `NotFoundError` for a path that
        is not there, before anything is changed.
        """
        sources = [self._parts.source(each, text=text, id=id, name=source) for each in what]
        return self._parts.adding(on_progress).run(sources)

    def delete(self, *document_ids: str) -> int:
        """Remove those documents and return how many. Raises `NotFoundError`, removing none, if one is not there."""
        there = {stored.id for stored in self._parts.store.documents()}
        for document_id in document_ids:
            if document_id not in there:
                raise NotFoundError(
                    f"there is no document {document_id!r}{nearest(document_id, there)[:200]}; nothing was deleted"
                )
        self._parts.store.delete(document_ids)
        return len(set(document_ids))

    def documents(self) -> list[Stored]:
        """Return what the corpus holds of each document, without its text, ordered by id."""
        return list(self._parts.store.documents())

    def read_document(self, document_id: str) -> Document:
        """Return the document as it was added. Raises `NotFoundError`."""
        return self._parts.store.read_document(document_id)

    def status(self) -> Status:
        """Return what the corpus holds."""
        parts = self._parts
        documents, chunks = parts.store.count()
        vectors, size = parts.ledger.count()
        sources = Counter(stored.source for stored in parts.store.documents())
        return Status(
            documents=documents,
            chunks=chunks,
            embedder=parts.embedder.id,
            store=parts.settings.store.use,
            revision=parts.store.revision(),
            ledger_vectors=vectors,
            ledger_bytes=size,
            sources=dict(sorted(sources.items())),
            counters=self.counters(),
        )

    def counters(self) -> dict[str, Metadata]:
        """Return how the "embedder" and the "index" work and what they did so far, as far as they tell.

        The index tells from the first search of this corpus on.
        """
        return self._parts.counters()

    def close(self) -> None:
        """Give back files and connections."""
        self._parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

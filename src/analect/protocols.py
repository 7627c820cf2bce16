"""Every seam of analect, on one page.

A part is a class with the methods of one of these protocols: one part, one file. What wraps a part (the ledger, say)
has the same protocol. `SearchesText` and `SearchesVectors` are capabilities: a store has them or does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from analect.types import (
    Answer,
    Change,
    Chunk,
    Document,
    Embeddings,
    Entry,
    Filter,
    Hit,
    Kind,
    Matrix,
    Message,
    Metadata,
    ReadFailure,
    Revision,
    Stored,
    Vector,
)


@runtime_checkable
class Source(Protocol):
    """Where documents come from. `roots` are the uri prefixes it covers: what vanished under them is removed."""

    name: str
    roots: tuple[str, ...]

    def total(self) -> int:
        """Return about how many documents there are, as far as that is cheap to know: for progress."""
        ...

    def read(self) -> Iterator[Document | ReadFailure]:
        """Yield every document; what cannot be read is a `ReadFailure`, and the rest goes on."""
        ...


class Reader(Protocol):
    """Bytes of one format → a document in Markdown."""

    def read(self, data: bytes, *, uri: str) -> Document:
        """Return the document; its `id` and `source` are empty, the source fills them in. Raises `ReadError`."""
        ...


class Chunker(Protocol):
    """A document → chunks that fit the embedder. `id` names everything that decides the cuts."""

    id: str

    def chunk(self, document: Document) -> Iterator[Chunk]:
        """Yield the chunks in order of their offsets; together they hold all of the text but white space."""
        ...


class Embedder(Protocol):
    """Texts → unit vectors. `id` names the vector space: model, weights, dim, pooling and prefixes, nothing else."""

    id: str
    dim: int
    max_tokens: int

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """Return the tokens of each text, special tokens included: shape (n,)."""
        ...

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        """Return one unit vector a text, in order. A text that cannot be embedded is under `failures`, not raised."""
        ...


@runtime_checkable
class Metered(Protocol):
    """An embedder whose use is limited and paid for: what it would take can be told before."""

    def requests_for(self, tokens: Sequence[int], *, characters: int) -> int:
        """Return how many requests texts of these tokens, and of so many characters together, would take."""
        ...

    def quota(self) -> tuple[float | None, float | None]:
        """Return the tokens and the requests a minute that are set or learnt; None is unknown."""
        ...


@runtime_checkable
class Examines(Protocol):
    """A part that depends on a service, and can say whether that is in order."""

    def examine(self) -> Iterator[tuple[str, bool, str]]:
        """Yield what there is to check of the service: name, whether it is right, what was seen or is wrong."""
        ...


@runtime_checkable
class EmbedsInParts(Protocol):
    """Embeds in requests of its own size, several at once, and gives each when it is finished: paid is kept."""

    def embed_parts(self, texts: Sequence[str], *, kind: Kind) -> Iterator[tuple[Sequence[int], Embeddings]]:
        """Yield indices into `texts` and their embeddings, in any order, each index once.

        When a request fails for good, those under way are finished and yielded before its error is raised.
        """
        ...


@runtime_checkable
class EmbedsTokens(Protocol):
    """Embeds in two steps, for whoever merges callers: it can count first, and choose each text's company."""

    def encode(self, texts: Sequence[str], *, kind: Kind) -> list[list[int]]:
        """Return the token ids of each text, special tokens included, whatever their number."""
        ...

    def embed_encoded(self, encodings: Sequence[Sequence[int]], *, urgent: bool = False) -> Matrix:
        """Return one unit vector an encoding (n, dim), in one run on this thread; an urgent run overtakes others."""
        ...


@runtime_checkable
class CrossEncodes(Protocol):
    """Reads a question and a text together, which tells more than two vectors do."""

    def cross_encode(self, question: str, texts: Sequence[tuple[str, str]]) -> Vector | None:
        """Return for each (text, what it stands under) how surely it answers, in log odds: float32 (n,).

        None when this model has nothing to read with.
        """
        ...


class Store(Protocol):
    """Keeps documents, chunks and vectors durably. One store holds one vector space."""

    def prepare(self, *, embedder_id: str, dim: int) -> None:
        """Bind an empty store to a vector space. Raises `EmbedderMismatchError` when it holds another one's vectors."""
        ...

    def put(self, entries: Iterable[Entry]) -> Revision:
        """Replace those documents whole, all or none. Raises `ConflictError` when another source has an id."""
        ...

    def delete(self, document_ids: Iterable[str]) -> Revision:
        """Remove those documents, all or none; ids that are not there are ignored."""
        ...

    def documents(self, *, source: str | None = None) -> Iterator[Stored]:
        """Yield what is there, ordered by id."""
        ...

    def get(self, chunk_ids: Sequence[str]) -> list[Chunk]:
        """Return those chunks in the order asked for; ids that are not there are left out."""
        ...

    def read_document(self, document_id: str) -> Document:
        """Return the document as it was put. Raises `NotFoundError`."""
        ...

    def changes(self, *, since: Revision | None = None) -> Iterator[Change]:
        """Yield what came and went since a revision, as one consistent view; None means everything.

        Raises `RevisionExpired` when that revision is too old to tell.
        """
        ...

    def count(self) -> tuple[int, int]:
        """Return the number of documents and of chunks."""
        ...

    def revision(self) -> Revision:
        """Return the present revision: equal means that nothing changed."""
        ...

    def close(self) -> None:
        """Give back files and connections. Closing twice is allowed."""
        ...


@runtime_checkable
class SearchesVectors(Protocol):
    """Finds the nearest chunks for itself."""

    def search_vectors(self, queries: Matrix, *, k: int, where: Filter = ()) -> list[list[Hit]]:
        """Return the k best hits of each query (n, dim), best first, ties by chunk id; filters act before the top k."""
        ...


@runtime_checkable
class SearchesText(Protocol):
    """Ranks chunks by words (BM25)."""

    def search_text(self, query: str, *, k: int, where: Filter = ()) -> list[Hit]:
        """Return the k best hits, best first, ties by chunk id; filters act before the top k."""
        ...


@runtime_checkable
class Counts(Protocol):
    """Tells how it works and what it has done so far in this process: what `status` shows of an embedder or index."""

    def counters(self) -> Metadata:
        """Return settings that it chose and counts of what it did, by name."""
        ...


class Retriever(Protocol):
    """A query → ranked hits."""

    def retrieve(self, query: str, *, k: int = 10, where: Filter = ()) -> list[Hit]:
        """Return at most k hits, best first."""
        ...


class Answerer(Protocol):
    """A question and its hits → a cited answer."""

    def answer(self, question: str, hits: Sequence[Hit]) -> Answer:
        """Return an answer whose every citation is bound to one of the hits, or one with `answered` False."""
        ...


@runtime_checkable
class StreamsAnswers(Protocol):
    """Gives an answer while it is being made."""

    def stream(self, question: str, hits: Sequence[Hit], *, history: Sequence[Message] = ()) -> Iterator[str | Answer]:
        """Yield the text piece by piece, then the whole answer. `history` is the conversation before the question."""
        ...

"""The values that travel through analect: frozen dataclasses and two array types.

Arrays are float32. A `Vector` has shape (dim,) and unit L2 norm; a `Matrix` has shape (n, dim) and is C-contiguous.
Offsets count Python characters (Unicode code points), never bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float32]
Matrix: TypeAlias = NDArray[np.float32]

Value: TypeAlias = str | int | float | bool | tuple[str, ...] | None
Metadata: TypeAlias = Mapping[str, Value]
Revision: TypeAlias = str

Kind: TypeAlias = Literal["document", "query"]
Mode: TypeAlias = Literal["dense", "lexical", "hybrid"]
Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">=", "in", "any"]
Verdict: TypeAlias = Literal["found", "misattributed", "absent"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One test of a metadata field. `in` and `any` take a tuple; a missing field never matches.

    What each operator means stands in `analect.filters`.
    """

    field: str
    op: Operator
    value: Value


Filter: TypeAlias = tuple[Condition, ...]
"""Conditions that must all hold."""


@dataclass(frozen=True, slots=True)
class PageSpan:
    """Page `number` (from 1) is `document.text[start:end]`."""

    number: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Document:
    """One text as its source gave it; `text` is Markdown.

    `record` marks one row of a table: it is kept whole while it fits the embedder.
    """

    id: str
    text: str
    source: str
    uri: str
    title: str | None = None
    metadata: Metadata = field(default_factory=dict)
    pages: tuple[PageSpan, ...] = ()
    record: bool = False


@dataclass(frozen=True, slots=True)
class ReadFailure:
    """Something of a source could not be read; `uri` names it, `error` says why in one line."""

    source: str
    uri: str
    error: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A span of a document: `document.text[start:end] == text`.

    `headings` is the path of headings above it, outermost first. The id names the content: another text has another id.
    """

    id: str
    document_id: str
    text: str
    start: int
    end: int
    uri: str
    title: str | None = None
    headings: tuple[str, ...] = ()
    page: int | None = None
    metadata: Metadata = field(default_factory=dict)

    @property
    def embedded_text(self) -> str:
        """What is embedded: title, heading path and text, leaving out what the text already says."""
        return embedded_text(self.text, title=self.title, headings=self.headings)


def embedded_text(text: str, *, title: str | None, headings: tuple[str, ...]) -> str:
    """Return `text` under its title and heading path, without repeating a line that the text contains."""
    context = [line for line in dict.fromkeys((title, *headings)) if line and line not in text]
    return "\n".join((*context, text))


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What an embedder makes of n texts.

    `vectors` (n, dim) float32, `tokens` (n,) int32 counted by the model's own tokenizer, `cut` (n,) bool: the text was
    cut to the limit by a named policy. `failures` maps an index to its reason; the vector of a failed text is all NaN.
    `reused` counts the vectors that came from a ledger.
    """

    vectors: Matrix
    tokens: NDArray[np.int32]
    cut: NDArray[np.bool_]
    failures: Mapping[int, str] = field(default_factory=dict)
    reused: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """What a store keeps of one document; row i of `vectors` (n_chunks, dim) belongs to `chunks[i]`.

    `fingerprint` covers text, metadata, chunker and embedder: an equal one means there is nothing to do.
    """

    document: Document
    fingerprint: str
    chunks: tuple[Chunk, ...]
    vectors: Matrix


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store has of one document, without its text. `version` is the store's own (a revision, an ETag)."""

    id: str
    source: str
    uri: str
    fingerprint: str
    version: str


@dataclass(frozen=True, slots=True)
class Change:
    """A step of a store's history: first `removed_ids` (chunk ids) go, then the chunks of `chunk_ids` come.

    `metadata` and `vectors` (n, dim) are theirs, row by row; metadata may be parsed only when it is looked at. An index
    of vectors needs no texts, so whole chunks are read when asked for: ask while the iteration stands at this step.
    `revision` is what the next `changes(since=…)` starts from once every step of this reading has been applied.
    """

    revision: Revision
    removed_ids: tuple[str, ...]
    chunk_ids: Sequence[str]
    metadata: Sequence[Metadata]
    vectors: Matrix
    read_chunks: Callable[[], Sequence[Chunk]]

    @property
    def chunks(self) -> Sequence[Chunk]:
        """The chunks of `chunk_ids`, whole."""
        return self.read_chunks()


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk and its score, higher is better, always; `scores` tells what each stage gave."""

    chunk: Chunk
    score: float
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Citation:
    """A marker `[n]` in an answer, bound to a span: `document.text[start:end] == quote` when `verdict` is "found".

    "misattributed": the quote stands in another hit than the one cited. "absent": it stands in none.
    """

    marker: int
    chunk: Chunk
    quote: str
    start: int
    end: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens that a chat model was given and gave."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Finish:
    """How a completion ended: `reason` is "stop", "length" (cut at the limit) or "content_filter" (by the service)."""

    reason: str
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and what it rests on. `answered` is False when the corpus does not hold an answer.

    Of a chat model: `finish` is how it ended (see `Finish`), `usage` what it took, and `uncited` counts the sentences
    that cite none of the hits.
    """

    question: str
    text: str
    answered: bool
    citations: tuple[Citation, ...]
    hits: tuple[Hit, ...]
    finish: str = "stop"
    usage: Usage | None = None
    uncited: int = 0


@dataclass(frozen=True, slots=True)
class AddReport:
    """What an `add` did. Documents seen are unchanged, added, replaced or failed; `chunks` counts those of added and
    replaced documents, which were `embedded` now or `reused` from the ledger."""

    documents: int
    unchanged: int
    added: int
    replaced: int
    deleted: int
    chunks: int
    embedded: int
    reused: int
    failed: tuple[ReadFailure, ...]


@dataclass(frozen=True, slots=True)
class EmbedReport:
    """What embedding a table did. Of its `rows`, `failed` have an error and no vector, and the text of `cut` was cut to
    the model's limit because the settings say so. The others were `embedded` now or `reused` from the ledger."""

    rows: int
    embedded: int
    reused: int
    cut: int
    failed: int


@dataclass(frozen=True, slots=True)
class AddProgress:
    """How far an `add` is: documents (or rows) read of about `total`, and texts embedded by the model."""

    documents: int
    total: int
    embedded: int


@dataclass(frozen=True, slots=True)
class Status:
    """What a corpus holds. `sources` maps a source's name to its number of documents; `ledger_bytes` is a file size.

    `embedder` is its id; `counters` are those of `Corpus.counters`.
    """

    documents: int
    chunks: int
    embedder: str
    store: str
    revision: Revision
    ledger_vectors: int
    ledger_bytes: int
    sources: Mapping[str, int]
    counters: Mapping[str, Metadata] = field(default_factory=dict)

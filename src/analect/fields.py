"""What the command line's `--json` and the server's routes show of each value: one shape, in one place."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analect.types import AddReport, Answer, Citation, Hit, Status


def hit_fields(hit: Hit) -> dict[str, Any]:
    """Return a hit as it is shown."""
    chunk = hit.chunk
    return {
        "chunk_id": chunk.id,
        "document_id": chunk.document_id,
        "score": hit.score,
        "scores": hit.scores,
        "text": chunk.text,
        "title": chunk.title,
        "uri": chunk.uri,
        "headings": chunk.headings,
        "page": chunk.page,
        "start": chunk.start,
        "end": chunk.end,
        "metadata": chunk.metadata,
    }


def answer_fields(answer: Answer) -> dict[str, Any]:
    """Return an answer as it is shown."""
    return {
        "question": answer.question,
        "text": answer.text,
        "answered": answer.answered,
        "finish": answer.finish,
        "uncited": answer.uncited,
        "usage": dataclasses.asdict(answer.usage) if answer.usage else None,
        "citations": [_citation_fields(citation) for citation in answer.citations],
        "hits": [hit_fields(hit) for hit in answer.hits],
    }


def _citation_fields(citation: Citation) -> dict[str, Any]:
    chunk = citation.chunk
    return {
        "marker": citation.marker,
        "chunk_id": chunk.id,
        "document_id": chunk.document_id,
        "uri": chunk.uri,
        "page": chunk.page,
        "quote": citation.quote,
        "start": citation.start,
        "end": citation.end,
        "verdict": citation.verdict,
    }


def status_fields(found: Status) -> dict[str, Any]:
    """Return what a corpus holds as it is shown."""
    return {
        "documents": found.documents,
        "chunks": found.chunks,
        "embedder": {"id": found.embedder, **found.counters.get("embedder", {})},
        **({"index": found.counters["index"]} if "index" in found.counters else {}),
        "store": found.store,
        "revision": found.revision,
        "ledger": {"vectors": found.ledger_vectors, "bytes": found.ledger_bytes},
        "sources": [{"name": name, "documents": number} for name, number in found.sources.items()],
    }


def report_fields(report: AddReport) -> dict[str, Any]:
    """Return what an `add` did as it is shown."""
    failed = [{"uri": failure.uri, "error": failure.error} for failure in report.failed]
    counts = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    return {**counts, "failed": failed}

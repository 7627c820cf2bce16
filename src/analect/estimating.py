"""What an `add` would take, before a cent is spent: chunks, tokens, requests, minutes and money."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from analect.config import PartSettings, Settings
from analect.ledger import Ledger, hash_of
from analect.protocols import Chunker, Embedder, Metered, Source
from analect.registry import build_part, load_part, reader_for
from analect.types import ReadFailure


@dataclass(frozen=True, slots=True)
class Estimate:
    """What there is, and what of it is not in the ledger yet.

    `texts`, `tokens`, `requests`, `minutes` and `cost` are of what would be embedded: different texts that no run has
    paid for. `minutes` is at the quota `tpm` and `rpm`, as set or learnt (None: no limit is known); `cost` at the price
    that was given.
    """

    documents: int
    failed: int
    chunks: int
    kept: int
    texts: int
    tokens: int
    requests: int
    tpm: float | None
    rpm: float | None
    minutes: float | None
    cost: float | None


def estimate(
    *what: str | os.PathLike[str],
    settings: Settings,
    text: str | None = None,
    id: str | None = None,
    price: float | None = None,
) -> Estimate:
    """Return what adding those paths would take; `price` is for a million tokens. Nothing is sent, added or stored.

    `text` and `id` are those of `Corpus.add`. Raises `NotFoundError` for a path that is not there.
    """
    embedder: Embedder = build_part("embedder", settings.embedder, quota=settings.quota)
    files = load_part("source", "files")
    sources = [files(os.fspath(each), name=None, text=text, id=id, reader_for=reader_for) for each in what]
    texts, documents, failed = _texts(sources, settings=settings, embedder=embedder)
    new = _unpaid(dict.fromkeys(texts), settings=settings, embedder=embedder)
    tokens = [int(count) for count in embedder.count_tokens(new)] if new else []
    tpm = rpm = None
    requests = 0
    if isinstance(embedder, Metered):
        (tpm, rpm), characters = embedder.quota(), sum(map(len, new))
        requests = embedder.requests_for(tokens, characters=characters) if new else 0
    times = [(characters / 4, tpm), (requests, rpm)] if isinstance(embedder, Metered) else []
    known = [amount / limit for amount, limit in times if limit]
    return Estimate(
        documents=documents,
        failed=failed,
        chunks=len(texts),
        kept=len(dict.fromkeys(texts)) - len(new),
        texts=len(new),
        tokens=sum(tokens),
        requests=requests,
        tpm=tpm,
        rpm=rpm,
        minutes=max(known) if known else None,
        cost=None if price is None else sum(tokens) * price / 1e6,
    )


def _texts(sources: Iterable[Source], *, settings: Settings, embedder: Embedder) -> tuple[list[str], int, int]:
    """Return what would be embedded, the number of documents, and how many cannot be read."""
    chunker: Chunker = build_part("chunker", settings.chunker, embedder=embedder)
    whole: Chunker = build_part("chunker", PartSettings("whole", settings.chunker.options), embedder=embedder)
    texts: list[str] = []
    documents = failed = 0
    for source in sources:
        for item in source.read():
            if isinstance(item, ReadFailure):
                failed += 1
                continue
            documents += 1
            texts += [chunk.embedded_text for chunk in (whole if item.record else chunker).chunk(item)]
    return texts, documents, failed


def _unpaid(texts: Iterable[str], *, settings: Settings, embedder: Embedder) -> list[str]:
    """Return the texts whose vectors are not in the ledger; one that is not there yet is not made."""
    if not settings.ledger.exists():
        return list(texts)
    ledger = Ledger(path=settings.ledger)
    try:
        hashes = {hash_of(text): text for text in texts}
        kept = ledger.read(ledger.space(embedder.id, kind="document"), list(hashes))
    finally:
        ledger.close()
    return [text for digest, text in hashes.items() if digest not in kept]

"""Whether a model works here: known answers, agreement with its reference implementation, and how fast it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analect.embedders.local import LocalEmbedder
from analect.embedding import embed_all
from analect.models import KNOWN, PAIR, TOLERANCE
from analect.types import Matrix

AGREEMENT = 0.999
"""The least cosine to the reference's vectors: what bf16 keeps with room to spare and a wrong pooling does not."""
_SECONDS = 1.0  # of measuring
_WORDS = "rain soil leaf open closed ticket bench frost seed water the of a in spring garden path gate".split()
_TEXTS = 64
_LONGEST = 250  # words


@dataclass(frozen=True, slots=True)
class Trial:
    """What trying a model showed.

    `cosine` is that of the sentence pair, `expected` what it must be where that is known. `agreement` is the least
    cosine to the vectors of sentence-transformers, or None for the reason in `no_reference`.
    """

    id: str
    folder: str
    precision: str
    max_tokens: int
    cosine: float
    expected: float | None
    tokens_per_second: float
    agreement: float | None
    no_reference: str | None

    @property
    def ok(self) -> bool:
        """Whether nothing that could be checked is wrong."""
        right = self.expected is None or abs(self.cosine - self.expected) <= TOLERANCE
        return right and (self.agreement is None or self.agreement >= AGREEMENT)


def try_model(embedder: LocalEmbedder) -> Trial:
    """Return how the model does here; takes some seconds. Raises `ModelError` when it cannot be run."""
    pair = embed_all(embedder, PAIR, kind="document").astype(np.float64)
    texts = _texts(embedder)
    vectors = embed_all(embedder, texts, kind="document")  # shapes that are new cost more: not measured
    speed = _tokens_per_second(embedder, texts)  # before torch is there to compete
    agreement, reason = _agreement(embedder, texts, vectors=vectors)
    return Trial(
        id=embedder.id,
        folder=str(embedder.folder),
        precision=embedder.precision,
        max_tokens=embedder.max_tokens,
        cosine=float(pair[0] @ pair[1]),
        expected=next((known.cosine for known in KNOWN.values() if known.sha256 == embedder.sha256), None),
        tokens_per_second=speed,
        agreement=agreement,
        no_reference=reason,
    )


def _texts(embedder: LocalEmbedder) -> list[str]:
    """Return texts of mixed lengths that fit the model, the same ones every time."""
    chance = np.random.default_rng(5)
    longest = min(embedder.max_tokens, _LONGEST)
    texts = []
    for size in np.linspace(1, longest, _TEXTS).astype(int):
        words = [str(word) for word in chance.choice(_WORDS, size=size)]
        while len(words) > 1 and embedder.count_tokens([" ".join(words)])[0] > embedder.max_tokens:
            words = words[: len(words) * 3 // 4]
        texts.append(" ".join(words))
    return texts


def _tokens_per_second(embedder: LocalEmbedder, texts: Sequence[str]) -> float:
    tokens, began = 0, time.perf_counter()
    while (seconds := time.perf_counter() - began) < _SECONDS:
        tokens += int(embedder.embed(texts, kind="document").tokens.sum())
    return tokens / seconds


def _agreement(embedder: LocalEmbedder, texts: Sequence[str], *, vectors: Matrix) -> tuple[float | None, str | None]:
    try:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415  # brings torch: only where it is
    except ModuleNotFoundError as error:
        if error.name != "sentence_transformers":
            raise
        return None, "sentence-transformers is not installed"
    try:
        reference = SentenceTransformer(str(embedder.folder), device="cpu", local_files_only=True)
        prefix = embedder.prefixes["document"]
        made = reference.encode([prefix + text for text in texts], prompt="", normalize_embeddings=True)
    except Exception as error:  # noqa: BLE001  # whatever another library cannot do with this folder
        lines = str(error).strip().splitlines() or [""]
        return None, f"sentence-transformers cannot run it: {lines[0]}"
    return float((np.asarray(made, dtype=np.float64) * vectors).sum(axis=1).min()), None

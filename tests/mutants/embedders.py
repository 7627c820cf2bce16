"""Embedders broken in one way each, and the rule that must notice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analect.embedders.hashing import HashingEmbedder
from analect.types import Embeddings, Kind


class Mutant(HashingEmbedder):
    """A broken embedder; `killed_by` names the rule of `EmbedderContract` that must fail on it."""

    killed_by = ""


class NotUnit(Mutant):
    killed_by = "test_gives_one_unit_vector_a_text"

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        found = super().embed(texts, kind=kind)
        return replace(found, vectors=found.vectors * np.float32(1.01))


class NeedsATextAtLeast(Mutant):
    killed_by = "test_takes_no_texts"

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        return super().embed(texts or ["?"], kind=kind)


class SortsItsTexts(Mutant):
    killed_by = "test_keeps_the_order"

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        return super().embed(sorted(texts), kind=kind)


class LeansOnTheBatch(Mutant):
    killed_by = "test_company_does_not_change_a_vector"

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        found = super().embed(texts, kind=kind)
        vectors = found.vectors + 0.1 * np.nan_to_num(found.vectors).mean(axis=0, keepdims=True)
        return replace(found, vectors=(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))


class AllTheSame(Mutant):
    killed_by = "test_different_texts_have_different_vectors"

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        found = super().embed(texts, kind=kind)
        return replace(found, vectors=np.repeat(found.vectors[:1], len(texts), axis=0))


class ZeroForNothing(Mutant):
    killed_by = "test_an_empty_text_is_a_failure"

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        found = super().embed(texts, kind=kind)
        return replace(found, vectors=np.nan_to_num(found.vectors), failures={})


class CutsInSilence(Mutant):
    killed_by = "test_a_text_over_the_limit_is_a_failure_with_count_and_limit"

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        return super().embed([" ".join(text.split()[: self.max_tokens - 2]) for text in texts], kind=kind)


class RefusesTheLimit(Mutant):
    killed_by = "test_a_text_at_the_limit_is_embedded"

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        found = super().embed(texts, kind=kind)
        return replace(found, failures={i: "too long" for i, n in enumerate(found.tokens) if n >= self.max_tokens})


class CountsLetters(Mutant):
    killed_by = "test_counts_are_those_of_the_vectors"

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int32]:
        return np.array([len(text) for text in texts], dtype=np.int32)

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        return replace(super().embed(texts, kind=kind), tokens=HashingEmbedder.count_tokens(self, texts))


class NamedByItsPlace(Mutant):
    killed_by = "test_the_id_names_the_space_and_nothing_else"

    def __init__(self) -> None:
        super().__init__()
        self.id = "/home/me/models/hashing"

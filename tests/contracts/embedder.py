"""What every embedder promises. Each rule has a mutant in `tests/mutants/` that it must kill.

Subclass `EmbedderContract` and give it an `embedder` fixture; the vectors of a class are computed once a test.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from analect.protocols import Embedder
from analect.types import Embeddings

WORDS = "garden river compost window seven lantern quiet bicycle orange letter under stone Grüße ночь 山 route".split()


def texts(count: int, *, seed: int = 1, longest: int = 40) -> list[str]:
    """Return different texts of mixed lengths."""
    chance = random.Random(seed)
    return [f"{n} " + " ".join(chance.choices(WORDS, k=chance.randint(1, longest))) for n in range(count)]


def cosines(left: Embeddings, right: Embeddings) -> np.ndarray:
    return np.sum(left.vectors.astype(np.float64) * right.vectors.astype(np.float64), axis=1)


class EmbedderContract:
    """The rules."""

    @pytest.fixture
    def embedder(self) -> Embedder:
        raise NotImplementedError("give the contract an embedder")

    def test_gives_one_unit_vector_a_text(self, embedder: Embedder) -> None:
        found = embedder.embed(texts(9), kind="document")
        assert found.vectors.shape == (9, embedder.dim)
        assert found.vectors.dtype == np.float32
        assert found.vectors.flags.c_contiguous
        assert np.linalg.norm(found.vectors, axis=1) == pytest.approx(1, abs=1e-5)
        assert found.failures == {}

    def test_takes_no_texts(self, embedder: Embedder) -> None:
        found = embedder.embed([], kind="document")
        assert found.vectors.shape == (0, embedder.dim)
        assert embedder.count_tokens([]).shape == (0,)

    def test_keeps_the_order(self, embedder: Embedder) -> None:
        several = texts(40)
        backwards = embedder.embed(several[::-1], kind="document")
        forwards = embedder.embed(several, kind="document")
        assert np.all(np.sum(forwards.vectors * backwards.vectors[::-1], axis=1) >= 0.9999)

    def test_company_does_not_change_a_vector(self, embedder: Embedder) -> None:
        several = texts(30)
        together = embedder.embed(several, kind="document")
        alone = np.concatenate([embedder.embed([text], kind="document").vectors for text in several])
        assert np.all(np.sum(together.vectors * alone, axis=1) >= 0.9999)

    def test_different_texts_have_different_vectors(self, embedder: Embedder) -> None:
        found = embedder.embed(texts(20), kind="document").vectors
        cosine = found @ found.T - np.eye(20)
        assert cosine.max() < 0.9999

    def test_an_empty_text_is_a_failure(self, embedder: Embedder) -> None:
        found = embedder.embed(["good", "", " \n\t", "fine"], kind="document")
        assert set(found.failures) == {1, 2}
        assert "empty" in found.failures[1]
        assert np.isnan(found.vectors[[1, 2]]).all()
        assert np.isfinite(found.vectors[[0, 3]]).all()

    def test_a_text_over_the_limit_is_a_failure_with_count_and_limit(self, embedder: Embedder) -> None:
        long = "garden " * (embedder.max_tokens + 7)
        (count,) = embedder.count_tokens([long])
        found = embedder.embed(["good", long], kind="document")
        assert count > embedder.max_tokens
        assert set(found.failures) == {1}
        assert str(count) in found.failures[1]
        assert str(embedder.max_tokens) in found.failures[1]
        assert not found.cut.any()

    def test_a_text_at_the_limit_is_embedded(self, embedder: Embedder) -> None:
        words = next(
            n
            for n in range(embedder.max_tokens, 0, -1)
            if embedder.count_tokens(["garden " * n])[0] <= embedder.max_tokens
        )
        assert embedder.embed(["garden " * words], kind="document").failures == {}

    def test_counts_are_those_of_the_vectors(self, embedder: Embedder) -> None:
        several = texts(12)
        counts = embedder.count_tokens(several)
        assert counts.dtype == np.int32
        assert counts.tolist() == embedder.embed(several, kind="document").tokens.tolist()
        assert (counts > 0).all()

    def test_the_id_names_the_space_and_nothing_else(self, embedder: Embedder) -> None:
        assert embedder.id
        for secret in ("/", "\\"):
            assert not embedder.id.startswith(secret)
        assert str(embedder.dim) in embedder.id
        assert "http" not in embedder.id

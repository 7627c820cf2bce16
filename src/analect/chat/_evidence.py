"""What speaks for and against each candidate as the answer to a question: ten numbers.

A candidate is judged together with what it stands under and after (`Candidate.topic`, `Candidate.above`): "The list
stands at 214 species." says of what only there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from analect.chat._candidates import Candidate
from analect.chat._expected import Expected, after_numbers, expected, is_count
from analect.chat._words import extremes, names, stem, stems, telling, without_each
from analect.chat._words import words as split_words
from analect.protocols import CrossEncodes, Embedder
from analect.types import Matrix, Vector

Floats = NDArray[np.float32]

_TOPIC_PART, _SECTION_PART = 0.5, 0.25  # of a candidate's vector: what it stands under, and the mean of its section
_EMBEDDED = 48  # candidates that are embedded: some 60 ms on two cores; with fewer, right ones are lost
_JUDGED = 10  # candidates whose every word is compared with the question's; the others are too far from it
_ELSEWHERE = 0.25  # cosine of a question and the farthest of its judged, on average: what a small corpus has none of
_COVER_PULL, _TYPE_PULL = 0.15, 0.1  # the cosine that shared words and the right type are worth in choosing those
_RELATED = 0.6  # cosine of single words that are related: where no number is asked for, neither good nor bad
_UNKNOWN_COUNT = 0.5  # a number at a sentence's end may count anything
_LEAST_WEIGHT = 0.01
_WORDS_KEPT = 4096  # word vectors that are kept between questions: 6 MB at 384 dimensions


@dataclass(frozen=True, slots=True)
class Evidence:
    """The numbers of one candidate; the weights of the extractive answerer say what each is worth."""

    near: float
    """Cosine of the question and the candidate, drawn towards its topic and its section."""
    early: float
    """1 / (1 + rank of its hit)."""
    untyped: float
    """1 when it shows nothing of what the question word asks for, else 0."""
    stranger: float
    """1 when a name or a number of the question stands nowhere in its chunk, or "longest" not with it, else 0."""
    counts: float
    """How surely a number stands with what is to be counted, about 0; 0 where no number is asked for."""
    pulled: float
    """The least that a word of the question adds to `near`; below 0: the candidate is nearer without that word."""
    covered: float
    """The weighted share of the question's words that it says, or says in words of near meaning."""
    apart: float
    """By how much `near` is above its mean over the judged: an answer stands out, a mere subject is all around."""
    length: float
    """log(1 + words of the question): the longer, the less near any one sentence comes to all of it."""
    read: float | None
    """Log odds of a model that reads the question and the candidate together; None where the embedder has none."""


@dataclass(frozen=True, slots=True)
class _Question:
    """A question against its hits. Arrays: one row or number for each telling word."""

    text: str
    vector: Vector
    without: Matrix  # the question's vector without each word
    words: tuple[str, ...]
    stems: tuple[str, ...]
    said: frozenset[str]
    names: frozenset[str]
    extremes: frozenset[str]
    weights: Floats
    expected: Expected
    length: int


class Weighing:
    """Weighs candidates against a question, with one embedder whose word vectors it keeps."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, Vector] = {}

    def weigh(self, question: str, candidates: Sequence[Candidate]) -> list[tuple[Candidate, Evidence]]:
        """Return the candidates that come into question, with what speaks for and against each."""
        candidates = _shortlist(question, candidates)
        topics = list(dict.fromkeys(each.topic for each in candidates))
        texts = [each.text for each in candidates]
        vectors = _vectors(self._embedder.embed([*texts, *topics], kind="document").vectors)
        embedded = np.flatnonzero(
            vectors[: len(texts)].any(axis=1)
        )  # what is over-long has no vector: it is not quoted
        kept = [candidates[i] for i in embedded]
        if not kept:
            return []
        heads = dict(zip(topics, vectors[len(texts) :], strict=True))
        mixed = _mixed(kept, vectors=vectors[embedded], topics=np.stack([heads[each.topic] for each in kept]))
        asked = _vectors(self._embedder.embed([question, *without_each(question)], kind="query").vectors)
        return self._judged(_read(question, vectors=asked, candidates=kept), candidates=kept, mixed=mixed)

    def _judged(
        self, question: _Question, *, candidates: list[Candidate], mixed: Matrix
    ) -> list[tuple[Candidate, Evidence]]:
        near = mixed @ question.vector
        untyped = np.array([_untyped(question, each) for each in candidates])
        typed = 1 - 2 * untyped if question.expected.shown else np.zeros(len(candidates))
        shared = np.array([_share(question.weights, _said(question, each.text, each.topic)) for each in candidates])
        order = np.argsort(-(near + _COVER_PULL * shared + _TYPE_PULL * typed), kind="stable")[:_JUDGED]
        missing = max(0, _JUDGED - len(order))  # of a small corpus: as if the rest spoke of other things
        mean = (float(near[order].sum()) + missing * _ELSEWHERE) / (len(order) + missing)
        length = float(np.log1p(question.length))
        self._words(
            [*question.words, *(word for i in order for word in telling(_around(candidates[i])))]
        )  # in one call
        read = self._cross_encoded(question, [candidates[i] for i in order])
        return [
            (
                candidates[i],
                Evidence(
                    near=float(near[i]),
                    early=1 / (1 + candidates[i].rank),
                    untyped=float(untyped[i]),
                    stranger=float(_stranger(question, candidates[i])),
                    counts=self._counts(question, candidates[i].text),
                    pulled=float((near[i] - question.without @ mixed[i]).min(initial=0.0)),
                    covered=_share(question.weights, self._meant(question, candidates[i])),
                    apart=float(near[i]) - mean,
                    length=length,
                    read=odds,
                ),
            )
            for i, odds in zip(order, read, strict=True)
        ]

    def _cross_encoded(self, question: _Question, candidates: Sequence[Candidate]) -> list[float | None]:
        found = None
        if isinstance(self._embedder, CrossEncodes):
            found = self._embedder.cross_encode(question.text, [(each.text, each.around) for each in candidates])
        return [None] * len(candidates) if found is None else found.tolist()

    def _meant(self, question: _Question, candidate: Candidate) -> Floats:
        """Return each question word's cosine with the nearest word of the candidate; 1 where it is said."""
        said = _said(question, candidate.text, candidate.topic, candidate.above)
        around = telling(_around(candidate))
        if not question.words or not around:
            return said
        nearest = (self._words(question.words) @ self._words(around).T).max(axis=1)
        return cast(Floats, np.maximum(nearest, said))

    def _counts(self, question: _Question, text: str) -> float:
        counted = question.expected.counted
        if not counted:
            return 0.0
        best = 0.0
        for number, after in after_numbers(text):
            if question.expected.names(number, after):
                best = 1.0
            elif not is_count(number):
                continue
            elif not after:
                best = max(best, _UNKNOWN_COUNT)
            else:
                best = max(best, float((self._words(counted) @ self._words(after).T).max()))
        return best - _RELATED

    def _words(self, words: Sequence[str]) -> Matrix:
        """Return the vector of each word by itself."""
        lowered = [word.lower() for word in words]
        known = self._known if len(self._known) < _WORDS_KEPT else {}
        if new := [word for word in dict.fromkeys(lowered) if word not in known]:
            embedded = _vectors(self._embedder.embed(new, kind="document").vectors)
            known = {**known, **dict(zip(new, embedded, strict=True))}
            self._known = known  # replaced, never changed: threads share it
        return np.stack([known[word] for word in lowered])


def _read(question: str, *, vectors: Matrix, candidates: Sequence[Candidate]) -> _Question:
    """Weigh the words: by how far the question moves without one, and by how few of the chunks have it (idf)."""
    words = tuple(telling(question))
    spoken = tuple(map(stem, words))
    chunks = {each.chunk.id: _chunk_stems(each) for each in candidates}
    frequency = np.array([sum(word in chunk for chunk in chunks.values()) for word in spoken])
    # A word that no chunk has weighs no more than one that a single chunk has.
    rarity = np.log(1 + (len(chunks) + 0.5) / (np.maximum(frequency, 1) + 0.5))
    weights = (np.maximum(1 - vectors[1:] @ vectors[0], _LEAST_WEIGHT) * rarity).astype(np.float32)
    return _Question(
        text=question,
        vector=vectors[0],
        without=vectors[1:],
        words=words,
        stems=spoken,
        said=stems(question),
        names=names(question),
        extremes=extremes(question),
        weights=weights,
        expected=expected(question),
        length=len(split_words(question)),
    )


def _shortlist(question: str, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates worth embedding: of early hits, and with words of the question in or above them."""
    asked = frozenset(map(stem, telling(question)))
    if len(candidates) <= _EMBEDDED:
        return list(candidates)
    worth = np.array(
        [len(asked & stems(_around(each))) / max(len(asked), 1) + 1 / (1 + each.rank) for each in candidates]
    )
    return [candidates[i] for i in sorted(np.argsort(-worth, kind="stable")[:_EMBEDDED])]


def _around(candidate: Candidate) -> str:
    return f"{candidate.text} {candidate.around}"


def _share(weights: Floats, values: Floats) -> float:
    """Return the weighted mean; 0 of nothing."""
    return float(weights @ values / weights.sum()) if len(weights) else 0.0


def _said(question: _Question, *texts: str) -> Floats:
    """Return 1 for each word of the question that stands in the texts, else 0."""
    said = frozenset().union(*map(stems, texts))
    return np.array([word in said for word in question.stems], dtype=np.float32)


def _untyped(question: _Question, candidate: Candidate) -> bool:
    shown = f"{candidate.text} {candidate.above}" if candidate.row and not question.expected.named else candidate.text
    return question.expected.contradicted_by(shown, asked=question.said)


def _stranger(question: _Question, candidate: Candidate) -> bool:
    return bool(question.names - _chunk_stems(candidate) or question.extremes - stems(_around(candidate)))


def _chunk_stems(candidate: Candidate) -> frozenset[str]:
    return stems(candidate.chunk.text) | stems(candidate.topic)


def _mixed(candidates: Sequence[Candidate], *, vectors: Matrix, topics: Matrix) -> Matrix:
    """Return the unit vectors of the candidates, each drawn towards its topic and the mean of its section: (n, dim)."""
    sections = [(each.chunk.id, each.topic) for each in candidates]
    row_of = {section: row for row, section in enumerate(dict.fromkeys(sections))}
    rows = np.array([row_of[section] for section in sections])
    sums = np.zeros((len(row_of), vectors.shape[1]), dtype=np.float32)
    np.add.at(sums, rows, vectors)
    return _unit(vectors + _TOPIC_PART * topics + _SECTION_PART * _unit(sums)[rows])


def _unit(vectors: Matrix) -> Matrix:
    return cast(Matrix, vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))


def _vectors(vectors: Matrix) -> Matrix:
    """Return the vectors with zeros for texts that could not be embedded: they are near to nothing."""
    return np.nan_to_num(vectors, nan=0.0)

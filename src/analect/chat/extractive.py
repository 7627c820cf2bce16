"""Answers without a language model: the sentences of the hits that answer the question, quoted with their place.

Each candidate sentence gets the log odds that it answers, a weighted sum of ten numbers (`_evidence.Evidence`). The
best one is quoted when the odds are for it, together with others that are nearly as good; when they are against it,
the corpus is said to hold no answer. Nothing is written that does not stand in a document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

from analect.chat._candidates import Candidate, candidates
from analect.chat._evidence import Evidence, Weighing
from analect.protocols import Embedder
from analect.types import Answer, Citation, Hit

NO_ANSWER = "The corpus does not hold an answer to this question."
"""The text of an `Answer` that is not `answered`."""

# Fitted by `evaluation/fit_answers.py`, with the default local model. The sum of all is the log odds of an answer.
BIAS = -6.09  # where as many questions with an answer as without one are judged right
WEIGHTS = Evidence(
    near=3.86,  # it speaks of what is asked
    early=0.83,  # retrieval put it first
    untyped=-2.81,  # "when", and it names no time: worth more than all cosine
    stranger=-0.48,  # the question names someone, something, a number or an extreme that is not there
    counts=0.86,  # "how many snails": it has a number, and of snails
    pulled=7.44,  # some word of the question leads away from it: the property that is asked for, not the thing
    covered=2.05,  # it says what the question says
    apart=4.28,  # it stands out among its neighbours
    length=1.04,  # gives a long question back what its length takes from `near` and `covered`
    read=0.64,  # read together with the question, it answers: from -8 to 8, and so worth most
)
UNREAD_BIAS = -7.83  # the same for embedders that have no cross-encoder
UNREAD_WEIGHTS = Evidence(
    near=3.12,
    early=0.54,
    untyped=-4.19,
    stranger=-1.29,
    counts=1.99,
    pulled=11.40,
    covered=3.70,
    apart=7.82,
    length=1.16,
    read=None,
)
_QUOTES = 3  # at most
_NEARLY = 2.0  # log odds below the best at which another sentence is still quoted: the best is right for 9 of 10


class ExtractiveAnswerer:
    """Quotes the one to three sentences, list items, table rows or fields that answer a question, or says none does.

    Asks the embedder three times a question: for the sentences of the hits, for the question, and for words that it
    has not met before. Meant for English; the odds were fitted to the default local model.
    """

    def __init__(self, *, embedder: Embedder) -> None:
        self._weighing = Weighing(embedder)

    def answer(self, question: str, hits: Sequence[Hit]) -> Answer:
        """Return the quoted sentences with their markers, best first; `answered` is False when none is good enough."""
        judged = self._weighing.weigh(question, candidates(hits)) if question.strip() else []
        quoted = _chosen([(log_odds(evidence), candidate) for candidate, evidence in judged])
        citations = tuple(_citation(candidate, marker=n) for n, candidate in enumerate(quoted, start=1))
        text = " ".join(f"{citation.quote} [{citation.marker}]" for citation in citations)
        return Answer(question, text or NO_ANSWER, answered=bool(citations), citations=citations, hits=tuple(hits))


def log_odds(evidence: Evidence) -> float:
    """Return the log odds that a sentence with this evidence answers the question."""
    weights, bias = (UNREAD_WEIGHTS, UNREAD_BIAS) if evidence.read is None else (WEIGHTS, BIAS)
    pairs = zip(astuple(weights), astuple(evidence), strict=True)
    return float(bias + sum(weight * value for weight, value in pairs if value is not None))


def _chosen(scored: Sequence[tuple[float, Candidate]]) -> list[Candidate]:
    """Return the candidates to quote, best first: with the odds for them, near the best, no words twice."""
    ranked = sorted(scored, key=lambda each: (-each[0], each[1].rank, each[1].start))
    least = max(0.0, ranked[0][0] - _NEARLY) if ranked else 0.0
    quoted: dict[str, Candidate] = {}
    for odds, candidate in ranked:
        if odds >= least:
            quoted.setdefault(candidate.text, candidate)
    return list(quoted.values())[:_QUOTES]


def _citation(candidate: Candidate, *, marker: int) -> Citation:
    start, end = (candidate.chunk.start + offset for offset in (candidate.start, candidate.end))
    return Citation(marker, candidate.chunk, candidate.text, start=start, end=end, verdict="found")

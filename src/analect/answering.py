"""From hits to an answer whose citations were checked.

A citation is checked against the hits themselves, not against what the answerer says of it: its quote must stand,
letter for letter, in the chunk that it cites, at the place it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from analect.protocols import Answerer, Embedder, StreamsAnswers
from analect.types import Answer, Citation, Hit, Message, Verdict

_ASKED_BEFORE = 3  # questions of a conversation that may say what the next one is about


def query_of(question: str, *, history: Sequence[Message], embedder: Embedder) -> str:
    """Return what to search for: the question, below the last ones before it as far as the embedder takes them.

    "And on Sundays?" names nothing that could be found; what was asked before it does.
    """
    asked = [message.content for message in history if message.role == "user"][-_ASKED_BEFORE:]
    while asked:
        query = "\n".join((*asked, question))
        if embedder.count_tokens([query])[0] <= embedder.max_tokens:
            return query
        asked.pop(0)
    return question


def answer(question: str, hits: Sequence[Hit], *, answerer: Answerer, history: Sequence[Message] = ()) -> Answer:
    """Return the answerer's answer, every citation with the verdict of a check against the hits.

    `history` is for answerers that stream: those are chat models.
    """
    if not history or not isinstance(answerer, StreamsAnswers):
        return _checked(answerer.answer(question, hits), hits)
    *_, last = stream(question, hits, answerer=answerer, history=history)
    assert isinstance(last, Answer)
    return last


def stream(
    question: str, hits: Sequence[Hit], *, answerer: Answerer, history: Sequence[Message] = ()
) -> Iterator[str | Answer]:
    """Yield the text as it comes (whole, where the answerer does not stream), then the answer, citations checked."""
    if not isinstance(answerer, StreamsAnswers):
        found = answer(question, hits, answerer=answerer)
        yield found.text
        yield found
        return
    for each in answerer.stream(question, hits, history=history):
        yield _checked(each, hits) if isinstance(each, Answer) else each


def _checked(given: Answer, hits: Sequence[Hit]) -> Answer:
    return replace(given, citations=tuple(replace(each, verdict=verdict_on(each, hits)) for each in given.citations))


def verdict_on(citation: Citation, hits: Sequence[Hit]) -> Verdict:
    """Return "found" when the quote stands where the citation says, "misattributed" when it stands in another hit."""
    cited = next((hit.chunk for hit in hits if hit.chunk.id == citation.chunk.id), None)
    if citation.quote and cited is not None:
        start = citation.start - cited.start
        if start >= 0 and cited.text[start : citation.end - cited.start] == citation.quote:
            return "found"
    if citation.quote and any(citation.quote in hit.chunk.text for hit in hits):
        return "misattributed"
    return "absent"

"""What a written answer cites: `[n]` markers, the quotes before them, and whether these stand where they should."""

from __future__ import annotations

import re
from collections.abc import Sequence

from analect.sentences import split
from analect.types import Citation, Hit

_MARKER = re.compile(r"\[(\d+(?:\s*,\s*\d+)*)\]")
_QUOTE = re.compile(r'"([^"]+)"|“([^”]+)”|«([^»]+)»')
_MARKERS = r"((?:\s*\[\d[\d,\s]*\])+)"
_AFTER_END = re.compile(rf"([.!?…]){_MARKERS}")
_AFTER_QUOTE = re.compile(rf"([.!?…][\"”»]){_MARKERS}(?=\s|$)")
_END = re.compile(r"[.!?…\n]")
_LETTER = re.compile(r"\w")


def cited(text: str, hits: Sequence[Hit]) -> tuple[tuple[Citation, ...], int]:
    """Return the citations of an answer, and how many of its sentences cite none of the hits.

    Each quoted span of a sentence is looked up, letter for letter but for white space, in the chunk of the marker that
    follows it. A sentence without quotes is itself the span: it counts as found only when the chunk says it so.
    """
    citations: list[Citation] = []
    uncited = 0
    for sentence in _sentences(text):
        found = _citations(sentence, hits)
        citations += found
        uncited += not found
    return tuple(citations), uncited


def without_markers(text: str) -> str:
    """Return a text without its `[n]`."""
    return re.sub(rf"\s*{_MARKER.pattern}", "", text)


def _sentences(text: str) -> list[str]:
    """Return the sentences; markers after the end of one belong to it, and no sentence ends inside quotation marks."""
    text = _AFTER_END.sub(r"\2\1", _AFTER_QUOTE.sub(r"\1\2.", text))
    masked = _QUOTE.sub(lambda quote: _END.sub("_", quote[0]), text)
    found = [text[start:end] for start, end in split(masked)]
    return [each for each in found if _LETTER.search(_MARKER.sub("", each))]


def _citations(sentence: str, hits: Sequence[Hit]) -> list[Citation]:
    found: list[Citation] = []
    start = 0
    for marker in _MARKER.finditer(sentence):
        spans = [next(filter(None, each)) for each in _QUOTE.findall(sentence[start : marker.start()])]
        whole = _MARKER.sub("", sentence).strip(" .!?\n\t")
        for number in map(int, marker[1].split(",")):
            if 1 <= number <= len(hits):
                found += [_looked_up(span, hits, marker=number) for span in spans or [whole]]
        start = marker.end() if spans else start
    return found


def _looked_up(span: str, hits: Sequence[Hit], *, marker: int) -> Citation:
    chunk = hits[marker - 1].chunk
    place = _find(span, chunk.text)
    if place:
        start, end = place
        return Citation(marker, chunk, chunk.text[start:end], chunk.start + start, chunk.start + end, "found")
    for hit in hits:
        place = _find(span, hit.chunk.text)
        if place:
            return Citation(marker, chunk, hit.chunk.text[slice(*place)], chunk.start, chunk.start, "misattributed")
    return Citation(marker, chunk, span, chunk.start, chunk.start, "absent")


def _find(span: str, text: str) -> tuple[int, int] | None:
    """Return where the words of a span stand in a text, whatever white space is between them."""
    words = [re.escape(word) for word in span.strip().split()]
    match = re.search(r"\s+".join(words), text) if words else None
    return match.span() if match else None

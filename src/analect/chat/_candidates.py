"""What may be quoted of the hits: sentences, list items, table rows and fields, each with what it stands under."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from analect.sentences import Span, split
from analect.types import Chunk, Hit

_LEAD = re.compile(r"(?:>\s*)*(?:[-*+•]\s+|\d{1,3}[.)]\s+)?")  # a quotation mark, a bullet
_HEADING = re.compile(r"(#{1,6})(?:\s+|$)")
_FENCE = re.compile(r"`{3}|~{3}")
_RULE = re.compile(r"[\s|:-]+")  # the line below a table's first row
_SPOKEN = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class Candidate:
    """`chunk.text[start:end]`, of the hit at `rank` from 0.

    `topic` is what it stands under: title and headings, or else the first line of the chunk. `above` is the header of a
    table row, else the unit before it.
    """

    chunk: Chunk
    start: int
    end: int
    rank: int
    topic: str
    above: str
    row: bool

    @property
    def text(self) -> str:
        """The words as they stand in the document, without a bullet or a row's outer bars."""
        return self.chunk.text[self.start : self.end]

    @property
    def around(self) -> str:
        """What it stands under and after, as words."""
        return f"{self.topic}. {self.above}"


def candidates(hits: Sequence[Hit]) -> list[Candidate]:
    """Return the candidates of all hits, best hits first, each place of a document once; no headings, no bare marks."""
    found: dict[tuple[str, int], Candidate] = {}
    for rank, hit in enumerate(hits):
        for candidate in _of_chunk(hit.chunk, rank=rank):
            found.setdefault((hit.chunk.document_id, hit.chunk.start + candidate.start), candidate)
    return list(found.values())


def _of_chunk(chunk: Chunk, *, rank: int) -> Iterator[Candidate]:
    spans = split(chunk.text)
    headings: dict[int, str] = {}  # those inside the chunk that are open, by depth
    above = header = ""
    for (start, end), following in pairwise([*spans, (0, 0)]):
        unit = chunk.text[start:end]
        row = unit.startswith("|")
        if not row:
            header = ""
        if row and _RULE.fullmatch(chunk.text[slice(*following)]):
            header = unit
        elif heading := _HEADING.match(unit):
            depth = len(heading[1])
            headings = {each: line for each, line in headings.items() if each < depth} | {depth: unit[heading.end() :]}
            above = ""
        elif _FENCE.match(unit):
            above = ""
        elif _SPOKEN.search(unit):
            quote = _quotable(chunk.text, (start, end))
            topic = _topic(chunk, tuple(headings.values()))
            yield Candidate(chunk, *quote, rank=rank, topic=topic, above=header if row else above, row=row)
            above = unit


def _topic(chunk: Chunk, inside: tuple[str, ...]) -> str:
    path = dict.fromkeys(line.strip() for line in (chunk.title or "", *chunk.headings, *inside) if line.strip())
    return " — ".join(path) or chunk.text.strip().split("\n", 1)[0]


def _quotable(text: str, span: Span) -> Span:
    """Return the span without a leading bullet or, of a table row, without its outer bars."""
    start, end = span
    unit = text[start:end]
    if unit.startswith("|"):
        return start + len(unit) - len(unit.lstrip("| \t")), start + len(unit.rstrip("| \t"))
    found = _LEAD.match(unit)
    lead = found.end() if found else 0
    return (start + lead, end) if lead < len(unit) else span

"""Leaves → chunks: join what fits, then count every chunk exactly.

Costs are added up while joining. A tokenizer's counts need not add up, so every chunk is counted once more at the end,
and one that is over the limit is cut again.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise, takewhile

from analect.chunkers.blocks import Block
from analect.chunkers.costs import Context, Costs
from analect.chunkers.cutting import Leaf, cut, is_lead, outline
from analect.chunkers.prose import Span, finer
from analect.errors import ConfigError
from analect.types import Chunk, Document


def pack(document: Document, blocks: Iterable[Block], *, costs: Costs) -> Iterator[Chunk]:
    """Yield the chunks of a document whose text is made of those blocks, each within the limit."""
    if outlined := outline(document, blocks):
        leaves = cut(document.text, outlined, costs=costs)
        yield from _checked(document, _Joiner(document.text, leaves, costs=costs).drafts(), costs=costs)


@dataclass(frozen=True, slots=True)
class _Draft:
    """The leaves of a chunk to be, and the tokens that its title and headings may take."""

    leaves: Sequence[Leaf]
    room: int


class _Joiner:
    """Joins leaves to drafts, first to last. A range of leaves is given as `first` up to but not including `end`."""

    def __init__(self, text: str, leaves: Sequence[Leaf], *, costs: Costs) -> None:
        gaps = [costs.gap(text[before.end : after.start]) for before, after in pairwise(leaves)]
        self._leaves = leaves
        self._costs = costs
        self._gaps = [*gaps, 0]
        self._sums = _sums(leaf.cost + gap for leaf, gap in zip(leaves, self._gaps, strict=True))
        self._leads = [is_lead(leaf, costs=costs) for leaf in leaves]
        self._bodies = _sums(
            not lead and leaf.role != "comment" for leaf, lead in zip(leaves, self._leads, strict=True)
        )
        self._wholes = _sums(leaf.whole and not lead for leaf, lead in zip(leaves, self._leads, strict=True))
        self._group_ends = {leaf.group: index + 1 for index, leaf in enumerate(leaves)}

    def drafts(self) -> Iterator[_Draft]:
        """Yield drafts that hold all leaves in order."""
        first = 0
        for at in range(1, len(self._leaves)):
            start = self._start(first, at)
            if start > first:
                yield self._draft(first, start)
                first = start
        yield self._draft(first, len(self._leaves))

    def _draft(self, first: int, end: int) -> _Draft:
        room = self._costs.limit - self._costs.special - self._size(first, end)
        return _Draft(self._leaves[first:end], room)

    def _start(self, first: int, at: int) -> int:
        """Return where the draft that leaf `at` is in starts: `first`, or where a new one has to begin."""
        leads = self._leads_before(first, at)
        if self._leaves[at].role == "heading":
            return self._section_start(first, at, leads=leads)
        begins = self._leaves[at].group != self._leaves[at - 1].group
        end = self._group_ends[self._leaves[at].group] if begins else at + 1
        if self._fits(first, end):
            return first
        if self._leaves[at].role == "comment":
            return self._comment_start(first, at)
        # A group that must be cut anyway starts here if what is here would else be a fragment.
        if end > at + 1 and not self._fits(leads, end) and self._is_small(first, leads) and self._fits(first, at + 1):
            return first
        return next((i for i in range(leads, at) if self._can_lead(i, at) and self._fits(i, at + 1)), at)

    def _comment_start(self, first: int, at: int) -> int:
        """Return where what a comment belongs to begins: it takes that along, so as not to stand alone."""
        before = next((i for i in range(at - 1, first, -1) if self._leaves[i].role != "comment"), at)
        start = self._leads_before(first, before)
        return start if start > first and self._fits(start, at + 1) else at

    def _section_start(self, first: int, at: int, *, leads: int) -> int:
        """Return `first` where small sections stand there whole, under headings that hold for the one at `at` too.

        So a heading that is not in the path of a chunk is in its text. The rest of a long section is left to itself.
        """
        bodies = self._bodies[first] < self._bodies[at]
        joins = self._is_small(first, at) and self._goes_on(first, at) if bodies else self._can_lead(first, at + 1)
        if joins and self._fits(first, at + 1):
            return first
        return leads if first < leads and self._can_lead(leads, at) else at

    def _goes_on(self, first: int, at: int) -> bool:
        start = next(leaf for leaf in self._leaves[first:at] if leaf.role != "comment")
        above = start.path[:-1] if start.path[-1:] == (start.name,) else start.path
        return (first == 0 or start.role == "heading") and self._leaves[at].path[: len(above)] == above

    def _leads_before(self, first: int, at: int) -> int:
        """Return where the headings and header rows begin that stand right before leaf `at`."""
        start = at
        while start > first and (self._leads[start - 1] or self._leaves[start - 1].role == "comment"):
            start -= 1
        while start < at and not self._leads[start]:
            start += 1
        return start

    def _size(self, first: int, end: int) -> int:
        return self._sums[end] - self._sums[first] - self._gaps[end - 1] if first < end else 0

    def _is_small(self, first: int, end: int) -> bool:
        return self._size(first, end) < self._costs.quarter

    def _can_lead(self, first: int, end: int) -> bool:
        return self._size(first, end) <= self._costs.half

    def _fits(self, first: int, end: int) -> bool:
        room = self._costs.limit - self._costs.special - self._size(first, end)
        if self._bodies[end] - self._bodies[first] == 1 and self._wholes[end] - self._wholes[first] == 1:
            return room >= 0  # what is whole goes before its context
        headings = (*self._leaves[end - 1].path, self._leaves[first].header)
        return self._costs.context(headings, said=_said(self._leaves[first:end])).cost <= room


def _sums(costs: Iterable[int]) -> list[int]:
    return [0, *accumulate(costs)]


def _said(leaves: Sequence[Leaf]) -> frozenset[str]:
    """Return the headings that the leaves begin with."""
    return frozenset(leaf.name for leaf in takewhile(lambda leaf: leaf.role != "body", leaves))


def _shared_path(leaves: Sequence[Leaf]) -> tuple[str, ...]:
    """Return the headings that hold for all of the leaves: no quote is cited under the heading of another section."""
    paths = [leaf.path for leaf in leaves if leaf.role in ("body", "header")] or [leaves[-1].path]
    return tuple(names[0] for names in takewhile(lambda names: len(set(names)) == 1, zip(*paths, strict=False)))


def _checked(document: Document, drafts: Iterable[_Draft], *, costs: Costs) -> Iterator[Chunk]:
    """Yield the chunks of the drafts; one that an exact count finds over the limit is cut until it is not."""
    drafts = list(drafts)
    chunks = [_chunk(document, draft, costs=costs) for draft in drafts]
    counts = costs.count([chunk.embedded_text for chunk in chunks])
    for draft, chunk, count in zip(drafts, chunks, counts, strict=True):
        if count <= costs.limit:
            yield chunk
        else:
            yield from _checked(
                document, _smaller(document, draft, excess=count - costs.limit, costs=costs), costs=costs
            )


def _smaller(document: Document, draft: _Draft, *, excess: int, costs: Costs) -> tuple[_Draft, ...]:
    """Return a draft as two, or with less context. Raises `ConfigError` when one character alone is over the limit."""
    leaves = draft.leaves
    if len(leaves) > 1:
        after_bodies = [i for i in range(1, len(leaves)) if leaves[i - 1].role == "body"] or range(1, len(leaves))
        middle = min(after_bodies, key=lambda i: abs(2 * i - len(leaves)))
        return _Draft(leaves[:middle], costs.limit), _Draft(leaves[middle:], costs.limit)
    leaf = leaves[0]
    context = _context(draft, costs=costs)
    spans = finer(document.text, leaf.start, leaf.end, size=costs.limit // 8, code=leaf.code)
    if (leaf.whole or not spans) and (context.title or context.headings):
        return (_Draft(leaves, context.cost - excess),)
    if not spans:
        raise ConfigError(
            f"one character of document {document.id!r} takes more than {costs.limit} tokens: use another embedder"
        )
    middle = len(spans) // 2
    halves = (spans[0][0], spans[middle - 1][1]), (spans[middle][0], spans[-1][1])
    return tuple(_Draft([replace(leaf, start=start, end=end)], costs.limit) for start, end in halves)


def _context(draft: _Draft, *, costs: Costs) -> Context:
    headings = (*_shared_path(draft.leaves), draft.leaves[0].header)
    return costs.context(headings, said=_said(draft.leaves), room=draft.room)


def _chunk(document: Document, draft: _Draft, *, costs: Costs) -> Chunk:
    context = _context(draft, costs=costs)
    start, end = draft.leaves[0].start, draft.leaves[-1].end
    return make_chunk(document, (start, end), title=context.title, headings=context.headings)


def make_chunk(document: Document, span: Span, *, title: str | None, headings: tuple[str, ...] = ()) -> Chunk:
    """Return the chunk of a document at a span, under the title and headings that it keeps."""
    start, end = span
    text = document.text[start:end]
    content = json.dumps([start, title, headings, text])
    return Chunk(
        id=f"{document.id}#{hashlib.sha256(content.encode()).hexdigest()[:12]}",
        document_id=document.id,
        text=text,
        start=start,
        end=end,
        uri=document.uri,
        title=title,
        headings=headings,
        page=_page(document, start),
        metadata=document.metadata,
    )


def _page(document: Document, start: int) -> int | None:
    """Return the page that holds an offset; what stands between two pages belongs to the first of them."""
    after = bisect_right(document.pages, start, key=lambda page: page.start)
    return document.pages[after - 1].number if after else None

"""Blocks → leaves: the spans that chunks are made of, each small enough for one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from analect.chunkers.blocks import Block, Role
from analect.chunkers.costs import Costs
from analect.chunkers.prose import finer, trimmed
from analect.types import Document


@dataclass(frozen=True, slots=True)
class Leaf:
    """A span without white space at its ends. `path` is the headings above it, its own included.

    Leaves of one `group` come from one block, and a comment from the block before it: they stay together while they
    fit. `header` is the header row of the table that a row is in. `cost` is in tokens, -1 until it is counted.
    """

    start: int
    end: int
    group: int
    path: tuple[str, ...]
    block: Block | None = None
    role: Role = "body"
    whole: bool = False
    code: bool = False
    name: str = ""
    header: str = ""
    cost: int = -1


def outline(document: Document, blocks: Iterable[Block]) -> list[Leaf]:
    """Return one leaf a block, under its headings; one that only repeats the title is not in the path."""
    leaves: list[Leaf] = []
    above: list[Block] = []
    path: tuple[str, ...] = ()
    group = 0
    title = _letters(document.title or "")
    for block in blocks:
        if block.role == "heading":
            above = [*(heading for heading in above if heading.level < block.level), block]
            path = tuple(heading.name for heading in above if heading.name and _letters(heading.name) != title)
        group += block.role != "comment"
        start, end = trimmed(document.text, block.start, block.end)
        leaves.append(Leaf(start, end, group, path, block, block.role, block.whole, block.code, block.name))
    return leaves


def _letters(text: str) -> str:
    """Return what two headings have in common that say the same: `The *real* title` and `The real title`."""
    return "".join(letter for letter in text if letter.isalnum()).casefold() or text.strip()


def cut(text: str, leaves: list[Leaf], *, costs: Costs) -> list[Leaf]:
    """Return leaves that each fit a chunk, with their context and the headings that lead to them.

    What does not fit gives way to its parts: a table to its rows, a list to its items; then come blank lines, lines,
    sentences, words, characters. What is `whole` need not share its chunk, so it is cut only when it is over the limit.
    """
    lines = {line for leaf in leaves if leaf.block for line in (leaf.name, leaf.block.header, *leaf.path)}
    leaves = _measured(text, leaves, costs=costs, lines=lines)
    while over := _over(text, leaves, costs=costs):
        parts = [
            _parts(text, leaf, room=over[i], costs=costs) if i in over else [leaf] for i, leaf in enumerate(leaves)
        ]
        leaves = _measured(text, [leaf for some in parts for leaf in some], costs=costs)
    return leaves


def is_lead(leaf: Leaf, *, costs: Costs) -> bool:
    """Return whether a leaf belongs to what follows: a heading or a header row, unless it is long itself."""
    return leaf.role in ("heading", "header") and leaf.cost <= costs.half


def _measured(text: str, leaves: Sequence[Leaf], *, costs: Costs, lines: Iterable[str] = ()) -> list[Leaf]:
    gaps = (text[before.end : after.start] for before, after in pairwise(leaves))
    texts = [text[leaf.start : leaf.end] for leaf in leaves if leaf.cost < 0]
    counted = iter(costs.measure(texts, gaps=gaps, lines=lines))
    return [leaf if leaf.cost >= 0 else replace(leaf, cost=next(counted)) for leaf in leaves]


def _over(text: str, leaves: Sequence[Leaf], *, costs: Costs) -> dict[int, int]:
    """Return the leaves that do not fit, by index, and the tokens that each may have."""
    over = {}
    leading = 0
    said = frozenset[str]()
    for index, leaf in enumerate(leaves):
        room = costs.limit - costs.special
        if not leaf.whole:
            room -= costs.context((*leaf.path, leaf.header), said=said | {leaf.name}).cost
            room -= leading if room - leading > costs.limit // 8 else 0  # else the headings above go without it
        if leaf.cost > room and leaf.end - leaf.start > 1:
            over[index] = max(1, room)
        if is_lead(leaf, costs=costs) or (leaf.role == "comment" and leading):
            following = leaves[index + 1].start if index + 1 < len(leaves) else leaf.end
            leading = min(costs.half, leading + leaf.cost) + costs.gap(text[leaf.end : following])
            said |= {leaf.name}
        else:
            leading, said = 0, frozenset()
    return over


def _parts(text: str, leaf: Leaf, *, room: int, costs: Costs) -> list[Leaf]:
    if leaf.block is None or not leaf.block.parts:
        spans = finer(text, leaf.start, leaf.end, size=room // 8, code=leaf.code)
        rest = replace(leaf, block=None, role="body", whole=False, name="", cost=-1)
        parts = [replace(rest, start=start, end=end) for start, end in spans]
        return [replace(parts[0], role=leaf.role, name=leaf.name), *parts[1:]]
    header = leaf.block.header if costs.line(leaf.block.header) <= costs.quarter else ""
    parts = []
    for part in leaf.block.parts:
        start, end = trimmed(text, part.start, part.end)
        row = Leaf(start, end, leaf.group, leaf.path, None, part.role, part.whole, part.code)
        parts.append(replace(row, header=header if part.role == "body" else ""))
    return parts

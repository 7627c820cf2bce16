"""Markdown text → its blocks: headings, fences, tables, comments and everything else, each a span of the text.

A line scanner, not a parser: every line is looked at once, and no offset is ever computed back from rendered text. It
follows CommonMark and GitHub's tables with three exceptions, each because the other reading loses more:

- a setext heading has one line: a paragraph with `---` right below it is a paragraph and a rule, not a huge heading;
- a code fence in a list ends at its closing line, however far that is indented;
- a row of a table contains a pipe.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

Role = Literal["body", "heading", "header", "comment"]
"""A `heading`, or the `header` row of a table, belongs to what follows; a `comment` to what came before."""


@dataclass(frozen=True, slots=True)
class Part:
    """A span inside a block, which may be cut before and after it; a `whole` part is itself not cut while it fits."""

    start: int
    end: int
    role: Role = "body"
    whole: bool = False
    code: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """`text[start:end]`, white space included. `name` and `level` are a heading's, `header` is a table's header row."""

    start: int
    end: int
    role: Role = "body"
    whole: bool = False
    code: bool = False
    name: str = ""
    level: int = 0
    header: str = ""
    parts: tuple[Part, ...] = ()


_LINE = re.compile(r"[^\r\n]*+(?:\r\n|\r|\n)|[^\r\n]+")
_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(?=[\w\"'-]+[ \t]*:)(?:.*\n)*?(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?$")
_CLOSING_MARKS = re.compile(r"(?:^|[ \t])#+$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_RULE = re.compile(r" {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$")
_FENCE = re.compile(r"([ \t>]*)((?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*)(`{3,}(?=[^`]*$)|~{3,})")
_DELIMITERS = re.compile(r" {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_MARKER = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])(?:[ \t]|$)")
_INTERRUPTING_MARKER = re.compile(r" {0,3}(?:[-*+]|1[.)])[ \t]+\S")
_QUOTE = re.compile(r" {0,3}>")
_COMMENT = re.compile(r" {0,3}<!--")
_ELEMENT = re.compile(r" {0,3}<(table|figure|pre|script|style|textarea)\b", re.IGNORECASE)
_ELEMENT_TAG = re.compile(r"<(/?)(table|figure|pre|script|style|textarea)\b[^<>]*>", re.IGNORECASE)
_TABLE_TAG = re.compile(r"<(/?)(table|tr)\b[^<>]*>", re.IGNORECASE)
_HEADER_CELL = re.compile(r"<th\b[^<>]*>(.*?)(?=</?t[hdr]\b|$)", re.IGNORECASE | re.DOTALL)
_PIPE = re.compile(r"(?<!\\)\|")
_TAG = re.compile(r"<[^<>]*>")


def scan(text: str) -> list[Block]:
    """Return the blocks in order; together they hold every line that is not blank."""
    scanner = _Scanner(text)
    blocks = []
    at = 0
    if matter := _FRONT_MATTER.match(text):
        at = scanner.line_at(matter.end())
        blocks.append(Block(0, matter.end()))
    while at < len(scanner.lines):
        if scanner.lines[at]:
            block, at = scanner.read(at)
            blocks.append(block)
        else:
            at += 1
    return blocks


class _Scanner:
    """The lines of a text, right white space cut off, and a reader for each kind of block that can begin at one."""

    def __init__(self, text: str) -> None:
        self.text = text
        found = list(_LINE.finditer(text))
        self.lines = [line.group().rstrip() for line in found]
        self.starts = [*(line.start() for line in found), len(text)]

    def line_at(self, offset: int) -> int:
        """Return the first line that begins at `offset` or later."""
        return bisect_left(self.starts, offset)

    def read(self, at: int) -> tuple[Block, int]:
        """Return the block that begins at a line, and the line after it."""
        readers: tuple[Callable[[int], tuple[Block, int] | None], ...]
        readers = (self._fence, self._comment, self._element, self._heading, self._rule, self._table, self._list)
        for reader in (*readers, self._quote):
            if found := reader(at):
                return found
        return self._paragraph(at)

    def _block(self, first: int, last: int) -> tuple[Block, int]:
        return Block(self.starts[first], self.starts[last]), last

    def _fence(self, at: int) -> tuple[Block, int] | None:
        opening = _FENCE.match(self.lines[at])
        if opening is None or opening[2] or ">" in opening[1] or len(opening[1].expandtabs(4)) > 3:
            return None
        end = self._fence_end(at, opening=opening)
        return Block(self.starts[at], self.starts[end], whole=True, code=True), end

    def _fence_end(self, at: int, *, opening: re.Match[str]) -> int:
        mark, quoted = opening[3], ">" in opening[1]
        for line in range(at + 1, len(self.lines)):
            bare = self.lines[line].lstrip("> \t" if quoted else " \t")
            if quoted and not _QUOTE.match(self.lines[line]):
                return line
            indented = not quoted and len(self.lines[line]) - len(bare) > len(opening[1]) + len(opening[2]) + 3
            if len(bare) >= len(mark) and not bare.strip(mark[0]) and not indented:
                return line + 1
        return len(self.lines)

    def _comment(self, at: int) -> tuple[Block, int] | None:
        if not _COMMENT.match(self.lines[at]) or self.starts[at] > self._last_comment_end:
            return None
        end = self.text.find("-->", self.starts[at])
        if end < 0:
            return None
        last = self.line_at(end + 3)
        role: Role = "comment" if not self.text[end + 3 : self.starts[last]].strip() else "body"
        return Block(self.starts[at], self.starts[last], role=role), last

    @cached_property
    def _last_comment_end(self) -> int:
        return self.text.rfind("-->")

    def _element(self, at: int) -> tuple[Block, int] | None:
        opening = _ELEMENT.match(self.lines[at])
        end = self._element_ends.get(self.starts[at] + opening.start(1) - 1) if opening else None
        if opening is None or end is None:
            return None
        last = self.line_at(end)
        start, end = self.starts[at], self.starts[last]
        if opening[1].lower() != "table":
            return Block(start, end), last
        rows = _table_rows(self.text, start, end)
        header = next((_header_cells(self.text[row.start : row.end]) for row in rows if row.whole), "")
        return Block(start, end, parts=_with_header(rows) if header else rows, header=header), last

    @cached_property
    def _element_ends(self) -> dict[int, int]:
        """Where the element ends that is opened at an offset: one pass, so that unclosed ones cost nothing."""
        ends: dict[int, int] = {}
        open_tags: dict[str, list[int]] = {}
        for tag in _ELEMENT_TAG.finditer(self.text):
            opened = open_tags.setdefault(tag[2].lower(), [])
            if not tag[1]:
                opened.append(tag.start())
            elif opened:
                ends[opened.pop()] = tag.end()
        return ends

    def _heading(self, at: int) -> tuple[Block, int] | None:
        heading = _HEADING.match(self.lines[at])
        if heading is None:
            return None
        name = _CLOSING_MARKS.sub("", (heading[2] or "").strip()).strip()
        return Block(self.starts[at], self.starts[at + 1], role="heading", name=name, level=len(heading[1])), at + 1

    def _rule(self, at: int) -> tuple[Block, int] | None:
        return self._block(at, at + 1) if _RULE.match(self.lines[at]) else None

    def _is_table(self, at: int) -> bool:
        rows = self.lines[at : at + 2]
        return len(rows) == 2 and all("|" in row for row in rows) and bool(_DELIMITERS.match(rows[1]))

    def _table(self, at: int) -> tuple[Block, int] | None:
        if not self._is_table(at):
            return None
        end = at + 2
        while end < len(self.lines) and "|" in self.lines[end]:
            end += 1
        rows = pairwise(self.starts[at : end + 1])
        parts = [Part(*row, role="body" if i > 1 else "header", whole=True) for i, row in enumerate(rows)]
        header = _joined(_PIPE.split(self.lines[at]))
        return Block(self.starts[at], self.starts[end], parts=tuple(parts), header=header), end

    def _list(self, at: int) -> tuple[Block, int] | None:
        if not _MARKER.match(self.lines[at]) or self._indent(at) > 3:
            return None
        end, cuts, fences = at, [at], set[int]()
        while end < len(self.lines):
            line = self.lines[end]
            if not line:
                following = next((i for i in range(end, len(self.lines)) if self.lines[i]), len(self.lines))
                if following == len(self.lines) or not self._continues_list(following):
                    break
                end = following
            elif (opening := _FENCE.match(line)) and (opening[2] or self._indent(end) > 1):
                fences.add(end)
                cuts.append(end)
                end = self._fence_end(end, opening=opening)
                cuts.append(end)
            elif self._continues_list(end) or not self._interrupts(end):
                cuts += [end] if _MARKER.match(line) else []
                end += 1
            else:
                break
        return self._container(cuts, fences=fences, end=end), end

    def _continues_list(self, at: int) -> bool:
        return self._indent(at) > 1 or (bool(_MARKER.match(self.lines[at])) and not _RULE.match(self.lines[at]))

    def _indent(self, at: int) -> int:
        line = self.lines[at].expandtabs(4)
        return len(line) - len(line.lstrip())

    def _quote(self, at: int) -> tuple[Block, int] | None:
        if not _QUOTE.match(self.lines[at]):
            return None
        end, cuts, fences = at, [at], set[int]()
        while end < len(self.lines) and self.lines[end]:
            if (opening := _FENCE.match(self.lines[end])) and ">" in opening[1]:
                fences.add(end)
                cuts.append(end)
                end = self._fence_end(end, opening=opening)
                cuts.append(end)
            elif _QUOTE.match(self.lines[end]) or not self._interrupts(end):
                end += 1
            else:
                break
        return self._container(cuts, fences=fences, end=end), end

    def _container(self, cuts: list[int], *, fences: set[int], end: int) -> Block:
        """Return a list or a quote, cut at its items and around its fences."""
        bounds = sorted({*cuts, end})
        parts = tuple(
            Part(self.starts[a], self.starts[b], whole=a in fences, code=a in fences) for a, b in pairwise(bounds)
        )
        return Block(self.starts[bounds[0]], self.starts[end], parts=parts)

    def _paragraph(self, at: int) -> tuple[Block, int]:
        end = at + 1
        if end < len(self.lines) and self._indent(at) < 4 and (line := _UNDERLINE.match(self.lines[end])):
            level = 1 if line[1][0] == "=" else 2
            name = self.lines[at].strip()
            return Block(self.starts[at], self.starts[end + 1], role="heading", name=name, level=level), end + 1
        while end < len(self.lines) and self.lines[end] and not self._interrupts(end):
            end += 1
        return self._block(at, end)

    def _interrupts(self, at: int) -> bool:
        """Return whether a line ends the paragraph, the list or the quote above it."""
        line = self.lines[at]
        fence = _FENCE.match(line)
        openings = (_HEADING, _RULE, _QUOTE, _COMMENT, _ELEMENT, _INTERRUPTING_MARKER)
        return bool(fence and self._indent(at) < 4) or any(o.match(line) for o in openings) or self._is_table(at)


def _with_header(rows: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return the rows of a table with all up to the first whole one as its header."""
    first = next(index for index, row in enumerate(rows) if row.whole)
    return (*(Part(row.start, row.end, "header", whole=row.whole) for row in rows[: first + 1]), *rows[first + 1 :])


def _table_rows(text: str, start: int, end: int) -> tuple[Part, ...]:
    """Return the rows of an HTML table and what stands between them: only whole parts are rows."""
    parts: list[Part] = []
    depth = 0
    at = start
    for tag in _TABLE_TAG.finditer(text, start, end):
        closing, row = bool(tag[1]), tag[2].lower() == "tr"
        depth += 0 if row else -1 if closing else 1
        if row and depth == 1:
            cut = tag.end() if closing else tag.start()
            role: Role = "body" if closing else "comment" if parts else "header"
            parts.append(Part(at, cut, role, whole=closing))
            at = cut
    parts.append(Part(at, end, "comment" if parts else "body"))
    return tuple(part for part in parts if text[part.start : part.end].strip())


def _header_cells(row: str) -> str:
    return _joined(_TAG.sub(" ", cell) for cell in _HEADER_CELL.findall(row))


def _joined(cells: Iterable[str]) -> str:
    return " | ".join(" ".join(cell.split()) for cell in cells if cell.strip())

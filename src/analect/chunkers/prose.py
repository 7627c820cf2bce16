"""Where running text may be cut: at blank lines, lines, sentences, words and, at last, anywhere.

Every step reads the text once, so a megabyte without a space costs no more than a megabyte of prose.
(`semantic_text_splitter` cuts at much the same places, but counts the rest of an unbroken text anew for every chunk.)
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import partial

Span = tuple[int, int]

_LOWER = "a-zß-öø-ÿα-ωа-я"
_SPACE = re.compile(r"\s+")
_NEWLINE = re.compile(r"\r\n|\r|\n")
_WRAPPED = re.compile(rf"(?:\r\n|\r|\n)[ \t>]*+[{_LOWER}]")
_SENTENCE_END = re.compile(
    rf"(?<![.!?…])[.!?…]++[\"'”’»)\]*_]*+\s++(?![{_LOWER}])"  # what follows "e.g." in lower case is the same sentence …
    r"|\s[.!?]\s++"  # … but a full stop that stands alone ends one, even where all is lower case
    r"|(?<![。！？｡])[。！？｡]++[」』）”’]*+"
)
_WORD_END = re.compile(r"\s+|[、，；]+")


def finer(text: str, start: int, end: int, *, size: int, code: bool = False) -> list[Span]:
    """Return `text[start:end]` as smaller spans, white space trimmed, or [] when it cannot be cut.

    The cuts are of one kind, the best that there is: blank lines, lines, sentences, words (as many as
    have `size` characters), or every `size` characters.
    In `code` every line counts; elsewhere line ends that only wrap a paragraph are passed over.
    """
    size = max(1, min(size, (end - start) // 2))
    ways = (_blank_lines, _lines if code else _unwrapped_lines, _sentences, partial(_words, size=size), _words)
    for cuts in (*ways, partial(_every, size=size)):
        spans = list(_between(text, start, end, cuts=cuts(text, start, end)))
        if len(spans) > 1:
            return spans
    return []


def trimmed(text: str, start: int, end: int) -> Span:
    """Return the span without the white space at its two ends."""
    part = text[start:end].lstrip()
    return end - len(part), end - len(part) + len(part.rstrip())


def _between(text: str, start: int, end: int, *, cuts: Iterable[int]) -> Iterator[Span]:
    for cut in (*cuts, end):
        first, last = trimmed(text, start, cut)
        if first < last:
            yield first, last
        start = cut


def _blank_lines(text: str, start: int, end: int) -> Iterator[int]:
    for space in _SPACE.finditer(text, start, end):
        if len(_NEWLINE.findall(space.group())) > 1:
            yield space.end()


def _lines(text: str, start: int, end: int) -> Iterator[int]:
    return (newline.end() for newline in _NEWLINE.finditer(text, start, end))


def _unwrapped_lines(text: str, start: int, end: int) -> list[int]:
    # A paragraph wrapped at a column goes on in lower case on most of its lines; a list, a log or an address does not.
    lines = list(_lines(text, start, end))
    wrapped = sum(1 for _ in _WRAPPED.finditer(text, start, end))
    return [] if 2 * wrapped > len(lines) else lines


def _sentences(text: str, start: int, end: int) -> Iterator[int]:
    return (stop.end() for stop in _SENTENCE_END.finditer(text, start, end))


def _words(text: str, start: int, end: int, *, size: int = 1) -> Iterator[int]:
    for space in _WORD_END.finditer(text, start, end):
        if space.start() - start >= size:
            yield space.end()
            start = space.end()


def _every(text: str, start: int, end: int, *, size: int) -> Iterator[int]:
    # A combining mark stays with its letter where it can: `size` characters are looked at, no more.
    cut = start + size
    while cut < end:
        marks = 0
        while marks < size and cut + marks < end and unicodedata.category(text[cut + marks]).startswith("M"):
            marks += 1
        cut += marks % size
        yield cut
        cut += size

"""Where the sentences of a Markdown text stand, as exact offsets.

A unit is what can be quoted by itself: a sentence of a paragraph, a heading, a list item's sentence, a table row, a
line of fenced code, a `name: value` line of a record. A paragraph's sentence may run over several lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]

_FENCE = re.compile(r"\s*(`{3,}|~{3,})")
_HEADING = re.compile(r"\s{0,3}#{1,6}(\s|$)")
_TABLE_ROW = re.compile(r"\s*\|")
_ITEM = re.compile(r"\s*(>\s*)*([-*+•]|\d{1,3}[.)])\s+(?=\S)")
_FIELD = re.compile(r"\w[\w.\-/]*( [\w.\-/]+){0,3}:(\s|$)")

# A mark that may end a sentence, what closes after it (quotes, brackets, emphasis), then white space or the end.
# The marks of Chinese and Japanese end one with no space.
_STOP = re.compile(r"(?:[.!?…]+[\"'”’»)\]*_]*(?=\s|$))|[。！？]+[」』”）]*")
_NEXT = re.compile(r"\s*(\S)")
_BEFORE_TOKEN = " \t\n\r\u00a0([\"'“‘"
_LONGEST_TOKEN = 40  # what is longer is no abbreviation
_INITIAL = re.compile(r"[^\W\d_](\.[^\W\d_])*")  # the J of "J. Smith", the a.m of "a.m."
_NUMBERED = re.compile(r"(?i)(nos?|fig|figs|eq|vol|pp?|ch|sec|approx|ca|c)")  # only before a number or a quantity
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st sr jr rev hon capt col gen lt sgt vs cf viz al etc dept est approx ca max min incl excl tel "
    "ext inc ltd co corp bros jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri".split()
)


def split(text: str) -> list[Span]:
    """Return the (start, end) of every unit, in order: trimmed, apart, and together all of the text but white space.

    >>> text = "# Café\\n\\nHot food from 12.00 to 2 p.m. daily. Cakes\\nare £2.50."
    >>> [text[start:end] for start, end in split(text)]
    ['# Café', 'Hot food from 12.00 to 2 p.m. daily.', 'Cakes\\nare £2.50.']
    """
    return [span for block, whole in _blocks(text) for span in (_trimmed if whole else _sentences)(text, block)]


def _blocks(text: str) -> Iterator[tuple[Span, bool]]:
    """Yield what no sentence crosses: lines that are whole units (True), and runs of lines that are a paragraph."""
    fence = ""
    begin = end = -1  # the paragraph so far; -1: none
    for start, stop in _lines(text):
        line = text[start:stop]
        opened = _FENCE.match(line)
        alone = bool(fence or opened or _HEADING.match(line) or _TABLE_ROW.match(line))
        if opened and not fence:
            fence = opened[1]
        elif opened and opened[1].startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
        blank = not line.strip()
        if begin >= 0 and (alone or blank or _starts_unit(line, among_fields=bool(_FIELD.match(text, begin, end)))):
            yield (begin, end), False
            begin = -1
        if alone:
            yield (start, stop), True
        elif not blank:
            begin, end = (start if begin < 0 else begin), stop
    if begin >= 0:
        yield (begin, end), False


def _lines(text: str) -> Iterator[Span]:
    """Yield every line, blank ones too, without its break: "\\n", "\\r\\n" or "\\r"."""
    start = 0
    for found in re.finditer(r"\r\n|\n|\r", text):
        yield start, found.start()
        start = found.end()
    yield start, len(text)


def _starts_unit(line: str, *, among_fields: bool) -> bool:
    """Tell whether a line begins a unit inside a paragraph: a list item, or a field below another field."""
    return bool(_ITEM.match(line) or (among_fields and _FIELD.match(line)))


def _sentences(text: str, block: Span) -> Iterator[Span]:
    start, end = block
    item = _ITEM.match(text, start, end)
    begin = start
    for stop in _STOP.finditer(text, item.end() if item else start, end):
        if _ends(text, stop=stop, block=(begin, end)):
            yield from _trimmed(text, (begin, stop.end()))
            begin = stop.end()
    yield from _trimmed(text, (begin, end))


def _ends(text: str, *, stop: re.Match[str], block: Span) -> bool:
    """Tell whether the mark ends a sentence: something new begins after it, and it does not belong to the word before.

    A single letter or a known abbreviation keeps its full stop; a lower-case word does not begin a sentence, except
    after a full stop set apart by a space, as in texts that are all lower case.
    """
    if stop[0][0] in "。！？":
        return True
    begin, end = block
    following = _NEXT.match(text, stop.end(), end)
    before = text[max(begin, stop.start() - _LONGEST_TOKEN) : stop.start()]
    if not following or (before[-1:].isspace() and stop[0] in ".!?"):
        return True
    if following[1].islower():
        return False
    token = before[max(before.rfind(mark) for mark in _BEFORE_TOKEN) + 1 :]
    if not stop[0].startswith(".") or stop[0].startswith(".."):
        return True
    if _NUMBERED.fullmatch(token):
        return not following[1].isdigit()
    return not (_INITIAL.fullmatch(token) or token.lower() in _ABBREVIATIONS)


def _trimmed(text: str, span: Span) -> Iterator[Span]:
    """Yield the span without the white space around it; nothing when there is only white space."""
    start, end = span
    part = text[start:end]
    if part.strip():
        yield start + len(part) - len(part.lstrip()), start + len(part.rstrip())

"""Markdown, kept as it is; its first level-1 heading is the title."""

from __future__ import annotations

import re

from analect.encoding import decode
from analect.errors import ReadError
from analect.types import Document

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_ATX = re.compile(r" {0,3}#(?:[ \t]+(.*))?$")
_UNDERLINE = re.compile(r" {0,3}=+[ \t]*$")
_FRONT_MATTER = re.compile(r"---[ \t]*\n.*?^(?:---|\.\.\.)[ \t]*$", re.DOTALL | re.MULTILINE)
# What cannot be the text of a setext heading: blank, indented code, rule, quote, list item, heading, table row.
_NO_PARAGRAPH = re.compile(r"\s*$| {4}|\t| {0,3}(?:-+[ \t]*$|>|[-+*][ \t]|\d{1,9}[.)][ \t]|#{1,6}(?:[ \t]|$)|\|)")
_LINK = re.compile(r"!?\[([^\]\[]*)\](?:\([^()\s]*(?:\s+\"[^\"]*\")?\)|\[[^\]\[]*\])")
_MARKS = re.compile(r"(\*{1,3}|`+|~~)(?=\S)([^*`~]+)(?<=\S)\1")
_LONGEST_HEADING = 1000  # characters; a longer line is not a title, and the patterns above stay fast


class MarkdownReader:
    """Reads Markdown and finds its title."""

    def read(self, data: bytes, *, uri: str) -> Document:
        """Return the text unchanged and its title. Raises `ReadError`."""
        text = decode(data)
        if not text.strip():
            raise ReadError(f"no text found in {len(data):,} bytes: the file holds white space only")
        return Document(id="", text=text, source="", uri=uri, title=first_heading(text))


def first_heading(text: str) -> str | None:
    """Return the first level-1 heading of a Markdown text, ATX or setext, outside of code fences; None without one.

    >>> first_heading("```\\n# a comment\\n```\\n# The *real* title #\\n")
    'The real title'
    >>> first_heading("Title\\n=====\\n")
    'Title'
    """
    fence = ""
    paragraph: list[str] = []
    front = _FRONT_MATTER.match(text)
    for line in text[front.end() if front else 0 :].split("\n"):
        if found := _FENCE.match(line):
            fence = _fence_after(fence, mark=found[1], rest=found[2])
            paragraph = []
        elif fence:
            continue
        elif heading := _ATX.match(line[:_LONGEST_HEADING]):
            if title := _plain(re.sub(r"(?:^|[ \t]+)#+[ \t]*$", "", heading[1] or "")):
                return title
        elif paragraph and _UNDERLINE.match(line):
            return _plain(" ".join(paragraph))
        elif _NO_PARAGRAPH.match(line) or len(line) > _LONGEST_HEADING or len(paragraph) > 3:
            paragraph = []
        else:
            paragraph.append(line.strip())
    return None


def _fence_after(fence: str, *, mark: str, rest: str) -> str:
    """Return the fence that is open after a line of `mark` and `rest`: "" when none is."""
    if not fence:
        return "" if mark[0] == "`" and "`" in rest else mark
    closes = mark[0] == fence[0] and len(mark) >= len(fence) and not rest.strip()
    return "" if closes else fence


def _plain(heading: str) -> str | None:
    """Return a heading without its inline marks: a title is shown and embedded as plain text."""
    text = _MARKS.sub(r"\2", _LINK.sub(r"\1", heading[:_LONGEST_HEADING]))
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text).strip() or None

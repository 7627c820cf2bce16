"""What is printed: one JSON document, or lines for people. Plain text wherever the output is not a terminal."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from analect.types import Chunk

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a text must not be able to steer the terminal
_BLANK = re.compile(r"\s+")
_WORD = re.compile(r"\w+")
_SHORT = 3  # letters: shorter words of a query ("is", "a") are not marked, they are everywhere
_CUT = "..."


def prepare_streams() -> None:
    """Make stdout print what its encoding cannot say as an escape, where it would raise; open closed ones to nowhere.

    Else the next file that is opened would get the number of the closed one, and whatever libraries print.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="backslashreplace")


def complain(message: str) -> None:
    """Write one line to stderr, whatever the message holds."""
    sys.stderr.write(f"analect: {one_line(message)}\n")


def write_line(line: str) -> None:
    """Write one line to stdout."""
    sys.stdout.write(f"{line}\n")


def write_json(document: Mapping[str, Any]) -> None:
    """Write one JSON document to stdout; a number that JSON does not have (NaN, infinity) is null."""
    # Escapes of Python are not escapes of JSON: only an encoding that can say everything gets it as it is.
    utf8 = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "").startswith("utf8")
    write_line(json.dumps(_finite(document), ensure_ascii=not utf8, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value


def one_line(text: str) -> str:
    """Return the text in one line, without control characters."""
    return _CONTROLS.sub("", _BLANK.sub(" ", text)).strip()


def without_controls(text: str) -> str:
    """Return the text with its lines, but without control characters."""
    return _CONTROLS.sub("", text)


def heading_of(chunk: Chunk) -> str:
    """Return where a chunk stands, for people: title (or id) of its document > headings."""
    path = dict.fromkeys((chunk.title or chunk.document_id, *chunk.headings))
    return one_line(" > ".join(path))


def place_of(chunk: Chunk) -> str:
    """Return where a chunk can be looked up: uri, and page where there are pages."""
    return one_line(chunk.uri if chunk.page is None else f"{chunk.uri}:{chunk.page}")


def terminal() -> Console:
    """Return what prints to stdout: colours on a terminal only, nothing in the text read as markup."""
    from rich.console import Console  # noqa: PLC0415  # when there is something to print, not for --help

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # `main` ends the program then, and knows with which code

    return Terminal(markup=False, highlight=False, emoji=False, soft_wrap=True)


def snippet(text: str, *, query: str, width: int) -> Text:
    """Return one line of the text, `width` cells at most, from before the query's first word; its words are marked."""
    from rich.text import Text  # noqa: PLC0415

    words = [word for word in _WORD.findall(query) if len(word) >= _SHORT]
    pattern = rf"(?i)\b(?:{'|'.join(map(re.escape, words))})\b" if words else r"(?!)"
    line = one_line(text)
    found = re.search(pattern, line)
    if found and found.end() > width - len(_CUT):
        before = line.find(" ", max(found.start() - width // 3, 0), found.start())
        line = f"{_CUT} {line[before + 1 :]}" if before >= 0 else line[found.start() :]
    shown = Text(line)
    if shown.cell_len > width:
        shown.truncate(max(width - len(_CUT), 1))
        shown.append(_CUT)
    shown.highlight_regex(pattern, "bold yellow")
    return shown


def write_table(rows: Sequence[Sequence[str]]) -> None:
    """Write rows with their columns aligned: plain text, whoever reads it."""
    from rich.cells import cell_len  # noqa: PLC0415

    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        write_line("  ".join(padded).rstrip())

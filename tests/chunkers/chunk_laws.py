"""What holds for the chunks of every chunker, and Markdown to try it on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from analect.protocols import Embedder
from analect.types import Chunk, Document, PageSpan


def check_laws(document: Document, chunks: list[Chunk], *, embedder: Embedder, limit: int) -> None:
    """Assert that the chunks are exact spans, hold the text once, fit the limit and say where they come from."""
    at = 0
    for chunk in chunks:
        assert document.text[chunk.start : chunk.end] == chunk.text
        assert chunk.text and chunk.text == chunk.text.strip()
        assert chunk.start >= at, "chunks overlap or are out of order"
        assert not document.text[at : chunk.start].strip(), "text is in no chunk"
        at = chunk.end
        assert (chunk.document_id, chunk.uri, chunk.metadata) == (document.id, document.uri, document.metadata)
        assert chunk.title in (document.title, None)
        assert chunk.page == next((p.number for p in document.pages if p.start <= chunk.start < p.end), None)
        assert chunk.id.startswith(f"{document.id}#")
    assert not document.text[at:].strip(), "text is in no chunk"
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    counts = embedder.count_tokens([chunk.embedded_text for chunk in chunks])
    assert max(counts, default=0) <= limit


@dataclass(frozen=True)
class Piece:
    """A block of generated Markdown."""

    kind: str
    text: str
    level: int = 0
    name: str = ""


WORDS = st.sampled_from(
    "the wing of a slipstream e.g. Dr. 3.4 end. What? no! (see **this**) `x` [a](b) naïve Ünïcode 航空宇宙。工学、 "
    "한국어 नमस्ते 👩‍👩‍👧‍👦 e\u0301\u0301 :- && </td> &lt; 1. - # > A|B $x_1$".split()
) | st.sampled_from(["antidisestablishmentarianism" * 8, "航空宇宙工学" * 60, "z\u0301" * 50])
GAPS = st.sampled_from([" ", " ", " ", " ", "  ", "\n", "\r\n", "\u00a0", "\t"])
TITLES = st.one_of(st.none(), st.sampled_from(["Title", "", "wing"]), st.just("long title " * 60))


@st.composite
def prose(draw: st.DrawFn, *, largest: int = 120) -> str:
    """Words of many scripts, some of them long, with any white space between."""
    words = draw(st.lists(WORDS, min_size=1, max_size=largest))
    gap = draw(GAPS)
    return gap.join(words)


LINES = st.text("abc #`~>|-=*_<!/&.1)\u3000\x0b\u2028é航", min_size=1, max_size=30)
JUNK = st.one_of(
    LINES, st.sampled_from(["```", "~~~ py", "<table>", "</table>", "<!--", "-->", "---", "===", "|-|", "> ```"])
)


@st.composite
def any_markdown(draw: st.DrawFn) -> str:
    """Text that means as much harm as it can: half-open blocks, mixed line ends, lines that look like others."""
    blocks = st.one_of(JUNK, JUNK, prose(), pieces().map(lambda piece: piece.text))
    ends = st.sampled_from(["\n", "\n", "\n\n", "\r\n", "\r", "\n \n", " "])
    return "".join(part for block in draw(st.lists(blocks, max_size=14)) for part in (block, draw(ends)))


@st.composite
def pieces(draw: st.DrawFn) -> Piece:
    """One well-formed block, of which the name says what a scanner must see in it."""
    kind = draw(
        st.sampled_from(["heading", "heading", "paragraph", "paragraph", "table", "html", "fence", "list", "comment"])
    )
    size = draw(st.integers(1, 30))
    number = draw(st.integers(0, 999))
    if kind == "heading":
        level = draw(st.integers(1, 4))
        name = f"Heading {number}"
        marks = draw(st.booleans()) and level < 3
        return Piece(kind, f"{name}\n{'=-'[level - 1] * 3}" if marks else f"{'#' * level} {name} #", level, name)
    texts = {
        "paragraph": f"Paragraph {number} says this. " + "It goes on and on. " * size,
        "table": f"| name {number} | price |\n|---|--:|"
        + "".join(f"\n| row {i} | {'x ' * (i % 7)}|" for i in range(size)),
        "html": f"<table>\n<tr><th>no. {number}</th></tr>\n"
        + f"<tr>\n<td>a\n\nb {number}</td></tr>\n" * size
        + "</table>",
        "fence": f"```py\n# not {number}\n\n" + "print('| a |')\n" * size * draw(st.integers(1, 3)) + "```",
        "list": "\n".join(f"{i}. item of list {number}" for i in range(1, size + 1)),
        "comment": '<!-- PageNumber="3" -->\n<!-- PageBreak -->',
    }
    return Piece(kind, texts[kind].strip())


BLOCKS = st.lists(pieces(), max_size=12, unique_by=lambda piece: piece.name or id(piece))


def document_of(text: str, **given: Any) -> Document:
    """A document with pages of 500 characters."""
    pages = tuple(PageSpan(i // 500 + 1, i, min(i + 500, len(text))) for i in range(0, len(text), 500))
    return Document(**{"id": "a.md", "text": text, "source": "s", "uri": "file:a.md", "pages": pages, **given})


def spans(blocks: list[Piece]) -> tuple[str, list[tuple[Piece, int, int]]]:
    """The text of the blocks with blank lines between, and where each one is."""
    at, found = 0, []
    for block in blocks:
        found.append((block, at, at + len(block.text)))
        at += len(block.text) + 2
    return "\n\n".join(block.text for block in blocks), found

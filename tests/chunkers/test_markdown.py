"""The Markdown chunker: its laws on generated text, what they mean on examples, and real documents."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

import pytest
from chunk_embedders import CountingEmbedder
from chunk_laws import BLOCKS, TITLES, Piece, any_markdown, check_laws, document_of, spans
from hypothesis import given, settings
from hypothesis import strategies as st

from analect.chunkers.blocks import scan
from analect.chunkers.markdown import MarkdownChunker
from analect.errors import ConfigError
from analect.protocols import Embedder
from analect.types import Chunk

LIMITS = st.sampled_from([16, 17, 32, 64, 256])


def chunk(text: str, *, embedder: Embedder, limit: int | None = None, **given: object) -> list[Chunk]:
    return list(MarkdownChunker(embedder=embedder, max_tokens=limit).chunk(document_of(text, **given)))


# Laws


@settings(max_examples=120, deadline=None)
@given(text=any_markdown(), title=TITLES, limit=LIMITS)
def test_every_text_is_covered_once_within_the_limit(
    embedder: Embedder, text: str, title: str | None, limit: int
) -> None:
    document = document_of(text, title=title, metadata={"year": 1999})
    chunks = list(MarkdownChunker(embedder=embedder, max_tokens=limit).chunk(document))
    check_laws(document, chunks, embedder=embedder, limit=limit)
    assert chunks == list(MarkdownChunker(embedder=embedder, max_tokens=limit).chunk(document))


@settings(max_examples=80, deadline=None)
@given(blocks=BLOCKS, limit=LIMITS)
def test_rows_and_fences_that_fit_are_not_cut(embedder: Embedder, blocks: list[Piece], limit: int) -> None:
    text, placed = spans(blocks)
    chunks = chunk(text, embedder=embedder, limit=limit, title="Title")
    for block, start, end in placed:
        lines = block.text.split("\n") if block.kind == "table" else [block.text] if block.kind == "fence" else []
        for line in lines:
            at = text.index(line, start, end)
            if embedder.count_tokens([line])[0] <= limit:
                assert any(c.start <= at and at + len(line) <= c.end for c in chunks), line


@settings(max_examples=80, deadline=None)
@given(blocks=BLOCKS)
def test_headings_are_those_that_hold_for_the_whole_chunk(embedder: Embedder, blocks: list[Piece]) -> None:
    text, placed = spans(blocks)
    path: list[Piece] = []
    paths = []
    for block in blocks:
        if block.kind == "heading":
            path = [above for above in path if above.level < block.level] + [block]
        paths.append([above.name for above in path])
    for found in chunk(text, embedder=embedder, title="Title"):
        inside = [i for i, (_, start, end) in enumerate(placed) if start < found.end and found.start < end]
        bodies = [i for i in inside if blocks[i].kind not in ("heading", "comment")]
        if found.text.startswith("</table>"):  # it goes along with what follows, as a comment does
            bodies = bodies[1:]
        bodies = bodies or inside[-1:]
        shared = [n[0] for n in takewhile(lambda n: len(set(n)) == 1, zip(*(paths[i] for i in bodies), strict=False))]
        headings = list(found.headings)
        starts_inside_table = blocks[inside[0]].kind in ("table", "html") and placed[inside[0]][1] < found.start
        if starts_inside_table and len(headings) > len(shared):
            assert headings.pop() in blocks[inside[0]].text.replace(" | price |", " | price").replace("</th>", "")
        assert headings == shared[len(shared) - len(headings) :]  # outer ones may have given way
        for i in bodies:  # what is not in the path can be read in the text
            assert all(name in found.text for name in paths[i][len(shared) :])


@settings(max_examples=80, deadline=None)
@given(blocks=BLOCKS)
def test_no_heading_ends_a_chunk_while_text_follows(embedder: Embedder, blocks: list[Piece]) -> None:
    text, placed = spans([b for b in blocks if b.kind != "comment"])
    for found in chunk(text, embedder=embedder):
        inside = [i for i, (_, start, end) in enumerate(placed) if start < found.end and found.start < end]
        following = placed[inside[-1] + 1][0].kind if inside[-1] + 1 < len(placed) else None
        if placed[inside[-1]][0].kind == "heading" and following is not None:
            assert all(placed[i][0].kind == "heading" for i in inside), "a heading ends a chunk of other text"
            assert following in ("heading", "fence", "table", "html"), (
                "text that could be cut does not follow its heading"
            )


# Examples


SECTIONS = """\
Preamble.

# Guide

## Install

{long}

## Use

{long}

```sh
# not a heading
analect add
```

Setext
------

{long}
"""


def test_every_section_is_a_chunk_under_its_path(wordpiece: Embedder) -> None:
    text = SECTIONS.format(long="This sentence has some eight or nine words. " * 8)
    chunks = chunk(text, embedder=wordpiece, limit=128, title="The manual")
    assert [c.headings for c in chunks] == [(), ("Guide", "Use"), ("Guide", "Setext")]
    assert [c.text.split("\n")[0] for c in chunks] == ["Preamble.", "## Use", "Setext"]
    assert "# not a heading" in chunks[1].text
    assert chunks[1].embedded_text.startswith("The manual\nGuide\n## Use")


def test_a_heading_that_repeats_the_title_is_not_in_the_path(wordpiece: Embedder) -> None:
    (found,) = chunk("# The *real* title\n\n## Part\n\nText.", embedder=wordpiece, title="The real title")
    assert found.headings == ("Part",)
    assert found.title == "The real title"


def test_small_sections_share_a_chunk_up_to_a_quarter_of_the_limit(wordpiece: Embedder) -> None:
    text = "# Guide\n\n" + "".join(f"## Part {i}\n\nSome words are in here.\n\n" for i in range(12))
    chunks = chunk(text, embedder=wordpiece)
    counts = wordpiece.count_tokens([c.text for c in chunks])
    assert all(64 <= count < 80 for count in counts[:-1])
    assert {c.headings for c in chunks} == {("Guide",)}


def test_the_rest_of_a_long_section_does_not_share_a_chunk_with_the_next(wordpiece: Embedder) -> None:
    text = "## Long\n\n" + "Some words are in here, or so it is said. " * 8 + "\n\n## Short\n\nText."
    chunks = chunk(text, embedder=wordpiece, limit=64)
    assert [c.headings for c in chunks] == [("Long",), ("Long",), ("Short",)]


def test_a_long_table_is_cut_between_rows_and_carries_its_header(wordpiece: Embedder) -> None:
    rows = [f"| apples {i} | {i}.50 |" for i in range(40)]
    text = "## Prices\n\n" + "\n".join(["| Name | Price |", "|------|-------|", *rows])
    first, *rest = chunk(text, embedder=wordpiece, limit=64)
    assert first.headings == ("Prices",)
    assert first.text.startswith("## Prices\n\n| Name | Price |\n|------|-------|\n| apples 0 |")
    assert {c.headings for c in rest} == {("Prices", "Name | Price")}
    assert rest[0].embedded_text.startswith("Prices\nName | Price\n| apples")
    assert [line for c in (first, *rest) for line in c.text.split("\n")][-40:] == rows


def test_a_long_html_table_is_cut_between_rows_and_carries_its_header(wordpiece: Embedder) -> None:
    rows = [f"<tr><td>apples\n\n{i}</td><td><table><tr><td>{i}</td></tr></table></td></tr>" for i in range(9)]
    head = "<table><caption>Fruit</caption><thead><tr><th>Name</th><th>The <b>price</b></th></tr></thead><tbody>"
    first, *rest = chunk("\n".join([head, *rows, "</tbody></table>"]), embedder=wordpiece, limit=128)
    assert first.text.startswith("<table><caption>") and first.headings == ()
    assert {c.headings for c in rest} == {("Name | The price",)}
    assert all(any(row in c.text for c in (first, *rest)) for row in rows)


def test_a_table_that_fits_stays_whole(wordpiece: Embedder) -> None:
    table = "| Name | Price |\n|---|---|" + "\n| apples | 1.50 |" * 10
    chunks = chunk("Some words are in here. " * 20 + "\n\n" + table, embedder=wordpiece, limit=128)
    assert [c.text for c in chunks][1:] == [table]


def test_a_long_fence_is_cut_at_line_ends(wordpiece: Embedder) -> None:
    lines = [f"    total = total + price({i})  # why. Because" for i in range(60)]
    text = "\n".join(["Before.", "", "```python", *lines, "```"])
    chunks = chunk(text, embedder=wordpiece, limit=64)
    assert all(line.strip() in [x.strip() for c in chunks for x in c.text.split("\n")] for line in lines)


def test_a_fence_that_just_fits_goes_before_its_context(wordpiece: Embedder) -> None:
    fence = "```\n" + "word " * 50 + "\n```"
    limit = int(wordpiece.count_tokens([fence])[0])
    chunks = chunk(f"# One\n\n## Two\n\nText.\n\n{fence}", embedder=wordpiece, limit=limit, title="Title")
    assert chunks[-1].text == fence
    assert (chunks[-1].title, chunks[-1].headings) == (None, ())
    assert chunk(f"# One\n\n## Two\n\nText.\n\n{fence}", embedder=wordpiece, limit=limit + 1, title="Title")[-1].title


def test_context_over_half_of_the_limit_gives_way_from_the_outside(wordpiece: Embedder) -> None:
    outer, inner = "outer " * 30, "inner " * 10
    text = f"# {outer}\n\n## {inner}\n\n" + "Some words are in here. " * 30
    last = chunk(text, embedder=wordpiece, limit=64, title="Title")[-1]
    assert (last.title, last.headings) == ("Title", (inner.strip(),))
    last = chunk(text, embedder=wordpiece, limit=64, title="title " * 40)[-1]
    assert (last.title, last.headings) == (None, (inner.strip(),))


def test_long_prose_is_cut_at_sentence_ends(wordpiece: Embedder) -> None:
    wrapped = "This sentence, e.g. the one here,\nhas been wrapped at a column\nby its author. " * 30
    chunks = chunk("## Prose\n\n" + wrapped, embedder=wordpiece, limit=64)
    assert all(c.text.endswith("by its author.") for c in chunks)
    assert chunks[0].text.startswith("## Prose\n\nThis sentence")


def test_lower_case_prose_is_cut_at_full_stops_that_stand_alone(wordpiece: Embedder) -> None:
    chunks = chunk("an experimental study of a wing in a slipstream . " * 30, embedder=wordpiece, limit=64)
    assert all(c.text.endswith(" .") for c in chunks)


@pytest.mark.parametrize(
    "text",
    [
        "x7" * 2500,
        "航空宇宙工学の研究は長い歴史を持ち" * 200,
        "z\u0301" * 3000,
        "👩‍👩‍👧‍👦" * 900,
        "." * 5000,
        "word " * 3000,
    ],
    ids=["word", "cjk", "marks", "emoji", "dots", "words"],
)
def test_text_without_a_place_to_cut_is_cut(embedder: Embedder, text: str) -> None:
    document = document_of(text)
    chunks = list(MarkdownChunker(embedder=embedder).chunk(document))
    check_laws(document, chunks, embedder=embedder, limit=256)
    counts = embedder.count_tokens([c.text for c in chunks])
    assert all(count > 256 * 0.45 for count in counts[:-1]), "chunks are filled"


def test_comments_stay_with_what_they_follow(wordpiece: Embedder) -> None:
    long = "Some words are in here. " * 9
    furniture = '<!-- PageFooter="7" -->\n<!-- PageBreak -->'
    none, both = chunk(f"# A\n\n{long}\n\n{long}\n\n{furniture}", embedder=wordpiece, limit=130)
    assert none.text.endswith("in here.") and both.text.startswith("Some words")
    first, second = chunk(f"{long}\n\n{furniture}\n\n{long}", embedder=wordpiece, limit=96)
    assert first.text.endswith("<!-- PageBreak -->")
    assert second.text == long.strip()


def test_a_page_is_that_of_the_start(wordpiece: Embedder) -> None:
    document = document_of("Some words are in here. " * 100)
    chunks = list(MarkdownChunker(embedder=wordpiece, max_tokens=64).chunk(document))
    assert [c.page for c in chunks] == [c.start // 500 + 1 for c in chunks]
    assert {c.page for c in chunk("Text.", embedder=wordpiece, pages=())} == {None}


def test_an_id_names_place_and_content(wordpiece: Embedder) -> None:
    def ids(text: str, title: str = "Title") -> list[str]:
        return [c.id for c in chunk(text, embedder=wordpiece, limit=16, title=title)]

    same = "The same words are said twice here.\n\n" * 2
    assert len(set(ids(same))) == len(ids(same)) == 2
    assert ids(same) == ids(same)
    assert ids(same + "# More")[:2] == ids(same)
    assert not set(ids(same)) & set(ids(same, title="Other"))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("---\ntitle: x\n# y\n---\n\nText.", []),
        ("---\n\n# a\n\n---\n\nText.", ["a"]),
        ("~~~\n# a\n```\n# b\n~~~\n\n# c\n\nText.", ["c"]),
        ("```\n# an open fence goes on to the end", []),
        ("    # indented code\n\nText.", []),
        ("<!-- a\n# b\n-->\n\nText.", []),
        ("<!-- open\n# b\n\nText.", ["b"]),
        ("<pre>\n# b\n\n# c\n</pre>\n\nText.", []),
        ("<pre>\n# b\n\n# c\n\nText.", ["b", "c"]),
        ("Several lines\nare a paragraph\n---\n\nText.", []),
        ("Text.\n\n---\n\nText.", []),
        ("- item\n\n  ```\n# a\n  ```\n\n# b\n\nText.", ["b"]),
        ("- ```\n# a\n  ```\n# b", ["b"]),
        ("- item\n---\n# b", ["b"]),
        ("> # quoted\n\nText.", []),
        ("> ```\n> # quoted\n\n# b\n\nText.", ["b"]),
        ("#hashtag\n\nText.", []),
        ("Text.\n## a `#` ##\nText.", ["a `#`"]),
        ("#\n\nText.", [""]),
        ("| a |\n|---|\n# b\n\nText.", ["b"]),
        ("Text\r\n====\r\n\r\nText.", ["Text"]),
        ("# a\r# b\r\rText.", ["a", "b"]),
    ],
)
def test_what_is_a_heading(text: str, names: list[str]) -> None:
    assert [block.name for block in scan(text) if block.role == "heading"] == names


@pytest.mark.parametrize("text", ["", " \n\t\r\n\u3000"])
def test_a_blank_document_has_no_chunks(embedder: Embedder, text: str) -> None:
    assert chunk(text, embedder=embedder) == []


def test_the_id_names_what_decides_the_cuts(wordpiece: Embedder) -> None:
    assert MarkdownChunker(embedder=wordpiece).id == "markdown/256/1"
    assert MarkdownChunker(embedder=wordpiece, max_tokens=64).id == "markdown/64/1"


@pytest.mark.parametrize(("limit", "says"), [(257, "above the 256"), (15, "set 16 or more"), (0, "set 16 or more")])
def test_a_limit_that_cannot_be_is_refused(wordpiece: Embedder, limit: int, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        MarkdownChunker(embedder=wordpiece, max_tokens=limit)


def test_an_embedder_that_cannot_take_one_character_is_refused() -> None:
    class Tiny(CountingEmbedder):
        def count(self, text: str) -> int:
            return 300 * len(text.strip())

    with pytest.raises(ConfigError, match=r"one character of document 'a\.md' takes more than 256 tokens"):
        chunk("Text.", embedder=Tiny())


def test_a_small_section_is_not_cited_under_the_heading_of_another(wordpiece: Embedder) -> None:
    long = "Some words are in here, or so it is said. " * 8
    chunks = chunk(f"# One\n\n{long}\n\n## Part\n\nText.\n\n# Two\n\nText.", embedder=wordpiece, limit=128)
    assert [c.headings for c in chunks] == [("One",), ("One", "Part"), ("Two",)]


def test_tokens_are_counted_in_batches(wordpiece: Embedder) -> None:
    text = SECTIONS.format(long="This sentence has some eight or nine words. " * 40) * 20
    before = wordpiece.calls
    chunks = chunk(text, embedder=wordpiece, limit=64)
    assert len(chunks) > 400
    assert wordpiece.calls - before <= 8


# Real documents


def test_reference_documents(embedder: Embedder, data: Path) -> None:
    paths = sorted((data / "docs").rglob("*.md"))
    assert len(paths) > 100
    for path in paths:
        document = document_of(path.read_text(encoding="utf-8"), title=path.stem)
        for limit in (64, 256):
            chunks = list(MarkdownChunker(embedder=embedder, max_tokens=limit).chunk(document))
            check_laws(document, chunks, embedder=embedder, limit=limit)

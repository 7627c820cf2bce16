"""Text, Markdown and HTML become documents, or a `ReadError`; never an empty success."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from analect.errors import ReadError
from analect.protocols import Reader
from analect.readers.html import HtmlReader
from analect.readers.markdown import MarkdownReader
from analect.readers.text import TextReader

DATA = Path(os.environ.get("ANALECT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
READERS: list[Reader] = [TextReader(), MarkdownReader(), HtmlReader()]


def html(page: str) -> str:
    return HtmlReader().read(page.encode(), uri="u").text.strip()


@pytest.mark.parametrize("reader", READERS)
def test_a_document_has_its_uri_and_leaves_id_and_source_to_the_source(reader: Reader) -> None:
    document = reader.read(b"hello", uri="/a/b")
    assert (document.id, document.source, document.uri, document.text.strip()) == ("", "", "/a/b", "hello")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("data", [b" \n\t \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
def test_bytes_without_text_are_refused(reader: Reader, data: bytes) -> None:
    with pytest.raises(ReadError, match=f"no text found in {len(data)} bytes"):
        reader.read(data, uri="u")


@pytest.mark.parametrize("reader", READERS)
def test_a_nul_character_is_refused(reader: Reader) -> None:
    with pytest.raises(ReadError, match="NUL"):
        reader.read(b"a\0b", uri="u")


def test_text_is_kept_as_it_is_and_has_no_title() -> None:
    document = TextReader().read(b"# not a title\r\n  *kept*\n", uri="u")
    assert (document.text, document.title) == ("# not a title\n  *kept*\n", None)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# One\n\n# Two", "One"),
        ("intro\n\n## Sub\n\n# Late", "Late"),
        ("   # Indented #  ", "Indented"),
        ("    # code", None),
        ("#no space", None),
        ("# \n# Second", "Second"),
        ("Title\n=====\ntext", "Title"),
        ("Two\nlines\n===", "Two lines"),
        ("Sub\n---\n\n====", None),
        ("- item\n====", None),
        ("```\n# comment\n```\n# Real", "Real"),
        ("~~~~ python\n# a\n~~~\n# b\n~~~~\n# Real", "Real"),
        ("```\n# never closed", None),
        ("``` not `a` fence\n# Real", "Real"),
        ("---\n# yaml comment\nkey: 1\n---\n# Real", "Real"),
        ("# The *real* **one**, `code` and [link](http://x/y)", "The real one, code and link"),
        ("# C\\# 2 * 3 * 4", "C# 2 * 3 * 4"),
        ("no heading", None),
    ],
)
def test_markdown_title_is_the_first_level_1_heading(text: str, title: str | None) -> None:
    document = MarkdownReader().read(text.encode(), uri="u")
    assert document.title == title
    assert document.text == text


PAGE = """<!doctype html><html><head><title>The &amp; title</title><style>p {{color: red}}</style>
<meta name=description content="described"><script>var a = '<p>scripted</p>'</script></head><body>
<header><h1>Site</h1></header><nav><a href=/>Home</a></nav>{body}
<aside>sidebar</aside><form>search<input></form><footer>imprint</footer></body></html>"""


@pytest.mark.parametrize(
    "body",
    [
        "<main><h1>Head</h1><p>Content <b>stays</b>.</p></main>",
        "<article><header><h1>Head</h1></header><p>Content <b>stays</b>.</p></article>",
        "<article><h1>Head</h1></article><article><p>Content <b>stays</b>.</p></article>",
        "<div><h1>Head</h1><div>Content <b>stays</b>.</div></div>",
        "<!-- <main>no</main> --><script>'<main>'</script><MAIN><h1>Head</h1>Content <b>stays</b>.</MAIN>",
        "<main></main><h1>Head</h1><p>Content <b>stays</b>.</p>",
    ],
)
def test_html_gives_the_content_without_its_frame(body: str) -> None:
    document = HtmlReader().read(PAGE.format(body=body).encode(), uri="u")
    assert document.text.strip() == "# Head\n\nContent **stays**."
    assert document.title == "The & title"


def test_a_small_article_does_not_displace_the_page() -> None:
    text = html(PAGE.format(body="<article>teaser</article><div>" + "<p>the long body of the page</p>" * 9 + "</div>"))
    assert text.count("the long body") == 9


def test_a_page_wrapped_in_a_form_keeps_its_body() -> None:
    text = html(
        "<body><a href=#c>Skip</a><form id=aspnetForm><p>" + "The body is in a form. " * 5 + "</p></form></body>"
    )
    assert text.count("The body is in a form.") == 5


@pytest.mark.parametrize(
    "page",
    [
        "<nav>only this</nav>",
        "<header><div>only this</div></header>",
        "<div><div><div>only this</div></div>",
        "only this",
        "<body><noscript>only this</noscript></body>",
        "<p>only this<script>never closed",
    ],
)
def test_a_page_never_loses_all_of_its_text(page: str) -> None:
    assert html(page) == "only this"


def test_html_without_title_takes_its_first_heading() -> None:
    assert HtmlReader().read(b"<h2>a</h2><h1>The <i>one</i></h1>", uri="u").title == "The one"
    assert HtmlReader().read(b"<header><h1>Site</h1></header><p>text", uri="u").title == "Site"
    assert HtmlReader().read(b"<p>text", uri="u").title is None


def test_tables_lists_and_code_become_markdown() -> None:
    text = html(
        "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table><pre><code>x = 1</code></pre>"
    )
    assert "| a | b |\n| --- | --- |\n| 1 | 2 |" in text
    assert "```\nx = 1\n```" in text


def test_an_inline_image_does_not_become_text() -> None:
    assert "AAAA" not in html("<p>a<img alt=cat src='data:image/png;base64,AAAA'></p>")


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ("<meta charset=windows-1252>", "cp1252"),
        ("<meta charset='ISO-8859-1'>", "cp1252"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=Shift_JIS">', "cp932"),
        ("", "utf-16"),
        ("<meta charset=latin1>", "utf-8"),
        ("<meta charset=utf-8>", "utf-8"),
        ("<meta charset=iso-2022-jp>", "iso2022_jp"),
    ],
)
def test_html_charset(head: str, encoding: str) -> None:
    word = "猫だ" if encoding in ("cp932", "iso2022_jp") else "é"
    document = HtmlReader().read(f"<html><head>{head}</head><p>{word}</p>".encode(encoding), uri="u")
    assert document.text.strip() == word


HOSTILE = {
    "divs": "<div>" * 20_000 + "deep" + "</div>" * 20_000,
    "divs with more after": "<div>" * 20_000 + "deep" + "</div>" * 20_000 + "<p>after",
    "bold": "<p>" + "<b>" * 20_000 + "x",
    "tables": "<table><tr><td>" * 20_000 + "x",
    "mains": "x<main>" * 20_000,
    "comments": "<!--" * 200_000 + "x",
    "unfinished tags": "<meta " * 200_000 + "x",
    "unfinished ends": "</p " * 200_000 + "x",
    "angles": "<" * 200_000 + " x",
    "wide cell": "<table><tr><td colspan=999999999>x<td>y</table>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_html_gives_its_text_or_an_error_in_time(name: str) -> None:
    begun = time.monotonic()
    try:
        text = HtmlReader().read(HOSTILE[name].encode(), uri="u").text
    except ReadError as error:
        assert "\n" not in str(error)
    else:
        assert "x" in text or "deep" in text
    assert time.monotonic() - begun < 20


def test_many_articles_are_no_deep_page() -> None:
    assert html("<article>a</article>" * 5000).count("a") == 5000


@pytest.mark.skipif(not (DATA / "docs" / "html").is_dir(), reason=f"no reference documents in {DATA}/docs/html")
def test_reference_pages_keep_their_words_and_headings() -> None:
    for page in sorted((DATA / "docs" / "html").glob("*.html")):
        document = HtmlReader().read(page.read_bytes(), uri=str(page))
        reference = page.with_name(page.name + ".md").read_text()
        assert headings(document.text) == headings(reference), page.name


def headings(text: str) -> list[str]:
    """Return the words of each heading; a link's title is not part of them."""
    lines = (line for line in text.splitlines() if line.startswith("#"))
    return [" ".join(re.findall(r"\w+", re.sub(r"\]\(.*?\)", "]", line))) for line in lines]

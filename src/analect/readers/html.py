"""HTML → Markdown of what the page is about, without what surrounds it on every page of its site."""

from __future__ import annotations

import html as entities
import re
from collections.abc import Sequence
from functools import partial

from html_to_markdown import ConversionOptions, PreprocessingOptions, convert

from analect.encoding import decode
from analect.errors import ReadError
from analect.readers.markdown import first_heading
from analect.types import Document

_FRAME = ("nav", "[role=navigation]", "header", "footer", "aside")
_FORMS = ("form",)
_META_CHARSET = re.compile(rb"<meta[^>]{1,300}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)
_TITLE = re.compile(r"<title(?:\s[^<>]{0,500})?>([^<]{1,2000})</title\s*>", re.IGNORECASE)
_OPAQUE = re.compile(r"<!--|<(script|style)(?=[\s/>])", re.IGNORECASE)
_UNFINISHED_TAG = re.compile(r"<[a-zA-Z/!][^<>]*(?=<)")
# The converter scans to the end of the page for each unfinished tag: 2e10 characters are some two seconds.
_MOST_SCANNED = 2e10

# The page's own choices of what to keep. A library's clean-up presets drop by class names, which loses text.
_OPTIONS = partial(
    ConversionOptions,
    extract_metadata=False,  # else a block of <meta> values stands before the text
    preprocessing=PreprocessingOptions(enabled=False),
    compact_tables=True,  # padding would be paid for in tokens
    highlight_style="none",
    inline_data_media="alt_text_only",  # base64 is not text
)


class HtmlReader:
    """Reads HTML pages and fragments."""

    def read(self, data: bytes, *, uri: str) -> Document:
        """Return the main content as Markdown, with the page's title. Raises `ReadError`."""
        page = _without_scripts(_decode_page(data))
        if len(_UNFINISHED_TAG.findall(page)) * len(page) > _MOST_SCANNED:
            raise ReadError(
                f"HTML of {len(data):,} bytes is full of tags without '>': repair the page or save it as text"
            )
        text = _main_content(page)
        if not text.strip():
            raise ReadError(f"no text found in {len(data):,} bytes of HTML: the page may be built by a script")
        title = _title_of(page) or first_heading(text) or first_heading(_markdown(page))
        return Document(id="", text=text, source="", uri=uri, title=title)


def _decode_page(data: bytes) -> str:
    declared = _META_CHARSET.search(data[:4096])
    return decode(data, declared=declared[1].decode() if declared else None)


def _main_content(page: str) -> str:
    """Return the Markdown of the page without its frame, as long as that leaves the text in it.

    Forms are kept when they hold most of the text (some servers wrap every page in one), <main> or <article> is
    preferred when it holds at least half of the text, and a page that is all frame is kept whole.
    """
    body = _markdown(page, without=(*_FRAME, *_FORMS))
    with_forms = _markdown(page, without=_FRAME) if re.search("<form", page, re.IGNORECASE) else body
    if len(body) * 2 < len(with_forms):
        body = with_forms
    for tag in ("main", "article"):
        inner = "\n".join(_elements(page, tag))
        content = _markdown(inner, without=("nav", "[role=navigation]", "aside", *_FORMS)) if inner else ""
        if content.strip() and len(content) * 2 >= len(body):
            return content
    return body if body.strip() else _markdown(page) or _markdown(page, hidden_content="all")


def _markdown(page: str, *, without: Sequence[str] = (), hidden_content: str = "reachable") -> str:
    """Return the page as Markdown. Raises `ReadError` when the converter cannot follow it to its end."""
    options = _OPTIONS(exclude_selectors=list(without), hidden_content=hidden_content)
    try:
        result = convert(page, options)
    except Exception as error:  # a foreign parser over foreign text: whatever it raises is about this page
        raise ReadError(
            f"HTML cannot be converted ({type(error).__name__}): repair the page or save it as text"
        ) from error
    for warning in result.warnings:
        # Each of these means that text was dropped, which must not look like success.
        if str(warning.kind) in {"depth_limit_exceeded", "truncated_input"}:
            raise ReadError(f"HTML cannot be read to its end ({warning.kind}): {warning.message}")
    return result.content or ""


def _without_scripts(page: str) -> str:
    """Return the page without comments, scripts and styles: what they hold is no markup.

    As in a browser, one that is never closed goes to the end. Like `_elements` a scanner, not a parser: one pass and no
    recursion, so that no page makes it slow.
    """
    kept: list[str] = []
    position = 0
    while token := _OPAQUE.search(page, position):
        kept.append(page[position : token.start()])
        closing = f"</{token[1]}[^<>]*>?" if token[1] else "-->"
        end = re.compile(closing, re.IGNORECASE).search(page, token.start() + 2)
        position = end.end() if end else len(page)
    return "".join((*kept, page[position:]))


def _elements(page: str, tag: str) -> list[str]:
    """Return the source of each outermost `tag` element; one that is never closed goes to the end."""
    found: list[str] = []
    depth, start = 0, 0
    for token in re.finditer(rf"<(/?){tag}(?=[\s/>])", page, re.IGNORECASE):
        if not token[1]:
            start = token.start() if depth == 0 else start
            depth += 1
        elif depth:
            depth -= 1
            if depth == 0:
                found.append(f"{page[start : token.start()]}</{tag}>")
    return found if depth == 0 else [*found, page[start:]]


def _title_of(page: str) -> str | None:
    found = _TITLE.search(page)
    return " ".join(entities.unescape(found[1]).split()) or None if found else None

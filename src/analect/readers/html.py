"""HTML → Markdown of what the page is about, without what surrounds it on every page of its site."""

from __future__ import annotations

import codecs
import html as entities
import re
from collections.abc import Sequence
from functools import partial

from html_to_markdown import ConversionOptions, PreprocessingOptions, convert

from analect.encoding import check_text, decode, mark_of, unify_newlines
from analect.errors import ReadError
from analect.readers.markdown import first_heading
from analect.types import Document

_NEVER = ("script", "style", "[role=navigation]")
_FRAME = ("nav", "header", "footer", "aside")
_FORMS = ("form",)
_META_CHARSET = re.compile(rb"<meta[^>]{1,300}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)
_TITLE = re.compile(r"<title(?:\s[^<>]{0,500})?>([^<]{1,2000})</title\s*>", re.IGNORECASE)
_TOKEN = re.compile(r"<!--|<(/?)(script|style|main|article)(?=[\s/>])", re.IGNORECASE)

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
        page = _decode_page(data)
        text = _main_content(page)
        if not text.strip():
            raise ReadError(f"no text found in {len(data):,} bytes of HTML: the page may be built by a script")
        title = _title_of(page) or first_heading(text) or first_heading(_markdown(page))
        return Document(id="", text=text, source="", uri=uri, title=title)


def _decode_page(data: bytes) -> str:
    """Return the page's text: strict UTF-8 first (nothing else looks like it), then what its <meta> declares."""
    declared = _META_CHARSET.search(data[:4096])
    if mark_of(data) is None and declared and (encoding := _known_encoding(declared[1].decode())):
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            try:
                text = data.decode(encoding)
            except UnicodeDecodeError:
                return decode(data)
        else:
            if encoding == "iso2022_jp":  # seven bits a byte: UTF-8 takes it for ASCII
                return decode(data)
        check_text(text)
        return unify_newlines(text)
    return decode(data)


def _known_encoding(label: str) -> str | None:
    """Return the codec of a charset label; what is called Latin-1 or ASCII on the web is Windows-1252 in fact."""
    try:
        name = codecs.lookup(label).name
    except LookupError:
        return None
    return {"iso8859-1": "cp1252", "ascii": "cp1252", "shift_jis": "cp932", "gb2312": "gb18030", "gbk": "gb18030"}.get(
        name, name
    )


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
        content = _markdown(inner, without=("nav", "aside", *_FORMS)) if inner else ""
        if content.strip() and len(content) * 2 >= len(body):
            return content
    return body if body.strip() else _markdown(page) or _markdown(page, hidden_content="all")


def _markdown(page: str, *, without: Sequence[str] = (), hidden_content: str = "reachable") -> str:
    """Return the page as Markdown. Raises `ReadError` when the converter cannot follow it to its end."""
    options = _OPTIONS(exclude_selectors=[*_NEVER, *without], hidden_content=hidden_content)
    try:
        result = convert(page, options)
    except Exception as error:  # noqa: BLE001 - a foreign parser over foreign text: any failure means this page
        raise ReadError(
            f"HTML cannot be converted ({type(error).__name__}): repair the page or save it as text"
        ) from error
    for warning in result.warnings:
        # Each of these means that text was dropped, which must not look like success.
        if str(warning.kind) in {"depth_limit_exceeded", "truncated_input"}:
            raise ReadError(f"HTML cannot be read to its end ({warning.kind}): {warning.message}")
    return result.content or ""


def _elements(page: str, tag: str) -> list[str]:
    """Return the source of each outermost `tag` element; one that is never closed goes to the end.

    A scanner, not a parser: one pass, no recursion, so that no page makes it slow.
    """
    found: list[str] = []
    depth, start, position = 0, 0, 0
    while token := _TOKEN.search(page, position):
        name = (token[2] or "").lower()
        position = token.end()
        if name == tag and not token[1]:
            start = token.start() if depth == 0 else start
            depth += 1
        elif name == tag and depth:
            depth -= 1
            if depth == 0:
                found.append(page[start : token.start()])
        elif name not in ("main", "article") and not token[1]:
            position = _end_of_opaque(page, position, name=name)
    if depth:
        found.append(page[start:])
    return found


def _end_of_opaque(page: str, position: int, *, name: str) -> int:
    """Return where a comment, script or style that begins before `position` ends: what it holds is no markup."""
    closing = re.compile(f"</{name}" if name else "-->", re.IGNORECASE).search(page, position)
    return closing.end() if closing else len(page)


def _title_of(page: str) -> str | None:
    found = _TITLE.search(page)
    return " ".join(entities.unescape(found[1]).split()) or None if found else None

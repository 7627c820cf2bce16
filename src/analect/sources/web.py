"""One document or table from an http(s) URL."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import quote, urlsplit

from analect.errors import InputError, NotFoundError, ReadError

_TIMEOUT = 30.0  # seconds without a byte
_BLOCK = 1 << 16
_PLAIN = "/%:@!$&'()*+,;=~?[]"  # stays as it is in a URL
_SUFFIXES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/json": ".json",
    "application/vnd.apache.parquet": ".parquet",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".ndjson",
    "application/pdf": ".pdf",
}


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched: the suffix that stands for its content type, and the charset that the server declares."""

    suffix: str
    charset: str | None


def check_url(url: str) -> None:
    """Raise `InputError` for a URL that `fetch` must not or cannot ask for."""
    try:
        parts = urlsplit(url)
        host, named = parts.hostname, parts.username is not None
    except ValueError as error:
        raise InputError(f"{url!r} is no URL ({error}): write http://… or https://…") from error
    if named:  # the message must not show the password that may stand beside it
        raise InputError(f"the URL of {host!r} names a user, but URLs are kept and shown: write https://host/path")
    if parts.scheme.lower() not in ("http", "https"):
        raise InputError(f"{url!r} cannot be fetched: only http and https can, not {parts.scheme!r}")
    if not host:
        raise InputError(f"{url!r} names no host: write https://host/path")


def fetch(url: str, *, to: Path, limit_of: Callable[[str], int]) -> Fetched:
    """Write what `url` gives to a file, at most `limit_of(suffix)` bytes of it.

    Raises `NotFoundError` when the server says that there is no such page, `ReadError` for everything else.
    """
    request = urllib.request.Request(_quoted(url), headers={"User-Agent": f"analect/{version('analect')}"})
    try:
        with urllib.request.build_opener(_OnlyWeb).open(request, timeout=_TIMEOUT) as response:
            fetched = Fetched(_suffix_of(response.headers, url=response.url), _charset_of(response.headers))
            _write(response, to=to, limit=limit_of(fetched.suffix))
            return fetched
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (404, 410):
            raise NotFoundError(f"{url} is not there: the server answers {_status(error.code)}") from error
        raise ReadError(f"cannot be fetched: the server answers {_status(error.code)}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ReadError(f"cannot be fetched: {getattr(reason, 'strerror', None) or reason}") from error


def _status(code: int) -> str:
    """Return the status in our words: a server may send any text as its reason."""
    try:
        phrase = HTTPStatus(code).phrase
    except ValueError:
        return str(code)
    return f"{code} {phrase}" + ", a redirect in a circle or to what is neither http nor https" * (300 <= code < 400)


class _OnlyWeb(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only; the library's own would follow one to ftp."""

    def redirect_request(  # noqa: PLR0917 - the library's signature
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme.lower() not in ("http", "https"):
            raise ReadError(f"cannot be fetched: the server redirects to {newurl!r}, which is neither http nor https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _quoted(url: str) -> str:
    """Return the URL in ASCII: people copy addresses with umlauts and blanks from their browsers."""
    parts = urlsplit(url)
    return parts._replace(path=quote(parts.path, safe=_PLAIN), query=quote(parts.query, safe=_PLAIN)).geturl()


def _charset_of(headers: Message) -> str | None:
    is_text = headers.get_content_maintype() == "text" or headers.get_content_type() == "application/xhtml+xml"
    return headers.get_content_charset() if is_text else None


def _suffix_of(headers: Message, *, url: str) -> str:
    """Return the suffix of the content type where it says anything, else that of the URL."""
    kind = headers.get_content_type() if "content-type" in headers else ""
    of_url = PurePosixPath(urlsplit(url).path).suffix.lower()
    # Servers send any text as text/plain: the URL knows better whether that is Markdown or a table.
    return _SUFFIXES.get(kind) or of_url or (".txt" if kind.startswith("text/") else "")


def _write(response: http.client.HTTPResponse, *, to: Path, limit: int) -> None:
    if (coding := response.headers.get("Content-Encoding", "identity").lower()) != "identity":
        raise ReadError(f"cannot be read: the server sends it as {coding!r}, which was not asked for")
    expected = response.length
    size = 0
    with to.open("wb") as file:
        while block := response.read(_BLOCK):
            size += len(block)
            if size > limit:
                raise ReadError(f"has more than {limit:,} bytes, the limit: fetch and split it yourself")
            file.write(block)
    if expected is not None and size < expected:
        raise ReadError(f"broke off after {size:,} of {expected:,} bytes: try again")

"""Files as documents: a file, a folder, a glob or an http(s) URL.

What `roots` promise, so that vanished documents can be removed: every document that this source's name ever gave, and
that lies under a root, has now been read, was reported as a failure, or is gone. `uri` lies under `root` when it is
equal, or goes on with "/" (a folder) or "#" (the record of a table). A failed folder or table stands for all under it.

- folder, file, URL: itself
- glob under its default name: the fixed part of the pattern, since that name holds what this very pattern matched
- glob under a given name: the files that match now; other patterns may share the name, so that nothing that vanished
  can be told from what another pattern gave
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

from analect.encoding import decode
from analect.errors import InputError, MissingExtraError, NotFoundError, ReadError
from analect.protocols import Reader
from analect.sources import DOCUMENT_LIMIT
from analect.sources.folders import EVERYTHING, Unlisted, walk
from analect.sources.records import RecordsSource
from analect.sources.tables import SUFFIXES
from analect.sources.web import check_url, fetch
from analect.types import Document, ReadFailure

_DOWNLOAD_LIMIT = 1 << 30  # of a table, in bytes: it is read from a temporary file, and may not fill the disk
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_WILDCARD = re.compile(r"[*?\[]")
_MARKUP = (b"%PDF-", b"%!PS", b"{\\rtf")  # formats that may be all ASCII, and are still no text to read
_HEAD = 64 * 1024  # bytes that tell whether a file of an unknown kind is text


class FilesSource:
    """The documents of a file, a folder with all its folders, a glob, or an http(s) URL.

    A document's id is its path below the folder (or below the fixed part of the glob), the name of a single file, or
    the URL. A table (CSV, TSV, JSON, JSONL, Parquet) gives one document a record; `text` and `id` go on to
    `RecordsSource`. Hidden files and those that a `.gitignore` leaves out are passed over unless they are named
    themselves; everything else that cannot be read is a `ReadFailure`. `reader_for` gives the reader of a suffix such
    as ".md", or None.
    """

    def __init__(
        self,
        uri: str,
        *,
        reader_for: Callable[[str], Reader | None],
        name: str | None = None,
        text: str | None = None,
        id: str | None = None,
    ) -> None:
        if not uri.strip() or "\0" in uri:
            raise InputError(f"{uri!r} names nothing to read: give a file, a folder, a glob or an http(s) URL")
        self._reader_for = reader_for
        self._text = text
        self._id = id
        self._url = uri if _SCHEME.match(uri) else None
        if self._url is not None:
            check_url(self._url)
        self._path = uri if self._url is not None else os.path.abspath(os.path.expanduser(uri))  # noqa: PTH100, PTH111
        self._pattern: tuple[str, ...] = EVERYTHING
        self.name = name or self._path
        self.roots: tuple[str, ...] = (self._path,)
        if self._url is None and not os.path.lexists(self._path):
            self._divide_glob(named=name is not None)

    def _divide_glob(self, *, named: bool) -> None:
        """Divide a glob into the folder that is fixed and the pattern below it. Raises `NotFoundError`."""
        if not _WILDCARD.search(self._path):
            raise NotFoundError(f"there is no file or folder {self._path!r}: check the path")
        parts = PurePath(self._path).parts
        fixed = next(place for place, part in enumerate(parts) if _WILDCARD.search(part))
        pattern, self._pattern, self._path = self._path, parts[fixed:], str(PurePath(*parts[:fixed]))
        found = walk(self._path, pattern=self._pattern) if os.path.isdir(self._path) else iter(())  # noqa: PTH112
        files = tuple(each for each in (found if named else _first(found)) if isinstance(each, str))
        if not files:
            raise NotFoundError(
                f"no file matches {pattern!r}: check the pattern (quote it, so that the shell leaves it)"
            )
        self.roots = files if named else (self._path,)

    def read(self) -> Iterator[Document | ReadFailure]:
        """Yield every document in the order of the paths. Raises `NotFoundError`, or `InputError` about a template."""
        if self._url is not None:
            yield from self._read_url(self._url)
        elif os.path.isdir(self._path):  # noqa: PTH112
            yield from self._read_folder()
        elif os.path.lexists(self._path):
            yield from self._read_file(self._path, id=PurePath(self._path).name)
        else:
            raise NotFoundError(f"there is no file or folder {self._path!r} any more: check the path")

    def total(self) -> int:
        """Return about how many documents there are: files, and the records of tables as far as their size tells."""
        if self._url is not None:
            return 1
        if not os.path.isdir(self._path):  # noqa: PTH112
            return self._total_of(self._path)
        paths = walk(self._path, pattern=self._pattern)
        return sum(self._total_of(each) for each in paths if isinstance(each, str))

    def _total_of(self, path: str) -> int:
        return RecordsSource(path).total() if self._is_table(PurePath(path).suffix.lower()) else 1

    def _is_table(self, suffix: str) -> bool:
        return suffix in SUFFIXES and self._reader_for(suffix) is None

    def _read_folder(self) -> Iterator[Document | ReadFailure]:
        for each in walk(self._path, pattern=self._pattern):
            if isinstance(each, Unlisted):
                yield self._failure(each.path, error=each.error)
                continue
            try:
                yield from self._read_file(each, id=PurePath(each).relative_to(self._path).as_posix())
            except (InputError, MissingExtraError) as error:  # one table of many may lack what the others have
                yield self._failure(each, error=str(error))

    def _read_file(self, path: str, *, id: str) -> Iterator[Document | ReadFailure]:
        suffix = PurePath(path).suffix.lower()
        try:
            path.encode()
            if self._is_table(suffix):
                _check_readable(Path(path))
                yield from RecordsSource(path, name=self.name, text=self._text, id=self._id).read()
            else:
                yield self._document(Path(path), suffix=suffix, id=id, uri=path)
        except UnicodeEncodeError:
            shown = path.encode("utf-8", "backslashreplace").decode()
            yield self._failure(shown, error="its name is not UTF-8, so it cannot be an id: rename it")
        except ReadError as error:
            yield self._failure(path, error=str(error))
        except OSError as error:
            yield self._failure(path, error=f"cannot be read: {error.strerror or error}")

    def _document(self, path: Path, *, suffix: str, id: str, uri: str, charset: str | None = None) -> Document:
        _check_readable(path)
        reader = self._reader_for(suffix) or self._reader_of_text(path, suffix=suffix)
        data = _bytes_of(path)
        if charset is not None:  # readers know what a file says about itself, not what a server does
            data = decode(data, declared=charset).encode()
        return replace(reader.read(data, uri=uri), id=id, source=self.name, uri=uri)

    def _reader_of_text(self, path: Path, *, suffix: str) -> Reader:
        """Return the reader of plain text when that is what a file of an unknown kind holds. Raises `ReadError`."""
        with path.open("rb") as file:
            head = file.read(_HEAD)
        reader = self._reader_for(".txt")
        if reader is None or not _is_text(head):
            kind = f"{suffix!r} files" if suffix else "files without a suffix that are not UTF-8 text"
            raise ReadError(f"no reader for {kind}: convert it, or leave it out")
        return reader

    def _read_url(self, url: str) -> Iterator[Document | ReadFailure]:
        with TemporaryDirectory(prefix="analect-") as folder:
            path = Path(folder) / "fetched"
            try:
                fetched = fetch(url, to=path, limit_of=self._limit_of)
                if not self._is_table(fetched.suffix):
                    yield self._document(path, suffix=fetched.suffix, id=url, uri=url, charset=fetched.charset)
                    return
                _check_readable(path)
                table = path.rename(path.with_suffix(fetched.suffix))
            except ReadError as error:
                yield self._failure(url, error=str(error))
                return
            yield from RecordsSource(table, name=self.name, text=self._text, id=self._id, uri=url).read()

    def _limit_of(self, suffix: str) -> int:
        return _DOWNLOAD_LIMIT if self._is_table(suffix) else DOCUMENT_LIMIT

    def _failure(self, uri: str, *, error: str) -> ReadFailure:
        return ReadFailure(self.name, uri, error)


def _first(found: Iterator[str | Unlisted]) -> Iterator[str | Unlisted]:
    """Yield up to the first file: whether there is one at all."""
    for each in found:
        yield each
        if isinstance(each, str):
            return


def _check_readable(path: Path) -> None:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # reading a pipe or a device may never end
        raise ReadError("is neither a file nor a folder: only those can be read")
    if found.st_size == 0:
        raise ReadError("is empty: there is nothing to read")


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(DOCUMENT_LIMIT + 1)  # it may have grown since it was looked at
    if len(data) > DOCUMENT_LIMIT:
        raise ReadError(f"has {path.stat().st_size:,} bytes, the limit of a document is {DOCUMENT_LIMIT:,}: split it")
    return data


def _is_text(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < _HEAD)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head and not head.startswith(_MARKUP)

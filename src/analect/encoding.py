"""Bytes → text, or an error that names the byte: wrong letters are worse than no letters.

The order: a byte order mark, strict UTF-8, then a guess at the legacy encoding (`analect.legacy`) that refuses when the
bytes do not tell. Newlines become `\\n`.
"""

from __future__ import annotations

import codecs
import re
from typing import BinaryIO

from analect import legacy
from analect.errors import ReadError

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What is called Latin-1 or ASCII outside of UTF-8 is Windows-1252 in fact; the others have supersets likewise.
_IN_PRACTICE = {
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
    "iso8859-9": "cp1254",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
}
_ESCAPES = re.compile(rb"\x1b[$(]")  # how ISO-2022-JP, which is ASCII to UTF-8, switches alphabets
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f]")
_UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")
_BLOCK = 1 << 20
_AROUND = 64 * 1024


def decode(data: bytes, *, declared: str | None = None) -> str:
    """Return the text of `data`, newlines as `\\n`. Raises `ReadError` naming the first byte that is not text.

    `declared` is the charset that a server or a page names. UTF-8 comes before it: servers that declare Latin-1 for
    everything are common, and other text hardly ever looks like UTF-8.

    >>> decode("Grüße aus Köln, schöne Tage!\\r\\n".encode("cp1252"))
    'Grüße aus Köln, schöne Tage!\\n'
    """
    encoding = mark_of(data) or _encoding_without_mark(data, declared=_codec_of(declared))
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ReadError(_complaint(encoding, offset=error.start, byte=data[error.start])) from error
    check_text(text)
    return unify_newlines(text)


def mark_of(data: bytes) -> str | None:
    """Return the encoding that a byte order mark at the start of `data` names, or None."""
    return next((name for mark, name in _MARKS if data.startswith(mark)), None)


def unify_newlines(text: str) -> str:
    """Return `text` with `\\r\\n` and `\\r` as `\\n`."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check_text(text: str) -> None:
    """Raise `ReadError` when `text` holds what no store keeps: a NUL character or half of a surrogate pair."""
    if found := _UNKEEPABLE.search(text):
        what = "a NUL character" if found[0] == "\0" else f"the lone surrogate U+{ord(found[0]):04X}"
        raise ReadError(f"holds {what} at character {found.start()}: this is not text; remove it or convert the file")


def encoding_of_stream(stream: BinaryIO) -> str:
    """Return the encoding of a file too big for memory, after reading it through once. Raises `ReadError`."""
    stream.seek(0)
    encoding = mark_of(stream.read(4)) or "utf-8"
    bad = _first_bad_byte(stream, encoding)
    if bad is None:
        return encoding
    guessed = None
    if encoding == "utf-8":
        stream.seek(max(bad - _AROUND, 0))
        around = stream.read(2 * _AROUND)
        # The window may start within a sign of several bytes; a line does not.
        start = around.find(b"\n") + 1 if bad > _AROUND else 0
        guessed = None if _CONTROL.search(around) else legacy.guess(around[start:])
    if guessed is not None:
        encoding, bad = guessed, _first_bad_byte(stream, guessed)
        if bad is None:
            return encoding
    stream.seek(bad)
    raise ReadError(_complaint(encoding, offset=bad, byte=stream.read(1)[0]))


def _codec_of(label: str | None) -> str | None:
    """Return the codec that a charset label stands for in practice, or None for a label nobody knows."""
    try:
        name = codecs.lookup(label or "").name
        b"-".decode(name)  # not every codec makes text
    except (LookupError, UnicodeError):
        return None
    return _IN_PRACTICE.get(name, name)


def _is(encoding: str, data: bytes) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _encoding_without_mark(data: bytes, *, declared: str | None) -> str:
    if _ESCAPES.search(data) and _is("iso2022_jp", data):  # else the escape sequences are a terminal's, perhaps
        return "iso2022_jp"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        if declared is not None and _is(declared, data):
            return declared
        if control := _CONTROL.search(data):
            raise ReadError(
                f"holds the control byte 0x{control[0][0]:02x} at offset {control.start()} and is not UTF-8: "
                "this is not text; convert it to a text format"
            ) from error
        guessed = legacy.guess(data)
        if guessed is None:
            raise ReadError(_complaint("utf-8", offset=error.start, byte=data[error.start])) from error
        return guessed
    return "utf-8"


def _complaint(encoding: str, *, offset: int, byte: int) -> str:
    if encoding != "utf-8":
        return f"byte 0x{byte:02x} at offset {offset} is not {encoding}: save the file as UTF-8"
    return (
        f"byte 0x{byte:02x} at offset {offset} is not UTF-8, and no legacy encoding is certain: save the file as UTF-8"
    )


def _first_bad_byte(stream: BinaryIO, encoding: str) -> int | None:
    """Return the offset of the first byte of `stream` that is not `encoding`, or None."""
    stream.seek(0)
    decoder = codecs.getincrementaldecoder(encoding)()
    position = 0
    while True:
        block = stream.read(_BLOCK)
        kept = len(decoder.getstate()[0])  # bytes of the block before that are not decoded yet
        try:
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            return position - kept + error.start
        if not block:
            return None
        position += len(block)

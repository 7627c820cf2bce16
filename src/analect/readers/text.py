"""Plain text, kept as it is."""

from __future__ import annotations

from analect.encoding import decode
from analect.errors import ReadError
from analect.types import Document


class TextReader:
    """Reads plain text in any encoding that its bytes tell."""

    def read(self, data: bytes, *, uri: str) -> Document:
        """Return the text, without a title: no line of a plain text says that it is one. Raises `ReadError`."""
        text = decode(data)
        if not text.strip():
            raise ReadError(f"no text found in {len(data):,} bytes: the file holds white space only")
        return Document(id="", text=text, source="", uri=uri)

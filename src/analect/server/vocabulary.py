"""Another tokenizer's ids back to text, for clients that send ids whatever the model."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path

from analect.errors import ConfigError


class Vocabulary:
    """Ids and the bytes that they stand for."""

    def __init__(self, pieces: Mapping[int, bytes]) -> None:
        self._pieces = pieces

    @classmethod
    def read(cls, path: str) -> Vocabulary:
        """Read a file of lines "base64 id", as tiktoken's vocabularies are. Raises `ConfigError`."""
        pieces = {}
        try:
            for line in Path(path).read_bytes().splitlines():
                if line.strip():
                    piece, number = line.split()
                    pieces[int(number)] = base64.b64decode(piece, validate=True)
        except OSError as error:
            raise ConfigError(f"[server] token_vocabulary: cannot read {path}: {error.strerror}") from error
        except (ValueError, binascii.Error) as error:
            raise ConfigError(f"[server] token_vocabulary: {path} does not hold lines of base64 and id") from error
        return cls(pieces)

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of the ids. Raises `KeyError` with an id that is none."""
        return b"".join(self._pieces[each] for each in ids).decode("utf-8", errors="replace")

"""Tokens as OpenAI's embedding models count them, without fetching anything."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ENCODING = "cl100k_base"
_VOCABULARY = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"  # tiktoken's name for it


class Tokens:
    """Counts by the model's own encoding (`exact`), else by UTF-8 bytes: a token has at least one of them."""

    def __init__(self, *, is_openai: bool) -> None:
        self._encoding = _find_encoding() if is_openai else None
        self.exact = self._encoding is not None

    def count(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """Return the tokens of each text, or the bound: int32 (n,)."""
        if self._encoding is None:
            return np.array([len(text.encode("utf-8", "replace")) for text in texts], dtype=np.int32)
        return np.array([len(self._encoding.encode_ordinary(text)) for text in texts], dtype=np.int32)

    def cut(self, text: str, *, limit: int) -> str:
        """Return the longest start of a text that has no more tokens than that; needs `exact`."""
        assert self._encoding is not None
        size = limit
        while True:
            # A token may end inside a letter: what is left of that letter goes, and tokens may then merge otherwise.
            start = str(self._encoding.decode(self._encoding.encode_ordinary(text)[:size])).rstrip("\ufffd")
            if len(self._encoding.encode_ordinary(start)) <= limit and text.startswith(start):
                return start
            size -= 1

    def split(self, text: str, *, limit: int) -> list[str]:
        """Return the text in parts of no more tokens than that, each as long as can be, none blank; needs `exact`."""
        parts = []
        while text.strip():
            parts.append(self.cut(text, limit=limit))
            text = text[len(parts[-1]) :]
        return [part for part in parts if part.strip()]


@cache
def _find_encoding() -> Any:
    """Return the encoding from an installed library that has its vocabulary here; None when there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it reads its vocabulary in a way of older Pythons
        try:
            import bpe_openai  # noqa: PLC0415  # its vocabulary comes with it

            return bpe_openai.get_encoding(_ENCODING)
        except ModuleNotFoundError as error:
            if error.name != "bpe_openai":
                raise
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    if not folder or not (Path(folder) / hashlib.sha1(_VOCABULARY.encode()).hexdigest()).exists():
        return None
    try:
        import tiktoken  # noqa: PLC0415
    except ModuleNotFoundError:
        return None
    return tiktoken.get_encoding(_ENCODING)

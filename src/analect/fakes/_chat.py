"""A chat model without a model: it answers from the numbered passages of the prompt, and quotes them.

Passages are lines that begin with `[1]`, `[2]`, … and what follows them, anywhere in the messages. The sentence that
shares most words with the last line of the last user message is quoted, with its marker.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_PASSAGE = re.compile(r"^\[(\d+)\][^\n]*\n(.*?)(?=^\[\d+\]|^</|\Z)", re.MULTILINE | re.DOTALL)
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")
_WORD = re.compile(r"\w+")
UNKNOWN = "I do not know: none of the passages says so."


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message, whose content is a string or a list of parts."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def reply_to(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the answer."""
    asked = next((text_of(each) for each in reversed(messages) if each["role"] == "user"), "")
    lines = asked.strip().splitlines() or [" "]
    question = _words(lines[-1])
    best: tuple[int, int, str] = (1, 0, "")
    for message in messages:
        for number, passage in _PASSAGE.findall(text_of(message)):
            for sentence in map(str.strip, _SENTENCE.findall(passage.replace(lines[-1], ""))):
                shared = len(question & _words(sentence))
                if shared > best[0]:
                    best = (shared, int(number), sentence)
    return f'The passage says: "{best[2]}" [{best[1]}].' if best[2] else UNKNOWN


def _words(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.lower()) if len(word) > 2}

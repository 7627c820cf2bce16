"""A chat model without a model: it answers from the numbered passages of the prompt, and quotes them.

Passages are lines that begin with `[1]`, `[2]`, … and what follows them, anywhere in the messages. The sentence that
shares most words with the last line of the last user message is quoted, with its marker.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analect.fakes._limits import tokens_of

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


def ended(text: str, *, stop: str | Sequence[str] | None, most: int | None) -> tuple[str, str]:
    """Return a text as it ends at the first stop, or at the most tokens, and the reason that it ends."""
    stops = [stop] if isinstance(stop, str) else stop or []
    text = min((text.partition(each)[0] for each in stops), key=len, default=text)
    return (text[: most * 4], "length") if most and tokens_of(text) > most else (text, "stop")


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer in the forms that the service has for it."""

    id: str
    model: str
    text: str
    finish: str
    prompt_tokens: int
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def usage(self) -> dict[str, int]:
        """The tokens of prompt and answer."""
        tokens = tokens_of(self.text)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": self.prompt_tokens + tokens,
        }

    def document(self) -> dict[str, Any]:
        """Return it whole."""
        message = {"role": "assistant", "content": self.text, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": self.finish, "logprobs": None}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self.usage}

    def events(self, *, with_usage: bool) -> Iterator[bytes]:
        """Yield it as server-sent events, some letters each."""
        yield self._event({"role": "assistant", "content": ""}, None)
        for start in range(0, len(self.text), 12):
            yield self._event({"content": self.text[start : start + 12]}, None)
        yield self._event({}, self.finish)
        if with_usage:
            yield _sent({**self._head("chat.completion.chunk"), "choices": [], "usage": self.usage})
        yield b"data: [DONE]\n\n"

    def _event(self, delta: dict[str, Any], reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return _sent({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": f"chatcmpl-{self.id}", "object": kind, "created": self.created, "model": self.model}


def _sent(document: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(document)}\n\n".encode()

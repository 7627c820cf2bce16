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


def messages_of(prompt: Any) -> list[dict[str, Any]]:
    """Return the prompt of a text completion as messages; token arrays are read as their numbers."""
    parts = prompt if isinstance(prompt, list) else [prompt or ""]
    return [{"role": "user", "content": "\n".join(each if isinstance(each, str) else str(each) for each in parts)}]


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
    """An answer in the forms that the service has for it; `of_text`: in those of the route that is older than chats."""

    id: str
    model: str
    text: str
    finish: str
    prompt_tokens: int
    of_text: bool = False
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
        told = {"text": self.text} if self.of_text else {"message": message}
        return {**self._head("chat.completion"), "choices": [self._choice(told, self.finish)], "usage": self.usage}

    def events(self, *, with_usage: bool) -> Iterator[bytes]:
        """Yield it as server-sent events, some letters each."""
        deltas: list[dict[str, Any]] = [] if self.of_text else [{"role": "assistant", "content": ""}]
        deltas += [{"content": self.text[start : start + 12]} for start in range(0, len(self.text), 12)]
        for delta in deltas:
            yield self._event(delta, None)
        yield self._event({}, self.finish)
        if with_usage:
            yield _sent({**self._head("chat.completion.chunk"), "choices": [], "usage": self.usage})
        yield b"data: [DONE]\n\n"

    def _event(self, delta: dict[str, Any], reason: str | None) -> bytes:
        told = {"text": delta.get("content", "")} if self.of_text else {"delta": delta}
        return _sent({**self._head("chat.completion.chunk"), "choices": [self._choice(told, reason)]})

    def _choice(self, told: dict[str, Any], reason: str | None) -> dict[str, Any]:
        return {"index": 0, **told, "finish_reason": reason, "logprobs": None}

    def _head(self, kind: str) -> dict[str, Any]:
        prefix, kind = ("cmpl", "text_completion") if self.of_text else ("chatcmpl", kind)
        return {"id": f"{prefix}-{self.id}", "object": kind, "created": self.created, "model": self.model}


def _sent(document: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(document)}\n\n".encode()

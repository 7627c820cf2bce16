"""What spans and context lines cost in tokens, counted in batches by the embedder's own tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analect.errors import ConfigError
from analect.protocols import Embedder

SMALLEST_LIMIT = 16


def token_limit(embedder: Embedder, max_tokens: int | None) -> int:
    """Return the tokens a chunk may have. Raises `ConfigError` when the embedder cannot take that many."""
    limit = embedder.max_tokens if max_tokens is None else max_tokens
    if limit > embedder.max_tokens:
        raise ConfigError(
            f"[chunker] max_tokens = {limit} is above the {embedder.max_tokens} tokens that {embedder.id} takes: "
            f"set {embedder.max_tokens} or less, or leave it out"
        )
    if limit < SMALLEST_LIMIT:
        raise ConfigError(f"[chunker] max_tokens = {limit} is too small for a chunk: set {SMALLEST_LIMIT} or more")
    return limit


@dataclass(frozen=True, slots=True)
class Context:
    """The title and headings that a chunk keeps, and their cost."""

    title: str | None
    headings: tuple[str, ...]
    cost: int


class Costs:
    """Tokens without the special ones, which are counted once a chunk: `special`."""

    def __init__(self, embedder: Embedder, *, limit: int, title: str | None) -> None:
        self.limit = limit
        self.quarter = limit // 4
        self.half = limit // 2
        self.special = 0
        self._embedder = embedder
        self._title = title or None
        self._known: dict[str, int] = {}

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text as the embedder counts them, special ones included."""
        return [int(count) for count in self._embedder.count_tokens(texts)] if texts else []

    def measure(self, texts: Sequence[str], *, gaps: Iterable[str], lines: Iterable[str]) -> list[int]:
        """Return the cost of each text, and learn in the same call what gaps and context lines cost."""
        wanted = dict.fromkeys(("", *gaps, *(f"{line}\n" for line in (self._title, *lines) if line)))
        unknown = [text for text in wanted if text not in self._known]
        counts = self.count([*unknown, *texts])
        if unknown and unknown[0] == "":
            self.special = counts[0]
        costs = [count - self.special for count in counts]
        self._known.update(zip(unknown, costs, strict=False))
        return costs[len(unknown) :]

    def gap(self, text: str) -> int:
        """Return the cost of white space between two spans: nothing for most tokenizers, not for all."""
        return self._known[text]

    def line(self, text: str) -> int:
        """Return the cost of a context line with its line end; an empty one is left out and costs nothing."""
        return self._known[f"{text}\n"] if text else 0

    def context(self, headings: tuple[str, ...], *, said: frozenset[str], room: int | None = None) -> Context:
        """Return the context that fits the room, at most half of the limit: outer headings give way, the title last.

        What is `said` at the start of the chunk's text costs nothing: it is not repeated.
        """
        room = self.half if room is None else min(room, self.half)
        headings = tuple(heading for heading in headings if heading)
        for title in (self._title, None):
            for outer in range(len(headings) + 1):
                lines = dict.fromkeys((title, *headings[outer:]))
                cost = sum(self.line(line) for line in lines if line and line not in said)
                if cost <= room:
                    return Context(title, headings[outer:], cost)
        return Context(None, (), 0)

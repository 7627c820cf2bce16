"""What was asked of a fake and what it billed: `/_fake/stats`. It keeps hashes of the texts, not the texts."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from analect.fakes._limits import tokens_of


class Billing:
    """Counts for all threads. `minute` is how many seconds a window lasts; they follow on the first request."""

    def __init__(self, *, minute: float) -> None:
        self._lock = threading.Lock()
        self._minute = minute
        self._counts: Counter[str] = Counter(requests=0, refused=0, texts=0, tokens=0, faults=0, events=0)
        self._models: Counter[str] = Counter()
        self._times: Counter[str] = Counter()  # how often each text was billed
        self._once = 0  # what it would have cost to pay for every text once
        self._windows: list[dict[str, int]] = []
        self._first: float | None = None

    def stats(self) -> dict[str, Any]:
        """Return what `/_fake/stats` answers; `windows` has the tokens and requests of each minute."""
        with self._lock:
            return {
                **self._counts,
                "duplicates": sum(1 for times in self._times.values() if times > 1),
                "repeated_tokens": self._counts["tokens"] - self._once,
                "windows": [dict(window) for window in self._windows],
                "models": dict(self._models),
            }

    def count(self, what: str) -> int:
        """Count one of the "requests", of those "refused" for their rate, of the "faults" that were carried out, or of
        the "events" of chats that stream; return how many."""
        with self._lock:
            self._counts[what] += 1
            return self._counts[what]

    def admit(self, tokens: int, *, refused: bool) -> None:
        """Count a request that asked for quota in the window of now."""
        now = time.monotonic()
        with self._lock:
            self._first = now if self._first is None else self._first
            number = int((now - self._first) / self._minute)
            while len(self._windows) <= number:
                self._windows.append({"tokens": 0, "requests": 0, "refused": 0})
            window = self._windows[number]
            window["tokens"] += 0 if refused else tokens
            window["requests"] += 1
            window["refused"] += refused

    def bill(self, inputs: Sequence[str | list[int]], *, tokens: int, model: str) -> None:
        """Bill a request that was answered."""
        with self._lock:
            self._counts["texts"] += len(inputs)
            self._counts["tokens"] += tokens
            self._models[model] += 1
            for each in inputs:
                key = hashlib.sha256(json.dumps(each).encode()).hexdigest()
                self._times[key] += 1
                if self._times[key] == 1:
                    self._once += tokens_of(each)

"""Faults on demand.

A spec is a list such as `429=2*3,500,reset,poison=zebra,30%500+reset`:

- `NAME`, `NAME=VALUE`, `NAME*N`: the next request (the next N) has this fault, in the order written;
- `P%NAME+NAME`: P of a hundred requests have one of these, by chance, from a fixed seed;
- `poison=WORD`: an embedding request with this word in a text is refused with 400, for as long as the fake runs.

Names: `429` (value: seconds, `ms:N`, `date`, or absurd such as `86400`), any other status (`500`, `503`, `401`, `400`);
`reset` and `truncate` (the connection is cut in mid-body, with and without RST), `slow` and `timeout` (value: seconds;
`slow` is what half a body takes, or each event of a chat that streams),
`count` (a vector too few), `nan`, `shuffle` (another order, indices right), `filter` and `length` (how a chat ends),
`expire` (every token of Entra ID issued so far ends, that of this request among them), `echo` (a 400 that repeats the
text and the key it was sent with, as careless servers do).
Cut, slow and spoiled replies are billed, refused ones are not.
"""

from __future__ import annotations

import random
import re
import threading
from dataclasses import dataclass

_NAMED = ("reset", "truncate", "slow", "timeout", "count", "nan", "shuffle", "filter", "length", "expire", "echo")
_ITEM = re.compile(r"(?:(\d+)%)?([\w+]+)(?:=([\w:.-]+))?(?:\*(\d+))?")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its name and its value, which may be empty."""

    name: str
    value: str = ""

    def seconds(self, default: float) -> float:
        """Return the value as seconds."""
        return float(self.value or default)


class Faults:
    """The faults to come. Raises `ValueError` for a spec that cannot be read."""

    def __init__(self, spec: str = "", *, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._chance = random.Random(seed)
        self._set("")
        self.set(spec)

    def set(self, spec: str) -> None:
        """Replace what is to come; an empty spec means no faults."""
        with self._lock:
            self._set(spec)

    def _set(self, spec: str) -> None:
        queue: list[Fault] = []
        rates: list[tuple[float, list[str]]] = []
        poison = []
        for item in filter(None, (each.strip() for each in spec.split(","))):
            rate, names, value, times = _read(item)
            if names == ["poison"]:
                poison.append(value)
            elif rate:
                rates.append((rate, names))
            else:
                queue += [Fault(names[0], value)] * times
        self._queue, self._rates, self._poison = queue, rates, poison

    def next(self) -> Fault | None:
        """Return the fault of the next request."""
        with self._lock:
            if self._queue:
                return self._queue.pop(0)
            for rate, names in self._rates:
                if self._chance.random() < rate:
                    return Fault(self._chance.choice(names))
            return None

    def is_poison(self, text: str) -> bool:
        """Return whether a text has one of the words that are refused."""
        return any(word in text for word in self._poison)


def _read(item: str) -> tuple[float, list[str], str, int]:
    match = _ITEM.fullmatch(item)
    if not match:
        raise ValueError(f"the fault {item!r} cannot be read: write NAME, NAME=VALUE, NAME*N or P%NAME+NAME")
    rate, names, value, times = match.groups(default="")
    for name in names.split("+"):
        if name not in (*_NAMED, "poison") and not re.fullmatch(r"[45]\d\d", name):
            raise ValueError(f"there is no fault {name!r}: a status of 400 to 599, poison, {', '.join(_NAMED)}")
    if (names == "poison") != bool(names == "poison" and value):
        raise ValueError("the fault poison needs a word: poison=WORD")
    return int(rate or 0) / 100, names.split("+"), value, int(times or 1)

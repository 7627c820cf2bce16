"""Sends requests to a service that limits and fails: paced before it refuses, tried again where that can help.

Every remote call of embedders and chats goes through one. The quota is shared with the other processes of the machine
(`analect.quota`); a query does not wait behind documents.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypeVar

from analect.errors import LedgerError, RemoteError
from analect.quota import Grant, Lane, Limits, QuotaBook, Wait

_T = TypeVar("_T")

_TRIES = 8  # of one request, for faults of the service
_PAID_TRIES = 5  # the same, for replies that were paid for and cannot be used
_BACKOFF, _LONGEST_BACKOFF = 0.5, 8.0  # seconds
_PATIENCE = 10  # minutes of the quota that one request is refused for its rate before that is an error
_POLL = 0.25  # seconds: how long to sleep at most before asking for a grant again
SPOILED = "spoiled_reply"
"""The `code` of a `RemoteError` for a whole reply that cannot be used: it was paid for."""

TOO_MUCH = "more_than_the_quota"
"""The `code` of a `RemoteError` for a request that was refused and has more tokens than a minute allows: never fits."""

UNREACHABLE = "unreachable"
"""The `code` of a `RemoteError` for a connection that could not be made: to be told at once, unless it is a blip."""

_HOPELESS = ("insufficient_quota", "billing_hard_limit_reached")  # refused with 429, and no wait changes it


@dataclass
class _Trouble:
    """What went wrong with one request so far, and how long to wait for the next try."""

    minute: float
    chance: Callable[[], float]
    faults: int = 0
    spoiled: int = 0  # of the faults
    absurd: int = 0
    refused_since: float | None = None

    def after_fault(self, error: RemoteError, *, now: float) -> float:
        self.faults += 1
        self.spoiled += error.code == SPOILED
        if self.faults >= _TRIES or self.spoiled >= _PAID_TRIES:
            raise error
        asked = retry_after(error.headers, now=now)
        backoff = min(_BACKOFF * 2.0 ** (self.faults - 1), _LONGEST_BACKOFF) * (0.75 + 0.25 * self.chance())
        return max(min(asked or 0.0, self.minute), backoff)

    def after_refusal(self, error: RemoteError, *, now: float) -> float:
        self.refused_since = now if self.refused_since is None else self.refused_since
        if now - self.refused_since > _PATIENCE * self.minute:
            raise error
        asked = retry_after(error.headers, now=now)
        if asked is not None and asked <= self.minute:
            return max(asked, 0.01)
        # Without a word, or with an absurd one (a day, for a quota of a minute): probe, more and more rarely.
        self.absurd += 1
        return min(self.minute / 30 * 2.0**self.absurd, self.minute) * (0.75 + 0.25 * self.chance())


class Governor:
    """Sends requests through one door: an endpoint and deployment that has a quota of its own.

    `door` names it (a hash will do), `path` is the file that processes share (None: this process alone), `tpm` and
    `rpm` are limits to keep to besides those that the service tells. `clock` gives seconds that the processes of a
    machine agree on, `sleep` waits (default: at most until `close`), `chance` gives numbers from 0 to 1, `minute` is
    how many seconds a minute of the quota lasts.
    """

    def __init__(
        self,
        door: str,
        *,
        path: Path | None = None,
        tpm: int | None = None,
        rpm: int | None = None,
        minute: float = 60.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._book = QuotaBook(door, path=path, given=Limits(tpm, rpm), minute=minute)
        self._minute = minute
        self._clock = clock
        self._closed = threading.Event()
        self._sleep = sleep or self._closed.wait
        self._chance = chance
        self._turns = {"query": threading.Lock(), "ingest": threading.Lock()}

    def limits(self) -> Limits:
        """Return the limits that are set or learnt."""
        return self._book.limits()

    def call(self, send: Callable[[], tuple[_T, Mapping[str, str]]], *, tokens: int, lane: Lane = "ingest") -> _T:
        """Return what `send` gives beside the headers of its reply, once there is quota for that many tokens.

        `send` raises `RemoteError` for what the service refused and for what did not arrive. 408, 409, 429, 5xx and
        lost replies are tried again within a budget, as are replies that tell us to; what remains is raised.
        """
        trouble = _Trouble(self._minute, self._chance)
        while True:
            self._check_open()
            grant = self._granted(tokens, lane=lane)
            try:
                value, headers = send()
            except RemoteError as error:
                self._sleep(self._pause(error, grant=grant, tokens=tokens, trouble=trouble))
            except BaseException:
                self._book.abandon(grant)
                raise
            else:
                self._book.finish(grant, headers=headers, now=self._clock())
                return value

    def _pause(self, error: RemoteError, *, grant: Grant, tokens: int, trouble: _Trouble) -> float:
        """Return how long to wait before the next try. Raises the error when there is to be none."""
        now = self._clock()
        if error.status == 429 and error.code not in _HOPELESS:
            try:
                hold = trouble.after_refusal(error, now=now)
            except RemoteError:
                self._book.abandon(grant)
                raise
            self._book.refuse(grant, headers=error.headers, hold=hold, tokens=tokens, now=now)
            self._check_size(tokens)
            return 0.0  # everybody waits, in the book
        self._book.finish(grant, headers=error.headers, now=now)
        if not may_try_again(error):
            raise error
        return trouble.after_fault(error, now=now)

    def _granted(self, tokens: int, *, lane: Lane) -> Grant:
        ticket: int | None = None
        with self._turns[lane]:  # one thread of a process asks at a time, so that processes, not threads, take turns
            try:
                while True:
                    self._check_open()
                    self._check_size(tokens)
                    found = self._book.ask(tokens, lane=lane, ticket=ticket, now=self._clock())
                    if not isinstance(found, Wait):
                        return found
                    ticket = found.ticket
                    self._sleep(min(found.seconds, _POLL))
            except LedgerError:
                self._check_open()  # closed in between: that is what it says, then
                raise

    def _check_size(self, tokens: int) -> None:
        limit = self._book.certain_limit()
        if limit and tokens > limit:
            message = f"a request of {tokens:,} tokens is more than the quota of {limit:,.0f} a minute"
            raise RemoteError(message, status=429, code=TOO_MUCH)

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise RemoteError("the request was given up: its embedder or chat was closed")

    def close(self) -> None:
        """Give up what waits, and close the file. Closing twice is allowed."""
        self._closed.set()
        self._book.close()


def may_try_again(error: RemoteError) -> bool:
    """Return whether the same request may succeed later."""
    told = error.headers.get("x-should-retry")
    if told in ("true", "false"):
        return told == "true"
    if error.code in (*_HOPELESS, UNREACHABLE):
        return False
    return error.status is None or error.status in (408, 409, 429) or error.status >= 500


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return the seconds to wait that a reply asks for: `retry-after-ms`, `retry-after` in seconds or as a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        return max(parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - now, 0.0)
    except ValueError:
        return None

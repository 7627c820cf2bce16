"""What is known of a service's quota, and who has how much of it: one file for all processes of a machine.

A quota is tokens a minute and requests in a sixth of it, in windows that slide. Before a request is sent, its tokens
are granted here; what was granted counts until it has left the service's own window. Whoever waits has a ticket, so
that processes take turns; tickets for queries go first, and a slice of the quota is theirs alone.

Limits come from the settings or from the headers of replies, else from what was refused. The service may count
otherwise than we do, or serve others too: `scale`, its count over ours, is learnt from what it says remains.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from analect.errors import LedgerError
from analect.wal import transaction, use_wal

Lane: TypeAlias = Literal["query", "ingest"]

_INGEST_SHARE = 0.98  # of the quota; the rest is kept for queries
_MARGIN = 0.008  # of a minute: how much later than sent a request may reach the service's window
_TICKET = 2.0  # seconds after which a ticket that nobody asks for any more is void
_LANES = {"query": 0, "ingest": 1}
_TRUSTED = 0.2  # of the limit: below that much use, what remains says too little about the scale
_PROBE = 30.0  # seconds after which a lone first request no longer keeps the others waiting
_TELLING = 10  # requests in a minute: a refusal after fewer says nothing about the limit
_GROWTH = 1.05  # a minute: how a limit that was guessed from a refusal is tried out again
_SCHEMA = """
CREATE TABLE IF NOT EXISTS doors (door TEXT PRIMARY KEY, tpm REAL, rpm REAL, source TEXT NOT NULL DEFAULT '',
    scale REAL NOT NULL DEFAULT 1, hold REAL NOT NULL DEFAULT 0, probing INTEGER NOT NULL DEFAULT 0,
    changed REAL NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS grants (id INTEGER PRIMARY KEY AUTOINCREMENT, door TEXT NOT NULL, sent REAL NOT NULL,
    done REAL, tokens REAL NOT NULL);
CREATE INDEX IF NOT EXISTS grants_by_door ON grants (door, sent);
CREATE TABLE IF NOT EXISTS tickets (id INTEGER PRIMARY KEY AUTOINCREMENT, door TEXT NOT NULL, lane INTEGER NOT NULL,
    seen REAL NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """Tokens and requests a minute; None is unknown."""

    tpm: float | None
    rpm: float | None


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to send one request now."""

    number: int
    sent: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet: ask again in so many seconds, with this ticket."""

    seconds: float
    ticket: int


@dataclass(frozen=True, slots=True)
class _Door:
    limits: Limits
    source: str
    scale: float
    hold: float
    probing: bool
    changed: float


class QuotaBook:
    """The file (None: this process alone) of grants. `given` limits are upper bounds of what is learnt.

    `minute` is how many seconds a minute of the quota lasts. Raises `LedgerError` when the file cannot be used.
    """

    def __init__(self, door: str, *, path: Path | None, given: Limits, minute: float) -> None:
        self._door = door
        self._path = path
        self._given = given
        self._minute = minute
        self._lock = threading.Lock()
        with self._errors():
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path or ":memory:", timeout=60, isolation_level=None, check_same_thread=False)
            if path:
                use_wal(self._db)
            self._db.execute("PRAGMA synchronous = OFF")  # a grant that a power cut loses is no loss
            self._db.executescript(_SCHEMA)
            self._db.execute("INSERT OR IGNORE INTO doors (door) VALUES (?)", (door,))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(
                f"the quota file {self._path}: {error}; free the disk or the lock, or remove it"
            ) from error
        except OSError as error:
            raise LedgerError(f"the quota file {self._path}: {error.strerror}") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._errors(), transaction(self._db):
            yield self._db

    def limits(self) -> Limits:
        """Return the limits that are given or learnt, the lower where both are."""
        with self._lock, self._errors():
            return self._bounded(self._read().limits)

    def certain_limit(self) -> float | None:
        """Return the tokens a minute, as long as they are told or set and no guess."""
        with self._lock, self._errors():
            door = self._read()
        return self._bounded(door.limits if door.source == "told" else Limits(None, None)).tpm

    def _bounded(self, learnt: Limits) -> Limits:
        pairs = ((self._given.tpm, learnt.tpm), (self._given.rpm, learnt.rpm))
        low = [min((each for each in pair if each), default=None) for pair in pairs]
        return Limits(low[0], low[1])

    def _read(self) -> _Door:
        row = self._db.execute(
            "SELECT tpm, rpm, source, scale, hold, probing, changed FROM doors WHERE door = ?", (self._door,)
        ).fetchone()
        tpm, rpm, source, scale, hold, probing, changed = row
        return _Door(Limits(tpm, rpm), source, scale, hold, bool(probing), changed)

    def ask(self, tokens: int, *, lane: Lane, ticket: int | None, now: float) -> Grant | Wait:
        """Grant a request of that many tokens, or say when to ask again."""
        with self._writing() as db:
            self._forget(now)
            wait = self._turn(_LANES[lane], ticket=ticket, now=now) or self._room(tokens, lane=lane, now=now)
            if wait:
                if ticket is None:
                    place = (self._door, _LANES[lane], now)
                    ticket = db.execute("INSERT INTO tickets (door, lane, seen) VALUES (?, ?, ?)", place).lastrowid or 0
                else:
                    db.execute("UPDATE tickets SET seen = ? WHERE id = ?", (now, ticket))
                return Wait(wait, ticket)
            db.execute("DELETE FROM tickets WHERE id = ?", (ticket,))
            row = (self._door, now, tokens)
            made = db.execute("INSERT INTO grants (door, sent, tokens) VALUES (?, ?, ?)", row)
            return Grant(made.lastrowid or 0, now)

    def _forget(self, now: float) -> None:
        """Drop what counts no more; what is of the future was written before the clock was set back."""
        span = 2 * self._minute
        self._db.execute("DELETE FROM grants WHERE sent < ? OR sent > ?", (now - span, now + span))
        self._db.execute("DELETE FROM tickets WHERE seen < ? OR seen > ?", (now - _TICKET, now + _TICKET))

    def _turn(self, lane: int, *, ticket: int | None, now: float) -> float:
        """Return how long to wait for those who go first, and for the end of a pause that the service asked for."""
        door = self._read()
        if now < door.hold <= now + 2 * self._minute:
            return door.hold - now
        if door.probing or not door.source:  # after a refusal, and before anything is known: one at a time
            since = max(door.hold, now - _PROBE)
            (running,) = self._db.execute(
                "SELECT count(*) FROM grants WHERE door = ? AND done IS NULL AND sent >= ?", (self._door, since)
            ).fetchone()
            if running:
                return 0.05
        mine = ticket if ticket is not None else 1 << 62
        (before,) = self._db.execute(
            "SELECT count(*) FROM tickets WHERE door = ? AND (lane < ? OR (lane = ? AND id < ?))",
            (self._door, lane, lane, mine),
        ).fetchone()
        return 0.02 if before else 0.0

    def _room(self, tokens: int, *, lane: Lane, now: float) -> float:
        """Return how long to wait until the windows have room for it: 0 when they do, or nobody knows a limit."""
        door = self._read()
        limits = self._bounded(door.limits)
        share = _INGEST_SHARE if lane == "ingest" else 1.0
        waits = [0.0]
        if limits.tpm:
            most = share * limits.tpm / door.scale
            waits.append(self._until(tokens, most=most, span=self._minute, count="tokens", now=now))
        if limits.rpm:
            most = max(math.floor(share * max(limits.rpm // 6, 1)), 1)
            waits.append(self._until(1, most=most, span=self._minute / 6, count="1", now=now))
        return max(waits)

    def _until(self, cost: float, *, most: float, span: float, count: Literal["tokens", "1"], now: float) -> float:
        # A request counts from when it may have arrived at the latest: when its reply did, or a margin after it left.
        margin = _MARGIN * self._minute
        rows = self._db.execute(
            f"SELECT min(coalesce(done, sent + ?), sent + ?) AS stamp, {count} FROM grants "
            "WHERE door = ? AND stamp > ? ORDER BY stamp",
            (margin, margin, self._door, now - span),
        ).fetchall()
        over = sum(row[1] for row in rows) + min(cost, most) - most
        for stamp, amount in rows:
            if over <= 1e-9:
                break
            over -= amount
            if over <= 1e-9:
                return float(max(stamp + span - now, 0.001))
        return 0.0

    def finish(self, grant: Grant, *, headers: Mapping[str, str], now: float) -> None:
        """Count a request that was admitted, and learn from its headers."""
        with self._writing() as db:
            db.execute("UPDATE grants SET done = ? WHERE id = ?", (now, grant.number))
            db.execute(
                "UPDATE doors SET probing = 0 WHERE door = ? AND probing AND hold <= ?", (self._door, grant.sent)
            )
            self._learn(headers, sent=grant.sent, now=now)

    def refuse(self, grant: Grant, *, headers: Mapping[str, str], hold: float, tokens: int, now: float) -> None:
        """Forget a request that was refused for its rate, and let nobody ask for `hold` seconds.

        One that was refused for its size says nothing about the others: nobody waits for it.
        """
        with self._writing() as db:
            db.execute("DELETE FROM grants WHERE id = ?", (grant.number,))
            self._learn(headers, sent=grant.sent, now=now)
            door = self._read()
            if door.source != "told" or tokens <= (self._bounded(door.limits).tpm or tokens):
                until = now + hold
                db.execute("UPDATE doors SET hold = max(hold, ?), probing = 1 WHERE door = ?", (until, self._door))
            self._suspect(door, sent=grant.sent, now=now)

    def _suspect(self, door: _Door, *, sent: float, now: float) -> None:
        """Guess the limit that nobody tells, once a request is refused that was sent after another had been.

        One refusal alone is waited out: it may be of a burst, or of a service that is busy.
        """
        again = door.source == "refused" and now - door.changed <= self._minute
        if door.source == "guessed" or (again and sent >= door.changed):
            self._guess(now)
        elif door.source in ("", "untold", "refused") and not again:
            self._set(door.limits, source="refused", now=now)

    def _guess(self, now: float) -> None:
        """Take what was granted in the last minute for the limit, when that was not a little."""
        door = self._read()
        count, used = self._db.execute(
            "SELECT count(*), sum(tokens) FROM grants WHERE door = ? AND sent > ?", (self._door, now - self._minute)
        ).fetchone()
        if count >= _TELLING:
            self._set(Limits(used, door.limits.rpm), source="guessed", now=now)

    def abandon(self, grant: Grant) -> None:
        """Forget a request that never reached the service."""
        with self._writing() as db:
            db.execute("DELETE FROM grants WHERE id = ?", (grant.number,))

    def _set(self, limits: Limits, *, source: str, now: float) -> None:
        self._db.execute(
            "UPDATE doors SET tpm = ?, rpm = ?, source = ?, changed = ? WHERE door = ?",
            (limits.tpm, limits.rpm, source, now, self._door),
        )

    def _learn(self, headers: Mapping[str, str], *, sent: float, now: float) -> None:
        door = self._read()
        told = Limits(_number(headers, "x-ratelimit-limit-tokens"), _number(headers, "x-ratelimit-limit-requests"))
        left = _number(headers, "x-ratelimit-remaining-tokens")
        sure, possible = self._ours(sent=sent, now=now)
        if told.tpm or told.rpm:
            limits = Limits(told.tpm or door.limits.tpm, told.rpm or door.limits.rpm)
            self._set(limits, source="told", now=now)
        elif left is not None and door.source != "told":
            # What remains and what we had of it: never more than the limit, and all of it when nobody else asks.
            least = left + sure
            limits = Limits(max(least, door.limits.tpm or 0.0), door.limits.rpm)
            self._set(limits, source="remaining", now=now)
        else:
            limits = door.limits
            if not door.source:
                self._set(limits, source="untold", now=now)
            if door.source == "guessed" and limits.tpm and now - door.changed > self._minute:
                self._set(Limits(limits.tpm * _GROWTH, limits.rpm), source="guessed", now=now)
        tpm = limits.tpm if told.tpm or door.source == "remaining" else None
        if tpm and left is not None and tpm - left > _TRUSTED * tpm:
            self._rescale(door.scale, used=tpm - left, sure=sure, possible=possible)

    def _rescale(self, scale: float, *, used: float, sure: float, possible: float) -> None:
        """Bring the scale between the bounds that the service's count and ours set for it."""
        scale = max(scale, used / possible) if possible else scale
        scale = min(scale, used / sure) if sure else scale
        self._db.execute("UPDATE doors SET scale = ? WHERE door = ?", (min(max(scale, 0.2), 10.0), self._door))

    def _ours(self, *, sent: float, now: float) -> tuple[float, float]:
        """Return our tokens that were surely, and those that were possibly, in the window when it was answered."""
        row = self._db.execute(
            "SELECT sum(CASE WHEN sent = :sent OR (done <= :sent AND sent > :now - :span) THEN tokens END), "
            "sum(CASE WHEN coalesce(done, :now) > :sent - :span THEN tokens END) FROM grants WHERE door = :door",
            {"sent": sent, "now": now, "span": self._minute, "door": self._door},
        ).fetchone()
        return float(row[0] or 0), float(row[1] or 0)

    def close(self) -> None:
        """Close the file. Closing twice is allowed."""
        with self._lock:  # SQLite's own close does not wait for another thread's statement
            self._db.close()


def _number(headers: Mapping[str, str], name: str) -> float | None:
    """Return a header's number; None when it is not there, is none, or says that there is no limit."""
    try:
        value = float(headers.get(name, ""))
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None

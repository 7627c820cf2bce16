"""Sliding-window limits as the service keeps them: tokens a minute, and requests in a sixth of it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Tokens and requests a minute; None is no limit.

    `minute` is how many seconds such a minute lasts, for tests that cannot wait. `told` says whether the limits stand
    in the headers, beside what remains of them.
    """

    tpm: int | None = None
    rpm: int | None = None
    minute: float = 60.0
    told: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """What the limits say to one request: `wait` seconds until it would pass, 0 when it did."""

    wait: float
    remaining_tokens: int | None
    remaining_requests: int | None


class Window:
    """Admits what fits into a limit over the last `seconds`; None admits everything."""

    def __init__(self, limit: int | None, *, seconds: float) -> None:
        self.limit = limit
        self._seconds = seconds
        self._taken: deque[tuple[float, int]] = deque()
        self._sum = 0

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0][0] <= now - self._seconds:
            self._sum -= self._taken.popleft()[1]

    def remaining(self, now: float) -> int | None:
        """Return what is left of the limit."""
        self._forget(now)
        return None if self.limit is None else max(self.limit - self._sum, 0)

    def wait(self, cost: int, *, now: float) -> float:
        """Return the seconds until this much would fit; what is above the limit itself never does."""
        self._forget(now)
        if self.limit is None or self._sum + cost <= self.limit:
            return 0.0
        if not self._taken or cost > self.limit:
            return self._seconds
        over = self._sum + cost - self.limit
        for at, taken in self._taken:
            over -= taken
            if over <= 0:
                return max(at + self._seconds - now, 0.001)
        return max(self._taken[-1][0] + self._seconds - now, 0.001)

    def take(self, cost: int, *, now: float) -> None:
        """Count what was admitted."""
        if self.limit is not None:
            self._taken.append((now, cost))
            self._sum += cost


class Quota:
    """The two limits of a deployment, and what was taken of them."""

    def __init__(self, limits: Limits, *, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        rpm = limits.rpm
        self._tokens = Window(limits.tpm, seconds=limits.minute)
        self._requests = Window(None if rpm is None else max(rpm // 6, 1), seconds=limits.minute / 6)

    def ask(self, cost: int) -> Standing:
        """Admit a request of that many tokens, or say how long it would have to wait; a refused one costs nothing."""
        now = self._clock()
        wait = max(self._tokens.wait(cost, now=now), self._requests.wait(1, now=now))
        if wait == 0:
            self._tokens.take(cost, now=now)
            self._requests.take(1, now=now)
        return Standing(wait, self._tokens.remaining(now), self._requests.remaining(now))

    def headers(self, standing: Standing) -> dict[str, str]:
        """Return the headers that tell a client where it stands."""
        found = {}
        for name, limit, left in (
            ("tokens", self._limits.tpm, standing.remaining_tokens),
            ("requests", self._limits.rpm, standing.remaining_requests),
        ):
            if limit is not None:
                found[f"x-ratelimit-remaining-{name}"] = str(left)
                found |= {f"x-ratelimit-limit-{name}": str(limit)} if self._limits.told else {}
        if standing.wait:
            found |= {"Retry-After": str(math.ceil(standing.wait)), "retry-after-ms": f"{standing.wait * 1000:.0f}"}
        return found

"""The governor paces, waits, tries again and gives up, by a clock of its own."""

from __future__ import annotations

import threading
from collections import deque
from email.utils import formatdate
from pathlib import Path

import pytest

from analect.errors import RemoteError
from analect.governor import SPOILED, Governor, may_try_again, retry_after
from analect.quota import Grant, Limits, QuotaBook, Wait


class Clock:
    """Seconds that pass when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Service:
    """A service that takes 0.1 s a request and counts tokens in a sliding minute, as Azure does."""

    def __init__(self, clock: Clock, *, tpm: int, factor: float = 1.0, told: bool = True) -> None:
        self.clock, self.tpm, self.factor, self.told = clock, tpm, factor, told
        self.taken: deque[tuple[float, float]] = deque()
        self.refused = self.served = 0

    def send(self, tokens: int) -> tuple[str, dict[str, str]]:
        cost = tokens * self.factor
        used = sum(amount for at, amount in self.taken if at > self.clock.now - 60)
        fits = used + cost <= self.tpm
        left = self.tpm - used - (cost if fits else 0)
        headers = {"x-ratelimit-remaining-tokens": str(left)}
        if self.told:
            headers["x-ratelimit-limit-tokens"] = str(self.tpm)
        if not fits:
            self.refused += 1
            raise RemoteError("slow down", status=429, headers={**headers, "retry-after-ms": "2000"})
        self.taken.append((self.clock.now, cost))
        self.served += cost
        self.clock.now += 0.1
        return "done", headers


def governor(clock: Clock, **more: object) -> Governor:
    return Governor("door", clock=clock, sleep=clock.sleep, chance=lambda: 0.5, **more)


@pytest.mark.parametrize("factor", [1.0, 1.2, 0.8])
@pytest.mark.parametrize("told", [True, False])
def test_fills_the_quota_and_is_hardly_refused(factor: float, told: bool) -> None:
    clock = Clock()
    service = Service(clock, tpm=100_000, factor=factor, told=told)
    paced = governor(clock)
    start = clock.now
    requests = 0
    while clock.now < start + 360:
        assert paced.call(lambda: service.send(2_400), tokens=2_400) == "done"
        requests += 1
    middle = sum(amount for at, amount in service.taken if start + 60 <= at < start + 300) / 4
    assert service.refused <= (0.01 if told else 0.05) * requests
    # Whoever is not told the limit and pays less than it thinks cannot know how much more there is.
    assert middle >= (0.93 if told or factor == 1 else 0.75) * service.tpm


def test_a_limit_that_nobody_tells_is_learnt_from_refusals() -> None:
    clock = Clock()
    taken: list[float] = []
    refused = 0

    def send() -> tuple[None, dict[str, str]]:
        nonlocal refused
        if sum(1 for at in taken if at > clock.now - 60) >= 50:
            refused += 1
            raise RemoteError("slow down", status=429, headers={"retry-after": "5"})
        taken.append(clock.now)
        clock.now += 0.1
        return None, {}

    paced = governor(clock)
    while clock.now < 1_000_600.0:
        paced.call(send, tokens=10)
    assert refused < 30
    assert len(taken) > 380  # of 500 that ten minutes allow


def test_a_lone_refusal_is_no_limit() -> None:
    clock = Clock()
    paced = governor(clock)
    for _ in range(20):
        paced.call(replies(), tokens=10)
    paced.call(replies(RemoteError("busy", status=429, headers={"retry-after-ms": "50"})), tokens=10)
    start = clock.now
    for _ in range(20):
        paced.call(replies(), tokens=1000)
    assert clock.now - start < 1
    assert paced.limits() == Limits(None, None)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "9"}, 9.0),
        ({"retry-after": formatdate(1_000_007, usegmt=True)}, 7.0),
        ({"retry-after": formatdate(999_000, usegmt=True)}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_reads_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=1_000_000.0) == seconds


def replies(*errors: RemoteError) -> object:
    waiting = list(errors)

    def send() -> tuple[str, dict[str, str]]:
        if waiting:
            raise waiting.pop(0)
        return "done", {}

    return send


def test_honours_the_wait_and_caps_an_absurd_one() -> None:
    clock = Clock()
    paced = governor(clock)
    assert paced.call(replies(RemoteError("", status=429, headers={"retry-after": "7"})), tokens=1) == "done"
    assert 7 <= sum(clock.slept) < 7.3
    clock.slept.clear()
    absurd = RemoteError("", status=429, headers={"retry-after": "86400"})
    assert paced.call(replies(absurd, absurd), tokens=1) == "done"
    assert 5 < sum(clock.slept) < 20


def test_tries_again_by_class_and_within_a_budget() -> None:
    clock = Clock()
    paced = governor(clock)
    for status in (500, 503, 408, 409, None):
        assert paced.call(replies(RemoteError("", status=status)), tokens=1) == "done"
    for status in (400, 401, 403, 404, 422):
        with pytest.raises(RemoteError):
            paced.call(replies(RemoteError("", status=status)), tokens=1)
    with pytest.raises(RemoteError, match="insufficient"):
        paced.call(replies(RemoteError("insufficient", status=429, code="insufficient_quota")), tokens=1)
    assert not may_try_again(RemoteError("", status=500, headers={"x-should-retry": "false"}))
    tries = 0

    def broken() -> tuple[None, dict[str, str]]:
        nonlocal tries
        tries += 1
        raise RemoteError("down", status=503)

    clock.slept.clear()
    with pytest.raises(RemoteError, match="down"):
        paced.call(broken, tokens=1)
    assert tries == 8
    assert max(clock.slept) <= 8
    assert sorted(clock.slept) == clock.slept


def test_a_spoiled_reply_after_other_faults_is_not_the_last_try() -> None:
    down, spoiled = RemoteError("down", status=503), RemoteError("no numbers", code=SPOILED)
    clock = Clock()
    assert governor(clock).call(replies(down, down, spoiled, down, spoiled), tokens=1) == "done"
    left = deque([spoiled, down, spoiled, spoiled, down, spoiled, spoiled, down])

    def broken() -> tuple[None, dict[str, str]]:
        raise left.popleft()

    with pytest.raises(RemoteError, match="no numbers"):
        governor(clock).call(broken, tokens=1)
    assert list(left) == [down]  # the fifth spoiled reply was the last that is paid for


def test_gives_up_when_it_is_refused_for_ever() -> None:
    clock = Clock()

    def refuse() -> tuple[None, dict[str, str]]:
        raise RemoteError("never", status=429, headers={"retry-after": "30"})

    with pytest.raises(RemoteError, match="never"):
        governor(clock).call(refuse, tokens=1)
    assert 600 < clock.now - 1_000_000 < 700


def test_queries_go_first_and_have_a_slice_of_their_own(tmp_path: Path) -> None:
    book = QuotaBook("d", path=tmp_path / "q.db", given=Limits(1000, None), minute=60.0)
    first = book.ask(10, lane="ingest", ticket=None, now=100.0)
    assert isinstance(first, Grant)
    book.finish(first, headers={}, now=100.1)
    assert isinstance(book.ask(970, lane="ingest", ticket=None, now=100.2), Grant)
    waiting = book.ask(10, lane="ingest", ticket=None, now=100.3)
    assert isinstance(waiting, Wait)
    assert isinstance(book.ask(10, lane="query", ticket=None, now=100.4), Grant)  # the slice of queries
    query = book.ask(500, lane="query", ticket=None, now=100.5)
    assert isinstance(query, Wait)
    late = 160.6  # the window is empty again, and both ask once more
    assert isinstance(book.ask(10, lane="ingest", ticket=waiting.ticket, now=100.9), Wait)
    assert isinstance(book.ask(500, lane="query", ticket=query.ticket, now=late - 0.1), Grant | Wait)
    book.close()


def test_processes_share_through_the_file(tmp_path: Path) -> None:
    books = [QuotaBook("d", path=tmp_path / "q.db", given=Limits(1000, None), minute=60.0) for _ in range(2)]
    first = books[0].ask(600, lane="ingest", ticket=None, now=100.0)
    assert isinstance(first, Grant)
    books[0].finish(first, headers={}, now=100.1)
    wait = books[1].ask(600, lane="ingest", ticket=None, now=100.2)
    assert isinstance(wait, Wait)
    assert wait.seconds == pytest.approx(59.9, abs=0.2)
    other = QuotaBook("other", path=tmp_path / "q.db", given=Limits(1000, None), minute=60.0)
    assert isinstance(other.ask(600, lane="ingest", ticket=None, now=100.3), Grant)
    for book in (*books, other):
        book.close()


def test_closing_gives_up_what_waits() -> None:
    paced = Governor("d", tpm=10)
    paced.call(replies(), tokens=9)
    caught: list[str] = []

    def wait() -> None:
        try:
            paced.call(replies(), tokens=9)
        except RemoteError as error:
            caught.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    paced.close()
    thread.join(5)
    assert caught == ["the request was given up: its embedder or chat was closed"]

"""Merges calls that come while one is under way into the next one: many waiting callers share one pass."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Coalescer(Generic[Item, Result]):
    """Runs `work` on lists of items, one list at a time. Whoever finds nobody at work works for all who wait."""

    def __init__(self, work: Callable[[list[Item]], list[Result]]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._working = threading.Lock()
        self._waiting: list[tuple[Item, Future[Result]]] = []

    def __call__(self, item: Item) -> Result:
        """Return what `work` makes of the item. What it raises is raised in every caller of that list."""
        future: Future[Result] = Future()
        with self._lock:
            self._waiting.append((item, future))
        with self._working:
            if not future.done():
                self._run()
        return future.result()

    def _run(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting, []
        try:
            results = self._work([item for item, _ in batch])
        except BaseException as error:  # noqa: BLE001  # every caller gets it, this one included
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)

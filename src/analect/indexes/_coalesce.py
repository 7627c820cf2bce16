"""Merges calls that come while one is under way into the next one: many waiting callers share one pass."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True)
class _Call(Generic[Item, Result]):
    item: Item
    results: tuple[Result, ...] = ()  # one, when it is done
    error: BaseException | None = None


class Coalescer(Generic[Item, Result]):
    """Runs `work` on lists of items, one list at a time. Whoever finds nobody at work works for all who wait."""

    def __init__(self, work: Callable[[list[Item]], list[Result]]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._working = threading.Lock()
        self._waiting: list[_Call[Item, Result]] = []

    def __call__(self, item: Item) -> Result:
        """Return what `work` makes of the item. What it raises is raised in every caller of that list."""
        call: _Call[Item, Result] = _Call(item)
        with self._lock:
            self._waiting.append(call)
        # Who was at work when this call came may have done it. There is nothing else to wait for, so no future either.
        with self._working:
            if not call.results and call.error is None:
                self._run()
        if call.error is not None:
            raise call.error
        return call.results[0]

    def _run(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting, []
        try:
            results = self._work([call.item for call in batch])
            for call, result in zip(batch, results, strict=True):
                call.results = (result,)
        except BaseException as error:  # noqa: BLE001  # every caller gets it, this one included
            for call in batch:
                call.error = error

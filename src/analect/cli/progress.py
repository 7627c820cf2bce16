"""What is shown on stderr while something lasts: nothing in the first second, and never where nobody looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console

    from analect.types import AddProgress

_DELAY = 1.0  # seconds: what is over by then needs no progress


class Working:
    """Shows that something goes on and how long it has taken; a context manager."""

    def __init__(self, label: str, *, console: Console | None = None, delay: float = _DELAY) -> None:
        from rich.console import Console  # noqa: PLC0415  # not for --help
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

        self._console = console or Console(stderr=True)
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._task = self._progress.add_task(label, total=None)
        self._timer = threading.Timer(delay, self._progress.start)
        self._timer.daemon = True

    def describe(self, text: str) -> None:
        """Show another text from now on."""
        self._progress.update(self._task, description=text)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._timer.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()
        if self._timer.is_alive():  # it may be starting the display just now
            self._timer.join()
        if self._progress.live.is_started:  # else stopping would print an empty line
            self._progress.stop()


class AddProgressBar(Working):
    """Shows how far an `add` is: documents, texts embedded, rate and time left. Called with each `AddProgress`."""

    def __init__(self, *, unit: str = "documents", clock: Callable[[], float] = time.monotonic, **shown: Any) -> None:
        super().__init__("starting", **shown)
        self._unit = unit
        self._clock = clock
        self._began = clock()

    def __call__(self, progress: AddProgress) -> None:
        self.describe(described(progress, seconds=self._clock() - self._began, unit=self._unit))


def described(progress: AddProgress, *, seconds: float, unit: str = "documents") -> str:
    """Return one line on how far an `add` is after so many seconds.

    >>> from analect.types import AddProgress
    >>> described(AddProgress(documents=250, total=1000, embedded=600), seconds=10)
    '250/1,000 documents, 600 texts embedded, 60/s, 0:30 left'
    """
    parts = [f"{progress.documents:,}/{max(progress.total, progress.documents):,} {unit}"]
    if progress.embedded and seconds > 0:
        parts.append(f"{progress.embedded:,} texts embedded, {progress.embedded / seconds:,.0f}/s")
    left = progress.total - progress.documents
    if progress.documents and left > 0:
        minutes, rest = divmod(round(seconds * left / progress.documents), 60)
        parts.append(f"{minutes}:{rest:02} left")
    return ", ".join(parts)

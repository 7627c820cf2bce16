"""Counters in the text format of Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping

from analect.batcher import Load

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_OF_A_MODEL: tuple[tuple[str, str, str, Callable[[Load], float]], ...] = (
    ("texts_total", "counter", "Texts (or windows of texts) embedded", lambda load: load.texts),
    ("tokens_total", "counter", "Tokens embedded", lambda load: load.tokens),
    ("batches_total", "counter", "Runs of the model", lambda load: load.batches),
    ("padded_tokens_total", "counter", "Tokens computed, padding included; tokens / this is the batch fill",
     lambda load: load.padded_tokens),
    ("inference_seconds_total", "counter", "Time in runs of the model, summed over threads",
     lambda load: load.run_seconds),
    ("queue_wait_seconds_total", "counter", "Time that texts waited, summed", lambda load: load.wait_seconds),
    ("queue_texts", "gauge", "Texts that wait now", lambda load: load.waiting_texts),
    ("queue_tokens", "gauge", "Tokens that wait now", lambda load: load.waiting_tokens),
)  # fmt: skip


class Metrics:
    """What has been served. Used by the event loop's thread alone."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: dict[str, list[float]] = {}
        self.in_flight = 0

    def count(self, route: str, *, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests[route, status] += 1
        sums = self._seconds.setdefault(route, [0.0] * (len(_BOUNDS) + 3))  # bounds, infinity, sum, count
        sums[bisect_left(_BOUNDS, seconds)] += 1
        sums[-2] += seconds
        sums[-1] += 1

    def text(self, loads: Mapping[str, Load]) -> str:
        """Return everything as Prometheus reads it; `loads` are the batchers' by model."""
        lines = _head("requests_total", "counter", "Requests answered")
        for (route, status), times in sorted(self._requests.items()):
            lines.append(f'analect_requests_total{{route="{route}",status="{status}"}} {times}')
        lines += _head("request_seconds", "histogram", "Time from the first byte of a request to the end of its answer")
        for route, sums in sorted(self._seconds.items()):
            running = 0.0
            for bound, number in zip((*_BOUNDS, "+Inf"), sums, strict=False):
                running += number
                lines.append(f'analect_request_seconds_bucket{{route="{route}",le="{bound}"}} {running:.0f}')
            lines.append(f'analect_request_seconds_sum{{route="{route}"}} {sums[-2]:.6f}')
            lines.append(f'analect_request_seconds_count{{route="{route}"}} {sums[-1]:.0f}')
        lines += [*_head("requests_in_flight", "gauge", "Requests under way"),
                  f"analect_requests_in_flight {self.in_flight}"]  # fmt: skip
        for name, kind, what, value in _OF_A_MODEL:
            lines += _head(name, kind, what)
            lines += [f'analect_{name}{{model="{_escaped(model)}"}} {value(load)}' for model, load in loads.items()]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, what: str) -> list[str]:
    return [f"# HELP analect_{name} {what}.", f"# TYPE analect_{name} {kind}"]


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

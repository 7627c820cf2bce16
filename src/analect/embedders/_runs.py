"""A model compiled for this machine in each way that it is run: for many texts, for one, and for one beside many."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from queue import SimpleQueue
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from analect.cores import cores
from analect.engine import import_openvino
from analect.padding import padded_length
from analect.types import Matrix

_SHAPES_KEPT = "400"  # code made for a shape of batch, kept for the next of it: with no bound, 200 MB after some days
_PLAIN: Mapping[str, Any] = MappingProxyType({})

Ids = Sequence[Sequence[int]]


class Runs:
    """Runs one OpenVINO model of `ids` and `mask`; each way is compiled when it is first taken.

    `build_many` gives the model for many texts, where that is another graph.

    Threads with a request each, not OpenVINO's own queue: its callbacks can deadlock with the interpreter's lock when
    the queue is given back.
    """

    def __init__(
        self,
        build: Callable[[], Any],
        *,
        precision: str,
        build_many: Callable[[], Any] | None = None,
        settings: Mapping[str, Any] = _PLAIN,
        padded: Callable[[int], int] = padded_length,
    ) -> None:
        self._build = build
        self._build_many = build_many
        self._padded = padded
        self._settings = {
            "INFERENCE_PRECISION_HINT": precision,
            # Pinned, a run for one text waits behind one for many on the same core while another core idles.
            "ENABLE_CPU_PINNING": False,
            "CPU_RUNTIME_CACHE_CAPACITY": _SHAPES_KEPT,
            **settings,
        }
        self._alone = threading.Lock()  # one request is one set of buffers

    def many(self, encodings: Ids) -> Matrix:
        """Run on this thread alone, beside as many others as there are cores: (n, dim)."""
        request = self._requests.get()
        try:
            return self._inferred(request, encodings)
        finally:
            self._requests.put(request)

    def alone(self, encodings: Ids) -> Matrix:
        """Run on every core: (n, dim)."""
        with self._alone:
            return self._inferred(self._latency, encodings)

    def urgent(self, encodings: Ids, *, alone: bool) -> Matrix:
        """Run on every core when it is `alone`, else on one thread of its own; waits for another such run at most."""
        with self._alone:
            both = self._beside, self._latency  # so that neither is compiled when it is needed most
            return self._inferred(both[alone], encodings)

    def width(self, encodings: Ids) -> int:
        """Return the tokens that each of a batch is padded to."""
        return self._padded(max(map(len, encodings)))

    @property
    def idle(self) -> bool:
        """Whether no `many` is running."""
        return "_requests" not in self.__dict__ or self._requests.qsize() == cores()

    @cached_property
    def _model(self) -> Any:
        return self._build()

    @cached_property
    def _requests(self) -> SimpleQueue[Any]:
        """Idle requests of the model compiled for many texts: as many streams as cores, one thread each."""
        model = self._build_many() if self._build_many else self._model
        compiled = self._compiled(model, {"NUM_STREAMS": cores()})
        requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(cores()):
            requests.put(compiled.create_infer_request())
        return requests

    @cached_property
    def _latency(self) -> Any:
        """One request of the model compiled for one text: every core on it."""
        return self._compiled(self._model, {"PERFORMANCE_HINT": "LATENCY"}).create_infer_request()

    @cached_property
    def _beside(self) -> Any:
        """One request of the model compiled for one thread, which barriers of busy cores cannot hold up."""
        settings = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}
        request = self._compiled(self._model, settings).create_infer_request()
        self._inferred(request, [[0]])  # the first run takes 40 ms more: not while somebody waits
        return request

    def _compiled(self, model: Any, settings: dict[str, Any]) -> Any:
        return import_openvino().Core().compile_model(model, "CPU", {**self._settings, **settings})

    def _inferred(self, request: Any, encodings: Ids) -> Matrix:
        ids, mask = _filled(encodings, width=self.width(encodings))
        return cast(Matrix, request.infer({0: ids, 1: mask})[0])


def _filled(encodings: Ids, *, width: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    ids = np.zeros((len(encodings), width), dtype=np.int32)
    mask = np.zeros((len(encodings), width), dtype=np.int32)
    for row, encoding in enumerate(encodings):
        ids[row, : len(encoding)] = encoding
        mask[row, : len(encoding)] = 1
    return ids, mask

"""The local embedder: a BERT-family Sentence-Transformers model on OpenVINO, on this machine's CPU."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from types import MappingProxyType
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from analect.cores import cores
from analect.embedders._bert import BertConfig, build_model, read_prefixes
from analect.embedders._graph import read_graph
from analect.engine import import_openvino
from analect.errors import ConfigError, ModelError
from analect.models import find_model
from analect.padding import BATCH_TOKENS, padded_length
from analect.types import Embeddings, Kind, Matrix, Metadata

_SHAPES_KEPT = "50"  # code made for a shape of batch, kept for the next of it: with no bound, 200 MB after some days


class LocalEmbedder:
    """Embeds with a model folder on this machine: no account, no network, nothing leaves.

    `model` is a folder, a known name or a hub repository; its weights are safetensors, or else the graph of an OpenVINO
    IR or an ONNX file. `on_overflow` says what happens to a text of more than
    `max_tokens` tokens: "error" makes it a failure that names the count, "truncate" cuts it and marks it in `cut`.
    `precision` is what the CPU computes in: "auto" takes bf16 where it is native (its vectors agree with float32 to a
    cosine of 0.9999) and float32 elsewhere. `query_prefix` and `document_prefix` stand before every text of that kind;
    they default to the prompts in the model folder. Raises `ModelError` when the model is not there or its weights are
    not the pinned ones.
    """

    def __init__(
        self,
        *,
        model: str = "all-MiniLM-L6-v2",
        on_overflow: Literal["error", "truncate"] = "error",
        precision: Literal["auto", "bf16", "f32"] = "auto",
        query_prefix: str | None = None,
        document_prefix: str | None = None,
    ) -> None:
        if on_overflow not in ("error", "truncate"):
            raise ConfigError(f"on_overflow is {on_overflow!r}: write 'error' or 'truncate'")
        if precision not in ("auto", "bf16", "f32"):
            raise ConfigError(f"precision is {precision!r}: write 'auto', 'bf16' or 'f32'")
        self._files = find_model(model)
        self._config = BertConfig.read(self._files.folder)
        self._truncate = on_overflow == "truncate"
        self._precision = precision
        self._prefixes = read_prefixes(self.folder)
        for kind, prefix in (("query", query_prefix), ("document", document_prefix)):
            if prefix is not None:
                self._prefixes[kind] = prefix
        self._lock = threading.Lock()
        self._requesting = threading.Lock()
        self._counts: Counter[str] = Counter()
        self.dim = self._config.hidden
        self.max_tokens = self._config.max_tokens
        self.id = f"{self._files.name}@{self._files.sha256[:12]}/{self.dim}/{self._config.pooling}"
        if any(self._prefixes.values()):
            said = json.dumps(self._prefixes, sort_keys=True).encode()
            self.id += f"/prefix-{hashlib.sha256(said).hexdigest()[:8]}"

    @property
    def folder(self) -> Path:
        """The model's folder."""
        return self._files.folder

    @property
    def weights(self) -> str:
        """The file of the weights, relative to the folder."""
        return self._files.weights.relative_to(self.folder).as_posix()

    @property
    def sha256(self) -> str:
        """The SHA-256 of the weights."""
        return self._files.sha256

    @property
    def pooling(self) -> str:
        """How the vectors of tokens become one: "mean" or "cls"."""
        return self._config.pooling

    @property
    def prefixes(self) -> Mapping[str, str]:
        """What stands before every "query" and every "document"."""
        return MappingProxyType(self._prefixes)

    @cached_property
    def precision(self) -> Literal["bf16", "f32"]:
        """What the CPU computes in."""
        if self._precision != "auto":
            return self._precision
        native = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return "bf16" if "BF16" in native else "f32"

    def counters(self) -> Metadata:
        """Return the precision, the `streams` that share many texts, and what ran: `texts` and their `tokens`, in how
        many `batches` of how many tokens with padding; `alone` counts batches of one text, on all cores."""
        with self._lock:
            counts = {name: self._counts[name] for name in ("texts", "tokens", "batches", "padded_tokens", "alone")}
        return {"precision": self.precision, "streams": cores(), "threads": cores(), **counts}

    def _count(self, mask: NDArray[np.int32], *, alone: bool) -> None:
        with self._lock:
            self._counts.update(
                texts=len(mask), tokens=int(mask.sum()), batches=1, padded_tokens=mask.size, alone=int(alone)
            )

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """Return the tokens of each text as a document, prefix and special tokens included: int32 (n,)."""
        return _counts(self._encoded(texts, kind="document"))

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        """Return one unit vector a text, in order; an empty or over-long text is a failure."""
        encodings = self._encoded(texts, kind=kind)
        tokens = _counts(encodings)
        cut = (tokens > self.max_tokens) & self._truncate
        failures = {}
        for index, text in enumerate(texts):
            if not text.strip():
                failures[index] = "the text is empty"
            elif tokens[index] > self.max_tokens and not self._truncate:
                failures[index] = f"the text has {tokens[index]} tokens, the model takes {self.max_tokens}"
        vectors = np.full((len(texts), self.dim), np.nan, dtype=np.float32)
        rows = [index for index in range(len(texts)) if index not in failures]
        self._run([self._fit(encodings[row]) for row in rows], rows=rows, out=vectors)
        return Embeddings(vectors=vectors, tokens=tokens, cut=cut, failures=failures)

    def encode(self, texts: Sequence[str], *, kind: Kind) -> list[list[int]]:
        """Return the ids of each text, prefix and special tokens included, whatever their number."""
        return self._encoded(texts, kind=kind)

    def embed_encoded(self, encodings: Sequence[Sequence[int]], *, urgent: bool = False) -> Matrix:
        """Return one unit vector an encoding, none over `max_tokens`, in one run of the model on this thread.

        An urgent run takes every core when nothing else is running, and otherwise one thread beside what runs: it waits
        for another urgent one at most.
        """
        ids, mask = _padded(encodings)
        if not urgent:
            request = self._requests.get()
            try:
                vectors = request.infer({0: ids, 1: mask})[0]
            finally:
                self._requests.put(request)
            self._count(mask, alone=False)
            return cast(Matrix, vectors)
        with self._requesting:
            alone, beside = self._latency, self._beside  # both, so that neither is compiled when it is needed most
            idle = self._requests.qsize() == cores()
            vectors = (alone if idle else beside).infer({0: ids, 1: mask})[0]
        self._count(mask, alone=idle)
        return cast(Matrix, vectors)

    def _encoded(self, texts: Sequence[str], *, kind: Kind) -> list[list[int]]:
        prefix = self._prefixes[kind]
        return [each.ids for each in self._tokenizer.encode_batch_fast([prefix + text for text in texts])]

    def _fit(self, ids: list[int]) -> list[int]:
        """Cut over-long ids to the limit, keeping the closing [SEP]."""
        return ids if len(ids) <= self.max_tokens else [*ids[: self.max_tokens - 1], ids[-1]]

    def _run(self, encodings: list[list[int]], *, rows: list[int], out: NDArray[np.float32]) -> None:
        """Write the vector of `encodings[i]` to `out[rows[i]]`, longest texts first, in batches of like lengths."""
        if not encodings:
            return
        if len(encodings) == 1:
            ids, mask = _padded(encodings)
            with self._requesting:  # one request is one set of buffers
                out[rows[0]] = self._latency.infer({0: ids, 1: mask})[0]
            self._count(mask, alone=True)
            return

        # Threads with a request each, not OpenVINO's own queue: its callbacks can deadlock with the interpreter's lock
        # when the queue is given back.
        requests = self._requests

        def run(batch: list[int]) -> None:
            ids, mask = _padded([encodings[index] for index in batch])
            request = requests.get()
            try:
                out[[rows[index] for index in batch]] = request.infer({0: ids, 1: mask})[0]
            finally:
                requests.put(request)
            self._count(mask, alone=False)

        for _ in self._pool.map(run, _batches([len(ids) for ids in encodings])):
            pass  # what a batch raises is raised here

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer  # noqa: PLC0415  # not needed to know the model's id

        try:
            tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises bare Exception for a file it cannot use
            raise ModelError(f"{self.folder / 'tokenizer.json'} is not a tokenizer: {error}") from error
        tokenizer.no_truncation()  # counts must be true
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _model(self) -> Any:
        weights = self._files.weights
        if weights.suffix != ".safetensors":
            return read_graph(weights, config=self._config)
        from safetensors.numpy import load_file  # noqa: PLC0415

        return build_model(self._config, load_file(weights))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(cores(), thread_name_prefix="analect-embed")

    @cached_property
    def _requests(self) -> SimpleQueue[Any]:
        """Idle requests of the model compiled for many texts: as many streams as cores, one thread each."""
        compiled = self._compiled({"NUM_STREAMS": cores()})
        requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(cores()):
            requests.put(compiled.create_infer_request())
        return requests

    @cached_property
    def _latency(self) -> Any:
        """One request of the model compiled for one text: every core on it."""
        return self._compiled({"PERFORMANCE_HINT": "LATENCY"}).create_infer_request()

    @cached_property
    def _beside(self) -> Any:
        """One request of the model compiled for one thread, which barriers of busy cores cannot hold up."""
        request = self._compiled({"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1}).create_infer_request()
        ids, mask = _padded([[0]])
        request.infer({0: ids, 1: mask})  # the first run takes 40 ms more: not while somebody waits
        return request

    def _compiled(self, settings: dict[str, Any]) -> Any:
        # Pinned, a run for one text waits behind one for many on the same core while another core idles.
        settings |= {
            "INFERENCE_PRECISION_HINT": self.precision,
            "ENABLE_CPU_PINNING": False,
            "CPU_RUNTIME_CACHE_CAPACITY": _SHAPES_KEPT,
        }
        return import_openvino().Core().compile_model(self._model, "CPU", settings)


def _counts(encodings: list[list[int]]) -> NDArray[np.int32]:
    return np.fromiter(map(len, encodings), dtype=np.int32, count=len(encodings))


def _batches(lengths: list[int]) -> list[list[int]]:
    """Return the indexes in groups of like lengths, longest first, each within the token budget once padded."""
    groups: list[list[int]] = []
    width = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if not groups or (len(groups[-1]) + 1) * width > BATCH_TOKENS:
            groups.append([])
            width = padded_length(lengths[index])
        groups[-1].append(index)
    return groups


def _padded(encodings: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    width = padded_length(max(map(len, encodings)))
    ids = np.zeros((len(encodings), width), dtype=np.int32)
    mask = np.zeros((len(encodings), width), dtype=np.int32)
    for row, encoding in enumerate(encodings):
        ids[row, : len(encoding)] = encoding
        mask[row, : len(encoding)] = 1
    return ids, mask

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
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from analect.cores import cores
from analect.embedders._bert import GROUP, BertConfig, build_model, read_prefixes
from analect.embedders._cross_encoder import BASE, CrossEncoder
from analect.embedders._graph import read_graph
from analect.embedders._runs import Ids, Runs
from analect.engine import codes_fastest, import_openvino
from analect.errors import ConfigError, ModelError
from analect.models import find_model
from analect.padding import BATCH_TOKENS, in_lanes, padded_length
from analect.types import Embeddings, Kind, Matrix, Metadata, Vector

_CODED = 16  # tokens from which int8 keeps a cosine of 0.999 to float32; over few tokens its errors do not average out
_WEIGHTS = ".safetensors"


class LocalEmbedder:
    """Embeds with a model folder on this machine: no account, no network, nothing leaves.

    `model` is a folder, a known name or a hub repository; its weights are safetensors, or else the graph of an OpenVINO
    IR or an ONNX file. `on_overflow` says what happens to a text of more than
    `max_tokens` tokens: "error" makes it a failure that names the count, "truncate" cuts it and marks it in `cut`.
    `precision` is what the CPU computes in: "auto" takes bf16 where it is native (its vectors agree with float32 to a
    cosine of 0.9999), int8 where only that is (for texts of 16 tokens and more, to 0.999; the id says so), and float32
    elsewhere. `query_prefix` and `document_prefix` stand before every text of that kind;
    they default to the prompts in the model folder. Raises `ModelError` when the model is not there or its weights are
    not the pinned ones.
    """

    def __init__(
        self,
        *,
        model: str = "all-MiniLM-L6-v2",
        on_overflow: Literal["error", "truncate"] = "error",
        precision: Literal["auto", "bf16", "f32", "int8"] = "auto",
        query_prefix: str | None = None,
        document_prefix: str | None = None,
    ) -> None:
        if on_overflow not in ("error", "truncate"):
            raise ConfigError(f"on_overflow is {on_overflow!r}: write 'error' or 'truncate'")
        if precision not in ("auto", "bf16", "f32", "int8"):
            raise ConfigError(f"precision is {precision!r}: write 'auto', 'bf16', 'f32' or 'int8'")
        self._files = find_model(model)
        has_weights = self._files.weights.suffix == _WEIGHTS
        if precision == "int8" and not has_weights:
            raise ConfigError(f"precision is 'int8': {self._files.weights} is a graph, and runs as it is written")
        if precision == "auto" and has_weights and codes_fastest():
            precision = "int8"
        self._config = BertConfig.read(self._files.folder)
        self._truncate = on_overflow == "truncate"
        self._precision = precision
        self._prefixes = read_prefixes(self.folder)
        for kind, prefix in (("query", query_prefix), ("document", document_prefix)):
            if prefix is not None:
                self._prefixes[kind] = prefix
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self.dim = self._config.hidden
        self.max_tokens = self._config.max_tokens
        self.id = f"{self._files.name}@{self._files.sha256[:12]}/{self.dim}/{self._config.pooling}"
        if precision == "int8":
            self.id += "/int8"
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

    @property
    def precision(self) -> Literal["bf16", "f32", "int8"]:
        """What the CPU computes in."""
        return "int8" if self._precision == "int8" else self._floating

    def counters(self) -> Metadata:
        """Return the precision, the `streams` that share many texts, and what ran: `texts` and their `tokens`, in how
        many `batches` of how many tokens with padding; `alone` counts batches of one text, on all cores."""
        with self._lock:
            counts = {name: self._counts[name] for name in ("texts", "tokens", "batches", "padded_tokens", "alone")}
        return {"precision": self.precision, "streams": cores(), "threads": cores(), **counts}

    def _count(self, encodings: Ids, *, alone: bool) -> None:
        tokens, padded = sum(map(len, encodings)), len(encodings) * self._runs(encodings[0]).width(encodings)
        with self._lock:
            self._counts.update(texts=len(encodings), tokens=tokens, batches=1, padded_tokens=padded, alone=int(alone))

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
        """Return one unit vector an encoding, none over `max_tokens`, in one run of the model on this thread (in two
        with int8, where some are short and some are not).

        An urgent run takes every core when nothing else is running, and otherwise one thread beside what runs: it waits
        for another urgent one at most.
        """
        kinds = self._by_kind(encodings)
        if len(kinds) == 1:
            return self._run_once(encodings, urgent=urgent)
        vectors = np.empty((len(encodings), self.dim), dtype=np.float32)
        for rows in kinds:
            vectors[rows] = self._run_once([encodings[row] for row in rows], urgent=urgent)
        return vectors

    def cross_encode(self, question: str, texts: Sequence[tuple[str, str]]) -> Vector | None:
        """Return for each (text, what it stands under) how surely it answers, in log odds: float32 (n,).

        None when this is not the default model: the change of weights by which it reads is to that one's.
        """
        encoder = self._cross_encoder
        return None if encoder is None else encoder.read(question, texts)

    def _run_once(self, encodings: Ids, *, urgent: bool) -> Matrix:
        runs = self._runs(encodings[0])
        alone = urgent and self._float.idle and self._coded.idle
        vectors = runs.urgent(encodings, alone=alone) if urgent else runs.many(encodings)
        self._count(encodings, alone=alone)
        return vectors

    def _by_kind(self, encodings: Ids) -> list[list[int]]:
        """Return the rows that may run together."""
        kinds: dict[bool, list[int]] = {}
        for row, ids in enumerate(encodings):
            kinds.setdefault(self._is_coded(ids), []).append(row)
        return list(kinds.values())

    def _is_coded(self, ids: Sequence[int]) -> bool:
        """Tell whether a text is computed in int8: that is by its own length, never by its company."""
        return self._precision == "int8" and len(ids) >= _CODED

    def _runs(self, ids: Sequence[int]) -> Runs:
        return self._coded if self._is_coded(ids) else self._float

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
            out[rows] = self._runs(encodings[0]).alone(encodings)
            self._count(encodings, alone=True)
            return

        def run(batch: list[int]) -> None:
            out[[rows[index] for index in batch]] = self._run_once([encodings[index] for index in batch], urgent=False)

        lengths = list(map(len, encodings))
        batches = [batch for kind in self._by_kind(encodings) for batch in _batches(kind, lengths=lengths)]
        for _ in self._pool.map(run, batches):
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
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(cores(), thread_name_prefix="analect-embed")

    @cached_property
    def _float(self) -> Runs:
        return Runs(self._model, build_many=lambda: self._model(widened=True), precision=self._floating)

    @cached_property
    def _coded(self) -> Runs:
        grouped = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": str(GROUP)}
        # Where two runs add the same numbers in another order, one may round to another code, and all after it differs.
        return Runs(lambda: self._model(coded=True), precision=self._floating, settings=grouped, padded=in_lanes)

    @cached_property
    def _cross_encoder(self) -> CrossEncoder | None:
        if self.sha256 != BASE:
            return None
        return CrossEncoder(self._config, weights=self._arrays, tokenizer=self._tokenizer, precision=self._floating)

    @cached_property
    def _floating(self) -> Literal["bf16", "f32"]:
        """What the CPU computes in, or with int8, what it does not code."""
        if self._precision in ("bf16", "f32"):
            return self._precision
        native = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return "bf16" if "BF16" in native else "f32"

    def _model(self, *, coded: bool = False, widened: bool = False) -> Any:
        weights = self._files.weights
        if weights.suffix != _WEIGHTS:
            return read_graph(weights, config=self._config)
        return build_model(self._config, self._arrays, coded=coded, widened=widened)

    @cached_property
    def _arrays(self) -> dict[str, NDArray[np.float32]]:
        """The arrays of the weights, read once: every model is built over the same memory."""
        from safetensors.numpy import load_file  # noqa: PLC0415

        return load_file(self._files.weights)


def _counts(encodings: list[list[int]]) -> NDArray[np.int32]:
    return np.fromiter(map(len, encodings), dtype=np.int32, count=len(encodings))


def _batches(indexes: list[int], *, lengths: list[int]) -> list[list[int]]:
    """Return those indexes in groups of like lengths, longest first, each within the token budget once padded."""
    groups: list[list[int]] = []
    width = 0
    for index in sorted(indexes, key=lambda index: -lengths[index]):
        if not groups or (len(groups[-1]) + 1) * width > BATCH_TOKENS:
            groups.append([])
            width = padded_length(lengths[index])
        groups[-1].append(index)
    return groups

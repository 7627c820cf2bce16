"""The BERT forward pass as an OpenVINO graph, built straight from the weights: no torch, no export.

Devlin et al. 2019, "BERT", section 3, with the pooling of Reimers & Gurevych 2019, "Sentence-BERT", section 3, and L2
normalisation. Token types are all zero here, so their embedding is folded into the positions', and the attention scale
into the query weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analect.engine import import_openvino
from analect.errors import ModelError
from analect.padding import LANES

GROUP = 128
"""Weights, and numbers of a layer's input, that share a scale in int8."""

_MASKED = np.float32(-1e4)  # far below any attention score, and within the range of bf16 and fp16


@dataclass(frozen=True, slots=True)
class BertConfig:
    """The shape of a BERT encoder and of its pooling, as the model folder states it."""

    layers: int
    heads: int
    hidden: int
    positions: int
    epsilon: float
    max_tokens: int
    pooling: str

    @classmethod
    def read(cls, folder: Path) -> BertConfig:
        """Read `config.json`, `sentence_bert_config.json` and `1_Pooling/config.json`. Raises `ModelError`."""
        config = read_json(folder / "config.json")
        kind, activation = config.get("model_type"), config.get("hidden_act")
        if kind != "bert" or activation != "gelu":
            raise ModelError(f"{folder} holds a {kind!r} model with {activation!r}; analect runs BERT with gelu")
        positions = int(config["max_position_embeddings"])
        limit = positions
        if (folder / "sentence_bert_config.json").exists():
            limit = int(read_json(folder / "sentence_bert_config.json").get("max_seq_length") or positions)
        _check_modules(folder)
        return cls(
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            hidden=int(config["hidden_size"]),
            positions=positions,
            epsilon=float(config["layer_norm_eps"]),
            max_tokens=min(limit, positions),
            pooling=_read_pooling(folder),
        )


def _check_modules(folder: Path) -> None:
    """Raise `ModelError` for a model that does something to its vectors that analect does not."""
    path = folder / "modules.json"
    modules = _read(path) if path.exists() else []
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules if isinstance(module, dict)]
    if others := [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]:
        raise ModelError(f"{path} asks for a {others[0]} module; analect runs Transformer, Pooling and Normalize")


def read_prefixes(folder: Path) -> dict[str, str]:
    """Return what the model wants before a "query" and before a "document", as the folder's prompts state it."""
    path = folder / "config_sentence_transformers.json"
    prompts = read_json(path).get("prompts") or {} if path.exists() else {}
    documents = next((prompts[name] for name in ("document", "passage") if prompts.get(name)), "")
    return {"query": str(prompts.get("query") or ""), "document": str(documents)}


def _read_pooling(folder: Path) -> str:
    path = folder / "1_Pooling" / "config.json"
    if not path.exists():
        return "mean"
    config = read_json(path)
    chosen = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    if len(chosen) != 1 or chosen[0] not in known:
        raise ModelError(f"{path} asks for {', '.join(chosen) or 'no pooling'}; analect pools by mean or by cls")
    return known[chosen[0]]


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a model's file. Raises `ModelError` when it is not there or is none."""
    found = _read(path)
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds no JSON object")
    return found


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"the model lacks {path}: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}") from error


def build_model(
    config: BertConfig, weights: Mapping[str, NDArray[np.float32]], *, coded: bool = False, widened: bool = False
) -> Any:
    """Return an `openvino.Model`: `ids` and `mask` int32 (n, length) → float32 (n, hidden), unit L2 norm.

    `widened` fills up the keys and values of each attention, and nothing else, to whole registers: what is left over
    takes the engine's softmax a number at a time, up to a tenth of a run. It pays for many texts, not for one.

    `coded` keeps the weights of linear layers in int8, one scale to `GROUP` of them: with the setting
    DYNAMIC_QUANTIZATION_GROUP_SIZE what comes in is coded likewise, and they are multiplied so. Not those of the
    attention's values, which cost as much agreement with float32 as all others together.
    """
    return (_Coded if coded else _Builder)(config, weights, widened=widened).build()


def pooled(op: Any, states: Any, kept: Any, *, pooling: str) -> Any:
    """Return the node of unit vectors (n, hidden) of the tokens' states (n, length, hidden) that `kept` (n, length)
    marks with 1; `pooling` is "mean" or "cls"."""
    if pooling == "cls":
        return unit(op, op.gather(states, np.int64(0), np.int64(1)))
    column = op.unsqueeze(kept, np.array([2]))
    total = op.reduce_sum(op.multiply(states, column), np.array([1]))
    return unit(op, op.divide(total, op.reduce_sum(column, np.array([1]))))


def unit(op: Any, vectors: Any) -> Any:
    """Return the node of the vectors (n, hidden) at length 1."""
    return op.normalize_l2(vectors, np.array([1]), 1e-12, "max")


class _Builder:
    """Keeps what every layer of the graph needs: the operators, the weights and the shape."""

    def __init__(self, config: BertConfig, weights: Mapping[str, NDArray[np.float32]], *, widened: bool) -> None:
        self._openvino = import_openvino()
        self._op = self._openvino.opset13
        self._config = config
        self._weights = weights
        self._widened = widened

    def build(self) -> Any:
        op = self._op
        ids = op.parameter([-1, -1], np.int32, name="ids")
        mask = op.parameter([-1, -1], np.int32, name="mask")
        kept = op.convert(mask, "f32")
        bias = op.multiply(op.subtract(np.float32(1), op.unsqueeze(kept, np.array([1, 2]))), _MASKED)
        self._fill = self._missing(ids)
        bias = self._wide(bias, axis=3, value=_MASKED)
        states = self._embed(ids)
        for layer in range(self._config.layers):
            states = self._layer(states, bias, prefix=f"encoder.layer.{layer}.")
        vectors = pooled(op, states, kept, pooling=self._config.pooling)
        return self._openvino.Model([vectors], [ids, mask], "bert")

    def _missing(self, ids: Any) -> Any:
        """Return the node of the number (1,) that makes the length of the texts a multiple of `LANES`."""
        op, lanes = self._op, np.array([LANES])
        length = self._length(ids)
        whole = op.multiply(op.divide(op.add(length, lanes - 1), lanes), lanes)
        return op.subtract(whole, length)

    def _length(self, ids: Any) -> Any:
        op = self._op
        return op.gather(op.shape_of(ids), np.array([1]), np.int64(0))

    def _wide(self, node: Any, *, axis: int, value: np.float32) -> Any:
        """Return the node filled up along the axis of the keys, where the model is widened."""
        if not self._widened:
            return node
        op, rank = self._op, len(node.get_output_partial_shape(0))
        ends = op.multiply(np.eye(rank, dtype=np.int64)[axis], self._fill)
        return op.pad(node, np.zeros(rank, dtype=np.int64), ends, "constant", value)

    def _embed(self, ids: Any) -> Any:
        op = self._op
        words = op.gather(self._constant(self._weight("embeddings.word_embeddings.weight")), ids, np.int64(0))
        places = self._weight("embeddings.position_embeddings.weight")
        places = places + self._weight("embeddings.token_type_embeddings.weight")[0]
        first = op.slice(self._constant(places), np.array([0]), self._length(ids), np.array([1]), np.array([0]))
        return self._norm(op.add(words, first), "embeddings.LayerNorm.")

    def _layer(self, states: Any, bias: Any, *, prefix: str) -> Any:
        op = self._op
        attended = self._linear(
            self._attend(states, bias, prefix + "attention.self."), prefix + "attention.output.dense."
        )
        states = self._norm(op.add(states, attended), prefix + "attention.output.LayerNorm.")
        inner = op.gelu(self._linear(states, prefix + "intermediate.dense."), "erf")
        return self._norm(op.add(states, self._linear(inner, prefix + "output.dense.")), prefix + "output.LayerNorm.")

    def _attend(self, states: Any, bias: Any, prefix: str) -> Any:
        op, heads = self._op, self._config.heads
        size = self._config.hidden // heads

        def split(linear: Any) -> Any:
            return op.transpose(op.reshape(linear, np.array([0, 0, heads, size]), True), np.array([0, 2, 1, 3]))

        queries = self._linear(states, prefix + "query.", scale=1 / math.sqrt(size))
        keys, values = (
            self._wide(self._linear(states, f"{prefix}{name}."), axis=1, value=np.float32(0))
            for name in ("key", "value")
        )
        scores = op.matmul(split(queries), split(keys), False, True)
        weighed = op.matmul(op.softmax(op.add(scores, bias), -1), split(values), False, False)
        return op.reshape(op.transpose(weighed, np.array([0, 2, 1, 3])), np.array([0, 0, heads * size]), True)

    def _linear(self, states: Any, prefix: str, *, scale: float = 1.0) -> Any:
        op = self._op
        weight, bias = self._weight(prefix + "weight"), self._weight(prefix + "bias")
        if scale != 1.0:
            weight, bias = weight * np.float32(scale), bias * np.float32(scale)
        return op.add(op.matmul(states, self._weights_of(prefix, weight), False, True), self._constant(bias))

    def _weights_of(self, prefix: str, weight: NDArray[np.float32]) -> Any:  # noqa: ARG002  # the coded ones differ by layer
        return self._constant(weight)

    def _norm(self, states: Any, prefix: str) -> Any:
        op = self._op
        normal = op.mvn(states, np.array([-1]), True, self._config.epsilon, "inside_sqrt")
        scale, shift = self._weight(prefix + "weight"), self._weight(prefix + "bias")
        return op.add(op.multiply(normal, self._constant(scale)), self._constant(shift))

    def _constant(self, values: NDArray[np.float32]) -> Any:
        """A node over the array's own memory: handing plain arrays to operators copies them element by element."""
        return self._op.constant(values, shared_memory=True)

    def _weight(self, name: str) -> NDArray[np.float32]:
        for candidate in (name, "bert." + name):
            if candidate in self._weights:
                return self._weights[candidate]
        raise ModelError(f"the weights lack {name!r}: this is not a BERT encoder that analect can run")


class _Coded(_Builder):
    """Has the weights of linear layers in int8."""

    def _weights_of(self, prefix: str, weight: NDArray[np.float32]) -> Any:
        rows, columns = weight.shape
        if columns % GROUP or prefix.endswith("attention.self.value."):
            return super()._weights_of(prefix, weight)
        op = self._op
        grouped = weight.reshape(rows, columns // GROUP, GROUP)
        scales = np.maximum(np.abs(grouped).max(axis=2, keepdims=True), np.float32(1e-30)) / np.float32(127)
        codes = np.rint(grouped / scales).astype(np.int8)
        decoded = op.multiply(op.convert(self._constant(codes), "f32"), self._constant(scales))
        return op.reshape(decoded, np.array([rows, columns]), False)

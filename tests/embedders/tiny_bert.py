"""A tiny BERT of random weights in a Sentence-Transformers folder, and its forward pass written out in numpy."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from analect.engine import import_openvino

WORDS = "the garden river seat ride long night lamp query passage : a b c d e f g h".split()
HIDDEN, HEADS, LAYERS, INNER, POSITIONS, LIMIT = 32, 4, 2, 64, 48, 24


def write(
    folder: Path, *, pooling: str, prompts: dict[str, str] | None = None, prefix: str = ""
) -> dict[str, np.ndarray]:
    """Write the folder and return the weights."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(3)
    weights = {}

    def add(name: str, *shape: int, around: float = 0.0) -> None:
        weights[name] = (around + 0.3 * chance.standard_normal(shape)).astype(np.float32)

    add("embeddings.word_embeddings.weight", len(WORDS) + 4, HIDDEN)
    add("embeddings.position_embeddings.weight", POSITIONS, HIDDEN)
    add("embeddings.token_type_embeddings.weight", 2, HIDDEN)
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        base = f"encoder.layer.{layer}."
        linears = {f"attention.self.{name}": (HIDDEN, HIDDEN) for name in ("query", "key", "value")}
        linears |= {"attention.output.dense": (HIDDEN, HIDDEN), "intermediate.dense": (INNER, HIDDEN)}
        linears |= {"output.dense": (HIDDEN, INNER)}
        for name, shape in linears.items():
            add(f"{base}{name}.weight", *shape)
            add(f"{base}{name}.bias", shape[0])
        norms += [f"{base}attention.output.LayerNorm", f"{base}output.LayerNorm"]
    for name in norms:
        add(f"{name}.weight", HIDDEN, around=1.0)
        add(f"{name}.bias", HIDDEN)
    save_file({prefix + name: value for name, value in weights.items()}, folder / "model.safetensors")
    config = {"model_type": "bert", "hidden_act": "gelu", "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    config |= {"hidden_size": HIDDEN, "max_position_embeddings": POSITIONS, "layer_norm_eps": 1e-12}
    _write_json(folder / "config.json", config)
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": LIMIT})
    (folder / "1_Pooling").mkdir()
    _write_json(
        folder / "1_Pooling" / "config.json", {f"pooling_mode_{pooling}": True, "pooling_mode_max_tokens": False}
    )
    if prompts:
        _write_json(folder / "config_sentence_transformers.json", {"prompts": prompts})
    tokenizer().save(str(folder / "tokenizer.json"))
    return weights


def weights_of(folder: Path) -> dict[str, np.ndarray]:
    """Return the weights that `write` put there."""
    return load_file(folder / "model.safetensors")


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def tokenizer() -> Tokenizer:
    """Return a tokenizer of whole words between [CLS] and [SEP]."""
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


def forward(weights: dict[str, np.ndarray], text: str, *, pooling: str) -> np.ndarray:
    """Return the unit vector of one text in float64."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}

    def linear(states: np.ndarray, name: str) -> np.ndarray:
        return states @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(states: np.ndarray, name: str) -> np.ndarray:
        centred = states - states.mean(axis=1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-12)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    ids = tokenizer().encode(text).ids
    states = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    states = norm(states + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(LAYERS):
        base = f"encoder.layer.{layer}."
        q, k, v = (linear(states, f"{base}attention.self.{name}") for name in ("query", "key", "value"))
        size, parts = HIDDEN // HEADS, []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            scores = np.exp(q[:, part] @ k[:, part].T / math.sqrt(size))
            parts.append(scores / scores.sum(axis=1, keepdims=True) @ v[:, part])
        attended = linear(np.hstack(parts), f"{base}attention.output.dense")
        states = norm(states + attended, f"{base}attention.output.LayerNorm")
        inner = linear(states, f"{base}intermediate.dense")
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        states = norm(states + linear(inner, f"{base}output.dense"), f"{base}output.LayerNorm")
    pooled = states[0] if pooling == "cls_token" else states.mean(axis=0)
    return pooled / np.linalg.norm(pooled)


def as_graph(folder: Path, place: str, *, types: bool = True, output: str = "last_hidden_state") -> None:
    """Put an ONNX file or OpenVINO IR with the model's graph at `place` in its folder, where the safetensors were.

    Without `types` the graph takes no token types. An output called "sentence_embedding" is pooled by the mean.
    """
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    path = folder / place
    path.parent.mkdir(exist_ok=True)
    model = onnx_model(weights, types=types, output=output)
    if path.suffix == ".onnx":
        onnx.save(model, path)
    else:
        openvino = import_openvino()
        onnx.save(model, folder / "temporary.onnx")
        openvino.save_model(openvino.Core().read_model(folder / "temporary.onnx"), path, compress_to_fp16=False)
        (folder / "temporary.onnx").unlink()


def onnx_model(weights: dict[str, np.ndarray], *, types: bool, output: str) -> onnx.ModelProto:
    """Return the encoder as an exporter would write it."""
    nodes: list[onnx.NodeProto] = []
    constants = {name: value.T if value.ndim == 2 and "layer" in name else value for name, value in weights.items()}

    def node(kind: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [f"n{len(nodes)}"], **attributes))
        return f"n{len(nodes) - 1}"

    def const(name: str, value: object, kind: type = np.int64) -> str:
        constants[name] = np.array(value, dtype=kind)
        return name

    def linear(states: str, name: str) -> str:
        return node("Add", node("MatMul", states, f"{name}.weight"), f"{name}.bias")

    def norm(states: str, name: str) -> str:
        return node("LayerNormalization", states, f"{name}.weight", f"{name}.bias", axis=-1, epsilon=1e-12)

    def split(states: str) -> str:
        shaped = node("Reshape", states, const("heads", [0, 0, HEADS, HIDDEN // HEADS]))
        return node("Transpose", shaped, perm=[0, 2, 1, 3])

    length = node("Slice", node("Shape", "input_ids"), const("one", [1]), const("two", [2]))
    places = node("Slice", "embeddings.position_embeddings.weight", const("nought", [0]), length, "nought")
    segments = (
        node("Gather", "embeddings.token_type_embeddings.weight", "token_type_ids")
        if types
        else node("Gather", "embeddings.token_type_embeddings.weight", const("first", 0))
    )
    words = node("Gather", "embeddings.word_embeddings.weight", "input_ids")
    states = norm(node("Add", node("Add", words, places), segments), "embeddings.LayerNorm")
    kept = node("Cast", "attention_mask", to=onnx.TensorProto.FLOAT)
    absent = node("Sub", const("1", 1, np.float32), node("Unsqueeze", kept, const("axes", [1, 2])))
    bias = node("Mul", absent, const("far", -1e4, np.float32))
    for layer in range(LAYERS):
        base = f"encoder.layer.{layer}."
        q, k, v = (split(linear(states, f"{base}attention.self.{name}")) for name in ("query", "key", "value"))
        scores = node("MatMul", q, node("Transpose", k, perm=[0, 1, 3, 2]))
        scaled = node("Div", scores, const("root", math.sqrt(HIDDEN // HEADS), np.float32))
        weighed = node("MatMul", node("Softmax", node("Add", scaled, bias), axis=-1), v)
        joined = node("Reshape", node("Transpose", weighed, perm=[0, 2, 1, 3]), const("joined", [0, 0, HIDDEN]))
        attended = linear(joined, f"{base}attention.output.dense")
        states = norm(node("Add", states, attended), f"{base}attention.output.LayerNorm")
        inner = linear(states, f"{base}intermediate.dense")
        erf = node("Erf", node("Div", inner, const("sqrt2", math.sqrt(2), np.float32)))
        gelu = node("Mul", node("Mul", inner, node("Add", erf, "1")), const("half", 0.5, np.float32))
        states = norm(node("Add", states, linear(gelu, f"{base}output.dense")), f"{base}output.LayerNorm")
    shape: list[object] = ["n", "length", HIDDEN]
    if output == "sentence_embedding":
        column = node("Unsqueeze", kept, "two")
        total = node("ReduceSum", node("Mul", states, column), "one", keepdims=0)
        states, shape = node("Div", total, node("ReduceSum", column, "one", keepdims=0)), ["n", HIDDEN]
    nodes.append(helper.make_node("Identity", [states], [output]))
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["n", "length"]) for name in inputs],
        [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

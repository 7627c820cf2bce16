"""A tiny BERT of random weights in a Sentence-Transformers folder, and its forward pass written out in numpy."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

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

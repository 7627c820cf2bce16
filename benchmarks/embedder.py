"""Texts in, vectors out, beside every peer in one run: `make bench`.

400 food reviews of 20 to 250 tokens; every contestant gets strings and gives vectors, tokenisation included, on all
cores, in length-sorted batches. The limit is what this machine multiplies in bf16 at the model's own shapes.
"""

from __future__ import annotations

import csv
import os
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import results_file as results
from gemm import flops_a_token, gemm_limit

from analect.embedders.local import LocalEmbedder

QUERY = "seat for long rides"
RUNS = 5
Contestant = Callable[[list[str]], np.ndarray]


def texts_of(embedder: LocalEmbedder) -> list[str]:
    rows = csv.DictReader((results.DATA / "fine_food_reviews_1k.csv").read_text().splitlines(keepends=True))
    texts = [f"Title: {row['Summary']}; Content: {row['Text']}" for row in rows]
    return [text for text, count in zip(texts, embedder.count_tokens(texts), strict=True) if 20 <= count <= 250][:400]


def ours(embedder: LocalEmbedder) -> Contestant:
    return lambda texts: embedder.embed(texts, kind="query" if len(texts) == 1 else "document").vectors


def sentence_transformers(folder: Path, *, bf16: bool) -> Contestant:
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.bfloat16} if bf16 else {})
    return lambda texts: model.encode(texts, batch_size=32, normalize_embeddings=True).astype(np.float32)


def onnx_file(folder: Path, *, into: Path) -> Path:
    """Export the model once, with torch."""
    import warnings

    import torch
    from transformers import AutoModel

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

        def forward(self, ids: Any, mask: Any) -> Any:
            return self.model(input_ids=ids, attention_mask=mask).last_hidden_state

    names = ["ids", "mask", "states"]
    example = (torch.ones((2, 16), dtype=torch.int64), torch.ones((2, 16), dtype=torch.int64))
    axes = {name: {0: "n", 1: "length"} for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Encoder(), example, str(into / "model.onnx"), input_names=names[:2], output_names=names[2:],
            dynamic_axes=axes, dynamo=False, opset_version=17,
        )  # fmt: skip
    return into / "model.onnx"


def onnxruntime(path: Path, tokenizer_file: Path) -> Contestant:
    import onnxruntime as ort
    from tokenizers import Tokenizer

    options = ort.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()

    def embed(texts: list[str]) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        vectors = np.empty((len(texts), 384), dtype=np.float32)
        for start in range(0, len(order), 32):
            places = order[start : start + 32]
            encodings = tokenizer.encode_batch([texts[place] for place in places])
            ids = np.array([each.ids for each in encodings], dtype=np.int64)
            mask = np.array([each.attention_mask for each in encodings], dtype=np.int64)
            states = session.run(None, {"ids": ids, "mask": mask})[0]
            pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
            vectors[places] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return vectors

    return embed


def contestants(embedder: LocalEmbedder, folder: Path) -> dict[str, Contestant]:
    from onnxruntime.quantization import quantize_dynamic

    plain = onnx_file(embedder.folder, into=folder)
    quantize_dynamic(str(plain), str(folder / "int8.onnx"), per_channel=True)
    tokenizer = embedder.folder / "tokenizer.json"
    return {
        "analect": ours(embedder),
        "analect int8": ours(LocalEmbedder(precision="int8")),
        "sentence-transformers fp32": sentence_transformers(embedder.folder, bf16=False),
        "sentence-transformers bf16": sentence_transformers(embedder.folder, bf16=True),
        "onnxruntime fp32": onnxruntime(plain, tokenizer),
        "onnxruntime int8": onnxruntime(folder / "int8.onnx", tokenizer),
    }


def main() -> None:
    embedder = LocalEmbedder()
    texts = texts_of(embedder)
    lengths = embedder.count_tokens(texts).astype(np.float64)
    tokens = float(lengths.sum())
    with tempfile.TemporaryDirectory() as folder:
        field = contestants(embedder, Path(folder))
        vectors = {name: embed(texts) for name, embed in field.items()}
        many = {name: partial(embed, texts) for name, embed in field.items()}
        one = {name: partial(embed, [QUERY]) for name, embed in field.items()}
        spent = results.seconds_in_turns(many, turns=RUNS, runs=1, warm=0)
        waited = results.seconds_in_turns(one, turns=RUNS, runs=50, warm=10)
        limit = gemm_limit()
    exact = vectors["sentence-transformers fp32"]
    queries = {name: statistics.median(times) for name, times in waited.items()}
    rate = {name: tokens / statistics.median(times) for name, times in spent.items()}
    share = rate["analect"] * flops_a_token(lengths) / (limit * 1e9)
    print(f"{len(texts)} texts, {lengths.mean():.0f} tokens on average; bf16 GEMM limit {limit:.0f} GFLOP/s")
    rows = {}
    for name in field:
        cosines = (vectors[name] * exact).sum(axis=1) / np.linalg.norm(vectors[name], axis=1)
        rows[name] = {
            "tokens_per_s": rate[name],
            "analect_is_times_faster": rate["analect"] / rate[name],
            "analect_int8_is_times_faster": rate["analect int8"] / rate[name],
            "query_p50_ms": queries[name] * 1e3,
            "query_times_slower_than_analect": queries[name] / queries["analect"],
            "cosine_to_fp32_mean": float(cosines.mean()),
            "cosine_to_fp32_min": float(cosines.min()),
        }
        print(
            f"{name:28} {rate[name]:8.0f} tokens/s  analect is {rate['analect'] / rate[name]:5.2f} times it, "
            f"in int8 {rate['analect int8'] / rate[name]:5.2f}   "
            f"query {queries[name] * 1e3:6.2f} ms ({queries[name] / queries['analect']:5.2f})   "
            f"cosine {cosines.mean():.5f} / {cosines.min():.5f}"
        )
    print(f"analect uses {share:.0%} of the GEMM limit")
    results.write("embedder", {"texts": len(texts), "gemm_gflops": limit, "share_of_limit": share, "rows": rows})


if __name__ == "__main__":
    main()

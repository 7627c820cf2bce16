"""Any BERT folder runs as its own configuration says: checked against a forward pass of its own in numpy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_bert

from analect.embedders.local import LocalEmbedder
from analect.errors import ConfigError, ModelError

TEXTS = ["the garden", "a long ride in the night", "lamp", "the river a b c d e f g h the seat", "unheard words"]


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
@pytest.mark.parametrize("prefix", ["", "bert."])
def test_vectors_are_those_of_the_paper(tmp_path: Path, pooling: str, prefix: str) -> None:
    weights = tiny_bert.write(tmp_path / "tiny", pooling=pooling, prefix=prefix)
    for precision, least in (("f32", 0.99999), ("bf16", 0.998)):
        found = LocalEmbedder(model=str(tmp_path / "tiny"), precision=precision).embed(TEXTS, kind="document")  # type: ignore[arg-type]
        expected = np.array([tiny_bert.forward(weights, text, pooling=pooling) for text in TEXTS])
        assert (found.vectors * expected).sum(axis=1).min() >= least


def test_prompts_of_the_folder_stand_before_the_texts(tmp_path: Path) -> None:
    prompts = {"query": "query : ", "passage": "passage : "}
    weights = tiny_bert.write(tmp_path / "tiny", pooling="mean_tokens", prompts=prompts)
    embedder = LocalEmbedder(model=str(tmp_path / "tiny"), precision="f32")
    for kind, prompt in (("query", "query : "), ("document", "passage : ")):
        (vector,) = embedder.embed(["the seat"], kind=kind).vectors  # type: ignore[arg-type]
        assert vector @ tiny_bert.forward(weights, f"{prompt}the seat", pooling="mean_tokens") >= 0.99999
    assert embedder.count_tokens(["the seat"]).tolist() == [6]
    plain = LocalEmbedder(model=str(tmp_path / "tiny"), query_prefix="", document_prefix="")
    assert plain.count_tokens(["the seat"]).tolist() == [4]
    assert plain.id != embedder.id  # another space
    assert embedder.embed([""], kind="query").failures == {0: "the text is empty"}


def test_the_limit_is_that_of_the_folder(tmp_path: Path) -> None:
    tiny_bert.write(tmp_path / "tiny", pooling="mean_tokens")
    embedder = LocalEmbedder(model=str(tmp_path / "tiny"))
    assert embedder.max_tokens == tiny_bert.LIMIT
    assert embedder.dim == tiny_bert.HIDDEN


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", {"model_type": "roberta", "hidden_act": "gelu"}, "'roberta' model"),
        ("config.json", [], "no JSON object"),
        ("1_Pooling/config.json", {"pooling_mode_weightedmean_tokens": True}, "pools by mean or by cls"),
        ("tokenizer.json", {"model": 5}, "is not a tokenizer"),
    ],
)
def test_what_cannot_be_run_is_named(tmp_path: Path, file: str, content: object, message: str) -> None:
    tiny_bert.write(tmp_path / "tiny", pooling="mean_tokens")
    (tmp_path / "tiny" / file).write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message):
        LocalEmbedder(model=str(tmp_path / "tiny")).embed(["a"], kind="query")


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="precision is 'int4'"):
        LocalEmbedder(precision="int4")  # type: ignore[arg-type]

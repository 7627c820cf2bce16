"""Any BERT folder runs as its own configuration says: checked against a forward pass of its own in numpy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
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


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_a_text_has_one_vector_whatever_its_length_leaves_of_a_register(tmp_path: Path, precision: str) -> None:
    """Many texts run in a graph whose keys are filled up to whole registers, one text in one that is as long as it."""
    weights = tiny_bert.write(tmp_path / "tiny", pooling="mean_tokens")
    embedder = LocalEmbedder(model=str(tmp_path / "tiny"), precision=precision)  # type: ignore[arg-type]
    for words in range(1, 20):
        text = " ".join(("the garden seat river lamp ride night a b c d e f g h long in".split() * 2)[:words])
        many = embedder.embed([text, text, "lamp"], kind="document").vectors
        (alone,) = embedder.embed([text], kind="document").vectors
        assert np.abs(many[0] - many[1]).max() == 0
        assert many[0] @ alone >= 0.9999
        assert alone @ tiny_bert.forward(weights, text, pooling="mean_tokens") >= (
            0.99999 if precision == "f32" else 0.998
        )


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
        ("modules.json", [{"type": "sentence_transformers.models.Dense"}], "asks for a Dense module"),
    ],
)
def test_what_cannot_be_run_is_named(tmp_path: Path, file: str, content: object, message: str) -> None:
    tiny_bert.write(tmp_path / "tiny", pooling="mean_tokens")
    (tmp_path / "tiny" / file).write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message):
        LocalEmbedder(model=str(tmp_path / "tiny")).embed(["a"], kind="query")


GRAPHS = ["onnx/model.onnx", "model.onnx", "openvino/openvino_model.xml", "openvino/other.xml", "own.xml"]


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
@pytest.mark.parametrize("place", GRAPHS)
def test_a_graph_gives_the_vectors_of_the_weights(tmp_path: Path, place: str, pooling: str) -> None:
    tiny_bert.write(tmp_path / "tiny", pooling=pooling)
    expected = LocalEmbedder(model=str(tmp_path / "tiny"), precision="f32")
    vectors = expected.embed(TEXTS, kind="document").vectors
    tiny_bert.as_graph(tmp_path / "tiny", place)
    embedder = LocalEmbedder(model=str(tmp_path / "tiny"), precision="f32")
    found = embedder.embed(TEXTS, kind="document").vectors
    assert (found * vectors).sum(axis=1).min() >= 0.9999
    (alone,) = embedder.embed(TEXTS[:1], kind="query").vectors
    assert alone @ vectors[0] >= 0.9999
    assert embedder.id != expected.id  # other files, another space
    assert embedder.dim == expected.dim


def test_a_graph_is_not_made_int8(tmp_path: Path) -> None:
    tiny_bert.write(tmp_path / "tiny", pooling="mean_tokens")
    tiny_bert.as_graph(tmp_path / "tiny", "onnx/model.onnx")
    with pytest.raises(ConfigError, match=r"model\.onnx is a graph, and runs as it is written"):
        LocalEmbedder(model=str(tmp_path / "tiny"), precision="int8")


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
def test_layers_that_groups_do_not_fit_stay_as_they_are(tmp_path: Path, pooling: str) -> None:
    weights = tiny_bert.write(tmp_path / "tiny", pooling=pooling)
    texts = ["the garden river seat ride long night lamp " * 2]  # enough for int8
    found = LocalEmbedder(model=str(tmp_path / "tiny"), precision="int8").embed(texts, kind="document").vectors
    assert found[0] @ tiny_bert.forward(weights, texts[0], pooling=pooling) >= 0.998


@pytest.mark.parametrize(
    ("types", "output"), [(False, "token_embeddings"), (True, "sentence_embedding"), (False, "sentence_embedding")]
)
def test_exporters_name_inputs_and_outputs_their_own_way(tmp_path: Path, types: bool, output: str) -> None:
    weights = tiny_bert.write(tmp_path / "tiny", pooling="mean_tokens")
    tiny_bert.as_graph(tmp_path / "tiny", "onnx/model.onnx", types=types, output=output)
    found = LocalEmbedder(model=str(tmp_path / "tiny"), precision="f32").embed(TEXTS, kind="document").vectors
    expected = np.array([tiny_bert.forward(weights, text, pooling="mean_tokens") for text in TEXTS])
    assert (found * expected).sum(axis=1).min() >= 0.9999


def test_safetensors_come_first(tmp_path: Path) -> None:
    tiny_bert.write(tmp_path / "tiny", pooling="mean_tokens")
    before = LocalEmbedder(model=str(tmp_path / "tiny")).id
    (tmp_path / "tiny" / "model.onnx").write_bytes(b"damaged")
    assert LocalEmbedder(model=str(tmp_path / "tiny")).id == before


def test_a_graph_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    weights = tiny_bert.write(tmp_path / "tiny", pooling="mean_tokens")
    tiny_bert.as_graph(tmp_path / "tiny", "model.onnx", output="sentence_embedding")
    path = tmp_path / "tiny" / "model.onnx"
    model = onnx.load(path)

    def refused(message: str) -> None:
        with pytest.raises(ModelError, match=message) as raised:
            LocalEmbedder(model=str(tmp_path / "tiny")).embed(TEXTS, kind="document")
        assert "\n" not in str(raised.value)

    del model.graph.node[-1].output[:]
    model.graph.node[-1].output.append("answers")
    model.graph.output[0].name = "answers"
    model.graph.output.append(onnx.helper.make_tensor_value_info("n0", onnx.TensorProto.INT64, [2]))
    onnx.save(model, path)
    refused("has none of the outputs last_hidden_state, .*: there is answers, n0")
    model = tiny_bert.onnx_model(weights, types=True, output="last_hidden_state")
    model.graph.input.append(onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, [1]))
    onnx.save(model, path)
    refused("wants an input 'pixels'")
    path.write_bytes(b"no graph")
    refused(r"model\.onnx is no graph that OpenVINO can run")
    path.unlink()
    (tmp_path / "tiny" / "openvino_model.xml").write_text("<net/>")  # without its .bin
    with pytest.raises(ModelError, match=r"lacks model\.safetensors \(or an \.onnx"):
        LocalEmbedder(model=str(tmp_path / "tiny"))


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="precision is 'int4'"):
        LocalEmbedder(precision="int4")  # type: ignore[arg-type]

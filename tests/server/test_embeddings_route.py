"""What the embeddings routes take, refuse and say."""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_tests import Server

from analect.embedders.hashing import HashingEmbedder
from analect.embedders.local import LocalEmbedder
from analect.server.settings import ServerSettings
from contracts.embedder import texts

M = "hashing/256"
HOSTILE: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 400),
    "no JSON": (b"hello", 400),
    "cut off": (b'{"input": "x", "mod', 400),
    "a list": (b'["x"]', 400),
    "null": (b"null", 400),
    "invalid UTF-8": (b'{"input": "\xff\xfe", "model": "hashing/256"}', 400),
    "UTF-16": ('{"input": "x", "model": "hashing/256"}'.encode("utf-16"), 400),
    "a byte order mark": (b'\xef\xbb\xbf{"input": "x"}', 400),
    "half a surrogate": (b'{"input": "\\ud800", "model": "hashing/256"}', 400),
    "NaN": (b'{"input": NaN, "model": "hashing/256"}', 400),
    "infinity": (b'{"input": 1e999, "model": "hashing/256"}', 400),
    "a number": (b'{"input": 5, "model": "hashing/256"}', 400),
    "an object": (b'{"input": {"a": "b"}, "model": "hashing/256"}', 400),
    "no input": (b'{"model": "hashing/256"}', 400),
    "no model": (b'{"input": "x"}', 400),
    "model is a number": (b'{"input": "x", "model": 7}', 400),
    "model is empty": (b'{"input": "x", "model": ""}', 404),
    "model is endless": (b'{"input": "x", "model": "' + b"m" * 100_000 + b'"}', 404),
    "empty text": (b'{"input": "", "model": "hashing/256"}', 400),
    "blank text": (b'{"input": " \\n ", "model": "hashing/256"}', 400),
    "no texts": (b'{"input": [], "model": "hashing/256"}', 400),
    "an empty text among others": (b'{"input": ["x", ""], "model": "hashing/256"}', 400),
    "null among texts": (b'{"input": ["x", null], "model": "hashing/256"}', 400),
    "texts and ids": (b'{"input": ["x", 1], "model": "hashing/256"}', 400),
    "booleans": (b'{"input": [true], "model": "hashing/256"}', 400),
    "token ids": (b'{"input": [1, 2], "model": "hashing/256"}', 400),
    "a negative id": (b'{"input": [-1], "model": "hashing/256"}', 400),
    "a huge id": (b'{"input": [' + b"9" * 4000 + b'], "model": "hashing/256"}', 400),
    "an empty list of ids": (b'{"input": [[]], "model": "hashing/256"}', 400),
    "lists of lists of lists": (b'{"input": [[[1]]], "model": "hashing/256"}', 400),
    "nested without end": (b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b', "model": "m"}', 400),
    "too many texts": (b'{"model": "hashing/256", "input": [' + b'"x",' * 2048 + b'"x"]}', 400),
    "unknown argument": (b'{"input": "x", "model": "hashing/256", "truncate": true}', 400),
    "unknown encoding": (b'{"input": "x", "model": "hashing/256", "encoding_format": "hex"}', 400),
    "dimensions of nothing": (b'{"input": "x", "model": "hashing/256", "dimensions": 0}', 400),
    "dimensions without end": (b'{"input": "x", "model": "hashing/256", "dimensions": ' + b"9" * 400 + b"}", 400),
    "dimensions in words": (b'{"input": "x", "model": "hashing/256", "dimensions": "many"}', 400),
    "unknown input type": (b'{"input": "x", "model": "hashing/256", "input_type": "song"}', 400),
    "too long a text": (b'{"input": "' + b"word " * 300 + b'", "model": "hashing/256"}', 400),
    "17 MB": (b'{"input": "' + b"x" * (17 << 20) + b'", "model": "hashing/256"}', 413),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "path",
    ["/v1/embeddings", "/openai/v1/embeddings", "/openai/deployments/hashing%2F256/embeddings?api-version=2024-10-21"],
)
def test_what_cannot_be_used_is_a_plain_error(hashing: Server, name: str, path: str) -> None:
    body, status = HOSTILE[name]
    if "deployments" in path and name in ("no model", "model is empty", "model is endless"):
        status = 200  # the deployment names it
    found = hashing.ask(path, body)
    assert found.status == status, found.body
    if status != 200:
        assert found.error["type"] == "invalid_request_error"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_another_content_type_is_refused(hashing: Server, kind: str) -> None:
    found = hashing.ask("/v1/embeddings", b'{"input": "x", "model": "hashing/256"}', headers={"content-type": kind})
    assert found.status == 415
    assert "application/json" in found.error["message"]


def test_too_long_a_text_is_named_with_count_and_limit(hashing: Server) -> None:
    found = hashing.embed(["fine", "word " * 300, "fine"])
    assert found.error["message"].startswith("input[1]: the text has 302 tokens, the model takes 256")
    assert found.error["param"] == "input"


def test_a_bare_text_gives_a_bare_list(hashing: Server) -> None:
    bare = hashing.ask("/embeddings", {"input": "the duck sits on the pond"}).json
    assert len(bare) == 256
    assert bare == pytest.approx(hashing.embed("the duck sits on the pond").json["data"][0]["embedding"])
    full = hashing.ask("/embeddings", {"input": "x", "model": M}).json
    assert full["object"] == "list"
    assert hashing.ask("/embeddings", {"input": ["x", "y"]}).error["param"] == "model"


def test_base64_is_little_endian_float32_of_the_same_vector(hashing: Server) -> None:
    floats = hashing.embed(["one", "two"]).json["data"]
    encoded = hashing.embed(["one", "two"], encoding_format="base64").json["data"]
    for left, right in zip(floats, encoded, strict=True):
        assert np.frombuffer(base64.b64decode(right["embedding"]), dtype="<f4").tolist() == pytest.approx(
            left["embedding"]
        )


def test_the_largest_request_keeps_its_order(hashing: Server) -> None:
    many = [f"text number {number}" for number in range(2048)]
    found = hashing.embed(many).json
    assert [each["index"] for each in found["data"]] == list(range(2048))
    wanted = HashingEmbedder().embed(many, kind="document")
    assert np.allclose([each["embedding"] for each in found["data"]], wanted.vectors, atol=1e-6)
    assert found["usage"]["total_tokens"] == wanted.tokens.sum()


def test_azure_wants_an_api_version(hashing: Server) -> None:
    path = "/openai/deployments/hashing%2F256/embeddings"
    for query in ("", "?api-version=", "?api-version=yesterday"):
        found = hashing.ask(path + query, {"input": "x"})
        assert (found.status, found.error["code"]) == (404, "404")
    assert hashing.ask(f"{path}?api-version=2025-04-01-preview", {"input": "x"}).status == 200


def test_a_request_of_too_many_tokens_is_refused(serve: Callable[..., Server]) -> None:
    server = serve(limits=ServerSettings(request_tokens=100))
    assert server.embed(["word " * 60] * 2).error["message"].startswith("the inputs have 124 tokens")


@pytest.mark.parametrize("policy", ["truncate", "mean"])
def test_what_was_not_embedded_whole_is_said(
    serve: Callable[..., Server], local_embedder: LocalEmbedder, policy: Any
) -> None:
    server = serve(embedder=local_embedder, limits=ServerSettings(on_overflow=policy))
    found = server.embed(["fine", "river stone " * 200, "good", "water " * 400])
    header = {"truncate": "x-analect-truncated", "mean": "x-analect-averaged"}[policy]
    assert found.headers[header] == "1,3"
    assert [name for name in found.headers if name.startswith("x-analect")] == [header]
    assert not [name for name in server.embed("fine").headers if name.startswith("x-analect")]


def test_token_ids_of_a_known_vocabulary_are_decoded(serve: Callable[..., Server], tmp_path: Path) -> None:
    pieces = [b"the ", b"duck", b" sits", b"\xe5\xb1", b"\xb1"]
    lines = [f"{base64.b64encode(piece).decode()} {number}" for number, piece in enumerate(pieces)]
    (tmp_path / "own.tiktoken").write_text("\n".join(lines), encoding="ascii")
    server = serve(limits=ServerSettings(token_vocabulary=str(tmp_path / "own.tiktoken")))
    by_ids = [each["embedding"] for each in server.embed([[0, 1, 2], [3, 4]]).json["data"]]
    assert by_ids == [each["embedding"] for each in server.embed(["the duck sits", "山"]).json["data"]]
    assert by_ids[0] == server.embed([0, 1, 2]).json["data"][0]["embedding"]
    assert "id 9," in server.embed([[0], [9]]).error["message"]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=10), seed=st.integers(0, 99))
def test_answers_do_not_depend_on_who_else_asks(local: Server, sizes: list[int], seed: int) -> None:
    requests = [texts(size, seed=seed + number) for number, size in enumerate(sizes)]
    with ThreadPoolExecutor(len(sizes)) as callers:
        answers = list(callers.map(local.embed, requests))
    embedder = local.serving.models.load(local.model).embedder
    for asked, answer in zip(requests, answers, strict=True):
        wanted = embedder.embed(asked, kind="document").vectors
        found = np.array([each["embedding"] for each in answer.json["data"]])
        assert np.all(np.sum(found * wanted, axis=1) >= 0.9999)

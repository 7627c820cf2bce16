"""The report card: our server has full marks, and for every check there is a server broken in just that way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analect.cli import main
from analect.conform import CHECKS, conform
from analect.embedders.local import LocalEmbedder
from analect.errors import InputError
from analect.server.calls import Call, Reply, reply
from analect.server.gate import Gate
from analect.server.settings import ServerSettings

Document = dict[str, Any]
KEY = "the-key"


def with_request(change: Callable[[Document], Document]) -> Mapping[str, Any]:
    return {"request": change}


def with_answer(change: Callable[[Document], Document]) -> Mapping[str, Any]:
    return {"answer": change}


def vectors_changed(change: Callable[[np.ndarray], np.ndarray]) -> Mapping[str, Any]:
    def changed(document: Document) -> Document:
        data = document["data"]
        if isinstance(data[0]["embedding"], str):
            return document
        vectors = change(np.array([each["embedding"] for each in data]))
        return {
            **document,
            "data": [{**each, "embedding": row.tolist()} for each, row in zip(data, vectors, strict=True)],
        }

    return with_answer(changed)


def is_ids(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and isinstance(given[0], list)


def leaning_on_the_batch(vectors: np.ndarray) -> np.ndarray:
    leaning = vectors + 0.2 * vectors.mean(axis=0) * (len(vectors) > 1)
    return leaning / np.linalg.norm(leaning, axis=1, keepdims=True)


BROKEN: Mapping[str, Mapping[str, Any]] = {
    "shape": with_answer(lambda document: {key: each for key, each in document.items() if key != "object"}),
    "forms": with_request(
        lambda asked: {**asked, "input": asked["input"][::-1]} if isinstance(asked["input"], str) else asked
    ),
    "base64": with_request(lambda asked: {**asked, "encoding_format": "float"}),
    "order": vectors_changed(lambda vectors: vectors[::-1]),
    "batch invariance": vectors_changed(leaning_on_the_batch),
    "unit length": vectors_changed(lambda vectors: vectors * 3),
    "token ids": with_request(
        lambda asked: {**asked, "input": [str(each) for each in asked["input"]]} if is_ids(asked["input"]) else asked
    ),
    "dimensions": with_request(lambda asked: {key: each for key, each in asked.items() if key != "dimensions"}),
    "limits": with_request(
        lambda asked: {**asked, "input": asked["input"] or ["x"]} if isinstance(asked["input"], list) else asked
    ),
    "unknown model": with_request(lambda asked: {**asked, "model": "hashing/256"}),
    "error body": {
        "status": {400: lambda made: reply({"detail": json.loads(made.body)["error"]["message"]}, status=400)}
    },
    "usage": with_answer(lambda document: {**document, "usage": {"prompt_tokens": 8, "total_tokens": 8}}),
    "truncation": with_request(
        lambda asked: (
            {**asked, "input": [text[:600] if isinstance(text, str) else text for text in asked["input"]]}
            if isinstance(asked["input"], list)
            else asked
        )
    ),
    "rate limits": {"status": {429: lambda made: Reply(made.body, 429)}},
    "azure": {"azure": 404},
    "keys": {"keys": False},
}


class BrokenGate(Gate):
    """Our server, broken in one way."""

    breaks: Mapping[str, Any] = {}

    def _admit(self, call: Call, route: Any) -> None:
        if self.breaks.get("keys", True):
            super()._admit(call, route)

    async def _read_body(self, call: Call) -> None:
        await super()._read_body(call)
        change = self.breaks.get("request")
        if change and call.body:
            try:
                asked = json.loads(call.body)
            except ValueError:
                return
            if isinstance(asked.get("input"), str | list):
                call.body = json.dumps(change(asked)).encode()

    async def _made(self, call: Call) -> Reply:
        made = await super()._made(call)
        if "azure" in self.breaks and "deployments" in call.scope["path"]:
            return reply({}, status=self.breaks["azure"])
        if made.status in self.breaks.get("status", {}):
            return self.breaks["status"][made.status](made)
        if "answer" in self.breaks and made.status == 200 and call.scope["path"].endswith("embeddings"):
            body = made.body if isinstance(made.body, bytes) else b"".join(made.body)  # type: ignore[arg-type]
            return reply(self.breaks["answer"](json.loads(body)))
        return made


@pytest.fixture
def card_of(serve: Callable[..., Any]) -> Callable[[Mapping[str, Any]], dict[str, bool]]:
    def run(breaks: Mapping[str, Any]) -> dict[str, bool]:
        server = serve(limits=ServerSettings(queue_tokens=3000), keys=[KEY])
        gate = server.server._gate
        gate.__class__, gate.breaks = BrokenGate, breaks
        return {check.name: check.ok for check in conform(server.url, key=KEY)}

    return run


@pytest.mark.parametrize("name", CHECKS)
def test_a_server_broken_in_one_way_fails_that_check_alone(card_of: Callable[..., dict[str, bool]], name: str) -> None:
    card = card_of(BROKEN[name])
    assert [each for each, ok in card.items() if not ok] == [name]


def test_a_server_that_refuses_for_a_moment_has_full_marks(card_of: Callable[..., dict[str, bool]]) -> None:
    card = card_of({})
    assert list(card) == list(CHECKS)
    assert all(card.values()), card


@pytest.mark.parametrize("policy", ["error", "truncate", "mean"])
def test_our_server_has_full_marks(
    serve: Callable[..., Any], local_embedder: LocalEmbedder, capsys: pytest.CaptureFixture[str], policy: Any
) -> None:
    server = serve(embedder=local_embedder, limits=ServerSettings(on_overflow=policy))
    capsys.readouterr()
    code = main(["conform", f"{server.url}/v1"])
    out = capsys.readouterr().out
    assert (code, out.splitlines()[-1]) == (0, f"{len(CHECKS)} of {len(CHECKS)}"), out


def test_the_exit_code_tells(serve: Callable[..., Any], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    server = serve(keys=[KEY])
    capsys.readouterr()
    assert main(["conform", server.url, "--key", "wrong", "--model", server.model, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] < found["of"]
    assert main(["conform", server.url, "--key", "wrong"]) == 2
    assert "name one with --model" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://127.0.0.1:9"])
def test_where_no_server_is_there_is_an_error(url: str) -> None:
    with pytest.raises(InputError):
        list(conform(url))

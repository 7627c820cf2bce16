"""The `openai` package of Node, as it comes, against a running server."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_tests import running

from analect.embedders.local import LocalEmbedder
from analect.server.settings import ServerSettings

FOLDER = Path(__file__).parent / "node"
MODEL, DEPLOYMENT = "all-MiniLM-L6-v2", "my-embeddings"
TEXTS = ["The food was delicious and the waiter...", "short", "über die Brücke 山 🦆 " * 5]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, local_embedder: LocalEmbedder) -> dict[str, Any]:
    """What the package was answered."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("SKIPPED: install Node 18 or newer, with npm (Debian: apt-get install nodejs npm)")
    if not (FOLDER / "node_modules" / "openai").is_dir():
        pytest.skip("SKIPPED: npm install --no-package-lock --prefix tests/server/node")
    given = {"limits": ServerSettings(), "deployments": {DEPLOYMENT: MODEL}, "keys": ["the-key"]}
    with running(tmp_path_factory.mktemp("node"), embedder=local_embedder, **given) as server:
        job = json.dumps({"url": server.url, "model": MODEL, "deployment": DEPLOYMENT, "texts": TEXTS})
        done = subprocess.run([node, FOLDER / "embed.mjs"], input=job, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(("how", "count"), [("one", 1), ("several", 3), ("floats", 3), ("azure", 3)])
def test_vectors_are_the_librarys(found: dict[str, Any], how: str, count: int, local_embedder: LocalEmbedder) -> None:
    answer = found[how]
    assert (answer["object"], answer["model"]) == ("list", MODEL)
    assert [each["index"] for each in answer["data"]] == list(range(count))
    wanted = local_embedder.embed(TEXTS[:count], kind="document")
    vectors = np.array([each["embedding"] for each in answer["data"]])
    assert vectors.shape == (count, 384)
    assert np.all(np.sum(vectors * wanted.vectors, axis=1) >= 0.9999)
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] == wanted.tokens.sum()


def test_it_asks_for_base64_by_itself(found: dict[str, Any]) -> None:
    assert [each["encoding_format"] for each in found["sent"][:4]] == ["base64", "base64", "float", "base64"]
    assert found["models"] == [MODEL]


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("model", ("NotFoundError", 404, "model_not_found", "model", "invalid_request_error")),
        ("empty", ("BadRequestError", 400, None, "input", "invalid_request_error")),
        ("key", ("AuthenticationError", 401, "invalid_api_key", None, "authentication_error")),
        ("deployment", ("NotFoundError", 404, "DeploymentNotFound", None, "invalid_request_error")),
    ],
)
def test_errors_are_told_apart(found: dict[str, Any], what: str, error: tuple[Any, ...]) -> None:
    refused = found["refused"][what]
    assert tuple(refused[name] for name in ("name", "status", "code", "param", "type")) == error
    assert refused["message"]
    assert len(refused["requestID"]) == 16

"""The clients that people have, unchanged, against a running server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from serving_tests import Server

from analect.embedders.local import LocalEmbedder
from analect.server.settings import ServerSettings

openai = pytest.importorskip("openai", reason="SKIPPED: pip install openai")
MODEL = "all-MiniLM-L6-v2"
TEXTS = ["The food was delicious and the waiter...", "short", "a longer text about compost, ponds and ducks " * 5]


def same(vectors: list[list[float]], embedder: LocalEmbedder, *, texts: list[str] = TEXTS) -> None:
    wanted = embedder.embed(texts, kind="document").vectors
    assert np.all(np.sum(np.array(vectors) * wanted, axis=1) >= 0.9999)
    assert np.array(vectors).shape == wanted.shape


@pytest.mark.parametrize("how", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
@pytest.mark.parametrize("base", ["/v1", "/openai/v1"])
def test_openai(local: Server, local_embedder: LocalEmbedder, base: str, how: dict[str, str]) -> None:
    with openai.OpenAI(base_url=local.url + base, api_key="none", max_retries=0) as client:
        found = client.embeddings.create(model=MODEL, input=TEXTS, **how)
    assert [each.index for each in found.data] == [0, 1, 2]
    assert (found.object, found.model, found.data[0].object) == ("list", MODEL, "embedding")
    assert found.usage.prompt_tokens == local_embedder.count_tokens(TEXTS).sum() == found.usage.total_tokens
    vectors = [each.embedding for each in found.data]
    if how.get("encoding_format") == "base64":
        vectors = [np.frombuffer(base64.b64decode(each), dtype="<f4").tolist() for each in vectors]
    same(vectors, local_embedder)


def test_openai_async_and_many_at_once(local: Server, local_embedder: LocalEmbedder) -> None:
    async def run() -> list[list[float]]:
        async with openai.AsyncOpenAI(base_url=f"{local.url}/v1", api_key="none", max_retries=0) as client:
            texts = [f"{TEXTS[number % 3]} {number}" for number in range(60)]
            found = await asyncio.gather(*(client.embeddings.create(model=MODEL, input=text) for text in texts))
            same([each.data[0].embedding for each in found], local_embedder, texts=texts)
            return [each.data[0].embedding for each in found]

    assert len(asyncio.run(run())) == 60


@pytest.mark.parametrize("auth", [{"api_key": "k"}, {"azure_ad_token": "token"}])
def test_azure(local: Server, local_embedder: LocalEmbedder, auth: dict[str, str]) -> None:
    version = "2024-10-21"
    with openai.AzureOpenAI(azure_endpoint=local.url, api_version=version, max_retries=0, **auth) as client:
        found = client.embeddings.create(model="my-embeddings", input=TEXTS)
        same([each.embedding for each in found.data], local_embedder)
        with pytest.raises(openai.NotFoundError) as caught:
            client.embeddings.create(model="no-such-deployment", input="x")
    assert caught.value.code == "DeploymentNotFound"


def test_azure_v1_takes_a_deployments_name(local: Server, local_embedder: LocalEmbedder) -> None:
    with openai.OpenAI(base_url=f"{local.url}/openai/v1", api_key="k", max_retries=0) as client:
        same(
            [each.embedding for each in client.embeddings.create(model="my-embeddings", input=TEXTS).data],
            local_embedder,
        )


def test_aliases_are_names_that_the_settings_give(local: Server) -> None:
    with openai.OpenAI(base_url=f"{local.url}/v1", api_key="k", max_retries=0) as client:
        assert client.embeddings.create(model="text-embedding-3-small", input="x").model == MODEL
        with pytest.raises(openai.NotFoundError) as caught:
            client.embeddings.create(model="text-embedding-3-large", input="x")
        assert [each.id for each in client.models.list().data] == [MODEL]
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"


def test_dimensions_as_openai_answers_them(local: Server) -> None:
    with openai.OpenAI(base_url=f"{local.url}/v1", api_key="k", max_retries=0) as client:
        assert len(client.embeddings.create(model=MODEL, input="x", dimensions=384).data[0].embedding) == 384
        with pytest.raises(openai.BadRequestError, match="does not support specifying dimensions"):
            client.embeddings.create(model=MODEL, input="x", dimensions=256)


def test_langchain(local: Server, local_embedder: LocalEmbedder) -> None:
    langchain = pytest.importorskip("langchain_openai", reason="SKIPPED: pip install langchain-openai")
    given = {"model": MODEL, "base_url": f"{local.url}/v1", "api_key": "k", "max_retries": 0}
    client = langchain.OpenAIEmbeddings(**given, check_embedding_ctx_length=False)
    same(client.embed_documents(TEXTS), local_embedder)
    same([client.embed_query(TEXTS[0])], local_embedder, texts=TEXTS[:1])


@pytest.fixture
def byte_tokens(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, int]:
    """A vocabulary that stands for cl100k_base in tiktoken, which would fetch it: every byte is a token."""
    tiktoken = pytest.importorskip("tiktoken", reason="SKIPPED: pip install langchain-openai")
    ranks = {bytes([number]): number for number in range(256)}
    own = tiktoken.Encoding(name="cl100k_base", pat_str=r"[\s\S]", mergeable_ranks=ranks, special_tokens={})
    monkeypatch.setitem(tiktoken.registry.ENCODINGS, "cl100k_base", own)
    return ranks


def test_langchain_as_it_comes_sends_token_ids(
    serve: Callable[..., Server], local_embedder: LocalEmbedder, byte_tokens: dict[bytes, int], tmp_path: Path
) -> None:
    langchain = pytest.importorskip("langchain_openai", reason="SKIPPED: pip install langchain-openai")
    given = {"model": MODEL, "api_key": "k", "max_retries": 0}
    server = serve(embedder=local_embedder)
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        langchain.OpenAIEmbeddings(**given, base_url=f"{server.url}/v1").embed_documents(TEXTS)

    lines = [f"{base64.b64encode(piece).decode()} {number}" for piece, number in byte_tokens.items()]
    (tmp_path / "bytes.tiktoken").write_text("\n".join(lines), encoding="ascii")
    limits = ServerSettings(token_vocabulary=str(tmp_path / "bytes.tiktoken"))
    server = serve(embedder=local_embedder, limits=limits)
    same(langchain.OpenAIEmbeddings(**given, base_url=f"{server.url}/v1").embed_documents(TEXTS), local_embedder)


def test_token_ids_of_an_unknown_vocabulary_are_refused_with_the_setting_to_change(local: Server) -> None:
    with openai.OpenAI(base_url=f"{local.url}/v1", api_key="k", max_retries=0) as client:
        for ids in ([9906, 1917], [[9906, 1917], [1]]):
            with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
                client.embeddings.create(model=MODEL, input=ids)

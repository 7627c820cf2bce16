"""The fake speaks the service's contract: the vendor's own client drives it unchanged."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import numpy as np
import openai
import pytest
from azure.identity import DefaultAzureCredential, get_bearer_token_provider
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI

from analect.fakes import azure_openai as module
from analect.fakes._faults import _NAMED, Faults
from analect.fakes._quota import Limits
from analect.fakes.fixtures import azure_openai  # noqa: F401  # a fixture

MODEL = "text-embedding-3-small"


@pytest.fixture
def fake() -> Iterator[module.AzureOpenAI]:
    with module.AzureOpenAI(deployments={"mine": MODEL, "talk": "gpt-4o-mini"}) as fake:
        yield fake


@pytest.fixture
def client(fake: module.AzureOpenAI) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{fake.url}/v1", api_key="fake-key", max_retries=0) as client:
        yield client


@pytest.fixture
def azure(fake: module.AzureOpenAI) -> Iterator[AzureOpenAI]:
    with AzureOpenAI(azure_endpoint=fake.url, api_key="fake-key", api_version="2024-10-21", max_retries=0) as client:
        yield client


def test_embeddings_by_every_route_and_form(client: OpenAI, azure: AzureOpenAI, fake: module.AzureOpenAI) -> None:
    one = client.embeddings.create(model=MODEL, input="a quiet garden")
    two = azure.embeddings.create(model="mine", input=["a quiet garden", "a loud street"], encoding_format="float")
    with OpenAI(base_url=f"{fake.url}/openai/v1/", api_key="fake-key") as third:
        three = third.embeddings.create(model="mine", input=[[1, 2, 3], [4]], dimensions=64)
        four = third.embeddings.create(model="mine", input=[1, 2, 3], dimensions=64)
    assert len(one.data[0].embedding) == 1536
    assert one.data[0].embedding == pytest.approx(two.data[0].embedding)
    assert np.linalg.norm(two.data[1].embedding) == pytest.approx(1)
    assert one.usage.total_tokens == 4
    assert three.data[0].embedding == four.data[0].embedding
    assert len(four.data[0].embedding) == 64
    stats = fake.stats()
    assert (stats["requests"], stats["texts"], stats["duplicates"]) == (4, 6, 2)
    assert stats["tokens"] == 4 + 8 + 4 + 3


def test_async_azure_and_streaming(fake: module.AzureOpenAI) -> None:
    async def run() -> tuple[int, str, str | None, int]:
        async with AsyncAzureOpenAI(azure_endpoint=fake.url, api_key="fake-key", api_version="2024-10-21") as client:
            found = await client.embeddings.create(model="mine", input=["x", "y"])
            text, finish, usage = "", None, 0
            messages = [{"role": "user", "content": "[1] Page\nFrost comes in May. Bees sleep.\n\nWhen comes frost?"}]
            stream = await client.chat.completions.create(
                model="talk", messages=messages, stream=True, stream_options={"include_usage": True}
            )
            async for event in stream:
                for choice in event.choices:
                    text += choice.delta.content or ""
                    finish = choice.finish_reason or finish
                usage = event.usage.total_tokens if event.usage else usage
            return len(found.data), text, finish, usage

    count, text, finish, usage = asyncio.run(run())
    assert (count, finish) == (2, "stop")
    assert text == 'The passage says: "Frost comes in May." [1].'
    assert usage > 10


def test_completions_of_text_whole_and_streamed(client: OpenAI, azure: AzureOpenAI, fake: module.AzureOpenAI) -> None:
    model, prompt = "gpt-3.5-turbo-instruct", "[1] Page\nThe tea is cold at noon.\n\nWhen is the tea cold?"
    whole = client.completions.create(model=model, prompt=prompt, max_tokens=50)
    assert whole.choices[0].text == 'The passage says: "The tea is cold at noon." [1].'
    assert (whole.object, whole.choices[0].finish_reason) == ("text_completion", "stop")
    events = list(azure.completions.create(model=model, prompt=[prompt], max_tokens=5, temperature=0, stream=True))
    assert "".join(event.choices[0].text for event in events) == 'The passage says: "T'
    assert events[-1].choices[0].finish_reason == "length"

    async def run() -> str:
        async with AsyncOpenAI(base_url=f"{fake.url}/v1", api_key="fake-key") as client:
            stream = await client.completions.create(model=model, prompt=prompt, stream=True)
            return "".join([event.choices[0].text async for event in stream])

    assert asyncio.run(run()) == whole.choices[0].text
    with pytest.raises(openai.BadRequestError, match="Missing required parameter: 'prompt'"):
        client.post("/completions", body={"model": model}, cast_to=object)


def test_chat_finishes(client: OpenAI, fake: module.AzureOpenAI) -> None:
    messages = [{"role": "user", "content": "[3] Page\nThe shed is locked at nine.\n\nWhen is the shed locked?"}]
    whole = client.chat.completions.create(model="gpt-4o", messages=messages)
    assert whole.choices[0].message.content.endswith("[3].")
    short = client.chat.completions.create(model="gpt-4o", messages=messages, max_tokens=2)
    assert short.choices[0].finish_reason == "length"
    fake.faults.set("filter")
    assert client.chat.completions.create(model="gpt-4o", messages=messages).choices[0].finish_reason == (
        "content_filter"
    )


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"model": MODEL, "input": ["x"] * 2049}, 400, "2048"),
        ({"model": MODEL, "input": ""}, 400, "empty"),
        ({"model": MODEL, "input": "x y " * 5_000}, 400, "8191"),
        ({"model": MODEL, "input": ["x y " * 4_000] * 40}, 400, "300000"),
        ({"model": MODEL, "input": "x", "dimensions": 4000}, 400, "dimensions"),
        ({"model": "text-embedding-ada-002", "input": "x", "dimensions": 10}, 400, "does not support"),
        ({"model": "nowhere", "input": "x"}, 404, "does not exist"),
        ({"model": "gpt-4o", "input": "x"}, 400, "does not work"),
        ({"model": MODEL, "input": "x", "extra_body": {"surprise": 1}}, 400, "surprise"),
    ],
)
def test_what_the_service_refuses(client: OpenAI, request_: dict[str, object], status: int, words: str) -> None:
    with pytest.raises(openai.APIStatusError, match=words) as caught:
        client.embeddings.create(**request_)
    assert caught.value.status_code == status


def test_a_wrong_key_and_a_missing_version(fake: module.AzureOpenAI) -> None:
    with OpenAI(base_url=f"{fake.url}/v1", api_key="other") as client, pytest.raises(openai.AuthenticationError):
        client.embeddings.create(model=MODEL, input="x")
    with (
        OpenAI(base_url=f"{fake.url}/openai/deployments/mine", api_key="fake-key") as client,
        pytest.raises(openai.NotFoundError, match="api-version"),
    ):
        client.embeddings.create(model="mine", input="x")


def test_quota_windows_slide_and_headers_tell() -> None:
    with (
        module.AzureOpenAI(limits=Limits(tpm=100, rpm=600, minute=0.6)) as fake,
        OpenAI(base_url=f"{fake.url}/v1", api_key="fake-key", max_retries=0) as client,
    ):
        first = client.embeddings.with_raw_response.create(model=MODEL, input="x" * 240)
        assert first.headers["x-ratelimit-remaining-tokens"] == "40"
        assert first.headers["x-ratelimit-limit-tokens"] == "100"
        with pytest.raises(openai.RateLimitError) as caught:
            client.embeddings.create(model=MODEL, input="x" * 240)
        wait = float(caught.value.response.headers["retry-after-ms"]) / 1000
        assert 0 < wait <= 0.6
        assert caught.value.response.headers["Retry-After"] == "1"
        time.sleep(wait + 0.02)
        client.embeddings.create(model=MODEL, input="x" * 240)
        assert (fake.stats()["tokens"], fake.stats()["refused"]) == (120, 1)


def test_faults_in_order(client: OpenAI, fake: module.AzureOpenAI) -> None:
    fake.faults.set("429=86400,503,reset,truncate,count,shuffle,nan,timeout=2.5,429=date")
    caught: list[object] = []
    vectors: list[list[float]] = []
    for _ in range(9):
        try:
            reply = client.with_options(timeout=1.5).embeddings.create(model=MODEL, input=["one", "two"])
        except openai.OpenAIError as error:
            caught.append(getattr(error, "status_code", type(error).__name__))
            retry = getattr(getattr(error, "response", None), "headers", {}).get("retry-after")
            assert retry is None or retry == "86400" or retry.endswith("GMT")
        else:
            vectors.append([item.index for item in reply.data] + [reply.data[0].embedding[0]])
    assert caught == [429, 503, "APIConnectionError", "APIConnectionError", "APITimeoutError", 429]
    assert vectors[0][:-1] == [0]
    assert vectors[1][:-1] == [1, 0]
    assert np.isnan(vectors[2][-1])


def test_poison_and_rates(client: OpenAI, fake: module.AzureOpenAI) -> None:
    fake.faults.set("poison=zebra,50%500")
    codes = []
    for n in range(40):
        try:
            client.embeddings.create(model=MODEL, input="zebra" if n % 2 else "horse")
        except openai.APIStatusError as error:
            codes.append(error.status_code)
    assert 8 < codes.count(500) < 32
    assert codes.count(400) > 4
    with pytest.raises(ValueError, match="no fault 'fire'"):
        Faults("fire")


def test_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "analect.fakes.azure_openai", "--tpm", "1000", "--entra"),
            *("--deployment", "mine=text-embedding-3-large", "--deployment", "talk=gpt-4o"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = process.stdout.readline().strip()
        for _ in range(2):
            monkeypatch.setenv(*process.stdout.readline().strip().split("=", maxsplit=1))
        with OpenAI(base_url=f"{url}/v1", api_key="fake-key", max_retries=0) as client:
            assert len(client.models.list().data) >= 5
            urllib.request.urlopen(urllib.request.Request(f"{url}/_fake/faults", data=b"503")).close()
            with pytest.raises(openai.InternalServerError):
                client.embeddings.create(model=MODEL, input="x")
        with AzureOpenAI(azure_endpoint=url, api_key="fake-key", api_version="2024-10-21") as azure:
            assert len(azure.embeddings.create(model="mine", input="x").data[0].embedding) == 3072
            assert azure.chat.completions.create(model="talk", messages=[{"role": "user", "content": "x"}]).choices
        tokens = get_bearer_token_provider(DefaultAzureCredential(), "https://cognitiveservices.azure.com/.default")
        with OpenAI(base_url=f"{url}/openai/v1", api_key=tokens) as identified:
            identified.embeddings.create(model="mine", input="x")
        with urllib.request.urlopen(f"{url}/_fake/stats") as reply:
            assert json.load(reply)["requests"] == 5
    finally:
        process.terminate()
        process.stdout.close()
        assert process.wait(timeout=10) == 0


def test_the_fixture_that_ships(azure_openai: module.AzureOpenAI) -> None:  # noqa: F811
    with OpenAI(base_url=f"{azure_openai.url}/v1", api_key="fake-key") as client:
        client.embeddings.create(model=MODEL, input="x")
    assert azure_openai.stats()["texts"] == 1


def test_the_help_names_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        module.main(["--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert [name for name in (*_NAMED, "429", "poison") if f"`{name}" not in said] == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--faults", "429:0.1"], "the fault '429:0.1' cannot be read"),
        (
            ["--deployment", "mine=gpt-1"],
            "the deployment 'mine' is of no model here ('gpt-1'): text-",
        ),
        (["--deployment", "mine"], "the deployment 'mine' is of no model here"),
    ],
)
def test_the_program_refuses_what_it_cannot_read(
    capsys: pytest.CaptureFixture[str], given: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        module.main(given)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err

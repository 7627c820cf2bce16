"""The OpenAI embedder against the fake service: packing, order, poison, faults, doors, Entra, silence."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from analect.config import PartSettings
from analect.embedders._tokens import Tokens
from analect.embedders.openai import OpenAIEmbedder
from analect.errors import ConfigError, MissingExtraError, RemoteError
from analect.fakes._quota import Limits
from analect.fakes.azure_openai import AzureOpenAI
from analect.fakes.entra import Entra
from analect.governor import Governor
from analect.registry import build_part
from remote import MODEL, embedder_at, quicken

pytestmark = pytest.mark.usefixtures("fake_key")


@pytest.fixture
def fake() -> Iterator[AzureOpenAI]:
    with AzureOpenAI(deployments={"mine": MODEL, "theirs": MODEL, "other": "text-embedding-ada-002"}) as fake:
        yield fake


@pytest.fixture
def embedder(fake: AzureOpenAI) -> Iterator[OpenAIEmbedder]:
    with closing(embedder_at(fake)) as embedder:
        yield embedder


def texts(count: int, *, words: int = 5) -> list[str]:
    return [f"text {n} " + "garden " * words for n in range(count)]


def test_packs_to_all_three_caps(fake: AzureOpenAI, embedder: OpenAIEmbedder) -> None:
    assert embedder.embed(texts(2049), kind="document").failures == {}
    assert fake.stats()["requests"] == 2
    embedder.embed(texts(45, words=8000), kind="document")  # 45 × 8,005 tokens: 37 fit into 300,000
    assert fake.stats()["requests"] == 4
    assert fake.stats()["duplicates"] == 0


def test_no_more_is_paid_for_than_is_in_flight_until_it_is_kept(fake: AzureOpenAI) -> None:
    with closing(embedder_at(fake, in_flight=2)) as embedder:
        parts = embedder.embed_parts(texts(5 * 2048), kind="document")
        rows = list(next(parts)[0])  # the caller keeps them only when it comes back
        time.sleep(1)
        assert fake.stats()["requests"] == 2
        rows += [row for part in parts for row in part[0]]
    assert sorted(rows) == list(range(5 * 2048))


def test_parts_that_nobody_takes_hold_nothing_up(fake: AzureOpenAI) -> None:
    with closing(embedder_at(fake, in_flight=2)) as embedder:
        parts = embedder.embed_parts(texts(5 * 2048), kind="document")
        next(parts)
        parts.close()  # type: ignore[attr-defined]  # an iterator for callers, a generator in truth
        assert embedder.embed(texts(3 * 2048), kind="document").failures == {}


def test_counts_as_the_models_do() -> None:
    tokens = Tokens(is_openai=True)
    assert tokens.exact
    assert tokens.count(["hello world", "日本語", "<|endoftext|>", ""]).tolist() == [2, 4, 7, 0]
    assert tokens.cut("日本語 text", limit=2) == "日本"
    assert Tokens(is_openai=False).count(["é", "ab"]).tolist() == [2, 2]


def test_every_fault_ends_with_the_right_vector_in_the_right_place(fake: AzureOpenAI, embedder: OpenAIEmbedder) -> None:
    expected = embedder.embed(texts(50), kind="document").vectors
    for fault in ("429=ms:50", "429=date", "500", "503", "reset", "truncate", "count", "nan", "shuffle", "slow=0.1"):
        fake.faults.set(fault)
        before = fake.stats()["faults"]
        found = embedder.embed(texts(50), kind="document")
        assert np.array_equal(found.vectors, expected), fault
        assert fake.stats()["faults"] == before + 1, fault


def test_a_reply_that_stays_wrong_is_an_error(fake: AzureOpenAI, embedder: OpenAIEmbedder) -> None:
    fake.faults.set("count*9")
    with pytest.raises(RemoteError, match="49 vectors for 50 texts"):
        embedder.embed(texts(50), kind="document")
    assert fake.stats()["requests"] == 5  # paid ones are not tried for ever


def test_a_timeout_is_tried_again(fake: AzureOpenAI) -> None:
    with closing(embedder_at(fake, timeout=0.3)) as embedder:
        fake.faults.set("timeout=1")
        assert embedder.embed(["a"], kind="query").failures == {}
    assert fake.stats()["requests"] == 2


@pytest.mark.parametrize(
    ("address", "why"), [("127.0.0.1:9", "Connection refused"), ("no-such-host.invalid", "cannot connect to no-such")]
)
def test_an_endpoint_that_was_never_there_is_told_at_once(address: str, why: str) -> None:
    slept: list[float] = []
    with closing(OpenAIEmbedder(endpoint=f"http://{address}/v1", dimensions=64)) as embedder:
        connection = embedder._connection
        door = connection.door(MODEL)
        connection._governors[door.id] = Governor(door.id, sleep=slept.append)
        with pytest.raises(RemoteError, match=why) as caught:
            embedder.embed(["a"], kind="document")
    assert str(caught.value).endswith("the endpoint is from the setting 'endpoint'")
    assert slept == []


def test_an_endpoint_that_goes_away_for_a_moment_is_waited_for() -> None:
    slept: list[float] = []
    back: list[AzureOpenAI] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            back.append(AzureOpenAI(port=port).start())

    with AzureOpenAI() as fake:
        port = int(fake.url.rpartition(":")[2])
        embedder = embedder_at(fake)
        door = embedder._connection.door(MODEL)
        embedder._connection._governors[door.id] = Governor(door.id, sleep=sleep)
        embedder.embed(["a"], kind="document")
    with closing(embedder):
        assert embedder.embed(["b"], kind="document").failures == {}
    assert back[0].stats()["texts"] == 1
    back[0].stop()
    assert len(slept) == 3


def test_poison_is_found_alone_and_the_rest_succeeds(fake: AzureOpenAI, embedder: OpenAIEmbedder) -> None:
    fake.faults.set("poison=zebra")
    given = texts(300)
    given[7] = given[211] = "a zebra " + "crosses " * 20
    found = embedder.embed(given, kind="document")
    assert set(found.failures) == {7, 211}
    assert "content management policy" in found.failures[7]
    assert np.isnan(found.vectors[[7, 211]]).all()
    assert np.isfinite(np.delete(found.vectors, [7, 211], axis=0)).all()
    assert fake.stats()["texts"] == 298 + 1  # each once, and the word that was tried out
    assert fake.stats()["requests"] <= 1 + 1 + 2 * 2 * 9


def test_a_refusal_of_everything_is_not_bisected(fake: AzureOpenAI) -> None:
    with closing(embedder_at(fake, model="text-embedding-3-small", deployment="gpt-4o")) as embedder:
        with pytest.raises(RemoteError, match="does not work with the specified model"):
            embedder.embed(texts(500), kind="document")
        assert fake.stats()["requests"] == 2


def test_too_long_is_a_failure_or_cut_and_marked(fake: AzureOpenAI) -> None:
    long = "garden " * 9000
    with closing(embedder_at(fake, on_overflow="truncate")) as embedder:
        found = embedder.embed(["short", long], kind="document")
        assert found.cut.tolist() == [False, True]
        assert found.tokens[1] > 9000
        assert found.failures == {}


def test_too_long_is_the_mean_of_its_parts(fake: AzureOpenAI) -> None:
    long = " ".join(f"garden {number}" for number in range(200))
    with closing(embedder_at(fake, on_overflow="mean", max_tokens=300)) as embedder:
        parts = embedder._tokens.split(long, limit=300)
        assert len(parts) > 1
        assert "".join(parts) == long
        alone = embedder.embed(parts, kind="document")
        assert alone.tokens.max() <= 300
        expected = alone.tokens @ alone.vectors
        found = embedder.embed(["short", long, " " * 9000, long + " zebra"], kind="document")
        assert found.vectors[1] == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
        assert found.tokens[1] > 300
        assert found.cut.tolist() == [False] * 4
        assert list(found.failures) == [2]
        fake.faults.set("poison=zebra")
        assert list(embedder.embed([long, long + " zebra"], kind="document").failures) == [1]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "their-model"}, "how many dimensions"),
        ({"dimensions": 2000}, "1 to 1536"),
        ({"model": "text-embedding-ada-002", "dimensions": 8}, "always 1536"),
        ({"model": "x", "dimensions": 8, "on_overflow": "truncate"}, "tokenizer"),
        ({"on_overflow": "cut"}, "on_overflow"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_part("embedder", PartSettings("openai", settings))


def test_the_id_is_the_space_and_not_the_door(fake: AzureOpenAI) -> None:
    one = embedder_at(fake)
    two = OpenAIEmbedder(endpoint="https://other.openai.azure.com", deployment="emb", dimensions=64)
    assert one.id == two.id == "text-embedding-3-small/64"
    assert OpenAIEmbedder(revision="2").id == "text-embedding-3-small@2/1536"


def test_azure_doors_and_a_deployment_for_queries(fake: AzureOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "fake-key")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", fake.url)
    with closing(OpenAIEmbedder(deployment="mine", query_deployment="theirs", dimensions=64)) as classic:
        one = classic.embed(["a"], kind="document").vectors
        classic.embed(["b"], kind="query")
        assert set(classic._deployments.values()) == {"mine", "theirs"}
    with closing(OpenAIEmbedder(deployment="mine", endpoint=f"{fake.url}/openai/v1", dimensions=64)) as v1:
        assert np.array_equal(v1.embed(["a"], kind="document").vectors, one)
    with (
        closing(OpenAIEmbedder(deployment="other")) as wrong,
        pytest.raises(ConfigError, match="serves text-emb"),
    ):
        wrong.embed(["a"], kind="document")
    with closing(OpenAIEmbedder(deployment="nowhere")) as absent, pytest.raises(RemoteError, match="check endpoint"):
        absent.embed(["a"], kind="document")


def test_entra_tokens_are_renewed_in_the_middle_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with Entra(lifetime=2) as entra, AzureOpenAI(entra=entra, deployments={"mine": MODEL}) as fake:
        for name, value in entra.environment.items():
            monkeypatch.setenv(name, value)
        where = {"endpoint": fake.url, "deployment": "mine", "dimensions": 64}
        with closing(OpenAIEmbedder(**where)) as embedder:
            assert embedder.embed(["a"], kind="document").failures == {}
            entra.revoke()
            assert embedder.embed(["b"], kind="document").failures == {}
        assert entra.issued >= 2
        assert fake.stats()["texts"] == 2


def test_no_key_is_told_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    embedder = OpenAIEmbedder()
    assert embedder.count_tokens(["a b"]).tolist() == [2]
    with pytest.raises(ConfigError, match="set OPENAI_API_KEY"):
        embedder.embed(["a"], kind="query")


def test_nothing_secret_is_logged_or_raised(fake: AzureOpenAI, caplog: pytest.LogCaptureFixture) -> None:
    marker = "marker-of-a-text that nobody may see"
    caplog.set_level(logging.DEBUG, logger="analect")
    with closing(embedder_at(fake, timeout=0.2)) as embedder:
        embedder.embed(["fine"], kind="document")
        fake.faults.set("poison=marker-of-a-text")
        seen = [str(dict(embedder.embed([marker], kind="document").failures))]
        for fault in ("401", "404", "count*9", "reset*9"):
            fake.faults.set(fault)
            if fault == "reset*9":
                quicken(embedder, minute=60, haste=100)
            with pytest.raises(RemoteError) as caught:
                embedder.embed([marker], kind="document")
            seen.append("".join(map(str, (caught.value, caught.value.__cause__, dict(caught.value.headers)))))
    told = " ".join(seen) + " ".join(record.getMessage() for record in caplog.records if record.name[:7] == "analect")
    assert "refused by the content management policy" in told
    assert "marker-of-a-text" not in told
    assert "fake-key" not in told


def test_the_words_of_the_service_do_not_repeat_a_text() -> None:
    from analect.openai_service import scrubbed

    words = "the input 'my grandmother lived in a quiet house' is not allowed, key fake-key"
    assert scrubbed(words, ("once my grandmother lived in a\nquiet house by the sea",)) == (
        "the input '[text]' is not allowed, key [key]"
    )


def test_the_quota_is_kept_to_and_filled() -> None:
    limits = Limits(tpm=40_000, rpm=6_000, minute=2.0)
    with AzureOpenAI(limits=limits, latency_ms=20) as fake, closing(embedder_at(fake)) as embedder:
        quicken(embedder, minute=2.0)
        embedder.embed(texts(4000, words=12), kind="document")
        stats = fake.stats()
        assert stats["texts"] == 4000
        assert stats["refused"] <= 1 + 0.02 * stats["requests"]  # the first taught the limit
        assert stats["duplicates"] == 0
        assert len(stats["windows"]) >= 2


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "openai", None)
        with pytest.raises(MissingExtraError, match=r"analect\[openai\]"):
            OpenAIEmbedder().embed(["a"], kind="document")
    with monkeypatch.context() as without:
        without.delenv("OPENAI_API_KEY")
        without.setitem(sys.modules, "azure.identity", None)
        with pytest.raises(MissingExtraError, match=r"analect\[azure\]"):
            OpenAIEmbedder(endpoint="https://x.openai.azure.com").embed(["a"], kind="document")

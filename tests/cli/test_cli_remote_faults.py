"""`analect add` through a service with every kind of fault: complete in the end, and each token is accounted for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cli_running import Run

from analect.fakes._limits import tokens_of
from analect.fakes._vectors import vectors_of
from analect.fakes.azure_openai import AzureOpenAI
from analect.fakes.entra import Entra
from analect.stores.sqlite import SqliteStore
from reviews import TEMPLATE, write_reviews

pytestmark = pytest.mark.usefixtures("fake_key")

REVIEWS = 200
TPM = 9_000  # a fortieth of it goes in a request: there are some twenty
LARGEST = TPM // 40 + 40
SETTINGS = """
[embedder]
use = "openai"
endpoint = "{url}"
dimensions = 32
timeout = 1.5
in_flight = {in_flight}
tpm = 9000
{more}
"""
ADD = ("add", "reviews.csv", "--text", TEMPLATE, "--id", "Id", "--json")


@pytest.fixture
def texts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.delenv("ANALECT_EMBEDDER_USE")
    return write_reviews(folder / "reviews.csv", count=REVIEWS)


@pytest.fixture
def fake(folder: Path, texts: list[str]) -> Iterator[AzureOpenAI]:
    with AzureOpenAI() as fake:
        settle(folder, f"{fake.url}/v1")
        yield fake


def settle(folder: Path, url: str, *, in_flight: int = 4, more: str = "") -> None:
    (folder / "analect.toml").write_text(SETTINGS.format(url=url, in_flight=in_flight, more=more))


def check_corpus(folder: Path, texts: list[str]) -> None:
    """Check that the corpus has one vector a text, each in its place."""
    store = SqliteStore(path=folder / ".analect" / "corpus.db")
    rows = [row for change in store.changes() for row in zip(change.chunks, change.vectors, strict=True)]
    store.close()
    assert sorted((int(chunk.document_id), chunk.text) for chunk, _ in rows) == list(enumerate(texts))
    expected = vectors_of([chunk.text for chunk, _ in rows], dim=32, by="hashing")
    assert np.abs(np.stack([vector for _, vector in rows]) - expected).max() < 1e-6


def check_rerun(analect: Run, fake: AzureOpenAI) -> None:
    """Check that there is nothing left to do or to pay."""
    before = fake.stats()["requests"]
    again = analect(*ADD)
    assert (again.code, again.json["unchanged"], again.json["failed"]) == (0, REVIEWS, [])
    assert fake.stats()["requests"] == before


# What the faults are, how many there are, and how many of their replies were billed.
PASSING = {
    "a burst of refusals": ("429=ms:50*6", 6, 0),
    "a date to come back": ("429=date", 1, 0),
    "an absurd wait": ("429=86400", 1, 0),
    "the service is down": ("500*3,503*3", 6, 0),
    "cut in mid-body, with RST": ("reset*3", 3, 3),
    "cut in mid-body, without": ("truncate*3", 3, 3),
    "slow bodies": ("slow=0.5*4", 4, 0),
    "slower than patience": ("timeout=2*2", 2, 2),
    "a vector too few": ("count*2", 2, 2),
    "no numbers": ("nan*2", 2, 2),
    "another order": ("shuffle*9", 9, 0),
}


@pytest.mark.parametrize(("spec", "faults", "billed"), PASSING.values(), ids=PASSING)
def test_what_passes_is_ridden_out(
    folder: Path, texts: list[str], fake: AzureOpenAI, analect: Run, spec: str, faults: int, billed: int
) -> None:
    fake.faults.set(f"shuffle,{spec}")
    ran = analect(*ADD)
    assert (ran.code, ran.err) == (0, "")
    assert (ran.json["added"], ran.json["embedded"], ran.json["failed"]) == (REVIEWS, REVIEWS, [])
    check_corpus(folder, texts)
    check_rerun(analect, fake)
    stats = fake.stats()
    assert stats["faults"] == faults + 1
    assert stats["tokens"] == sum(map(tokens_of, texts)) + stats["repeated_tokens"]
    assert bool(billed) == bool(stats["repeated_tokens"])
    assert stats["repeated_tokens"] <= billed * LARGEST


# Faults that outlast every patience, after five requests that succeed; what it says; and the tries that are billed.
LASTING = {
    "a key that ends": ("401*200", "answered 401", 0),
    "a deployment that is removed": ("404*200", "answered 404", 0),
    "a vector too few, always": ("count*200", "vectors for", 5),
    "no numbers, always": ("nan*200", "a vector that is none", 5),
}


@pytest.mark.parametrize(("spec", "words", "tries"), LASTING.values(), ids=LASTING)
def test_what_lasts_ends_it_and_a_rerun_goes_on(
    folder: Path, texts: list[str], fake: AzureOpenAI, analect: Run, spec: str, words: str, tries: int
) -> None:
    fake.faults.set(f"shuffle*5,{spec}")
    ran = analect(*ADD)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert words in ran.err
    first = fake.stats()
    assert 0 < first["tokens"] - first["repeated_tokens"] < sum(map(tokens_of, texts))
    fake.faults.set("")
    again = analect(*ADD)
    assert (again.code, again.json["added"], again.json["failed"]) == (0, REVIEWS, [])
    assert again.json["reused"] > 0
    check_corpus(folder, texts)
    check_rerun(analect, fake)
    stats = fake.stats()
    assert stats["tokens"] == sum(map(tokens_of, texts)) + stats["repeated_tokens"]
    assert stats["repeated_tokens"] <= tries * 4 * LARGEST


def test_what_is_refused_is_listed_with_its_reason(
    folder: Path, texts: list[str], fake: AzureOpenAI, analect: Run
) -> None:
    fake.faults.set("poison=review-17.")
    ran = analect(*ADD)
    assert (ran.code, ran.json["added"]) == (1, REVIEWS - 1)
    (failure,) = ran.json["failed"]
    assert failure["uri"].endswith("reviews.csv#17")
    assert "content management policy" in failure["error"]
    fake.faults.set("")
    again = analect(*ADD)
    assert (again.code, again.json["added"], again.json["embedded"], again.json["reused"]) == (0, 1, 1, 0)
    check_corpus(folder, texts)
    stats = fake.stats()
    assert stats["tokens"] == sum(map(tokens_of, texts)) + tokens_of("analect") * (stats["texts"] - REVIEWS)


def of_azure(entra: Entra, folder: Path, fake: AzureOpenAI, monkeypatch: pytest.MonkeyPatch, *, in_flight: int) -> None:
    """Lead the program to Azure's route of the fake, and to no key but tokens of Entra ID."""
    monkeypatch.delenv("OPENAI_API_KEY")
    for name, value in entra.environment.items():
        monkeypatch.setenv(name, value)
    settle(folder, fake.url, in_flight=in_flight, more='deployment = "mine"')


@pytest.mark.slow
def test_tokens_that_end_in_the_middle_are_renewed_before(
    folder: Path, texts: list[str], analect: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library renews a token five minutes before its end: this one ends three seconds after that."""
    # It waits up to a minute longer, by chance: not here.
    monkeypatch.setattr("azure.core.pipeline.policies._authentication.MAX_REFRESH_JITTER_SECONDS", 0)
    with (
        Entra(lifetime=304, ahead=297) as entra,
        AzureOpenAI(entra=entra, deployments={"mine": "text-embedding-3-small"}, latency_ms=500) as fake,
    ):
        of_azure(entra, folder, fake, monkeypatch, in_flight=1)
        began = time.monotonic()
        ran = analect(*ADD)
        assert time.monotonic() - began > 7  # the first token has ended
        assert (ran.code, ran.json["added"], ran.json["failed"]) == (0, REVIEWS, [])
        check_corpus(folder, texts)
        stats = fake.stats()
        assert entra.issued >= 2
        assert stats["requests"] == sum(stats["models"].values())  # none was refused
        assert stats["tokens"] == sum(map(tokens_of, texts))


def test_tokens_that_are_withdrawn_are_renewed_once(
    folder: Path, texts: list[str], analect: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Entra() as entra, AzureOpenAI(entra=entra, deployments={"mine": "text-embedding-3-small"}) as fake:
        of_azure(entra, folder, fake, monkeypatch, in_flight=4)
        fake.faults.set("shuffle*5,expire")
        ran = analect(*ADD)
        assert (ran.code, ran.err, ran.json["added"]) == (0, "", REVIEWS)
        check_corpus(folder, texts)
        assert entra.issued == 2
        assert fake.stats()["tokens"] == sum(map(tokens_of, texts))
        entra.revoke()
        fake.faults.set("401*99")
        (folder / "reviews.csv").write_text("Id,Summary,Text\n1,new,words\n")
        ran = analect(*ADD)
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert "answered 401" in ran.err
        assert "the identity's role on the resource" in ran.err

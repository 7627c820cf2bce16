"""The command line with a service behind it: add, ask, estimate, ledger, doctor."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_running import GUIDE, Run

from analect.fakes._quota import Limits
from analect.fakes.azure_openai import AzureOpenAI

pytestmark = pytest.mark.usefixtures("fake_key")

SETTINGS = """
[embedder]
use = "openai"
endpoint = "{url}/v1"
dimensions = 64

[chunker]
max_tokens = 64

[chat]
use = "openai"
endpoint = "{url}/v1"
"""


@pytest.fixture
def fake(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureOpenAI]:
    monkeypatch.delenv("ANALECT_EMBEDDER_USE")
    with AzureOpenAI(limits=Limits(tpm=240_000, rpm=1440)) as fake:
        (folder / "analect.toml").write_text(SETTINGS.format(url=fake.url))
        (folder / "guide.md").write_text(GUIDE)
        yield fake


def test_estimate_is_what_add_takes(analect: Run, fake: AzureOpenAI) -> None:
    before = analect("estimate", "guide.md", "--price", "20", "--json").json
    assert (before["documents"], before["kept"], before["requests"]) == (1, 0, 1)
    assert before["texts"] == before["chunks"] > 2
    assert before["cost"] == pytest.approx(before["tokens"] * 20 / 1e6)
    assert before["minutes"] is None
    assert fake.stats()["requests"] == 0
    assert not Path(".analect/corpus.db").exists()
    assert analect("add", "guide.md", "--json").json["embedded"] == before["texts"]
    assert fake.stats()["requests"] == before["requests"]
    after = analect("estimate", "guide.md", "--json").json
    assert (after["texts"], after["kept"], after["tpm"]) == (0, before["texts"], 240_000)
    assert "240,000 tokens and 1,440 requests a minute" in analect("estimate", "guide.md").out
    assert analect("estimate", "nowhere.md").code == 2


def test_ask_streams_and_checks(analect: Run, fake: AzureOpenAI) -> None:
    analect("add", "guide.md")
    ran = analect("ask", "When do the gates close?")
    assert (ran.code, ran.err) == (0, "")
    assert '"From November the gates close at four."' in ran.out
    assert "characters" in ran.out
    fields = analect("ask", "When do the gates close?", "--json").json
    assert [citation["verdict"] for citation in fields["citations"]] == ["found"]
    assert (fields["finish"], fields["uncited"]) == ("stop", 0)
    assert fields["usage"]["completion_tokens"] > 5
    fake.faults.set("filter")
    fake.faults.set("length")
    assert analect("ask", "When do the gates close?", "--json").code == 0


def test_ledger_commands(analect: Run, fake: AzureOpenAI) -> None:
    assert analect("ledger", "stats").code == 2
    analect("add", "guide.md")
    (space,) = analect("ledger", "stats", "--json").json["spaces"]
    assert (space["embedder_id"], space["kind"], space["dim"]) == ("text-embedding-3-small/64", "document", 64)
    assert space["tokens"] > 50
    assert "text-embedding-3-small/64" in analect("ledger", "stats").out
    assert "all is well" in analect("ledger", "verify").out
    db = sqlite3.connect(".analect/ledger.db")
    with db:
        db.execute("UPDATE vectors SET vector = zeroblob(256) WHERE hash = (SELECT min(hash) FROM vectors)")
    db.close()
    ran = analect("ledger", "verify")
    assert (ran.code, "has the length 0, not 1" in ran.out) == (1, True)
    assert analect("ledger", "prune").code == 2
    assert analect("ledger", "prune", "--damaged", "--json").json == {"removed": 1}
    assert analect("ledger", "prune", "--older-than", "1", "--json").json == {"removed": 0}
    assert analect("ledger", "verify").code == 0
    assert analect("ledger", "prune", "--embedder", space["embedder_id"]).out == f"{space['vectors'] - 1:,} removed\n"


def test_doctor_looks_at_the_service(
    analect: Run, fake: AzureOpenAI, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = {check["name"]: check for check in analect("doctor", "--json").json["checks"]}
    for name in ("endpoint", "credential", "deployments", "quota"):
        assert checks[f"service {name}"]["ok"]
    for name in ("service quota", "chat quota"):
        assert checks[name]["detail"] == "240,000 tokens and 1,440 requests a minute"
    assert checks["chat deployments"]["detail"] == "gpt-4o-mini answers"
    monkeypatch.setenv("OPENAI_API_KEY", "wrong-key")
    ran = analect("doctor")
    assert ran.code == 1
    assert "answered 401" in ran.out
    assert "wrong-key" not in ran.out


# What is wrong with the settings or the environment; the check that says so, and its words.
WRONG = {
    "nobody listens": ({"endpoint": "http://127.0.0.1:9"}, {}, "service endpoint", "127.0.0.1:9 cannot be reached: "),
    "no such host": ({"endpoint": "http://x.invalid"}, {}, "service endpoint", "from the setting 'endpoint'"),
    "no URL": ({"endpoint": "mine"}, {}, "service endpoint", "'mine', from the setting 'endpoint', is no URL"),
    "a wrong key": ({}, {"AZURE_OPENAI_API_KEY": "wrong"}, "service deployments", "401: Access denied"),
    "no identity": ({"credential": "entra"}, {}, "service deployments", "Entra ID gave no token: "),
    "a word that is no credential": ({"credential": "x"}, {}, "model", "it must be auto or key or entra"),
    "no such deployment": ({"deployment": "x"}, {}, "service deployments", "'x' answered 404: "),
    "no such deployment for queries": ({"query_deployment": "x"}, {}, "service deployments", "'x' answered 404: "),
    "a deployment of a chat model": ({"deployment": "gpt-4o"}, {}, "service deployments", "does not work with"),
    "another model": ({"model": "text-embedding-3-large"}, {}, "service deployments", "correct 'model'"),
    "other dimensions": ({"model": "mine", "dimensions": 9}, {}, "service deployments", "gives 1536 dimensions, not 9"),
    "too many dimensions": ({"dimensions": 9999}, {}, "model", "text-embedding-3-small has 1 to 1536"),
    "a misspelt setting": ({"deploymnt": "x"}, {}, "model", "did you mean 'deployment'?"),
    "a quota below one": ({"tpm": -5}, {}, "model", "tpm is -5: set 1 or more, or leave it out"),
    "no time": ({"timeout": 0}, {}, "model", "timeout is 0"),
    "no such chat deployment": ({}, {"ANALECT_CHAT_DEPLOYMENT": "x"}, "chat deployments", "'x' answered 404: "),
    "a misspelt setting of the chat": ({}, {"ANALECT_CHAT_MODLE": "x"}, "chat", "did you mean 'model'?"),
}


@pytest.mark.parametrize(("settings", "environ", "name", "words"), WRONG.values(), ids=WRONG)
def test_doctor_names_what_is_wrong_in_one_line(
    analect: Run,
    fake: AzureOpenAI,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, object],
    environ: dict[str, str],
    name: str,
    words: str,
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "fake-key")
    for variable, value in {"AZURE_OPENAI_ENDPOINT": fake.url, "ANALECT_CHAT_USE": "openai", **environ}.items():
        monkeypatch.setenv(variable, value)
    for variable in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
        monkeypatch.delenv(variable, raising=False)
    chosen = {"use": "openai", "deployment": "text-embedding-3-small", **settings}
    lines = [f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in chosen.items()]
    (folder / "analect.toml").write_text("\n".join(["[embedder]", *lines]))
    ran = analect("doctor")
    assert (ran.code, ran.err) == (1, "")
    failed = [line.removeprefix("FAILED  ") for line in ran.out.splitlines() if line.startswith("FAILED")]
    assert failed[0].startswith(f"{name}: ")
    assert words in failed[0]
    assert [line for line in failed[1:] if not line.startswith(("vectors: not tried", "chat"))] == []


def test_a_wrong_key_is_one_line(analect: Run, fake: AzureOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    ran = analect("add", "guide.md")
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "check OPENAI_API_KEY" in ran.err


@pytest.mark.parametrize("command", [("add", "guide.md"), ("search", "gates"), ("ask", "When do the gates close?")])
@pytest.mark.parametrize("origin", ["the setting 'endpoint'", "AZURE_OPENAI_ENDPOINT", "OPENAI_BASE_URL"])
def test_a_wrong_endpoint_is_one_line_that_says_where_it_is_from(
    analect: Run,
    fake: AzureOpenAI,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    origin: str,
    command: tuple[str, ...],
) -> None:
    analect("add", "guide.md")
    lines = (folder / "analect.toml").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("endpoint")]
    if origin == "the setting 'endpoint'":
        kept.insert(kept.index("[embedder]") + 1, 'endpoint = "http://127.0.0.1:9/v1"')
    else:
        monkeypatch.setenv(origin, "http://127.0.0.1:9")
    (folder / "analect.toml").write_text("\n".join(kept))
    (folder / "guide.md").write_text("# Other words\n\nThan there were.")
    ran = analect(*command)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("analect: cannot connect to 127.0.0.1:9: ")
    assert ran.err.endswith(f"Connection refused; the endpoint is from {origin}\n")
    assert ran.err.count("\n") == 1

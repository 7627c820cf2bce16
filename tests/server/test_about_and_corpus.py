"""Models, token counts, the description, and the corpus over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving_tests import Server

from analect.cli import main
from analect.config import PartSettings, load_settings
from analect.errors import ConfigError
from analect.server.serving import Serving

Serve = Callable[..., Server]
GUIDE = "# Guide\n\nThe garden opens at nine in the morning.\n\nDucks live on the pond."


def filled(server: Server) -> Server:
    documents = [
        {"id": "guide/one.md", "text": GUIDE, "title": "Guide", "metadata": {"team": "blue", "tags": ["a", "b"]}},
        {"id": "2", "text": "The shed holds spades and barrows.", "metadata": {"team": "red"}},
    ]
    report = server.ask("/v1/documents", {"documents": documents}).json
    assert (report["added"], report["failed"]) == (2, [])
    return server


def uncounted(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document without what each process counts for itself, which must be there."""
    assert isinstance(document.pop("counters"), dict)
    return document


class TestModels:
    def test_several_are_loaded_when_first_asked_for(self, serve: Serve) -> None:
        other = PartSettings("hashing", {"dim": 64})
        server = serve(models={"small": other}, aliases={"short": "small"}, deployments={"mine": "small"})
        assert [(each["id"], each["loaded"]) for each in server.ask("/v1/models").json["data"]] == [
            ("hashing/256", True),
            ("small", False),
        ]
        found = server.ask("/v1/embeddings", {"input": "x", "model": "short"}).json
        assert (found["model"], len(found["data"][0]["embedding"])) == ("small", 64)
        assert server.ask("/v1/models/small").json["dimensions"] == 64
        path = "/openai/deployments/mine/embeddings?api-version=2024-10-21"
        assert len(server.ask(path, {"input": "x"}).json["data"][0]["embedding"]) == 64
        assert server.ask("/v1/models/none").error["code"] == "model_not_found"

    def test_the_file_names_them(self, tmp_path: Path) -> None:
        (tmp_path / "analect.toml").write_text(
            '[embedder]\nuse = "hashing"\n[models.small]\nuse = "hashing"\ndim = 32\nload = "start"\n'
            '[aliases]\n"text-embedding-3-small" = "small"\n',
            encoding="utf-8",
        )
        serving = Serving(load_settings(tmp_path / "analect.toml", environ={}))
        batcher = serving.models.loaded("small")
        assert batcher is not None
        assert batcher.embedder.dim == 32
        assert serving.models.aliases["text-embedding-3-small"] == "small"
        serving.close()

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('[aliases]\n"a" = "hashing/25"', "did you mean 'hashing/256'"),
            ("[aliases]\na = 5", r'"name" = "model"'),
            ('models = "x"', r"\[models.NAME\] sections"),
            ('[models.small]\nuse = "hashing"\nload = "later"', "write 'lazy' or 'start'"),
            ('[models."hashing/256"]\nuse = "hashing"', "leave one of them out"),
            ("[server]\nconnections = 0", "at least 1"),
            ("[server]\nhead_seconds = -1", "above 0"),
            ('[server]\non_overflow = "cut"', "must be error or truncate or mean"),
            ("[server]\nhead_second = 1", "did you mean 'head_seconds'"),
            ('[server]\ntoken_vocabulary = "nowhere"', "cannot read nowhere"),
        ],
    )
    def test_what_is_wrong_in_it_is_said(self, tmp_path: Path, text: str, said: str) -> None:
        from analect.server.app import make_app

        (tmp_path / "analect.toml").write_text('embedder.use = "hashing"\n' + text, encoding="utf-8")
        with pytest.raises(ConfigError, match=said):
            make_app(Serving(load_settings(tmp_path / "analect.toml", environ={})))

    def test_tokens_are_counted(self, hashing: Server) -> None:
        found = hashing.ask("/v1/tokenize", {"input": ["one two", "word " * 300, ""]}).json
        assert found == {
            "model": "hashing/256",
            "max_tokens": 256,
            "total_tokens": 4 + 302 + 2,
            "data": [
                {"index": 0, "tokens": 4, "fits": True},
                {"index": 1, "tokens": 302, "fits": False},
                {"index": 2, "tokens": 2, "fits": True},
            ],
        }


class TestCorpus:
    def test_every_answer_has_the_fields_of_the_command_line(
        self, serve: Serve, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = filled(serve())
        monkeypatch.setenv("ANALECT_EMBEDDER_USE", "hashing")
        monkeypatch.setenv("ANALECT_LEDGER", str(server.serving.settings.ledger))

        def command(*args: str) -> Any:
            capsys.readouterr()
            assert main([*args, "--json", "--corpus", str(server.serving.settings.corpus)]) == 0
            return json.loads(capsys.readouterr().out)

        assert server.ask("/v1/status").json == command("status")
        question = {"query": "when does the garden open", "k": 2}
        assert uncounted(server.ask("/v1/search", question).json) == uncounted(
            command("search", question["query"], "-k", "2")
        )
        lexical = {**question, "mode": "lexical", "where": "team=blue"}
        told = command("search", question["query"], "-k", "2", "--mode", "lexical", "--where", "team=blue")
        assert uncounted(server.ask("/v1/search", lexical).json) == uncounted(told)
        asked = server.ask("/v1/ask", {"question": "When does the garden open?"}).json
        assert asked == command("ask", "When does the garden open?")
        assert asked["answered"]

    def test_an_answer_comes_as_events(self, serve: Serve) -> None:
        server = filled(serve())
        found = server.ask("/v1/ask", {"question": "When does the garden open?", "stream": True})
        assert found.headers["content-type"] == "text/event-stream"
        events = [block.split("\n") for block in found.body.decode().strip().split("\n\n")]
        assert [name for name, _ in events] == ["event: hits", "event: text", "event: citation", "event: done"]
        data = [json.loads(line.removeprefix("data: ")) for _, line in events]
        assert data[1]["delta"] == data[3]["text"]
        assert data[2] == data[3]["citations"][0]
        assert data[3] == server.ask("/v1/ask", {"question": "When does the garden open?"}).json

    def test_documents_come_are_shown_and_go(self, serve: Serve) -> None:
        server = filled(serve())
        page = server.ask("/v1/documents?limit=1").json
        assert ([each["id"] for each in page["documents"]], page["next"]) == (["2"], "2")
        rest = server.ask("/v1/documents?after=2").json
        assert ([each["id"] for each in rest["documents"]], rest["next"]) == (["guide/one.md"], None)
        shown = server.ask("/v1/documents/guide%2Fone.md").json
        assert (shown["text"], shown["metadata"]) == (GUIDE, {"team": "blue", "tags": ["a", "b"]})
        assert server.ask("/v1/documents/guide%2Fone.md", method="DELETE").json == {"deleted": 1}
        assert server.ask("/v1/documents/guide%2Fone.md").status == 404
        assert [hit["document_id"] for hit in server.ask("/v1/search", {"query": "garden"}).json["hits"]] == ["2"]
        assert server.ask("/v1/documents", {"ids": ["2", "none"]}, method="DELETE").status == 404
        assert server.ask("/v1/documents", {"ids": ["2"]}, method="DELETE").json == {"deleted": 1}

    def test_documents_posted_later_replace_and_remove_nothing_else(self, serve: Serve) -> None:
        server = filled(serve())
        report = server.ask("/v1/documents", {"documents": [{"id": "2", "text": "The shed is empty."}]}).json
        assert (report["replaced"], report["deleted"]) == (1, 0)
        assert server.ask("/v1/status").json["documents"] == 2
        broken = server.ask("/v1/documents", {"documents": [{"id": "3", "text": " "}]}).json
        assert [failure["uri"] for failure in broken["failed"]] == ["api:3"]
        other = {"source": "others", "documents": [{"id": "2", "text": "mine"}]}
        assert server.ask("/v1/documents", other).json["failed"] != []

    @pytest.mark.parametrize(
        ("path", "body", "status"),
        [
            ("/v1/search", {"query": ""}, 400),
            ("/v1/search", {"query": "x", "k": 0}, 400),
            ("/v1/search", {"query": "x", "k": 10**30}, 400),
            ("/v1/search", {"query": "x", "mode": "psychic"}, 400),
            ("/v1/search", {"query": "x", "where": "nonsense"}, 400),
            ("/v1/search", {"query": "x", "where": [1]}, 400),
            ("/v1/search", {"query": "word " * 400}, 400),
            ("/v1/ask", {"question": " "}, 400),
            ("/v1/ask", {"question": 5}, 400),
            ("/v1/documents", {"documents": []}, 400),
            ("/v1/documents", {"documents": [{"id": "", "text": "x"}]}, 400),
            ("/v1/documents", {"documents": [{"id": "x"}]}, 400),
            ("/v1/documents", {"documents": [{"id": "x", "text": "y", "metadata": {"a": {"b": 1}}}]}, 400),
            ("/v1/documents?limit=0", None, 400),
            ("/v1/documents?limit=99999999999999", None, 400),
            ("/v1/documents/none", None, 404),
        ],
    )
    def test_what_cannot_be_used_is_a_plain_error(self, serve: Serve, path: str, body: Any, status: int) -> None:
        found = filled(serve()).ask(path, body)
        assert found.status == status, found.body
        assert found.error["type"] == "invalid_request_error"

    def test_without_a_corpus_there_is_nothing_to_search(self, serve: Serve) -> None:
        server = serve()
        for found in (server.ask("/v1/search", {"query": "x"}), server.ask("/v1/status"), server.ask("/v1/documents")):
            assert (found.status, found.error["code"]) == (404, "not_found")
        assert not server.serving.settings.corpus.exists()


class TestDescription:
    def test_every_route_is_in_it(self, hashing: Server) -> None:
        document = hashing.ask("/openapi.json").json
        routes = {(route.method.lower(), route.path) for route in hashing.server._gate.router.routes}
        assert {(method, path) for path, each in document["paths"].items() for method in each} == routes

    def test_the_page_shows_every_route_and_loads_nothing(self, hashing: Server) -> None:
        found = hashing.ask("/docs")
        text = found.body.decode()
        assert found.headers["content-type"] == "text/html; charset=utf-8"
        assert all(route.path in text for route in hashing.server._gate.router.routes)
        assert not any(sign in text for sign in ("<script", "src=", "http:", "https:", "@import"))

    @pytest.mark.parametrize(("method", "path", "status"), [
        ("GET", "/v1/embeddings", 405), ("PUT", "/v1/documents", 405), ("GET", "/v1", 404), ("GET", "//", 404),
        ("GET", "/v1/documents/", 404), ("HEAD", "/healthz", 200), ("OPTIONS", "/healthz", 405), ("GET", "/%ff", 404),
    ])  # fmt: skip
    def test_unknown_routes_and_methods(self, hashing: Server, method: str, path: str, status: int) -> None:
        found = hashing.ask(path, method=method)
        assert found.status == status
        if status == 405:
            assert found.headers["allow"]

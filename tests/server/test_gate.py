"""What stands before every route: keys, sites, limits, slow clients, overload, draining, and the log."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from serving_tests import Server, read_all, until

from analect.embedders.hashing import HashingEmbedder
from analect.errors import StoreError
from analect.server.calls import ApiError, Call, Reply
from analect.server.routing import Route, Router
from analect.server.serving import Aside
from analect.server.settings import ServerSettings
from analect.types import Embeddings, Kind

Serve = Callable[..., Server]
SECRET = "the badger's secret"
POST = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\n"
NO_HTTP = {
    "TLS": b"\x16\x03\x01 no http at all\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9": b"GET /healthz HTTP/9.9\r\nhost: x\r\n\r\n",
    "an unknown method": b"BREW /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "bytes for a path": b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
    "NUL in a header": b"GET /healthz HTTP/1.1\r\nhost: x\r\na: b\0c\r\n\r\n",
    "a negative length": POST + b"content-length: -1\r\n\r\n{}",
    "a length in words": POST + b"content-length: two\r\n\r\n{}",
    "a length without end": POST + b"content-length: " + b"9" * 30 + b"\r\n\r\n{}",
    "two lengths": POST + b"content-length: 2\r\ncontent-length: 1\r\n\r\n{}",
    "a length and chunks": POST + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
    "an unknown coding": POST + b"transfer-encoding: gzip\r\n\r\n{}",
    "a chunk without end": POST + b"transfer-encoding: chunked\r\n\r\n" + b"F" * 30 + b"\r\n",
    "a chunk in words": POST + b"transfer-encoding: chunked\r\n\r\ntwo\r\n{}\r\n",
}


class Gated(HashingEmbedder):
    """Runs only when it is let; the warming that precedes the server goes through."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.open.set()

    def embed(self, texts: Sequence[str], *, kind: Kind) -> Embeddings:
        assert self.open.wait(30)
        return super().embed(texts, kind=kind)


@pytest.fixture
def gated() -> Iterator[Gated]:
    embedder = Gated()
    yield embedder
    embedder.open.set()


class TestKeys:
    def test_a_key_is_asked_for_and_taken_in_both_headers(self, serve: Serve) -> None:
        server = serve(keys=["first-key", "second-key"])
        body = {"input": "x", "model": server.model}
        assert server.ask("/v1/embeddings", body).error["code"] == "invalid_api_key"
        for headers in (
            {"authorization": "Bearer first-key"},
            {"api-key": "second-key"},
            {"authorization": "bearer second-key"},
        ):
            assert server.ask("/v1/embeddings", body, headers=headers).status == 200
        for headers in ({"authorization": "Bearer first-ke"}, {"api-key": ""}, {"authorization": "Basic first-key"}):
            assert server.ask("/v1/embeddings", body, headers=headers).status == 401

    def test_only_health_and_the_description_need_none(self, serve: Serve) -> None:
        server = serve(keys=["a-key"])
        open_ones = [
            route
            for route in server.server._gate.router.routes
            if server.ask(
                route.path.replace("{", "").replace("}", ""), {} if route.takes else None, method=route.method
            ).status
            != 401
        ]
        assert [route.path for route in open_ones] == ["/healthz", "/readyz", "/openapi.json", "/docs"]

    def test_azure_words_its_refusal(self, serve: Serve) -> None:
        server = serve(keys=["a-key"])
        with (
            openai.AzureOpenAI(
                azure_endpoint=server.url, api_version="2024-10-21", api_key="wrong", max_retries=0
            ) as client,
            pytest.raises(openai.AuthenticationError),
        ):
            client.embeddings.create(model="hashing/256", input="x")


class TestSites:
    @pytest.mark.parametrize(
        "headers",
        [
            {"host": "evil.example"},
            {"host": "[::1"},
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": "http://[::1"},
        ],
    )
    def test_pages_of_other_sites_are_refused(self, serve: Serve, headers: dict[str, str]) -> None:
        server = serve(hosts=["127.0.0.1"])
        assert server.ask("/v1/models", headers=headers).status == 403

    @pytest.mark.parametrize(
        "headers", [{}, {"host": "localhost:8000"}, {"host": "[::1]:1"}, {"origin": "http://localhost:3000"}]
    )
    def test_this_machine_is_let_in(self, serve: Serve, headers: dict[str, str]) -> None:
        assert serve(hosts=["127.0.0.1"]).ask("/v1/models", headers=headers).status == 200

    def test_with_keys_any_name_will_do(self, serve: Serve) -> None:
        server = serve(hosts=["127.0.0.1"], keys=["k"])
        assert server.ask("/v1/models", headers={"host": "api.example", "api-key": "k"}).status == 200


class TestLimits:
    def test_a_body_without_a_length_is_counted_too(self, serve: Serve) -> None:
        server = serve(limits=ServerSettings(body_bytes=1000))
        with server.connect() as connection:
            connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            connection.sendall(b"258\r\n" + b"x" * 600 + b"\r\n258\r\n" + b"x" * 600 + b"\r\n0\r\n\r\n")
            assert read_all(connection).startswith(b"HTTP/1.1 413 ")

    def test_100_megabytes_are_refused_and_not_kept(self, serve: Serve) -> None:
        server = serve()
        found = server.ask("/v1/embeddings", b'{"input": "' + b"x" * (100 << 20) + b'"}')
        assert found.status == 413
        assert "16,777,216 bytes" in found.error["message"]
        assert server.server._gate._buffered == 0

    def test_a_body_that_does_not_come_is_given_up(self, serve: Serve) -> None:
        server = serve(limits=ServerSettings(body_seconds=0.2))
        with server.connect() as connection:
            connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
            assert read_all(connection).startswith(b"HTTP/1.1 408 ")

    @pytest.mark.parametrize(
        ("sent", "answer"), [(b"", b""), (b"GET / HTT", b"HTTP/1.1 408 "), (b"GET / HTTP/1.1\r\nx: ", b"HTTP/1.1 408 ")]
    )
    def test_a_head_that_does_not_come_is_given_up(self, serve: Serve, sent: bytes, answer: bytes) -> None:
        server = serve(limits=ServerSettings(head_seconds=0.2))
        with server.connect() as connection:
            connection.sendall(sent)
            assert read_all(connection)[: len(answer)] == answer

    def test_a_second_head_has_its_time_too(self, serve: Serve) -> None:
        server = serve(limits=ServerSettings(head_seconds=0.3))
        with server.connect() as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            time.sleep(0.5)  # a connection that is kept is not late
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost")
            found = read_all(connection)
        assert found.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 408 " in found

    def test_a_head_without_end_is_refused(self, serve: Serve) -> None:
        with serve().connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000)
            assert read_all(connection).startswith(b"HTTP/1.1 431 ")

    @pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
    def test_what_is_no_http_is_refused(self, hashing: Server, sent: bytes) -> None:
        with hashing.connect() as connection:
            connection.sendall(sent)
            found = read_all(connection)
        assert found.startswith(b"HTTP/1.1 400 ")
        assert json.loads(found.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"

    def test_a_client_that_asks_for_http_2_is_answered_in_http_1(self, hashing: Server) -> None:
        # The client of the JDK, and so langchain4j: the header may be cut anywhere, but comes whole.
        body = b'{"input": "upgrade: x", "model": "hashing/256"}'
        asks = b"connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"
        head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n" % (asks, len(body))
        with hashing.connect() as connection:
            for _ in range(2):
                connection.sendall(head)
                time.sleep(0.05)
                connection.sendall(body)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")

    def test_a_client_that_does_not_read_is_let_go(self, serve: Serve) -> None:
        server = serve(limits=ServerSettings(body_seconds=0.5))
        with server.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            texts = ",".join(f'"text {number}"' for number in range(2048))
            body = f'{{"input": [{texts}], "model": "{server.model}"}}'.encode()
            head = f"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            for _ in range(3):
                connection.sendall(head + body)
            until(lambda: not server.server.server_state.connections)

    def test_more_connections_than_set_are_told_so(self, serve: Serve) -> None:
        server = serve(limits=ServerSettings(connections=20))
        several = [server.connect() for _ in range(60)]
        try:
            refused = 0
            several[20].sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
            for connection in several[20:]:
                found = read_all(connection)
                assert found.startswith(b"HTTP/1.1 503 "), found
                assert b"retry-after: 1" in found
                refused += 1
            for path in ("/healthz", "/readyz", "/metrics"):
                found = server.ask(path)
                assert (found.status, found.headers["connection"]) == (200, "close")
            assert server.ask("/v1/models").error["message"].startswith("too many connections")
            several[0].sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert read_all(several[0]).startswith(b"HTTP/1.1 200 ")
        finally:
            for connection in several:
                connection.close()
        assert refused == 40
        until(lambda: not server.server.server_state.connections)
        assert server.ask("/healthz").status == 200


class TestOverload:
    def test_a_full_queue_is_a_429_that_says_when_to_come_back(self, serve: Serve, gated: Gated) -> None:
        server = serve(embedder=gated, limits=ServerSettings(queue_tokens=2000))
        gated.open.clear()
        with ThreadPoolExecutor(24) as callers:
            found = [callers.submit(server.embed, [f"{number} " + "word " * 98] * 6) for number in range(24)]
            until(lambda: sum(each.done() for each in found) > 12)
            gated.open.set()
            answers = [each.result() for each in found]
        refused = [answer for answer in answers if answer.status == 429]
        assert {answer.status for answer in answers} == {200, 429}
        for answer in refused:
            assert int(answer.headers["retry-after"]) >= 1
            assert float(answer.headers["retry-after-ms"]) > 0
            assert (answer.error["type"], answer.error["code"]) == ("rate_limit_error", "rate_limit_exceeded")

    def test_the_openai_client_comes_back_and_is_served(self, serve: Serve, gated: Gated) -> None:
        server = serve(embedder=gated, limits=ServerSettings(queue_tokens=10))
        gated.open.clear()
        with ThreadPoolExecutor(8) as callers:
            held = [callers.submit(server.embed, "word " * 98) for _ in range(6)]
            until(lambda: server.serving.models.load(server.model).load().waiting_tokens > 10)
            threading.Timer(0.3, gated.open.set).start()
            with openai.OpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=5) as client:
                assert client.embeddings.create(model=server.model, input="word " * 97).data
            assert [each.result().status for each in held].count(200) >= 2

    def test_a_client_that_leaves_frees_its_place(self, serve: Serve, gated: Gated) -> None:
        server = serve(embedder=gated)
        batcher = server.serving.models.load(server.model)
        gated.open.clear()
        connection = server.connect()
        texts = ",".join(['"' + "word " * 200 + '"'] * 50)
        body = f'{{"input": [{texts}], "model": "{server.model}"}}'.encode()
        connection.sendall(
            f"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
        )
        until(lambda: batcher.load().waiting_texts > 10)
        connection.close()
        until(lambda: batcher.load().waiting_texts == 0)
        until(lambda: any(line["status"] == 499 for line in server.lines))

    def test_an_answer_that_takes_too_long_is_given_up(self, serve: Serve, gated: Gated) -> None:
        server = serve(embedder=gated, limits=ServerSettings(answer_seconds=0.2))
        gated.open.clear()
        found = server.embed("x")
        assert (found.status, found.error["type"]) == (503, "server_error")

    def test_what_is_done_aside_is_bounded_too(self) -> None:
        aside = Aside(1, most=2, name="test")
        with aside.place():
            with aside.place(), pytest.raises(ApiError, match="too many requests") as caught, aside.place():
                pytest.fail("there was a third place of two")
            assert (caught.value.status, caught.value.headers["retry-after"]) == (429, "1")
            with aside.place() as threads:  # the second was given back
                assert threads.submit(len, "duck").result() == 4
        aside.close()


class TestDraining:
    def test_what_is_in_flight_ends_and_what_is_new_is_refused(self, serve: Serve, gated: Gated) -> None:
        server = serve(embedder=gated)
        gated.open.clear()
        with ThreadPoolExecutor(1) as caller:
            held = caller.submit(server.embed, "x")
            until(lambda: server.serving.metrics.in_flight == 1)
            server.server.handle_exit(15, None)
            until(lambda: server.serving.draining)
            assert server.embed("late").status == 503
            assert server.ask("/readyz").status == 503
            assert server.ask("/healthz").status == 200
            gated.open.set()
            assert held.result().status == 200
        until(lambda: server.server.should_exit)


class TestLog:
    def test_a_line_a_request_without_any_text(self, serve: Serve) -> None:
        server = serve(keys=["a-key-that-nobody-logs"])
        headers = {"api-key": "a-key-that-nobody-logs"}
        server.ask("/v1/embeddings", {"input": [SECRET, SECRET], "model": server.model}, headers=headers)
        server.ask(f"/v1/{SECRET.replace(' ', '-')}", headers=headers)
        server.ask("/v1/search", {"query": SECRET}, headers=headers)
        until(lambda: len(server.lines) == 3)
        first, second, third = server.lines
        assert {**first, "id": "", "ms": 0} == {
            "id": "", "method": "POST", "route": "/v1/embeddings", "model": server.model, "texts": 2, "tokens": 12,
            "status": 200, "ms": 0,
        }  # fmt: skip
        assert (second["route"], second["status"]) == ("unknown", 404)
        assert (third["route"], third["status"]) == ("/v1/search", 404)
        assert "badger" not in server.log.getvalue()
        assert "nobody" not in server.log.getvalue()

    @pytest.mark.parametrize(("error", "status"), [(ValueError(SECRET), 500), (StoreError(SECRET), 503)])
    def test_what_fails_below_is_told_by_an_id_alone(self, serve: Serve, error: Exception, status: int) -> None:
        async def fails(call: Call) -> Reply:
            raise error

        server = serve()
        server.server._gate.router = Router([Route("GET", "/fails", fails, "Fails", "tests")])
        found = server.ask("/fails")
        assert found.status == status
        until(lambda: bool(server.lines))
        (line,) = server.lines
        assert line["id"] in found.error["message"]
        assert line["id"] == found.headers["x-request-id"]
        assert line["error"] == type(error).__name__
        assert any("test_gate.py" in place for place in line["at"])
        assert "badger" not in found.body.decode() + server.log.getvalue()


def test_metrics_count_what_happened(serve: Serve) -> None:
    server = serve()
    warmed = server.serving.models.load(server.model).load().texts
    server.embed(["one two three", "four"])
    server.embed([])
    text = server.ask("/metrics").body.decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values['analect_requests_total{route="/v1/embeddings",status="200"}'] == "1"
    assert values['analect_requests_total{route="/v1/embeddings",status="400"}'] == "1"
    assert values['analect_request_seconds_count{route="/v1/embeddings"}'] == "2"
    assert values['analect_request_seconds_bucket{route="/v1/embeddings",le="+Inf"}'] == "2"
    assert values['analect_queue_texts{model="hashing/256"}'] == "0"
    assert int(values['analect_texts_total{model="hashing/256"}']) == 2 + warmed
    for name in (
        "tokens_total",
        "batches_total",
        "padded_tokens_total",
        "inference_seconds_total",
        "queue_wait_seconds_total",
    ):
        assert float(values[f'analect_{name}{{model="hashing/256"}}']) > 0

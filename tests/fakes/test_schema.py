"""The fake checks requests against the schema that the vendor publishes with its SDK, and says so in its words."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest
from openai import AzureOpenAI, OpenAI

from analect.chat.openai import OpenAIChat
from analect.fakes import _schema
from analect.fakes import azure_openai as module
from analect.fakes._schema import Operation
from analect.fakes._wire import Asked
from analect.types import Message
from remote import embedder_at

EMBEDDINGS: dict[str, Any] = {"model": "text-embedding-3-small", "input": "a"}
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "a"}]}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "b"}
SOURCE = {"type": "azure_search", "parameters": {"endpoint": "https://x"}}

GOOD: list[dict[str, Any]] = [
    EMBEDDINGS,
    EMBEDDINGS | {"input": ["a", "b"], "encoding_format": "base64", "dimensions": 8, "user": "u"},
    EMBEDDINGS | {"input": [1, 2]},
    EMBEDDINGS | {"input": [[1], [2, 3]]},
    CHAT,
    CHAT | {"stream": True, "stream_options": {"include_usage": True}},
    CHAT | {"stream": False, "stop": None, "temperature": 1, "max_tokens": None},
    CHAT | {"stop": ["a", "b"], "seed": 1, "n": 1, "top_p": 0.5, "logit_bias": {"5": 1}, "user": "u"},
    CHAT | {"messages": [{"role": "system", "content": "a"}, {"role": "developer", "content": "b"}]},
    CHAT | {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}], "name": "b"}]},
    CHAT | {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
    CHAT | {"tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": False},
    CHAT | {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "look"}}},
    CHAT
    | {"messages": [{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "1", "content": ""}]},
    CHAT | {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}},
]
OF_AZURE: list[dict[str, Any]] = [
    EMBEDDINGS | {"input_type": "query", "dimensions": None, "encoding_format": None},
    CHAT | {"data_sources": [SOURCE]},
]
BROKEN: list[tuple[dict[str, Any], str, str | None, str | None]] = [
    (EMBEDDINGS | {"dimension": 5}, "Unrecognized request argument supplied: dimension", None, None),
    (EMBEDDINGS | {"a": 1, "b": 2}, "Unrecognized request arguments supplied: a, b", None, None),
    ({"model": EMBEDDINGS["model"]}, "Missing required parameter: 'input'.", "missing_required_parameter", "input"),
    (EMBEDDINGS | {"input": 5}, "expected a string or an array, but got an integer", "invalid_type", "input"),
    (EMBEDDINGS | {"input": {"a": "b"}}, "but got an object", "invalid_type", "input"),
    (EMBEDDINGS | {"input": None}, "but got null", "invalid_type", "input"),
    (EMBEDDINGS | {"input": ["a", 5]}, "but got an integer", "invalid_type", "input[1]"),
    (EMBEDDINGS | {"input": [1.5]}, "but got a decimal", "invalid_type", "input[0]"),
    (EMBEDDINGS | {"input": [True]}, "but got a boolean", "invalid_type", "input[0]"),
    (EMBEDDINGS | {"input": [["a"]]}, "expected an integer", "invalid_type", "input[0][0]"),
    (EMBEDDINGS | {"input": []}, "got an empty array", "empty_array", "input"),
    (EMBEDDINGS | {"input": [[]]}, "cannot be an empty array", None, "input"),
    (EMBEDDINGS | {"input": ["a", ""]}, "cannot be an empty string", None, "input"),
    (EMBEDDINGS | {"input": ["a"] * 2049}, "maximum length 2048", "array_above_max_length", "input"),
    (EMBEDDINGS | {"dimensions": "8"}, "expected an integer, but got a string", "invalid_type", "dimensions"),
    (EMBEDDINGS | {"dimensions": 0}, "a value >= 1, but got 0", "integer_below_min_value", "dimensions"),
    (EMBEDDINGS | {"dimensions": 1537}, "a value <= 1536", "integer_above_max_value", "dimensions"),
    (EMBEDDINGS | {"encoding_format": "hex"}, "'float' or 'base64'", "invalid_value", "encoding_format"),
    (EMBEDDINGS | {"user": 5}, "expected a string", "invalid_type", "user"),
    (CHAT | {"message": []}, "Unrecognized request argument supplied: message", None, None),
    ({"model": "gpt-4o"}, "Missing required parameter", "missing_required_parameter", "messages"),
    (CHAT | {"messages": "a"}, "expected an array, but got a string", "invalid_type", "messages"),
    (CHAT | {"messages": {"role": "user"}}, "expected an array, but got an object", "invalid_type", "messages"),
    (CHAT | {"messages": []}, "got an empty array", "empty_array", "messages"),
    (CHAT | {"messages": ["a"]}, "expected an object, but got a string", "invalid_type", "messages[0]"),
    (CHAT | {"messages": [{"content": "a"}]}, "Missing", "missing_required_parameter", "messages[0].role"),
    (CHAT | {"messages": [{"role": "user"}]}, "Missing", "missing_required_parameter", "messages[0].content"),
    (
        CHAT | {"messages": [{"role": "boss", "content": "a"}]},
        "Invalid value: 'boss'",
        "invalid_value",
        "messages[0].role",
    ),
    (
        CHAT | {"messages": [{"role": "user", "content": {"a": 1}}]},
        "expected a string or an array, but got an object",
        "invalid_type",
        "messages[0].content",
    ),
    (
        CHAT | {"messages": [*CHAT["messages"], {"role": "user", "content": [{"type": "text"}]}]},
        "Missing",
        "missing_required_parameter",
        "messages[1].content[0].text",
    ),
    (
        CHAT | {"messages": [{"role": "user", "content": "a", "colour": 1}]},
        "Unknown parameter: 'messages[0].colour'.",
        "unknown_parameter",
        "messages[0].colour",
    ),
    (CHAT | {"stream": "yes"}, "expected a boolean, but got a string", "invalid_type", "stream"),
    (CHAT | {"temperature": 9}, "a value <= 2, but got 9", "integer_above_max_value", "temperature"),
    (CHAT | {"temperature": -0.5}, "a value >= 0", "decimal_below_min_value", "temperature"),
    (CHAT | {"temperature": "hot"}, "expected a number", "invalid_type", "temperature"),
    (CHAT | {"temperature": True}, "but got a boolean", "invalid_type", "temperature"),
    (CHAT | {"max_tokens": 0}, "a value >= 1", "integer_below_min_value", "max_tokens"),
    (CHAT | {"stop": ["a"] * 5}, "maximum length 4", "array_above_max_length", "stop"),
    (CHAT | {"tool_choice": "maybe"}, "Invalid value: 'maybe'", "invalid_value", "tool_choice"),
    (CHAT | {"tools": [{"type": "function"}]}, "Missing", "missing_required_parameter", "tools[0].function"),
    (
        CHAT | {"stream": True, "stream_options": {"usage": True}},
        "Unknown",
        "unknown_parameter",
        "stream_options.usage",
    ),
]


@pytest.fixture(scope="module")
def fake() -> Iterator[module.AzureOpenAI]:
    with module.AzureOpenAI() as fake:
        yield fake


def post(fake: module.AzureOpenAI, body: Mapping[str, Any] | bytes, *, of_azure: bool) -> tuple[int, dict[str, Any]]:
    """Send a body, by Azure's route with deployments or by OpenAI's."""
    fields = {} if isinstance(body, bytes) else dict(body)
    what = "embeddings" if str(fields.get("model", "text-")).startswith("text-") else "chat/completions"
    url = f"{fake.url}/v1/{what}"
    if of_azure:
        url = f"{fake.url}/openai/deployments/{fields.pop('model')}/{what}?api-version=2024-10-21"
    raw = body if isinstance(body, bytes) else json.dumps(fields).encode()
    request = urllib.request.Request(url, data=raw, headers={"api-key": "fake-key"})
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, {} if fields.get("stream") else json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.parametrize("of_azure", [False, True])
@pytest.mark.parametrize("body", GOOD, ids=str)
def test_what_the_schema_allows_is_answered(fake: module.AzureOpenAI, body: dict[str, Any], of_azure: bool) -> None:
    assert post(fake, body, of_azure=of_azure)[0] == 200


@pytest.mark.parametrize("body", OF_AZURE, ids=str)
def test_what_only_azure_publishes(fake: module.AzureOpenAI, body: dict[str, Any]) -> None:
    assert post(fake, body, of_azure=True)[0] == 200
    assert post(fake, body, of_azure=False)[0] == 400


@pytest.mark.parametrize("of_azure", [False, True])
@pytest.mark.parametrize(("body", "words", "code", "param"), BROKEN, ids=str)
def test_what_it_forbids_is_named_as_the_service_does(
    fake: module.AzureOpenAI, body: dict[str, Any], words: str, code: str | None, param: str | None, of_azure: bool
) -> None:
    status, reply = post(fake, body, of_azure=of_azure)
    error = reply["error"]
    assert (status, error["type"], error["code"], error["param"]) == (400, "invalid_request_error", code, param), error
    assert words in error["message"]


def test_wrong_data_sources_are_refused(fake: module.AzureOpenAI) -> None:
    _, reply = post(fake, CHAT | {"data_sources": [{"type": "web", "parameters": {}}]}, of_azure=True)
    assert reply["error"]["param"] == "data_sources[0].type"


@pytest.mark.parametrize("raw", [b"", b"{", b'{"model": NaN}', b"[]", b"\xff", b'{"input": "a"}'])
def test_a_body_that_is_none_is_refused(fake: module.AzureOpenAI, raw: bytes) -> None:
    assert post(fake, raw, of_azure=False)[0] == 400


class Recording(module.AzureOpenAI):
    """Keeps the bodies that come."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[tuple[Operation, Mapping[str, Any]]] = []

    def embeddings(self, asked: Asked, **more: Any) -> Any:
        self.bodies.append(("embeddings", asked.body))
        return super().embeddings(asked, **more)

    def chat(self, asked: Asked, **more: Any) -> Any:
        self.bodies.append(("chat/completions", asked.body))
        return super().chat(asked, **more)


@pytest.mark.usefixtures("fake_key")
def test_we_and_the_vendor_send_what_the_schema_demands() -> None:
    """A release of the SDK whose schema demands more than we send fails here, by name."""
    with Recording() as fake:
        with closing(embedder_at(fake)) as embedder:
            embedder.embed(["a"], kind="document")
        with closing(OpenAIChat(endpoint=f"{fake.url}/v1", stop=".")) as chat:
            list(chat.stream([Message("system", "a"), Message("user", "b"), Message("assistant", "c")]))
        with OpenAI(base_url=f"{fake.url}/v1", api_key="fake-key") as client:
            client.embeddings.create(model="text-embedding-3-small", input="a")
            client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "a"}])
        with AzureOpenAI(azure_endpoint=fake.url, api_key="fake-key", api_version="2024-10-21") as azure:
            azure.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": "a"}], stream=True
            ).close()
        bodies = fake.bodies
    assert [operation for operation, _ in bodies] == ["embeddings", "chat/completions"] * 2 + ["chat/completions"]
    for operation, body in bodies:
        assert _schema.required(operation) <= set(body), operation
        _schema.check(body, operation=operation, of_azure=False)

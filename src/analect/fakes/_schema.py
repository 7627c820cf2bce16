"""What a request must look like: the published schemas of embeddings and chat completions, and their limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from analect.embedders._tokens import Tokens

MAX_INPUTS, MAX_INPUT_TOKENS, MAX_REQUEST_TOKENS = 2048, 8191, 300_000

_EMBEDDING_FIELDS = ("input", "model", "encoding_format", "dimensions", "user")
_CHAT_FIELDS = (
    "messages model frequency_penalty logit_bias logprobs top_logprobs max_tokens max_completion_tokens n "
    "presence_penalty response_format seed stop stream stream_options temperature top_p tools tool_choice "
    "parallel_tool_calls user functions function_call data_sources reasoning_effort store metadata service_tier"
).split()


class Refused(Exception):  # it is an answer, not an error of ours
    """A request that the service answers with an error body."""

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers: dict[str, str] = {}

    def body(self) -> dict[str, Any]:
        """Return the service's error body."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def tokens_of(text: str | list[int]) -> int:
    """Return what a text costs here: a quarter of its characters, rounded up; a token array is its length."""
    return len(text) if isinstance(text, list) else math.ceil(len(text) / 4)


def read_inputs(body: Mapping[str, Any], *, native: int, fixed: bool) -> tuple[list[str | list[int]], int, bool]:
    """Return the inputs, the dimensions and whether base64 is wanted. Raises `Refused`."""
    _only(body, _EMBEDDING_FIELDS)
    if not isinstance(body.get("model", ""), str):
        raise Refused(400, "'model' must be a string", param="model")
    inputs = _as_list(body.get("input"))
    if not 1 <= len(inputs) <= MAX_INPUTS:
        message = f"Invalid 'input': expected an array with 1 to {MAX_INPUTS} items, got one with {len(inputs)}."
        raise Refused(400, message, param="input")
    lengths = [_length(each) for each in inputs]
    if max(lengths) > MAX_INPUT_TOKENS:
        message = f"Invalid 'input': maximum context length is {MAX_INPUT_TOKENS} tokens, got {max(lengths)}."
        raise Refused(400, message, param="input")
    if sum(lengths) > MAX_REQUEST_TOKENS:
        message = f"Requested {sum(lengths)} tokens, max {MAX_REQUEST_TOKENS} tokens per request"
        raise Refused(400, message, param=None, code="max_tokens_per_request")
    form = body.get("encoding_format", "float")
    if form not in ("float", "base64"):
        raise Refused(400, "'encoding_format' must be 'float' or 'base64'", param="encoding_format")
    dimensions = body.get("dimensions", native)
    if not isinstance(dimensions, int) or isinstance(dimensions, bool) or not 1 <= dimensions <= native:
        raise Refused(400, f"Invalid 'dimensions': an integer from 1 to {native}", param="dimensions")
    if fixed and "dimensions" in body:
        raise Refused(400, "This model does not support specifying dimensions.", param="dimensions")
    return inputs, dimensions, form == "base64"


@cache
def _tokenizer() -> Tokens:
    return Tokens(is_openai=True)


def _length(text: str | list[int]) -> int:
    """Return the tokens that count for the caps: by the models' own encoding where it is here, else its words."""
    if isinstance(text, list):
        return len(text)
    return int(_tokenizer().count([text])[0]) if _tokenizer().exact else len(text.split())


def _as_list(given: Any) -> list[str | list[int]]:
    """Return the four forms of input as a list of texts or token arrays."""
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list) and given and all(_is_token(each) for each in given):
        given = [given]
    if not isinstance(given, list):
        raise Refused(400, "'input' must be a string or an array", param="input")
    for each in given:
        if not isinstance(each, str) and not (isinstance(each, list) and each and all(map(_is_token, each))):
            raise Refused(400, "'$.input' is invalid: strings, or arrays of tokens", param="input")
        if each == "":
            raise Refused(400, "'$.input' is invalid: an input cannot be an empty string", param="input")
    return given


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def check_chat(body: Mapping[str, Any]) -> None:
    """Check a chat request. Raises `Refused`."""
    _only(body, _CHAT_FIELDS)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "'messages' is a required property: an array of at least one", param="messages")
    for each in messages:
        if not isinstance(each, dict) or each.get("role") not in ("system", "developer", "user", "assistant", "tool"):
            raise Refused(400, "each of 'messages' needs a role", param="messages")
    for name, low, high in (("temperature", 0, 2), ("top_p", 0, 1), ("presence_penalty", -2, 2)):
        value = body.get(name)
        if value is not None and (not isinstance(value, int | float) or not low <= value <= high):
            raise Refused(400, f"{value!r} is not a number from {low} to {high} - '{name}'", param=name)
    for name in ("max_tokens", "max_completion_tokens"):
        if body.get(name) is not None and (not _is_token(body[name]) or body[name] < 1):
            raise Refused(400, f"'{name}' must be an integer of 1 or more", param=name)


def _only(body: Mapping[str, Any], known: list[str] | tuple[str, ...]) -> None:
    for name in body:
        if name not in known:
            raise Refused(400, f"Unrecognized request argument supplied: {name}", param=name)

"""What a body that keeps its schema may still not be: the limits that the service states beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from analect.embedders._tokens import Tokens
from analect.fakes._schema import Refused

MAX_INPUTS, MAX_INPUT_TOKENS, MAX_REQUEST_TOKENS = 2048, 8191, 300_000

_NUMBERS: dict[str, tuple[int, int | None]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "n": (1, 128),
    "top_logprobs": (0, 20),
    "max_tokens": (1, None),
    "max_completion_tokens": (1, None),
}
_ARRAYS = {"messages": None, "stop": 4, "tools": 128, "functions": 128}  # the most items; one is the least


def tokens_of(text: str | list[int]) -> int:
    """Return what a text costs here: a quarter of its characters, rounded up; a token array is its length."""
    return len(text) if isinstance(text, list) else math.ceil(len(text) / 4)


def read_inputs(body: Mapping[str, Any], *, native: int, fixed: bool) -> tuple[list[str | list[int]], int, bool]:
    """Return the inputs, the dimensions and whether base64 is wanted. Raises `Refused`."""
    inputs = _as_list(body["input"])
    _array("input", inputs, high=MAX_INPUTS)
    lengths = [_length(each) for each in inputs]
    if max(lengths) > MAX_INPUT_TOKENS:
        message = f"Invalid 'input': maximum context length is {MAX_INPUT_TOKENS} tokens, got {max(lengths)}."
        raise Refused(400, message, param="input")
    if sum(lengths) > MAX_REQUEST_TOKENS:
        message = f"Requested {sum(lengths)} tokens, max {MAX_REQUEST_TOKENS} tokens per request"
        raise Refused(400, message, code="max_tokens_per_request")
    asked = body.get("dimensions")
    if fixed and asked is not None:
        raise Refused(400, "This model does not support specifying dimensions.", param="dimensions")
    dimensions = native if asked is None else asked
    _number("dimensions", dimensions, low=1, high=native)
    return inputs, dimensions, body.get("encoding_format") == "base64"


def check_chat(body: Mapping[str, Any]) -> None:
    """Check the numbers and the arrays of a chat request. Raises `Refused`."""
    for name, (low, high) in _NUMBERS.items():
        if body.get(name) is not None:
            _number(name, body[name], low=low, high=high)
    for name, most in _ARRAYS.items():
        if isinstance(body.get(name), list):
            _array(name, body[name], high=most)


def _number(name: str, value: float, *, low: int, high: int | None) -> None:
    kind = "integer" if isinstance(value, int) else "decimal"
    if value < low:
        raise _refusal(name, f"{kind}_below_min_value", wanted=f"a value >= {low}", got=str(value))
    if high is not None and value > high:
        raise _refusal(name, f"{kind}_above_max_value", wanted=f"a value <= {high}", got=str(value))


def _array(name: str, value: Sequence[Any], *, high: int | None) -> None:
    if not value:
        raise _refusal(name, "empty_array", wanted="an array with minimum length 1", got="an empty array")
    if high is not None and len(value) > high:
        wanted, got = f"an array with maximum length {high}", f"an array with length {len(value)}"
        raise _refusal(name, "array_above_max_length", wanted=wanted, got=got)


def _refusal(name: str, code: str, *, wanted: str, got: str) -> Refused:
    what = code.replace("_", " ").replace("max value", "maximum value").replace("min value", "minimum value")
    message = f"Invalid '{name}': {what}. Expected {wanted}, but got {got} instead."
    return Refused(400, message, code=code, param=name)


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
    if isinstance(given, str) or (given and isinstance(given[0], int)):
        given = [given]
    for each in given:
        if not each:
            kind = "an empty string" if each == "" else "an empty array"
            raise Refused(400, f"'$.input' is invalid: an input cannot be {kind}.", param="input")
        if isinstance(each, list) and min(each) < 0:
            raise Refused(400, "'$.input' is invalid: tokens are not negative.", param="input")
    return list(given)

"""The published schemas of requests, as the service's own SDK carries them, and what a body is told that breaks one.

The SDK types what it sends loosely: any iterable for an array, unions without a discriminator. Here the same types are
read as the service reads them: arrays are lists, unions are told apart by their role or type, and nothing extra is let
through. What Azure publishes beyond that (its inference schema of 2024-10-21) is added for its routes.
"""

from __future__ import annotations

import collections.abc
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, reduce
from typing import Any, Literal, Required, TypeAlias, cast, get_args

from analect.errors import MissingExtraError

Operation: TypeAlias = Literal["embeddings", "chat/completions", "completions"]

_ARRAYS = (collections.abc.Iterable, collections.abc.Sequence, list)
_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "a boolean",
    "list_type": "an array",
}
_GOT = {str: "a string", int: "an integer", float: "a decimal", bool: "a boolean", list: "an array", dict: "an object"}


class _DataSource(typing.TypedDict, total=False):
    type: Required[Literal["azure_search", "azure_cosmos_db"]]
    parameters: Required[dict[str, Any]]


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


def check(body: Mapping[str, Any], *, operation: Operation, of_azure: bool) -> None:
    """Check the body of a request against its schema. Raises `Refused`, in the service's words."""
    from pydantic import ValidationError  # noqa: PLC0415  # half a second with the SDK: when a fake is made

    streamed = operation != "embeddings" and body.get("stream") is True
    try:
        _schema(operation, of_azure=of_azure, streamed=streamed).validate_python(body)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False), body) from None


def load() -> None:
    """Read the schemas, so that the first request need not. Raises `MissingExtraError`."""
    for of_azure in (False, True):
        for operation in get_args(Operation):
            for streamed in (False, True) if operation != "embeddings" else (False,):
                _schema(operation, of_azure=of_azure, streamed=streamed)


def required(operation: Operation) -> set[str]:
    """Return the fields that the SDK's schema demands of a request."""
    return {name for name, hint in _fields(_published(operation, streamed=False)).items() if _is_required(hint)}


def _published(operation: Operation, *, streamed: bool) -> type:
    try:
        from openai.types import completion_create_params as text  # noqa: PLC0415
        from openai.types.chat import completion_create_params as chat  # noqa: PLC0415
        from openai.types.embedding_create_params import EmbeddingCreateParams  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "openai":
            raise
        raise MissingExtraError("the fake", extra="testing", module="openai") from error
    if operation == "embeddings":
        return EmbeddingCreateParams
    params: Any = chat if operation == "chat/completions" else text
    name = "CompletionCreateParamsStreaming" if streamed else "CompletionCreateParamsNonStreaming"
    return cast(type, getattr(params, name))


@cache
def _schema(operation: Operation, *, of_azure: bool, streamed: bool) -> Any:
    from pydantic import TypeAdapter  # noqa: PLC0415

    published = _published(operation, streamed=streamed)
    return TypeAdapter(_exact_object(published, extra=_of_azure(operation) if of_azure else {}))


def _of_azure(operation: Operation) -> dict[str, Any]:
    """Return the fields that Azure publishes otherwise; the route with deployments needs no model."""
    if operation == "embeddings":
        form = Literal["float", "base64"] | None
        return {"model": str, "input_type": str, "encoding_format": form, "dimensions": int | None}
    if operation == "completions":
        return {"model": str}
    return {"model": str, "data_sources": list[_exact_object(_DataSource)]}  # type: ignore[misc]


@cache
def _fields(published: Any) -> dict[str, Any]:
    return typing.get_type_hints(published, include_extras=True)


def _is_required(hint: Any) -> bool:
    return typing.get_origin(hint) is Required


def _exact_object(published: Any, *, extra: Mapping[str, Any] | None = None) -> Any:
    from typing_extensions import TypedDict  # noqa: PLC0415  # pydantic asks for this one below Python 3.12

    fields = {name: _exact(hint) for name, hint in _fields(published).items()} | dict(extra or {})
    exact = cast(Any, TypedDict)(published.__name__, fields, total=False)
    exact.__pydantic_config__ = {"strict": True, "extra": "forbid"}
    return exact


def _exact(hint: Any) -> Any:
    """Return a type as a body has it."""
    from typing_extensions import is_typeddict  # noqa: PLC0415

    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Required:
        return Required[_exact(inner[0])]
    if origin in _ARRAYS:
        return list[_exact(inner[0])]  # type: ignore[misc]
    if origin in (typing.Union, types.UnionType):
        objects = [each for each in inner if is_typeddict(each)]
        others = [_exact(each) for each in inner if each not in objects]
        return _either([*others, _told_apart(objects)] if objects else others)
    return _exact_object(hint) if is_typeddict(hint) else hint


def _told_apart(objects: Sequence[Any]) -> Any:
    """Return the union of objects, by the field that names which one it is."""
    from pydantic import Field  # noqa: PLC0415

    union = _either([_exact_object(each) for each in objects])
    names = [name for name in _fields(objects[0]) if all(_is_name(_fields(each).get(name)) for each in objects)]
    return typing.Annotated[union, Field(discriminator=names[0])] if names and len(objects) > 1 else union


def _is_name(hint: Any) -> bool:
    return _is_required(hint) and typing.get_origin(typing.get_args(hint)[0]) is Literal


def _either(hints: Iterable[Any]) -> Any:
    return reduce(lambda one, other: typing.Union[one, other], hints)  # noqa: UP007  # of types made here


def _refusal(errors: Sequence[Any], body: Mapping[str, Any]) -> Refused:
    """Return what the service says of the first thing that is wrong; of a union, of the choice that came nearest."""
    unknown = [str(each["loc"][0]) for each in errors if each["type"] == "extra_forbidden" and len(each["loc"]) == 1]
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        return Refused(400, f"Unrecognized request argument{plural} supplied: {', '.join(unknown)}")
    places = [_place(each, body) for each in errors]
    first = [place for place in places if place[:1] == places[0][:1]]
    nearest = max(first, key=len)
    return _words([error for error, place in zip(errors, places, strict=True) if place == nearest], nearest)


def _place(error: Any, body: Any) -> tuple[str | int, ...]:
    """Return where in the body an error is: its `loc` also names the choices of unions, which a body does not."""
    *steps, last = error["loc"]
    place: list[str | int] = []
    value = body
    for step in steps:
        if _is_in(value, step):
            value = value[step]
            place.append(step)
    is_place = _is_in(value, last) or (isinstance(value, dict) and error["type"] == "missing")
    return (*place, last) if is_place else tuple(place)


def _is_in(value: Any, step: str | int) -> bool:
    return isinstance(step, int) if isinstance(value, list) else isinstance(value, dict) and step in value


def _words(errors: Sequence[Any], place: Sequence[str | int]) -> Refused:
    error, param = errors[0], _path(place)
    kind, given = error["type"], error["input"]
    if kind in ("missing", "union_tag_not_found"):
        param = param if kind == "missing" else f"{param}.{_discriminator(error)}"
        return Refused(400, f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param)
    if kind == "extra_forbidden":
        return Refused(400, f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param)
    if kind == "union_tag_invalid":
        param, given = f"{param}.{_discriminator(error)}", error["ctx"]["tag"]
    known = str(error.get("ctx", {}).get("expected_tags") or error.get("ctx", {}).get("expected") or "")
    if isinstance(given, str) and known.startswith("'"):
        message = f"Invalid value: '{given[:50]}'. Supported values are: {known}."
        return Refused(400, message, code="invalid_value", param=param)
    expected = " or ".join(dict.fromkeys(_expected(errors)))
    message = f"Invalid type for '{param}': expected {expected}, but got {_GOT.get(type(given), 'null')} instead."
    return Refused(400, message, code="invalid_type", param=param)


def _discriminator(error: Any) -> str:
    return str(error["ctx"]["discriminator"]).strip("'")


def _expected(errors: Sequence[Any]) -> Iterator[str]:
    for error in errors:
        if error["type"] == "literal_error":
            known = str(error["ctx"]["expected"])
            yield "a boolean" if known in ("True", "False") else known
        else:
            yield _EXPECTED.get(error["type"], "an object")


def _path(place: Sequence[str | int]) -> str:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return path.removeprefix(".")

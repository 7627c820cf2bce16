"""The embeddings routes: OpenAI's, Azure OpenAI's and the bare list of `POST /embeddings`."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Meta

from analect.batcher import Prepared
from analect.server.calls import ApiError, Call, Reply, reply
from analect.server.routing import Route
from analect.server.serving import Serving
from analect.server.vocabulary import Vocabulary
from analect.types import Embeddings, Kind, Vector

MAX_INPUTS = 2048
_INLINE = 4000  # characters that are counted at once: handing them to another thread takes longer
_ROWS_BETWEEN_YIELDS = 32  # vectors that are written before other requests get their turn
_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")
_TOKEN_IDS = (
    "the input holds token ids, and this server cannot know by which vocabulary: send text. langchain-openai: "
    "OpenAIEmbeddings(check_embedding_ctx_length=False); others: switch client-side tokenization off; or the server's "
    "operator names the file of the clients' vocabulary with [server] token_vocabulary"
)


class EmbeddingsRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What `/v1/embeddings` takes. `input_type` is ours: "query" for models that want queries marked."""

    input: Any
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    user: str | None = None
    input_type: Literal["document", "query"] = "document"


class DeploymentRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The same without a model's name, which is in the path or left out."""

    input: Any
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    user: str | None = None
    input_type: Literal["document", "query"] = "document"


class Usage(msgspec.Struct):
    """Tokens by the model's own tokenizer."""

    prompt_tokens: int
    total_tokens: int


class Datum(msgspec.Struct):
    """One vector: floats, or base64 of little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingsReply(msgspec.Struct):
    """What `/v1/embeddings` gives."""

    object: Literal["list"]
    data: list[Datum]
    model: str
    usage: Usage


_OPENAI = msgspec.json.Decoder(EmbeddingsRequest)
_AZURE = msgspec.json.Decoder(DeploymentRequest)
_ANY = msgspec.json.Decoder(dict[str, Any])
_STATUSES = (400, 401, 404, 408, 413, 415, 429, 503)


class EmbeddingsRoutes:
    """The handlers of this family."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        path = serving.limits.token_vocabulary
        self._vocabulary = Vocabulary.read(path) if path else None

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        openai: dict[str, Any] = {
            "family": "embeddings",
            "takes": EmbeddingsRequest,
            "gives": EmbeddingsReply,
            "statuses": _STATUSES,
        }
        return (
            Route("POST", "/v1/embeddings", self.openai, "Embed texts, as OpenAI does", **openai),
            Route("POST", "/openai/v1/embeddings", self.azure_v1, "Embed texts, as Azure OpenAI's v1 does", **openai),
            Route(
                "POST",
                "/openai/deployments/{deployment}/embeddings",
                self.azure,
                "Embed texts, as Azure OpenAI does",
                "embeddings",
                takes=DeploymentRequest,
                gives=EmbeddingsReply,
                query=(("api-version", True, "A version of Azure OpenAI's API, such as 2024-10-21"),),
                statuses=_STATUSES,
            ),
            Route(
                "POST",
                "/embeddings",
                self.bare,
                "Embed one text as a bare list of floats; with a model, as OpenAI does",
                "embeddings",
                takes=DeploymentRequest,
                gives=list[float] | EmbeddingsReply,
                statuses=_STATUSES,
            ),
        )

    async def openai(self, call: Call) -> Reply:
        """Answer OpenAI's route."""
        asked = call.json(_OPENAI)
        return await self._openai(call, asked, names=self._serving.models.aliases)

    async def azure_v1(self, call: Call) -> Reply:
        """Answer Azure's v1 route, where the model is a deployment's name."""
        asked = call.json(_OPENAI)
        models = self._serving.models
        return await self._openai(call, asked, names={**models.aliases, **models.deployments})

    async def azure(self, call: Call) -> Reply:
        """Answer Azure's deployment route."""
        if not _VERSION.fullmatch(call.query.get("api-version", "")):
            raise ApiError(404, "Resource not found: the query needs an api-version such as 2024-10-21", code="404")
        deployment = call.params["deployment"]
        if deployment not in self._serving.models.deployments:
            raise ApiError(404, f"there is no deployment {deployment[:200]!r} here", code="DeploymentNotFound")
        asked = call.json(_AZURE)
        return await self._openai(call, asked, names=self._serving.models.deployments, model=deployment)

    async def bare(self, call: Call) -> Reply:
        """Answer one text with a bare list of floats, anything else as OpenAI's route does."""
        asked = call.json(_ANY)
        if set(asked) != {"input"} or not isinstance(asked["input"], str):
            return await self.openai(call)
        texts = self._texts(asked["input"])
        embeddings, headers = await self._embed(call, texts, model=self._serving.models.default, kind="document")
        return reply(embeddings.vectors[0], headers=headers)

    async def _openai(
        self,
        call: Call,
        asked: EmbeddingsRequest | DeploymentRequest,
        *,
        names: Mapping[str, str],
        model: str | None = None,
    ) -> Reply:
        model = self._serving.model(model or asked.model or "", names=names)
        texts = self._texts(asked.input)
        embeddings, headers = await self._embed(
            call, texts, model=model, kind=asked.input_type, dimensions=asked.dimensions
        )
        tokens = int(embeddings.tokens.sum())
        tail = {"model": model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
        body = await _written(embeddings, tail=tail, write=_WRITERS[asked.encoding_format])
        return Reply(body, headers=headers)

    def _texts(self, given: Any) -> list[str]:
        """Return the input as texts. Raises `ApiError` for what OpenAI does not take."""
        if isinstance(given, str):
            given = [given]
        if not isinstance(given, list) or not 1 <= len(given) <= MAX_INPUTS:
            size = f"{len(given):,} items" if isinstance(given, list) else type(given).__name__
            raise _bad_input(f"'input' has {size}: send a string, or 1 to {MAX_INPUTS} of them")
        if all(type(each) is str for each in given):
            return _with_text(given)
        ids = [given] if all(type(each) is int for each in given) else given
        if not all(isinstance(each, list) and each and all(type(number) is int for number in each) for each in ids):
            raise _bad_input("'input' must be a string, a list of strings, or lists of token ids")
        if self._vocabulary is None:
            raise _bad_input(_TOKEN_IDS)
        try:
            return _with_text([self._vocabulary.text(each) for each in ids])
        except KeyError as error:
            raise _bad_input(f"'input' holds the id {str(error)[:40]}, which is none of the vocabulary's") from error

    async def _embed(
        self, call: Call, texts: list[str], *, model: str, kind: Kind, dimensions: int | None = None
    ) -> tuple[Embeddings, dict[str, str]]:
        serving = self._serving
        batcher = await serving.batcher(model)
        if dimensions is not None and dimensions != batcher.embedder.dim:
            raise ApiError(400, "This model does not support specifying dimensions.", param="dimensions")
        call.record.update(model=model, texts=len(texts))
        if sum(map(len, texts)) <= _INLINE:
            prepared = batcher.prepare(texts, kind=kind)
        else:
            prepared = await serving.counting(lambda: batcher.prepare(texts, kind=kind))
        total = int(prepared.tokens.sum())
        call.record["tokens"] = total
        _check(prepared, total=total, limit=serving.limits.request_tokens)
        embeddings = await call.result_of(batcher.enqueue(prepared), seconds=serving.limits.answer_seconds)
        for index, reason in embeddings.failures.items():
            raise _bad_input(f"input[{index}]: {reason}")
        return embeddings, _headers(prepared)


def _bad_input(message: str) -> ApiError:
    return ApiError(400, message, param="input")


def _with_text(texts: list[str]) -> list[str]:
    for index, text in enumerate(texts):
        if not text.strip():
            raise _bad_input(f"input[{index}] is empty: every input must hold text")
    return texts


def _check(prepared: Prepared, *, total: int, limit: int) -> None:
    """Raise `ApiError` for what can have no vector, before anything is computed."""
    for index, reason in prepared.failures.items():
        raise _bad_input(f"input[{index}]: {reason}; shorten it, or the server's operator sets on_overflow")
    if total > limit:
        raise _bad_input(f"the inputs have {total:,} tokens, a request may have {limit:,}: send fewer at once")


def _headers(prepared: Prepared) -> dict[str, str]:
    """Say which inputs were not embedded whole, or not at once."""
    cut = [str(index) for index, each in enumerate(prepared.cut) if each] if prepared.cut.any() else []
    headers = {"x-analect-truncated": ",".join(cut)} if cut else {}
    if prepared.averaged:
        headers["x-analect-averaged"] = ",".join(map(str, prepared.averaged))
    return headers


def _floats(vector: Vector) -> bytes:
    return orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)


def _base64(vector: Vector) -> bytes:
    return b'"' + base64.b64encode(vector.astype("<f4", copy=False).tobytes()) + b'"'


_WRITERS = {"float": _floats, "base64": _base64}


async def _written(embeddings: Embeddings, *, tail: Mapping[str, Any], write: Any) -> list[bytes] | bytes:
    """Return the body in parts, row by row, so that a long answer holds up nobody."""
    rows = embeddings.vectors
    parts = [b'{"object":"list","data":[']
    for index, vector in enumerate(rows):
        comma = b"," if index else b""
        parts.append(b'%b{"object":"embedding","index":%d,"embedding":%b}' % (comma, index, write(vector)))
        if index % _ROWS_BETWEEN_YIELDS == _ROWS_BETWEEN_YIELDS - 1:
            await asyncio.sleep(0)
    parts.append(b"]," + orjson.dumps(tail)[1:])
    return parts if len(rows) > _ROWS_BETWEEN_YIELDS else b"".join(parts)

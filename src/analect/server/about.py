"""The routes that tell of the server: models, token counts, health, metrics, the API's description."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Meta

from analect.server.calls import ApiError, Call, Reply, reply
from analect.server.metrics import CONTENT_TYPE
from analect.server.routing import Route
from analect.server.serving import Serving

_Text = Annotated[str, Meta(min_length=0)]


class ModelFields(msgspec.Struct):
    """One model, as OpenAI lists it, with its dimensions and limit."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    loaded: bool
    dimensions: int | None = None
    max_tokens: int | None = None


class ModelsReply(msgspec.Struct):
    """What `/v1/models` gives."""

    object: Literal["list"]
    data: list[ModelFields]


class TokenizeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Texts whose tokens are to be counted."""

    input: str | Annotated[list[str], Meta(min_length=1, max_length=2048)]
    model: str | None = None
    input_type: Literal["document", "query"] = "document"


class TokenCount(msgspec.Struct):
    """The tokens of one text, special tokens included, and whether they are more than the model takes."""

    index: int
    tokens: int
    fits: bool


class TokenizeReply(msgspec.Struct):
    """What `/v1/tokenize` gives."""

    model: str
    max_tokens: int
    total_tokens: int
    data: list[TokenCount]


class State(msgspec.Struct):
    """How the server is."""

    status: str


_TOKENIZE = msgspec.json.Decoder(TokenizeRequest)


class AboutRoutes:
    """The handlers of this family."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._document: bytes = b""
        self._page: bytes = b""

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        about: dict[str, Any] = {"family": "about"}
        html = "text/html; charset=utf-8"
        return (
            Route("GET", "/v1/models", self.models, "List the models", **about, gives=ModelsReply, statuses=(401, 503)),
            Route("GET", "/v1/models/{model}", self.model, "Show one model", **about, gives=ModelFields,
                  statuses=(401, 404, 503)),
            Route("POST", "/v1/tokenize", self.tokenize, "Count tokens", **about, takes=TokenizeRequest,
                  gives=TokenizeReply, statuses=(400, 401, 404, 408, 413, 415, 429, 503)),
            Route("GET", "/healthz", self.health, "Is the process alive?", **about, gives=State, open=True),
            Route("GET", "/readyz", self.readiness, "Is the model warm?", **about, gives=State, open=True,
                  statuses=(503,)),
            Route("GET", "/metrics", self.metrics, "Counters, for Prometheus", **about, content_type="text/plain",
                  statuses=(401, 503)),
            Route("GET", "/openapi.json", self.openapi, "This API's description", **about, gives=dict[str, Any],
                  open=True, statuses=(503,)),
            Route("GET", "/docs", self.docs, "This API's description, to read", **about, content_type=html, open=True,
                  statuses=(503,)),
        )  # fmt: skip

    def describe(self, document: dict[str, Any], *, page: str) -> None:
        """Take in the API's description, made of every family's routes."""
        self._document, self._page = orjson.dumps(document), page.encode()

    async def models(self, _: Call) -> Reply:
        """Answer with every model."""
        return reply({"object": "list", "data": [self._fields(name) for name in self._serving.models.names]})

    async def model(self, call: Call) -> Reply:
        """Answer with one model."""
        models = self._serving.models
        return reply(self._fields(self._serving.model(call.params["model"], names=models.aliases)))

    def _fields(self, name: str) -> dict[str, Any]:
        batcher = self._serving.models.loaded(name)
        fields = {"id": name, "object": "model", "created": self._serving.started, "owned_by": "analect"}
        if batcher is None:
            return {**fields, "loaded": False, "dimensions": None, "max_tokens": None}
        return {
            **fields, "loaded": True, "dimensions": batcher.embedder.dim, "max_tokens": batcher.embedder.max_tokens
        }  # fmt: skip

    async def tokenize(self, call: Call) -> Reply:
        """Answer with the tokens of each text."""
        serving = self._serving
        asked = call.json(_TOKENIZE)
        model = serving.model(asked.model or serving.models.default, names=serving.models.aliases)
        batcher = await serving.batcher(model)
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        prepared = await serving.counting(lambda: batcher.prepare(texts, kind=asked.input_type))
        limit = batcher.embedder.max_tokens
        counts = [
            {"index": index, "tokens": int(tokens), "fits": bool(tokens <= limit)}
            for index, tokens in enumerate(prepared.tokens)
        ]
        total = int(prepared.tokens.sum())
        call.record.update(model=model, texts=len(texts), tokens=total)
        return reply({"model": model, "max_tokens": limit, "total_tokens": total, "data": counts})

    async def health(self, _: Call) -> Reply:
        """Answer that the process is alive."""
        return reply({"status": "ok"})

    async def readiness(self, _: Call) -> Reply:
        """Answer whether texts can be embedded at once."""
        if not self._serving.ready:
            raise ApiError(503, "the model is not warm yet", headers={"retry-after": "1"})
        return reply({"status": "ready"})

    async def metrics(self, _: Call) -> Reply:
        """Answer with the counters."""
        text = self._serving.metrics.text(self._serving.models.loads())
        return Reply(text.encode(), content_type=CONTENT_TYPE)

    async def openapi(self, _: Call) -> Reply:
        """Answer with the OpenAPI document."""
        return Reply(self._document)

    async def docs(self, _: Call) -> Reply:
        """Answer with the page made of it, which loads nothing from anywhere."""
        return Reply(self._page, content_type="text/html; charset=utf-8")

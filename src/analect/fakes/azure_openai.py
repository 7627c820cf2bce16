"""A contract server of OpenAI and Azure OpenAI: embeddings and chat, quota, errors, and faults on demand.

```sh
python -m analect.fakes.azure_openai --port 8123 --tpm 240000 --rpm 1440 --latency-ms 150 --faults '30%500+reset'
```

Routes: `/v1/…`, `/openai/v1/…` (the model names the deployment) and `/openai/deployments/{d}/…?api-version=…`, each
with `embeddings`, `chat/completions`, `completions` and (without deployment) `models`. `GET /_fake/stats` tells what
was asked and billed, `POST /_fake/faults` with a spec as its body (see `analect.fakes._faults`) sets what goes wrong
next. Tokens are counted as a quarter of the characters, for usage as for the limits. It keeps hashes of the texts, not
the texts.
"""

from __future__ import annotations

import argparse
import math
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from analect.errors import AnalectError
from analect.fakes import _chat, _faults, _limits, _schema
from analect.fakes._billing import Billing
from analect.fakes._faults import Fault, Faults
from analect.fakes._limits import tokens_of
from analect.fakes._quota import Limits, Quota
from analect.fakes._schema import Refused
from analect.fakes._serving import Serving
from analect.fakes._vectors import encoded, vectors_of
from analect.fakes._wire import Asked, AzureOpenAIHandler
from analect.fakes.entra import Entra

EMBEDDING_MODELS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
CHAT_MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4", "gpt-4.1", "gpt-4.1-mini", "gpt-5.5")
TEXT_MODELS = ("gpt-3.5-turbo-instruct",)
RESOURCE = "https://cognitiveservices.azure.com"


class AzureOpenAI(Serving):
    """The fake service. Starts and stops with a `with`; `url` is its endpoint.

    Every key but `key` is refused; bearer tokens are those of `entra`. `deployments` maps names to models, next to the
    models' own names. `latency_ms` is what a request takes, `spread` the sigma of a log-normal around it.
    """

    handler = AzureOpenAIHandler

    def __init__(
        self,
        *,
        key: str = "fake-key",
        deployments: Mapping[str, str] | None = None,
        limits: Limits = Limits(),  # noqa: B008  # it is frozen
        latency_ms: float = 0.0,
        spread: float = 0.0,
        faults: str = "",
        vectors: Literal["hashing", "local"] = "hashing",
        entra: Entra | None = None,
        port: int = 0,
    ) -> None:
        # Before a port is taken: these may refuse.
        self.faults = Faults(faults)
        self._models = _models(deployments or {})
        _schema.load()
        super().__init__(port=port)
        self.billing = Billing(minute=limits.minute)
        self.entra = entra
        self._key = key
        self._limits = limits
        self._quotas: dict[str, Quota] = {}
        self._latency = (latency_ms / 1000, spread)
        self._chance = random.Random(0)
        self._vectors = vectors
        self._lock = threading.Lock()

    def stats(self) -> dict[str, Any]:
        """Return what was asked and billed so far."""
        return self.billing.stats()

    def authorize(self, headers: Any) -> None:
        """Check the key or the bearer token. Raises `Refused`."""
        scheme, _, bearer = (headers.get("Authorization") or "").partition(" ")
        given = headers.get("api-key") or (bearer if scheme.lower() == "bearer" else "")
        if given == self._key or (self.entra and self.entra.is_valid(given, resource=RESOURCE)):
            return
        message = "Access denied due to invalid subscription key, token or wrong API endpoint."
        raise Refused(401, message, code="401")

    def models(self) -> dict[str, Any]:
        """Return the list of models."""
        return {"object": "list", "data": [{"id": each, "object": "model"} for each in self._models]}

    def wait(self, fault: Fault | None) -> None:
        """Take the time that a request takes."""
        mean, spread = self._latency
        if fault and fault.name == "timeout":
            self.billing.count("faults")
            time.sleep(fault.seconds(30.0))
        if mean:
            time.sleep(mean * math.exp(spread * self._chance.gauss(0, 1)) if spread else mean)

    def embeddings(self, asked: Asked, *, fault: Fault | None, headers: dict[str, str]) -> dict[str, Any]:
        """Return the embeddings of a request. Raises `Refused`."""
        model = self._model_of(asked.deployment, EMBEDDING_MODELS)
        native = EMBEDDING_MODELS[model]
        _schema.check(asked.body, operation="embeddings", of_azure=asked.of_azure)
        inputs, dimensions, as_base64 = _limits.read_inputs(asked.body, native=native, fixed=model.endswith("ada-002"))
        if any(isinstance(each, str) and self.faults.is_poison(each) for each in inputs):
            message = "The input was refused by the content management policy (fault on demand)."
            raise Refused(400, message, code="content_filter", param="input")
        tokens = sum(map(tokens_of, inputs))
        self._admit(asked.deployment, tokens, headers)
        self.billing.bill(inputs, tokens=tokens, model=model)
        vectors = vectors_of(inputs, dim=dimensions, by=self._vectors)
        rows = list(range(len(inputs)))
        name = fault.name if fault else ""
        if name in ("nan", "count", "shuffle"):
            self.billing.count("faults")
        if name == "nan":
            vectors[0, 0] = np.nan
        rows = rows[:-1] if name == "count" else rows[::-1] if name == "shuffle" else rows
        items = [
            {"object": "embedding", "index": row, "embedding": encoded(vectors[row], as_base64=as_base64)}
            for row in rows
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": items, "model": model, "usage": usage}

    def chat(self, asked: Asked, *, fault: Fault | None, headers: dict[str, str]) -> dict[str, Any] | Iterator[bytes]:
        """Return a completion of a chat or of a text, or the events of one. Raises `Refused`."""
        of_text, body = asked.what == "completions", asked.body
        model = self._model_of(asked.deployment, TEXT_MODELS if of_text else CHAT_MODELS)
        _schema.check(body, operation="completions" if of_text else "chat/completions", of_azure=asked.of_azure)
        _limits.check_chat(body)
        messages = _chat.messages_of(body["prompt"]) if of_text else body["messages"]
        prompt = sum(tokens_of(_chat.text_of(each)) for each in messages)
        most = body.get("max_completion_tokens") or body.get("max_tokens") or (16 if of_text else None)
        self._admit(asked.deployment, prompt + (most or 0), headers)
        text, finish = _chat.ended(_chat.reply_to(messages), stop=body.get("stop"), most=most)
        if fault and fault.name in ("filter", "length"):
            self.billing.count("faults")
            text, finish = text[: len(text) // 2], {"filter": "content_filter", "length": "length"}[fault.name]
        completion = _chat.Completion(headers["x-request-id"], model, text, finish, prompt, of_text=of_text)
        self.billing.bill([], tokens=completion.usage["total_tokens"], model=model)
        if body.get("stream"):
            return completion.events(with_usage=bool((body.get("stream_options") or {}).get("include_usage")))
        return completion.document()

    def _model_of(self, deployment: str, known: Mapping[str, int] | Sequence[str]) -> str:
        model = self._models.get(deployment)
        if model is None:
            raise Refused(404, "The API deployment for this resource does not exist.", code="DeploymentNotFound")
        if model not in known:
            message = f"The operation does not work with the specified model, {model}."
            raise Refused(400, message, code="OperationNotSupported", param="model")
        return model

    def _admit(self, deployment: str, tokens: int, headers: dict[str, str]) -> None:
        """Ask the quota of the deployment, and add its headers. Raises `Refused` with 429."""
        with self._lock:
            quota = self._quotas.setdefault(deployment, Quota(self._limits, clock=time.monotonic))
            standing = quota.ask(tokens)
        self.billing.admit(tokens, refused=bool(standing.wait))
        headers |= quota.headers(standing)
        if standing.wait:
            message = (
                "Requests to this operation under this API version have exceeded the token rate limit of your current "
                f"pricing tier. Please retry after {math.ceil(standing.wait)} seconds."
            )
            raise Refused(429, message, code="429")


def _models(deployments: Mapping[str, str]) -> dict[str, str]:
    """Return which model each deployment is, the models' own names among them. Raises `ValueError`."""
    known = (*EMBEDDING_MODELS, *CHAT_MODELS, *TEXT_MODELS)
    for name, model in deployments.items():
        if not name or model not in known:
            raise ValueError(f"the deployment {name!r} is of no model here ({model!r}): {', '.join(known)}")
    return {name: name for name in known} | dict(deployments)


def main(args: Sequence[str] | None = None) -> None:
    """Run the fake until it is stopped; prints its address, and the variables that lead to its Entra ID."""
    parser = argparse.ArgumentParser(
        prog="python -m analect.fakes.azure_openai",
        description=__doc__.splitlines()[0],
        epilog=_faults.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--api-key", default="fake-key")
    parser.add_argument("--entra", action="store_true", help="take tokens of a fake Entra ID as well")
    parser.add_argument(
        "--deployment", action="append", default=[], metavar="NAME=MODEL", help="a deployment; may be given again"
    )
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--spread", type=float, default=0.0, help="sigma of a log-normal latency (default: fixed)")
    parser.add_argument("--tpm", type=int)
    parser.add_argument("--rpm", type=int)
    parser.add_argument("--minute", type=float, default=60.0, help="seconds that a minute of the quota lasts")
    parser.add_argument("--faults", default="", metavar="SPEC", help="see below")
    parser.add_argument("--vectors", choices=("hashing", "local"), default="hashing")
    given = vars(parser.parse_args(args))
    limits = Limits(given.pop("tpm"), given.pop("rpm"), minute=given.pop("minute"))
    named = [each.partition("=") for each in given.pop("deployment")]
    deployments = {name: model for name, _, model in named}
    entra = Entra().start() if given.pop("entra") else None
    try:
        fake = AzureOpenAI(
            key=given.pop("api_key"), limits=limits, deployments=deployments, entra=entra, **given
        ).start()
    except (ValueError, OSError, AnalectError) as error:  # a fault or a model that is none, a port that is taken
        parser.error(str(error))
    variables = [f"{name}={value}" for name, value in entra.environment.items()] if entra else []
    print(fake.url, *variables, sep="\n", flush=True)  # noqa: T201  # it is a program
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    fake.stop()
    if entra:
        entra.stop()


if __name__ == "__main__":
    main()

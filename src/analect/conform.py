"""A report card: does a server keep OpenAI's and Azure OpenAI's contract of embeddings?

Every check asks the server as a client would, over plain HTTP, and names what it saw. Nothing is taken from the
server's own word: vectors are compared with each other. A check looks at one thing, so that one fault fails one check.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
from numpy.typing import NDArray

from analect.errors import InputError

_TEXTS = tuple(
    f"{what} number {number}" for number, what in enumerate("pond duck shed spade gate path tree seed".split())
)
_SAME = 0.999  # cosine of one text's vectors; servers are not repeatable to the last bit
_MOST = 2048  # inputs of a request
_VERSION = "2024-10-21"
_BURST = 32  # requests at once, to see a full server


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the card: whether the server passed, and what it did."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON. Raises `_FailedError` where it is none."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise _FailedError(f"status {self.status} with a body that is not JSON") from error


class _FailedError(Exception):
    """A check that was not passed; the message is its detail."""


class _Client:
    """Asks one server under test."""

    def __init__(self, url: str, *, key: str | None, model: str | None, timeout: float) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{url!r} is no address of a server: write http://HOST:PORT or http://HOST:PORT/v1")
        self._host, self._port, self._secure = parts.hostname, parts.port, parts.scheme == "https"
        self._root = parts.path.rstrip("/").removesuffix("/v1")
        self._timeout = timeout
        self.key = key
        self.model = model or self._first_model()

    def _first_model(self) -> str:
        answer = self.ask("/v1/models")
        try:
            return str(answer.json["data"][0]["id"])
        except (KeyError, IndexError, TypeError, _FailedError) as error:
            raise InputError(f"/v1/models answers {answer.status} and names no model: name one with --model") from error

    def ask(self, path: str, body: Any = None, *, key: str | None = None, header: str = "authorization") -> _Answer:
        """Return the answer to one request; a `key` other than the client's is tried. Raises `InputError`."""
        kind = HTTPSConnection if self._secure else HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout)
        key = self.key if key is None else key
        headers = {header: f"Bearer {key}" if header == "authorization" else key} if key else {}
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(
                "GET" if body is None else "POST",
                self._root + path,
                sent,
                {"content-type": "application/json", **headers},
            )
            found = connection.getresponse()
            return _Answer(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
        except (OSError, HTTPException) as error:
            raise InputError(
                f"{self._host}:{self._port} does not answer {path}: {error or type(error).__name__}"
            ) from error
        finally:
            connection.close()

    def embed(self, given: Any, **more: Any) -> _Answer:
        """Return the answer of OpenAI's route, as floats unless `more` says otherwise."""
        return self.ask("/v1/embeddings", {"input": given, "model": self.model, "encoding_format": "float", **more})

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the vectors of the texts: shape (n, dim). Raises `_FailedError` where they are none."""
        return _vectors(self.embed(list(texts)), count=len(texts))


def conform(url: str, *, key: str | None = None, model: str | None = None, timeout: float = 60) -> Iterator[Check]:
    """Yield the checks of a server, each as it is done. Raises `InputError` when no server answers there."""
    client = _Client(url, key=key, model=model, timeout=timeout)
    for name, check in CHECKS.items():
        try:
            yield Check(name, True, check(client))
        except (_FailedError, InputError) as error:
            yield Check(name, False, str(error))


def _shape(client: _Client) -> str:
    """The answer has OpenAI's keys and types."""
    found = _ok(client.embed(list(_TEXTS[:2])))
    _expect(found.get("object") == "list", "'object' is not 'list'")
    _expect(isinstance(found.get("model"), str), "there is no 'model'")
    _expect(isinstance(found.get("usage"), dict), "there is no 'usage'")
    for index, each in enumerate(found["data"]):
        _expect(each.get("object") == "embedding", f"data[{index}].object is not 'embedding'")
        _expect(each.get("index") == index, f"data[{index}].index is {each.get('index')!r}")
    return "the keys and types are OpenAI's"


def _forms(client: _Client) -> str:
    """A string is the same as a list of it."""
    one = _vectors(client.embed(_TEXTS[0]), count=1)
    _expect(_cosine(one[0], client.vectors(_TEXTS[:1])[0]) >= _SAME, "a string and a list of it have different vectors")
    return "a string is embedded as a list of it is"


def _base64(client: _Client) -> str:
    """base64 is little-endian float32 of the same vectors: what the SDKs ask for unless told otherwise."""
    floats = client.vectors(_TEXTS[:1])[0]
    (each,) = _ok(client.embed(list(_TEXTS[:1]), encoding_format="base64"))["data"]
    _expect(isinstance(each["embedding"], str), "base64 was asked for and floats came")
    try:
        vector = np.frombuffer(base64.b64decode(each["embedding"], validate=True), dtype="<f4").astype(np.float64)
    except (ValueError, binascii.Error) as error:
        raise _FailedError("what came is not base64 of float32") from error
    _expect(len(vector) == len(floats), f"base64 gives {len(vector)} components, float {len(floats)}")
    _expect(_cosine(vector, floats) >= _SAME, "base64 gives another vector than float")
    return f"{len(floats)} little-endian float32, the same vector as in float"


def _order(client: _Client) -> str:
    """Vector i belongs to text i."""
    together = client.vectors(_TEXTS)
    alone = np.array([client.vectors([text])[0] for text in _TEXTS])
    nearest = np.argmax(_cosines(together, alone), axis=1).tolist()
    _expect(nearest == list(range(len(_TEXTS))), f"{len(_TEXTS)} texts come back in the order {nearest}")
    return f"{len(_TEXTS)} texts keep their order"


def _invariance(client: _Client) -> str:
    """A text's vector does not depend on its company."""
    company = [_TEXTS[0], "a longer text about ponds " * 12, "x", *_TEXTS[1:]]
    alone = client.vectors([_TEXTS[0]])
    least = float(_cosines(alone, client.vectors(company)).max())
    _expect(least >= _SAME, f"in company a text's vector moves to a cosine of {least:.4f}")
    return f"in company a vector stays, cosine {least:.6f}"


def _unit(client: _Client) -> str:
    """Vectors have unit length, as OpenAI's have."""
    norms = np.linalg.norm(client.vectors(_TEXTS), axis=1)
    _expect(bool(np.all(np.abs(norms - 1) < 1e-3)), f"norms are {norms.min():.4f} to {norms.max():.4f}, not 1")
    return "vectors have unit length"


def _token_ids(client: _Client) -> str:
    """Token ids are embedded as tokens, or refused; never as something else."""
    ids = [[101, 2023, 102], [101, 2023, 102]]
    answer = client.embed(ids)
    if 400 <= answer.status < 500:
        return f"token ids are refused with {answer.status}"
    found = _vectors(answer, count=2)
    _expect(_cosine(found[0], found[1]) >= _SAME, "the same ids have different vectors")
    for written in (str(ids[0]), " ".join(map(str, ids[0])), json.dumps(ids[0], separators=(",", ":"))):
        _expect(_cosine(found[0], client.vectors([written])[0]) < _SAME, "token ids are embedded as their digits")
    return "token ids are embedded"


def _dimensions(client: _Client) -> str:
    """`dimensions` is honoured or refused, never passed over."""
    full = client.vectors(_TEXTS[:1]).shape[1]
    wanted = full // 2
    answer = client.embed(list(_TEXTS[:1]), dimensions=wanted)
    if 400 <= answer.status < 500:
        return f"dimensions are refused with {answer.status}"
    found = _vectors(answer, count=1).shape[1]
    _expect(found == wanted, f"{wanted} dimensions were asked for and {found} came")
    return f"{wanted} of {full} dimensions are given"


def _limits(client: _Client) -> str:
    """2048 inputs are taken, more and none are refused."""
    _expect(len(client.vectors(["pond"] * _MOST)) == _MOST, f"{_MOST} inputs are not all answered")
    for given, what in ((["pond"] * (_MOST + 1), f"{_MOST + 1} inputs"), ([], "no inputs"), ([""], "an empty text")):
        status = client.embed(given).status
        _expect(400 <= status < 500, f"{what}: status {status}, where OpenAI refuses")
    return f"{_MOST} inputs are taken; more, none and empty ones are refused"


def _unknown_model(client: _Client) -> str:
    """A model that is not there is a 404, not another model's vectors."""
    answer = client.embed(["pond"], model="no-such-model-anywhere")
    _expect(answer.status == 404, f"an unknown model is answered with {answer.status}, not 404")
    return "an unknown model is a 404"


def _errors(client: _Client) -> str:
    """Errors have OpenAI's body."""
    broken = (b'{"input": ', b'{"model": "x"}', json.dumps({"input": {"a": 1}, "model": client.model}).encode())
    for body in broken:
        answer = client.ask("/v1/embeddings", body)
        _expect(400 <= answer.status < 500, f"the body {body.decode()[:30]} is answered with {answer.status}")
        _expect_error(answer)
    return "errors are 4xx with message, type, param and code"


def _usage(client: _Client) -> str:
    """`usage` counts tokens: of a batch, the sum of its texts'."""

    def tokens(texts: list[str]) -> int:
        usage = _ok(client.embed(texts)).get("usage") or {}
        _expect(usage.get("prompt_tokens") == usage.get("total_tokens"), "prompt_tokens and total_tokens differ")
        return int(usage.get("prompt_tokens") or 0)

    short, long = tokens(["pond"]), tokens(["pond " * 40])
    _expect(0 < short < long, f"one word counts {short} tokens and forty {long}")
    _expect(tokens(["pond", "pond " * 40]) == short + long, "a batch does not count the sum of its texts")
    return "tokens are counted, and add up"


def _truncation(client: _Client) -> str:
    """A text over the limit is refused, embedded whole, or cut and said to be; never cut in silence."""
    start = "the pond lies behind the old orchard " * 1500
    first, second = client.embed([start + "ducks " * 50]), client.embed([start + "tax law " * 50])
    if 400 <= first.status < 500:
        counted = any(sign.isdigit() for sign in first.body.decode("utf-8", "replace"))
        _expect(counted, "too long a text is refused without naming a count or a limit")
        return f"too long a text is refused with {first.status}, and told by how much"
    if any("truncat" in name or "averaged" in name for name in first.headers):
        return "too long a text is cut, and a header says so"
    same = _cosine(_vectors(first, count=1)[0], _vectors(second, count=1)[0])
    _expect(same < 1 - 1e-6, "too long a text is cut in silence: another end, the same vector")
    return "a long text is embedded whole"


def _rate_limits(client: _Client) -> str:
    """A server that is full says so with 429, and when to come back."""
    body = [f"pond {number}" for number in range(512)]
    with ThreadPoolExecutor(_BURST) as callers:
        answers = list(callers.map(lambda _: client.embed(body), range(_BURST)))
    for answer in answers:
        _expect(answer.status in (200, 429), f"a burst of {_BURST} requests is answered with {answer.status}")
        if answer.status == 429:
            said = answer.headers.get("retry-after-ms") or answer.headers.get("retry-after") or ""
            _expect(said.replace(".", "", 1).isdigit(), "a 429 does not say when to come back (Retry-After)")
            _expect_error(answer)
    refused = sum(answer.status == 429 for answer in answers)
    return (
        f"{refused} of {_BURST} at once were told when to come back" if refused else f"{_BURST} at once were all served"
    )


def _azure(client: _Client) -> str:
    """Azure's deployment route, with api-key and api-version."""
    path = f"/openai/deployments/{quote(client.model, safe='')}/embeddings"
    body = {"input": list(_TEXTS[:1])}
    found = _vectors(client.ask(f"{path}?api-version={_VERSION}", body, header="api-key"), count=1)
    _expect(_cosine(found[0], client.vectors(_TEXTS[:1])[0]) >= _SAME, "Azure's route gives another vector than /v1")
    without = client.ask(path, body, header="api-key").status
    _expect(400 <= without < 500, f"without api-version the status is {without}")
    return "the deployment route answers, and wants an api-version"


def _keys(client: _Client) -> str:
    """A wrong key is a 401."""
    if not client.key:
        return "no key was given, none is asked for"
    for header in ("authorization", "api-key"):
        answer = client.ask("/v1/embeddings", {"input": "pond", "model": client.model}, key="wrong", header=header)
        _expect(answer.status == 401, f"a wrong key in {header!r} is answered with {answer.status}")
    return "a wrong key is a 401"


CHECKS: Mapping[str, Callable[[_Client], str]] = {
    "shape": _shape,
    "forms": _forms,
    "base64": _base64,
    "order": _order,
    "batch invariance": _invariance,
    "unit length": _unit,
    "token ids": _token_ids,
    "dimensions": _dimensions,
    "limits": _limits,
    "unknown model": _unknown_model,
    "error body": _errors,
    "usage": _usage,
    "truncation": _truncation,
    "rate limits": _rate_limits,
    "azure": _azure,
    "keys": _keys,
}
"""Every check by its name, in the order of the card."""


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _FailedError(otherwise)


def _expect_error(answer: _Answer) -> None:
    found = answer.json
    error = found.get("error") if isinstance(found, dict) else None
    keys = set(error) if isinstance(error, dict) else set()
    _expect(keys >= {"message", "type", "param", "code"}, f"status {answer.status} without OpenAI's error body")


def _ok(answer: _Answer) -> dict[str, Any]:
    _expect(answer.status == 200, f"status {answer.status} where vectors were due")
    found = answer.json
    _expect(isinstance(found, dict) and isinstance(found.get("data"), list), "the answer has no list 'data'")
    return dict(found)


def _vectors(answer: _Answer, *, count: int) -> NDArray[np.float64]:
    data = _ok(answer)["data"]
    _expect(len(data) == count, f"{count} texts have {len(data)} vectors")
    try:
        return np.array([each["embedding"] for each in data], dtype=np.float64).reshape(count, -1)
    except (ValueError, TypeError, KeyError) as error:
        raise _FailedError("the vectors are not lists of floats of one length") from error


def _cosines(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.linalg.norm(left, axis=1)[:, None] * np.linalg.norm(right, axis=1)
    cosines: NDArray[np.float64] = left @ right.T / np.maximum(norms, 1e-12)
    return cosines


def _cosine(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    return float(_cosines(left[None], right[None])[0, 0]) if left.shape == right.shape else 0.0

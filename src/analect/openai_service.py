"""OpenAI, Azure OpenAI and servers that are like them: which door the settings name, and what its errors say.

Keys come from the environment or from Entra ID (`azure-identity`), never from settings.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from analect.errors import ConfigError, MissingExtraError, RemoteError
from analect.governor import UNREACHABLE

Credential: TypeAlias = Literal["auto", "key", "entra"]

API_VERSION = "2024-10-21"
_AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com", ".azure-api.net")
_OF_AZURE = "AZURE_OPENAI_ENDPOINT"
_BEARER = re.compile(r"(?i)\bbearer\s+[^\s'\",]+|\beyJ[\w-]+\.[\w.-]+")  # a header's token, and a JWT wherever it is
_TELLING = 12  # letters in a row: fewer of a text are no quotation of it
_LONGEST = 300  # characters of the service's words that go into a message


@dataclass(frozen=True, slots=True)
class Door:
    """Where requests go: an endpoint and a deployment (at OpenAI: a model).

    `origin` says what named the endpoint. `classic` is Azure's route with deployments and api-version; the other is
    OpenAI's, which Azure has too.
    """

    endpoint: str
    origin: str
    deployment: str
    classic: bool
    of_azure: bool
    api_version: str
    credential: Credential

    @property
    def id(self) -> str:
        """A name that tells neither endpoint nor deployment: for the file of quotas."""
        return hashlib.sha256(f"{self.endpoint}\n{self.deployment}".encode()).hexdigest()[:16]

    @property
    def host(self) -> str:
        """The host and port of the endpoint."""
        return self.endpoint.split("/")[2]

    @property
    def address(self) -> tuple[str, int]:
        """Where to connect to."""
        url = urlsplit(self.endpoint)
        return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)

    def key(self) -> str:
        """Return the variable that has the key, or "entra". Raises `ConfigError` when there is neither."""
        azure = ("AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_API_KEY")
        names = (*azure, "OPENAI_API_KEY") if self.of_azure else ("OPENAI_API_KEY", azure[1])
        found = next((name for name in names if os.environ.get(name)), None)
        if self.credential != "entra" and found:
            return found
        if self.credential == "entra" or (self.credential == "auto" and self.of_azure):
            return "entra"
        raise ConfigError(f'there is no key: set {" or ".join(names[-2:])}, or credential = "entra"')


def find_door(
    *, deployment: str, endpoint: str | None, api_version: str | None, credential: Credential, is_azure: bool
) -> Door:
    """Return the door that settings and environment name.

    `endpoint` defaults to `AZURE_OPENAI_ENDPOINT`, then `OPENAI_BASE_URL`, then OpenAI. It is Azure's when it comes
    from that variable, has one of Azure's hosts, or `is_azure` (a deployment was named); with a path that ends in `/v1`
    it is the route of OpenAI there too. Raises `ConfigError` for what cannot be an endpoint or a credential.
    """
    found, origin = _endpoint(endpoint)
    if not found.startswith(("http://", "https://")) or not urlsplit(found).hostname:
        raise ConfigError(f"the endpoint {found!r}, from {origin}, is no URL: write https://NAME.openai.azure.com")
    if credential not in get_args(Credential):
        raise ConfigError(f"credential is {credential!r}: write 'auto', 'key' or 'entra'")
    host = found.split("/")[2].partition(":")[0]
    of_azure = origin == _OF_AZURE or is_azure or host.endswith(_AZURE_HOSTS)
    version = api_version or os.environ.get("AZURE_OPENAI_API_VERSION") or os.environ.get("OPENAI_API_VERSION")
    return Door(
        endpoint=found,
        origin=origin,
        deployment=deployment,
        classic=of_azure and not found.endswith("/v1"),
        of_azure=of_azure,
        api_version=version or API_VERSION,
        credential=credential,
    )


def _endpoint(given: str | None) -> tuple[str, str]:
    """Return the endpoint, and what named it."""
    if given is not None:
        return given.rstrip("/"), "the setting 'endpoint'"
    for name in (_OF_AZURE, "OPENAI_BASE_URL"):
        if os.environ.get(name):
            return os.environ[name].rstrip("/"), name
    return "https://api.openai.com/v1", "the default: no setting or variable names another"


def cost_of(text: str) -> int:
    """Return what a text costs the quota, by the service's own rule: a quarter of its characters."""
    return math.ceil(len(text) / 4)


def import_openai() -> Any:
    """Return the vendor's library. Raises `MissingExtraError`."""
    try:
        import openai  # noqa: PLC0415  # half a second, and only for who uses it
    except ModuleNotFoundError as error:
        if error.name != "openai":
            raise
        raise MissingExtraError("'openai'", extra="openai", module="openai") from error
    return openai


@contextmanager
def remote_errors(door: Door, *, texts: tuple[str, ...] = ()) -> Iterator[None]:
    """Raise what the client raises as `RemoteError`, in the service's words but without `texts` that these repeat."""
    openai = import_openai()
    try:
        yield
    except openai.APIStatusError as error:
        body = error.body if isinstance(error.body, Mapping) else {}
        words = scrubbed(str(body.get("message") or "no reason was given"), texts)
        headers = {name.lower(): value for name, value in error.response.headers.items()}
        code = str(body.get("code") or "")
        message = f"{door.deployment!r} answered {error.status_code}: {words}{_advice(error.status_code, door)}"
        raise RemoteError(message, status=error.status_code, code=code, headers=headers) from None
    except openai.APIConnectionError as error:
        raise _unanswered(error, door) from None
    except openai.APIError as error:  # an error event in the middle of a stream
        raise RemoteError(f"{door.deployment!r}: {scrubbed(error.message, texts)}") from None
    except openai.OpenAIError as error:
        raise ConfigError(f"the openai client: {scrubbed(str(error), texts)}") from None
    except ValueError:  # a reply that is no JSON: its text may hold anything, so it is not repeated
        raise RemoteError(f"{door.deployment!r} answered with something that is not JSON") from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] == "azure":
            raise RemoteError(_no_token(error), status=401) from None
        if type(error).__module__.partition(".")[0] in ("httpx2", "httpcore2", "httpx", "httpcore"):
            raise RemoteError(f"the connection was cut: {type(error).__name__}") from None
        raise


def _unanswered(error: Exception, door: Door) -> RemoteError:
    cause = error.__cause__
    if type(cause).__name__ in ("ConnectError", "ConnectTimeout"):
        why = " ".join(str(cause).split()) or "it does not answer"
        message = f"cannot connect to {door.host}: {why[:_LONGEST]}; the endpoint is from {door.origin}"
        return RemoteError(message, code=UNREACHABLE)
    if type(cause).__name__.endswith("Timeout"):
        return RemoteError(f"{door.deployment!r} did not answer in time")
    return RemoteError(f"the connection to {door.host} was cut")


def _no_token(error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"Entra ID gave no token: {first[:_LONGEST]}; sign in, or set AZURE_OPENAI_API_KEY"


def scrubbed(words: str, texts: tuple[str, ...]) -> str:
    """Return the service's words in one line, without the texts that were sent and without keys or tokens."""
    secrets = [os.environ.get(name, "") for name in ("AZURE_OPENAI_API_KEY", "OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN")]
    for secret in filter(None, secrets):
        words = words.replace(secret, "[key]")
    words = _BEARER.sub("[token]", words)
    words = " ".join(words.split())[:_LONGEST]
    sent = "\n".join(" ".join(text.split()) for text in texts)
    shown, start = "", 0
    while start < len(words):
        length = _repeated(words[start:], sent)
        shown += "[text]" if length else words[start]
        start += length or 1
    return shown


def _repeated(words: str, sent: str) -> int:
    """Return how many of the first letters stand in what was sent, when these are many enough to tell something."""
    if not sent or len(words) < _TELLING or words[:_TELLING] not in sent:
        return 0
    return next((n for n in range(len(words), _TELLING, -1) if words[:n] in sent), _TELLING)


def _advice(status: int, door: Door) -> str:
    if status in (401, 403):
        source = "the identity's role on the resource" if door.key() == "entra" else door.key()
        return f" (check {source})"
    if status == 404:
        return " (check endpoint, deployment and api_version)"
    return ""

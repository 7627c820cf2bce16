"""OpenAI, Azure OpenAI and servers that are like them: which door the settings name, the client for it, and its errors.

The client is the vendor's own (`openai`), made once, without its retries: the governor has its own. Keys come from the
environment or from Entra ID (`azure-identity`), never from settings.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args
from urllib.parse import urlsplit

from analect.errors import ConfigError, MissingExtraError, RemoteError
from analect.governor import Governor

if TYPE_CHECKING:
    from openai import OpenAI

Credential: TypeAlias = Literal["auto", "key", "entra"]

SCOPE = "https://cognitiveservices.azure.com/.default"
API_VERSION = "2024-10-21"
_AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com", ".azure-api.net")
_TELLING = 12  # letters in a row: fewer of a text are no quotation of it
_LONGEST = 300  # characters of the service's words that go into a message


@dataclass(frozen=True, slots=True)
class Door:
    """Where requests go: an endpoint and a deployment (at OpenAI: a model).

    `classic` is Azure's route with deployments and api-version; the other is OpenAI's, which Azure has too.
    """

    endpoint: str
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
    from_azure = os.environ.get("AZURE_OPENAI_ENDPOINT") if endpoint is None else None
    found = (endpoint or from_azure or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1").rstrip("/")
    if not found.startswith(("http://", "https://")):
        raise ConfigError(f"the endpoint {found!r} is not a URL: write https://NAME.openai.azure.com")
    if credential not in get_args(Credential):
        raise ConfigError(f"credential is {credential!r}: write 'auto', 'key' or 'entra'")
    host = found.split("/")[2].partition(":")[0]
    of_azure = bool(from_azure) or is_azure or host.endswith(_AZURE_HOSTS)
    version = api_version or os.environ.get("AZURE_OPENAI_API_VERSION") or os.environ.get("OPENAI_API_VERSION")
    return Door(
        endpoint=found,
        deployment=deployment,
        classic=of_azure and not found.endswith("/v1"),
        of_azure=of_azure,
        api_version=version or API_VERSION,
        credential=credential,
    )


def open_client(door: Door, *, timeout: float) -> OpenAI:
    """Return the client for a door; close it when done. Raises `MissingExtraError`, `ConfigError`."""
    openai = _import_openai()
    key = door.key()
    provider = _token_provider() if key == "entra" else None
    secret = os.environ.get(key, "")
    options: dict[str, Any] = {"max_retries": 0, "timeout": timeout}
    if not door.classic:
        client = openai.OpenAI(base_url=f"{door.endpoint}/", api_key=provider or secret, **options)
    else:
        name = "azure_ad_token" if key == "AZURE_OPENAI_AD_TOKEN" else "api_key"
        options |= {"azure_ad_token_provider": provider} if provider else {name: secret}
        client = openai.AzureOpenAI(azure_endpoint=door.endpoint, api_version=door.api_version, **options)
    return cast("OpenAI", client)


def open_governor(door: Door, *, path: Path | None, tpm: int | None, rpm: int | None) -> Governor:
    """Return the governor of a door."""
    return Governor(door.id, path=path, tpm=tpm, rpm=rpm)


def _import_openai() -> Any:
    try:
        import openai  # noqa: PLC0415  # half a second, and only for who uses it
    except ModuleNotFoundError as error:
        if error.name != "openai":
            raise
        raise MissingExtraError("'openai'", extra="openai", module="openai") from error
    return openai


def _token_provider() -> Callable[[], str]:
    try:
        from azure.identity import DefaultAzureCredential, get_bearer_token_provider  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "azure":
            raise
        raise MissingExtraError("Entra ID", extra="azure", module="azure.identity") from error
    return get_bearer_token_provider(DefaultAzureCredential(), SCOPE)


@contextmanager
def remote_errors(door: Door, *, texts: tuple[str, ...] = ()) -> Iterator[None]:
    """Raise what the client raises as `RemoteError`, in the service's words but without `texts` that these repeat."""
    openai = _import_openai()
    try:
        yield
    except openai.APIStatusError as error:
        body = error.body if isinstance(error.body, Mapping) else {}
        words = scrubbed(str(body.get("message") or "no reason was given"), texts)
        headers = {name.lower(): value for name, value in error.response.headers.items()}
        code = str(body.get("code") or "")
        message = f"{door.deployment!r} answered {error.status_code}: {words}{_advice(error.status_code, door)}"
        raise RemoteError(message, status=error.status_code, code=code, headers=headers) from None
    except openai.APITimeoutError:
        raise RemoteError(f"{door.deployment!r} did not answer in time") from None
    except openai.APIConnectionError:
        raise RemoteError(
            f"the connection to {door.host} failed or was cut: check the endpoint and the network"
        ) from None
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


def _no_token(error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"Entra ID gave no token: {first[:_LONGEST]}; sign in, or set AZURE_OPENAI_API_KEY"


def scrubbed(words: str, texts: tuple[str, ...]) -> str:
    """Return the service's words in one line, without the texts that were sent and without keys."""
    secrets = [os.environ.get(name, "") for name in ("AZURE_OPENAI_API_KEY", "OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN")]
    for secret in filter(None, secrets):
        words = words.replace(secret, "[key]")
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

"""A connection to a service of OpenAI's kind: the vendor's client made once, requests paced, tokens renewed.

The client does not try again by itself: the governor has its own rules for that.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from analect.errors import AnalectError, ConfigError, MissingExtraError, RemoteError
from analect.governor import UNREACHABLE, Governor
from analect.openai_service import Credential, Door, find_door, import_openai, remote_errors
from analect.quota import Lane

if TYPE_CHECKING:
    from openai import OpenAI

_T = TypeVar("_T")

SCOPE = "https://cognitiveservices.azure.com/.default"
_CONNECT = 5.0  # seconds: a host that does not even answer a connection is not there


class Connection:
    """One endpoint: its client, and the governors of its deployments, each made when it is first needed.

    Deployments share connections, not quotas. `tpm`, `rpm` and the file `quota` are the governor's; each request takes
    `timeout` seconds at most. Safe for several threads. Raises `ConfigError` for numbers that cannot be.
    """

    def __init__(
        self,
        *,
        endpoint: str | None,
        api_version: str | None,
        credential: Credential,
        is_azure: bool,
        timeout: float,
        tpm: int | None,
        rpm: int | None,
        quota: Path | None,
    ) -> None:
        self._where: dict[str, Any] = {"endpoint": endpoint, "api_version": api_version, "credential": credential}
        self._where["is_azure"] = is_azure
        for name, value in (("tpm", tpm), ("rpm", rpm)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}: set 1 or more, or leave it out")
        if timeout <= 0:
            raise ConfigError(f"timeout is {timeout}: set the seconds that a request may take")
        self._timeout = timeout
        self._paced: dict[str, Any] = {"tpm": tpm, "rpm": rpm, "path": quota}
        self._lock = threading.RLock()
        self._governors: dict[str, Governor] = {}
        self._client: OpenAI | None = None
        self._tokens: _Tokens | None = None
        self._reached = False

    def door(self, deployment: str) -> Door:
        """Return where requests to a deployment go. Raises `ConfigError`."""
        return find_door(deployment=deployment, **self._where)

    def governor(self, deployment: str) -> Governor:
        """Return the governor of a deployment."""
        door = self.door(deployment)
        with self._lock:
            if door.id not in self._governors:
                self._governors[door.id] = Governor(door.id, **self._paced)
            return self._governors[door.id]

    def open(self, deployment: str) -> OpenAI:
        """Return the client, one for all threads and deployments. Raises `ConfigError`, `MissingExtraError`."""
        with self._lock:
            if self._client is None:
                door = self.door(deployment)
                self._tokens = _Tokens() if door.key() == "entra" else None
                self._client = _client_of(door, tokens=self._tokens, timeout=self._timeout)
            return self._client

    def call(
        self,
        send: Callable[[OpenAI], tuple[_T, Mapping[str, str]]],
        *,
        deployment: str,
        tokens: int,
        lane: Lane,
        texts: tuple[str, ...],
    ) -> _T:
        """Return what `send` makes of a reply, once there is quota for that many tokens; it gives the headers as well.

        A token of Entra ID that the service does not take is renewed, once. Until the endpoint has answered for the
        first time, a connection that cannot be made is taken for a wrong endpoint and not tried again. Raises
        `RemoteError`, in words without `texts`.
        """
        governor, client = self.governor(deployment), self.open(deployment)
        generation = self._tokens.generation if self._tokens else 0

        def attempt() -> tuple[_T, Mapping[str, str]]:
            try:
                with remote_errors(self.door(deployment), texts=texts):
                    value, headers = send(client)
            except RemoteError as error:
                if error.code == UNREACHABLE and self._reached:
                    raise RemoteError(str(error)) from None  # it was there a moment ago
                self._reached = self._reached or error.code != UNREACHABLE
                raise
            self._reached = True
            return value, {name.lower(): each for name, each in headers.items()}

        try:
            return governor.call(attempt, tokens=tokens, lane=lane)
        except RemoteError as error:
            if error.status != 401 or self._tokens is None:
                raise
        self._tokens.renew(generation)
        return governor.call(attempt, tokens=tokens, lane=lane)

    def examine(self, deployment: str, *, try_out: Callable[[], str]) -> Iterator[tuple[str, bool, str]]:
        """Yield the checks of endpoint, credential, deployment and quota; `try_out` asks it and says what came."""
        looks: dict[str, Callable[[], str]] = {
            "endpoint": partial(self._see_endpoint, deployment),
            "credential": partial(self._see_credential, deployment),
            "deployments": try_out,
            "quota": partial(self._see_quota, deployment),
        }
        for name, look in looks.items():
            try:
                yield name, True, look()
            except AnalectError as error:
                yield name, False, str(error)
                return  # what follows would only say the same

    def _see_endpoint(self, deployment: str) -> str:
        door = self.door(deployment)
        route = "the route with deployments" if door.classic else "the route of OpenAI"
        try:
            socket.create_connection(door.address, timeout=_CONNECT).close()
        except OSError as error:
            why = error.strerror or error
            raise RemoteError(f"{door.host} cannot be reached: {why}; the endpoint is from {door.origin}") from error
        return f"{door.host}, {route}" + (f", api-version {door.api_version}" if door.classic else "")

    def _see_credential(self, deployment: str) -> str:
        key = self.door(deployment).key()
        self.open(deployment)
        return "Entra ID" if key == "entra" else f"the key in {key}"

    def _see_quota(self, deployment: str) -> str:
        limits = self.governor(deployment).limits()
        if limits.tpm is None and limits.rpm is None:
            return "the service tells no limits: set tpm and rpm to be paced before it refuses"
        pairs = ((limits.tpm, "tokens"), (limits.rpm, "requests"))
        return f"{' and '.join(f'{value:,.0f} {name}' for value, name in pairs if value)} a minute"

    def give_up(self) -> None:
        """Give up what waits for quota."""
        for governor in self._governors.values():
            governor.close()

    def close(self) -> None:
        """Give back connections; what waits for quota is given up. Closing twice is allowed."""
        self.give_up()
        if self._client is not None:
            self._client.close()


class _Tokens:
    """Tokens of Entra ID, which the library keeps until they are about to end; `renew` forgets what it keeps."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._provider = _token_provider()
        self.generation = 0

    def __call__(self) -> str:
        with self._lock:  # threads that need a new one ask for it once
            return self._provider()

    def renew(self, generation: int) -> None:
        """Begin a new generation, unless another thread has already ended that one."""
        with self._lock:
            if generation == self.generation:
                self._provider = _token_provider()
                self.generation += 1


def _client_of(door: Door, *, tokens: _Tokens | None, timeout: float) -> OpenAI:
    openai = import_openai()
    key = door.key()
    secret = os.environ.get(key, "")
    limits = openai.Timeout(timeout, connect=min(timeout, _CONNECT))
    options: dict[str, Any] = {"max_retries": 0, "timeout": limits}
    if not door.classic:
        client = openai.OpenAI(base_url=f"{door.endpoint}/", api_key=tokens or secret, **options)
    else:
        name = "azure_ad_token" if key == "AZURE_OPENAI_AD_TOKEN" else "api_key"
        options |= {"azure_ad_token_provider": tokens} if tokens else {name: secret}
        client = openai.AzureOpenAI(azure_endpoint=door.endpoint, api_version=door.api_version, **options)
    return cast("OpenAI", client)


def _token_provider() -> Callable[[], str]:
    try:
        from azure.identity import DefaultAzureCredential, get_bearer_token_provider  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "azure":
            raise
        raise MissingExtraError("Entra ID", extra="azure", module="azure.identity") from error
    logger = logging.getLogger("azure.identity")
    if not logger.handlers:  # where nobody has set up logging, it prints over many lines what our error says in one
        logger.addHandler(logging.NullHandler())
    return get_bearer_token_provider(DefaultAzureCredential(), SCOPE)

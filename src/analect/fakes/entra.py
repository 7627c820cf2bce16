"""A fake Entra ID: the identity endpoint of App Service, Container Apps and Functions, which needs no TLS.

`azure-identity`'s `DefaultAzureCredential` uses it when the variables of `Entra.environment` are set.
"""

from __future__ import annotations

import secrets
import time
from urllib.parse import parse_qs, urlsplit

from analect.fakes._serving import Handler, Serving


class _EntraHandler(Handler):
    def do_GET(self) -> None:
        fake: Entra = self.server.fake  # type: ignore[attr-defined]
        query = parse_qs(urlsplit(self.path).query)
        if self.headers.get("X-IDENTITY-HEADER") != fake.secret:
            self.send_json(401, {"error": {"code": "unauthorized", "message": "wrong identity header"}})
        elif "resource" not in query or query.get("api-version") != ["2019-08-01"]:
            self.send_json(400, {"error": {"code": "bad_request", "message": "resource and api-version are needed"}})
        else:
            self.send_json(200, fake.issue(query["resource"][0]))


class Entra(Serving):
    """Issues tokens that last `lifetime` seconds, and knows which are valid.

    The clock of the service that asks is `ahead` so many seconds: that much earlier it takes a token for ended.
    """

    handler = _EntraHandler

    def __init__(self, *, lifetime: float = 3600.0, ahead: float = 0.0, port: int = 0) -> None:
        super().__init__(port=port)
        self.secret = secrets.token_hex(8)
        self.lifetime = lifetime
        self.ahead = ahead
        self.issued = 0
        self._expires: dict[str, tuple[float, str]] = {}

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead `DefaultAzureCredential` here."""
        return {"IDENTITY_ENDPOINT": f"{self.url}/msi/token", "IDENTITY_HEADER": self.secret}

    def issue(self, resource: str) -> dict[str, str]:
        """Return a new token as the endpoint answers."""
        token = f"fake-entra-{secrets.token_hex(16)}"
        expires = time.time() + self.lifetime
        self._expires[token] = (expires, resource)
        self.issued += 1
        return {
            "access_token": token,
            "expires_on": str(int(expires)),
            "resource": resource,
            "token_type": "Bearer",
        }

    def is_valid(self, token: str, *, resource: str) -> bool:
        """Return whether a token was issued here for that resource and has not ended."""
        expires, wanted = self._expires.get(token, (0.0, ""))
        return time.time() + self.ahead < expires and wanted.rstrip("/") == resource.rstrip("/")

    def revoke(self) -> None:
        """End every token issued so far."""
        self._expires.clear()

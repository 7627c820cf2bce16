"""What comes over the wire to the fake of OpenAI and Azure OpenAI, and how its replies go out: whole, slow or cut."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Literal, NoReturn, cast
from urllib.parse import parse_qs, urlsplit

from analect.fakes._faults import Fault
from analect.fakes._schema import Operation, Refused
from analect.fakes._serving import Handler

if TYPE_CHECKING:
    from analect.fakes.azure_openai import AzureOpenAI

_ROUTE = re.compile(
    r"/(?P<azure>openai/)?(?:v1|deployments/(?P<deployment>[^/]+))/(?P<what>embeddings|(?:chat/)?completions|models)/?"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: what for, of which deployment, and its body."""

    what: Literal["models"] | Operation
    deployment: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    of_azure: bool = False


class AzureOpenAIHandler(Handler):
    """Finds out what is asked for, and sends what the fake answers, with the faults that it should have."""

    @property
    def fake(self) -> AzureOpenAI:
        return cast("AzureOpenAI", self.server.fake)  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        if self.path == "/_fake/stats":
            self.send_json(200, self.fake.stats())
            return
        self._answer(b"")

    def do_POST(self) -> None:
        body = self.read_body()
        if self.path == "/_fake/faults":
            self._set_faults(body)
            return
        self._answer(body)

    def _set_faults(self, body: bytes) -> None:
        try:
            self.fake.faults.set(body.decode())
        except ValueError as error:
            self.send_json(400, {"error": {"message": str(error)}})
        else:
            self.send_json(200, {})

    def _answer(self, raw: bytes) -> None:
        fake = self.fake
        headers: dict[str, str] = {"x-request-id": f"fake-{fake.billing.count('requests')}"}
        try:
            asked = self._route(raw)
            fake.authorize(self.headers)
            if asked.what == "models":
                self.send_json(200, fake.models(), headers)
                return
            fault = fake.faults.next()
            self._refuse_by(fault, asked)
            # Both ask the quota, which fills in the headers.
            run = fake.embeddings if asked.what == "embeddings" else fake.chat
            reply = run(asked, fault=fault, headers=headers)
            fake.wait(fault)
        except Refused as refused:
            if refused.status == 429:
                fake.billing.count("refused")
            self.send_json(refused.status, refused.body(), {**headers, **refused.headers})
            return
        if isinstance(reply, dict):
            self._send(json.dumps(reply).encode(), headers=headers, fault=fault)
        else:
            self._stream(reply, headers=headers, fault=fault)

    def _route(self, raw: bytes) -> Asked:
        url = urlsplit(self.path)
        match = _ROUTE.fullmatch(url.path)
        if not match or (self.command == "GET") != (match["what"] == "models"):
            raise Refused(404, "Resource not found", code="404")
        if match["deployment"] and not parse_qs(url.query).get("api-version"):
            raise Refused(404, "Resource not found: api-version is missing", code="404")
        if match["what"] == "models":
            return Asked("models")
        try:
            body = json.loads(raw, parse_constant=_no_constant)
        except ValueError as error:
            raise Refused(400, "We could not parse the JSON body of your request.") from error
        if not isinstance(body, dict):
            raise Refused(400, "the body must be a JSON object")
        deployment = match["deployment"] or body.get("model")
        if not isinstance(deployment, str) or not deployment:
            raise Refused(400, "you must provide a model parameter")
        what = cast(Operation, match["what"])
        return Asked(what, deployment, body, of_azure=bool(match["azure"]))

    def _refuse_by(self, fault: Fault | None, asked: Asked) -> None:
        if fault and fault.name == "expire" and self.fake.entra:
            self.fake.billing.count("faults")
            self.fake.entra.revoke()
            self.fake.authorize(self.headers)
        if fault and fault.name == "echo":
            self.fake.billing.count("faults")
            sent = [asked.body.get(name) for name in ("input", "messages", "prompt")]
            raise Refused(400, f"refused: {json.dumps(sent, ensure_ascii=False)} of {dict(self.headers)}")
        if fault is None or not fault.name.isdigit():
            return
        self.fake.billing.count("faults")
        status = int(fault.name)
        refused = Refused(status, f"fault {status} on demand", code=str(status))
        if status == 429:
            value = fault.value or "ms:200"
            seconds = value.removeprefix("ms:")
            named = {"retry-after-ms": seconds} if value.startswith("ms:") else {"Retry-After": value}
            if value == "date":
                named = {"Retry-After": formatdate(time.time() + 2, usegmt=True)}
            refused = Refused(429, "Requests have exceeded the call rate limit (fault on demand).", code="429")
            refused.headers = named
        raise refused

    def _send(self, body: bytes, *, headers: Mapping[str, str], fault: Fault | None) -> None:
        whole = self.head(200, {**headers, "Content-Length": str(len(body))}) + body
        half = len(whole) - len(body) // 2
        name = fault.name if fault else ""
        if name in ("reset", "truncate"):
            self.wfile.write(whole[:half])
            self.fake.billing.count("faults")
            self.cut(reset=name == "reset")
        elif name == "slow" and fault:
            self.wfile.write(whole[:half])
            self.fake.billing.count("faults")
            time.sleep(fault.seconds(1.0))
            self.wfile.write(whole[half:])
        else:
            self.wfile.write(whole)

    def _stream(self, events: Iterator[bytes], *, headers: Mapping[str, str], fault: Fault | None) -> None:
        kind = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
        self.wfile.write(self.head(200, {**headers, **kind}))
        delay = fault.seconds(1.0) if fault and fault.name == "slow" else 0.0
        for number, event in enumerate(events):
            time.sleep(delay)
            self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            self.fake.billing.count("events")
            if fault and number == 2 and fault.name in ("reset", "truncate"):
                self.fake.billing.count("faults")
                self.cut(reset=fault.name == "reset")
                return
        if delay:
            self.fake.billing.count("faults")
        self.wfile.write(b"0\r\n\r\n")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")

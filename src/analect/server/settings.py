"""What can be set of the server, in `[server]` of analect.toml or as ANALECT_SERVER_… variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from analect.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Limits and policies. Times are seconds.

    `on_overflow` is what becomes of a text over the model's limit: "error" (400), "truncate" or "mean", either of which
    a response header reports. `token_vocabulary` is a file of the vocabulary whose ids clients send in place of text
    (lines of base64 and rank, such as cl100k_base.tiktoken); without one, token ids are a 400.
    """

    on_overflow: Literal["error", "truncate", "mean"] = "error"
    queue_tokens: int = 400_000  # that may wait for a model before a 429
    request_tokens: int = 300_000  # of one request, as at OpenAI
    body_bytes: int = 16 << 20  # of one request
    buffered_bytes: int = 256 << 20  # of all requests that are being read
    connections: int = 1024  # more are told so and closed, but for health checks; fewer where open files are
    head_seconds: float = 10.0  # for the request line and headers to come in
    body_seconds: float = 30.0  # for the body to come in
    answer_seconds: float = 300.0  # for the answer to be made
    idle_seconds: float = 60.0  # a connection is kept between requests
    drain_seconds: float = 30.0  # after SIGTERM, for requests in flight
    token_vocabulary: str | None = None

    def __post_init__(self) -> None:
        for name in ("queue_tokens", "request_tokens", "body_bytes", "buffered_bytes", "connections"):
            if getattr(self, name) < 1:
                raise ConfigError(f"[server] {name} is {getattr(self, name)}: it must be at least 1")
        for name in ("head_seconds", "body_seconds", "answer_seconds", "idle_seconds", "drain_seconds"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"[server] {name} is {getattr(self, name)}: it must be above 0")

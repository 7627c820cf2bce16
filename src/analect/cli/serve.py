"""`analect serve`: the private embeddings API, and the corpus, over HTTP."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from analect.cli.options import options_of
from analect.cli.output import complain
from analect.errors import ConfigError, InputError, MissingExtraError

KEYS = "ANALECT_API_KEYS"


def serve(
    ctx: typer.Context,
    *,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="The port; 0 takes a free one.", min=0, max=65535)] = 8000,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Listen beyond this machine without API keys.")
    ] = False,
) -> None:
    """Serve embeddings to OpenAI and Azure OpenAI clients, and the corpus; keys come from ANALECT_API_KEYS."""
    try:
        from analect.server.listening import bind, is_loopback, make_app_server  # noqa: PLC0415  # when the command runs
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("analect"):
            raise
        raise MissingExtraError("analect serve", extra="server", module=error.name) from error

    keys = [key.strip() for key in os.environ.get(KEYS, "").split(",") if key.strip()]
    if KEYS in os.environ and not keys:
        raise ConfigError(f"{KEYS} is set and holds no key: write KEY or KEY,KEY, or unset it")
    if not keys and not is_loopback(host) and not allow_anonymous:
        raise InputError(
            f"without keys only this machine may be served, and {host} is beyond it: "
            f"set {KEYS}=KEY,KEY, or say --allow-anonymous"
        )
    if not keys and allow_anonymous:
        complain(f"no API keys: whoever reaches {host}:{port} may embed, search and change the corpus")
    settings = options_of(ctx).settings()
    with bind(host, port=port) as listening:  # before a model is loaded: that takes longer than to be told no
        make_app_server(settings, host=host, port=port, keys=keys, anyone=allow_anonymous).run([listening])

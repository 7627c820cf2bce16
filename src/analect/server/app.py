"""The application put together: every family's routes behind one gate."""

from __future__ import annotations

from collections.abc import Collection
from typing import TextIO

from analect.server.about import AboutRoutes
from analect.server.corpora import CorpusRoutes
from analect.server.description import openapi, page
from analect.server.embeddings import EmbeddingsRoutes
from analect.server.gate import Gate
from analect.server.routing import Router
from analect.server.serving import Serving


def make_app(
    serving: Serving,
    *,
    keys: Collection[str] = (),
    hosts: Collection[str] | None = None,
    log: TextIO | None = None,
) -> Gate:
    """Return the ASGI application of what is served.

    `keys` are the API keys (none: everybody is let in); `hosts` are the names it answers to where there are no keys
    (None: any); the log gets one JSON line a request.
    """
    about = AboutRoutes(serving)
    routes = (*EmbeddingsRoutes(serving).routes(), *about.routes(), *CorpusRoutes(serving).routes())
    document = openapi(routes, keys=bool(keys))
    about.describe(document, page=page(document))
    return Gate(serving, Router(routes), keys=keys, hosts=hosts, log=log)

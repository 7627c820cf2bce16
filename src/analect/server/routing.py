"""Routes: which handler a method and a path lead to, and what the OpenAPI document says of it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from analect.server.calls import ApiError, Call, Reply


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path such as "/v1/documents/{id}". `takes` and `gives` are the types of the JSON bodies."""

    method: str
    path: str
    handler: Callable[[Call], Awaitable[Reply]]
    summary: str
    family: str
    takes: Any = None
    gives: Any = None
    query: tuple[tuple[str, bool, str], ...] = ()  # name, required, what it is
    statuses: tuple[int, ...] = ()
    content_type: str = "application/json"
    streams: bool = False
    open: bool = False  # needs no key

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the path's braces."""
        return tuple(re.findall(r"{(\w+)}", self.path))


class Router:
    """Finds the route of a request."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._exact = {(route.method, route.path): route for route in self.routes if not route.names}
        self._patterns = [
            (re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", route.path)), route)
            for route in self.routes
            if route.names
        ]

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Return the route and the values in its path. Raises `ApiError` (404, 405)."""
        asked = "GET" if method == "HEAD" else method
        route = self._exact.get((asked, path))
        if route is not None:
            return route, {}
        allowed = {each for each, exact in self._exact if exact == path}
        for pattern, route in self._patterns:
            found = pattern.fullmatch(path)
            if found and route.method == asked:
                return route, {name: unquote(value) for name, value in found.groupdict().items()}
            if found:
                allowed.add(route.method)
        if allowed:
            methods = ", ".join(sorted(allowed))
            raise ApiError(405, f"{path[:200]} takes {methods}, not {method[:20]}", headers={"allow": methods})
        raise ApiError(404, f"there is no route {method[:20]} {path[:200]}: see /docs", code="unknown_url")

"""The OpenAPI document of the routes, and the page that shows it without loading anything from anywhere."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec

from analect.server.embeddings import MAX_INPUTS, DeploymentRequest, EmbeddingsRequest
from analect.server.routing import Route

_REF = "#/components/schemas/{name}"
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_TOKENS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": MAX_INPUTS}
_INPUT = {
    "description": "One text or several; token ids only where the server has their vocabulary",
    "oneOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": MAX_INPUTS},
        _TOKENS,
        {"type": "array", "items": _TOKENS, "minItems": 1, "maxItems": MAX_INPUTS},
    ],
}


def openapi(routes: Iterable[Route], *, keys: bool) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the routes; `keys` tells that they ask for one."""
    routes = tuple(routes)
    types = [each for route in routes for each in (route.takes, route.gives) if each is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    for struct in (EmbeddingsRequest, DeploymentRequest):
        components[struct.__name__]["properties"]["input"] = _INPUT
    shapes = iter(schemas)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        takes = next(shapes) if route.takes is not None else None
        gives = next(shapes) if route.gives is not None else None
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, takes=takes, gives=gives)
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "analect", "version": version("analect"), "description": "The private embeddings API"},
        **({"security": [{"bearer": []}, {"api-key": []}]} if keys else {}),
        "paths": paths,
        "components": {"schemas": {**components, "Error": _ERROR}, "securitySchemes": schemes},
    }


def _operation(route: Route, *, takes: Any, gives: Any) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()} {route.path}",
        "summary": route.summary,
        "tags": [route.family],
        "responses": {"200": _response("OK", route, gives=gives)},
    }
    if route.open:
        operation["security"] = []
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in route.names
    ] + [
        {"name": name, "in": "query", "required": required, "description": what, "schema": {"type": "string"}}
        for name, required, what in route.query
    ]
    if parameters:
        operation["parameters"] = parameters
    if takes is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": takes}}}
    for status in route.statuses:
        error = {"schema": {"$ref": _REF.format(name="Error")}}
        operation["responses"][str(status)] = {
            "description": HTTPStatus(status).phrase, "content": {"application/json": error}
        }  # fmt: skip
    return operation


def _response(description: str, route: Route, *, gives: Any) -> dict[str, Any]:
    kind = route.content_type.partition(";")[0]
    content = {kind: {"schema": gives if gives is not None else {"type": "string"}}}
    if route.streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {"description": description, "content": content}


_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;
background:#fff}code,pre{font:14px/1.45 ui-monospace,monospace}pre{background:#f4f4f2;padding:.75rem;overflow:auto}
summary{cursor:pointer;padding:.4rem 0}b{display:inline-block;min-width:4.5rem}
@media(prefers-color-scheme:dark){body{background:#16181b;color:#e6e6e3}pre{background:#22252a}a{color:#8ab4f8}}"""


def page(document: dict[str, Any]) -> str:
    """Return the document as one page of HTML, with no script and nothing from elsewhere."""
    families: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            families.setdefault(operation["tags"][0], []).append(_shown(path, method, operation))
    sections = "".join(f"<h2>{html.escape(name)}</h2>{''.join(shown)}" for name, shown in families.items())
    schemas = "".join(
        f'<details id="{html.escape(name)}"><summary>{html.escape(name)}</summary>{_json(schema)}</details>'
        for name, schema in document["components"]["schemas"].items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>analect API</title><style>{_STYLE}</style><h1>analect API {document['info']['version']}</h1>"
        '<p>The same for programs: <a href="/openapi.json">/openapi.json</a>. Keys go in '
        "<code>Authorization: Bearer KEY</code> or <code>api-key: KEY</code>.</p>"
        f"{sections}<h2>shapes</h2>{schemas}</html>"
    )


def _shown(path: str, method: str, operation: dict[str, Any]) -> str:
    said = {name: operation[name] for name in ("parameters", "requestBody", "responses") if name in operation}
    title = f"<b>{method.upper()}</b><code>{html.escape(path)}</code> {html.escape(operation['summary'])}"
    return f"<details><summary>{title}</summary>{_json(said)}</details>"


def _json(value: Any) -> str:
    return f"<pre>{html.escape(json.dumps(value, indent=1, ensure_ascii=False))}</pre>"

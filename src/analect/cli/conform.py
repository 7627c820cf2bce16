"""`analect conform`: the report card of an embeddings server."""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated

import typer

from analect.cli.options import options_of
from analect.cli.output import one_line, write_json, write_line


def conform(
    ctx: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="The server, such as http://127.0.0.1:8000.")],
    *,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Its API key (default: OPENAI_API_KEY, where that is set).")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model (default: the first of /v1/models).")
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="S", help="Seconds that one answer may take.")] = 60,
) -> None:
    """Check a server against OpenAI's and Azure's contract of embeddings. Exits with 1 when it does not keep it.

    It sends some 90 requests, among them a burst: on a paid service they cost money.
    """
    from analect.conform import conform as run  # noqa: PLC0415  # numpy: when the command runs

    json = options_of(ctx).json
    checks = []
    for check in run(url, key=key or os.environ.get("OPENAI_API_KEY"), model=model, timeout=timeout):
        checks.append(check)
        if not json:
            write_line(f"{'ok' if check.ok else 'FAILED':6}  {check.name}: {one_line(check.detail)}")
    passed = sum(check.ok for check in checks)
    if json:
        write_json({"checks": [dataclasses.asdict(check) for check in checks], "passed": passed, "of": len(checks)})
    else:
        write_line(f"{passed} of {len(checks)}")
    if passed < len(checks):
        raise typer.Exit(1)

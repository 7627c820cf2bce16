"""`analect doctor`: what works here, what does not, and what to do about it."""

from __future__ import annotations

import dataclasses

import typer

from analect.cli.options import options_of
from analect.cli.output import one_line, write_json, write_line


def doctor(ctx: typer.Context) -> None:
    """Check this installation, its model, the settings and the corpus. Exits with 1 when something is wrong."""
    from analect.doctor import examine  # noqa: PLC0415  # loads the embedder: when the command runs

    options = options_of(ctx)
    checks = []
    for check in examine(config=options.config_file, corpus=options.corpus):
        checks.append(check)
        if not options.json:
            write_line(f"{'ok' if check.ok else 'FAILED':6}  {check.name}: {one_line(check.detail)}")
            if not check.ok:
                write_line(f"        to do: {one_line(check.fix)}")
    healthy = all(check.ok for check in checks)
    if options.json:
        write_json({"checks": [dataclasses.asdict(check) for check in checks], "ok": healthy})
    if not healthy:
        raise typer.Exit(1)

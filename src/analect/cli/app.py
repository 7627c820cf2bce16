"""The commands put together, and one run of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from analect.cli.add import add
from analect.cli.ask import ask
from analect.cli.conform import conform
from analect.cli.delete import delete
from analect.cli.doctor import doctor
from analect.cli.embed import embed
from analect.cli.estimate import estimate
from analect.cli.eval import evaluate
from analect.cli.ledger import ledger_commands
from analect.cli.models import models_group
from analect.cli.options import Command, global_options
from analect.cli.search import search
from analect.cli.serve import serve
from analect.cli.status import status
from analect.cli.vector import vector

_COMMANDS: dict[str, Callable[..., None]] = {
    "add": add,
    "search": search,
    "ask": ask,
    "delete": delete,
    "status": status,
    "estimate": estimate,
    "doctor": doctor,
    "eval": evaluate,
    "vector": vector,
    "embed": embed,
    "serve": serve,
    "conform": conform,
}


def run(args: list[str]) -> int:
    """Run the command that the arguments name and return its exit code; without any, print the help."""
    command = _command()
    try:
        # Not `app()`: that prints usage errors and tracebacks its own way, over many lines.
        with command.make_context("analect", args or ["--help"]) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return 0


def _command() -> Any:
    app = typer.Typer(
        help="Passages found in your texts, and answers that can be checked.",
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(global_options)
    for name, function in _COMMANDS.items():
        app.command(name, cls=Command)(function)
    app.add_typer(ledger_commands(), name="ledger")
    app.add_typer(models_group(), name="models")
    return typer.main.get_command(app)

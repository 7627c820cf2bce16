"""What commands share: the global options, the options of a search, and the corpus that they open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, cast

import typer
from typer.core import TyperCommand

from analect.cli.output import write_line

if TYPE_CHECKING:
    from analect.config import Settings
    from analect.corpus import Corpus

ModeName: TypeAlias = Literal["dense", "lexical", "hybrid"]  # `analect.types.Mode`, without loading numpy for it
Where: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="COND",
        help="Only what passes: FIELD=V, or != < <= > >=, or 'FIELD in a,b'. Repeat it: all must hold.",
    ),
]
K: TypeAlias = Annotated[int, typer.Option("-k", metavar="N", help="How many hits at most.")]


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """The options that every command takes, before or after its name."""

    config: Path | None = None
    corpus: Path | None = None
    json: bool = False

    @property
    def config_file(self) -> Path | None:
        """The settings file that the option or else ANALECT_CONFIG names."""
        named = os.environ.get("ANALECT_CONFIG")
        return self.config or (Path(named) if named else None)

    def settings(self) -> Settings:
        """Return the settings, with the corpus of the command line over that of the file. Raises `ConfigError`."""
        from analect.config import load_settings  # noqa: PLC0415  # when a command runs, not for --help

        settings = load_settings(self.config_file)
        return replace(settings, corpus=self.corpus) if self.corpus else settings


class Command(TyperCommand):
    """A command that takes the global options too: its own value goes before one that stands before its name."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return its own parameters and the global ones, for parsing as for the help."""
        own = super().get_params(ctx)
        number = len(self.params)  # what comes after them is --help
        return [*own[:number], *ctx.find_root().command.params, *own[number:]]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, and move the global options from the function's arguments to the context."""
        rest = super().parse_args(ctx, args)
        here = {param.name: ctx.params.pop(param.name, None) for param in ctx.find_root().command.params}
        here.pop("version")
        ctx.obj = replace(ctx.obj, **{name: value for name, value in here.items() if value})
        return rest


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415  # slow, and for this option alone

        write_line(f"analect {version('analect')}")
        raise typer.Exit


def global_options(
    ctx: typer.Context,
    *,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Settings (default: ANALECT_CONFIG, else analect.toml where there is one)."),
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The corpus (default: .analect/corpus.db, or the settings').")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
    version: Annotated[  # noqa: ARG001  # its callback does all of it
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and stop.")
    ] = False,
) -> None:
    """Take in the options that stand before the command."""
    ctx.obj = GlobalOptions(config=config, corpus=corpus, json=json)


def options_of(ctx: typer.Context) -> GlobalOptions:
    """Return the global options of this run."""
    return cast(GlobalOptions, ctx.obj)


@contextmanager
def open_corpus(ctx: typer.Context, *, create: bool = False) -> Iterator[Corpus]:
    """Lend the corpus that the options name."""
    from analect.corpus import Corpus  # noqa: PLC0415  # numpy and all that follows: when a command runs

    with Corpus.open(settings=options_of(ctx).settings(), create=create) as corpus:
        yield corpus

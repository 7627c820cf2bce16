"""`analect models`: which models are here, get one, try one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analect.cli.options import Command, options_of
from analect.cli.output import one_line, write_json, write_line, write_table
from analect.cli.progress import Working

if TYPE_CHECKING:
    from analect.model_catalog import Listed
    from analect.model_trial import Trial

Name = Annotated[str, typer.Argument(metavar="NAME", help="A known model, a hub repository or a folder.")]


def models_group() -> typer.Typer:
    """Return the commands of `analect models`."""
    group = typer.Typer(rich_markup_mode=None)
    group.callback(invoke_without_command=True)(_help)
    for name, function in (("list", _list), ("pull", _pull), ("test", _test)):
        group.command(name, cls=Command)(function)
    return group


def _help(ctx: typer.Context) -> None:
    """See which models are here, get one, try one."""
    if ctx.invoked_subcommand is None:
        write_line(ctx.get_help())


def _list(ctx: typer.Context) -> None:
    """List the models that are here, where each is, and whether its weights are the pinned ones; * marks the one in
    use."""
    from analect.model_catalog import list_models  # noqa: PLC0415  # numpy: when the command runs

    options = options_of(ctx)
    found = list(list_models(options.settings()))
    if options.json:
        write_json({"models": [{**dataclasses.asdict(each), "folder": _text(each.folder)} for each in found]})
        return
    head = ("", "name", "dim", "tokens", "pooling", "weights", "sha-256", "place")
    write_table([head, *(_row(each) for each in found)])


def _row(each: Listed) -> tuple[str, ...]:
    state = f"{each.sha256[:12]} {each.state}" if each.sha256 else each.state
    place = f"{each.place}: {each.folder}" if each.folder else f"get it: analect models pull {each.name}"
    shape = (_text(each.dim), _text(each.max_tokens), _text(each.pooling), _text(each.weights))
    return ("*" if each.used else "", each.name, *shape, state, f"{place} ({each.error})" if each.error else place)


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def _pull(ctx: typer.Context, name: Name) -> None:
    """Fetch a model from the hub into the cache, and check its weights."""
    from analect.models import pull_model  # noqa: PLC0415

    with Working(f"fetching {name}"):
        files = pull_model(name)
    if options_of(ctx).json:
        write_json({"name": files.name, "folder": str(files.folder), "sha256": files.sha256})
    else:
        write_line(f"{files.name} is in {files.folder}, SHA-256 {files.sha256[:12]}")


def _test(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Default: the model of the settings.")] = None,
) -> None:
    """Try a model: the sentence pair, tokens a second, and its agreement with sentence-transformers where that is
    installed. Exits with 1 when an answer is wrong."""
    from analect.embedders.local import LocalEmbedder  # noqa: PLC0415
    from analect.errors import ConfigError  # noqa: PLC0415
    from analect.model_trial import try_model  # noqa: PLC0415
    from analect.registry import build_part  # noqa: PLC0415

    options = options_of(ctx)
    embedder = LocalEmbedder(model=name) if name else build_part("embedder", options.settings().embedder)
    if not isinstance(embedder, LocalEmbedder):
        raise ConfigError(f"the embedder of the settings is {embedder.id!r}, no local model: name one")
    with Working(f"trying {embedder.id}"):
        trial = try_model(embedder)
    if options.json:
        write_json({**dataclasses.asdict(trial), "ok": trial.ok})
    else:
        write_table(_lines(trial))
    if not trial.ok:
        raise typer.Exit(1)


def _lines(trial: Trial) -> list[tuple[str, str]]:
    pair = f"cosine {trial.cosine:.4f}, " + (
        "nothing known to compare it with" if trial.expected is None else f"expected {trial.expected}"
    )
    agreement = trial.no_reference or f"least cosine {trial.agreement:.6f}"
    lines: dict[str, Any] = {
        "model": trial.id,
        "folder": trial.folder,
        "precision": trial.precision,
        "speed": f"{trial.tokens_per_second:,.0f} tokens/s",
        "sentence pair": pair,
        "reference": one_line(agreement),
        "verdict": "ok" if trial.ok else "WRONG: fetch the model again, and reinstall openvino and tokenizers",
    }
    return list(lines.items())

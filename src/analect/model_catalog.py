"""The models that this machine has, where each is, and whether its weights are the pinned ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from analect.config import Settings
from analect.embedders.local import LocalEmbedder
from analect.errors import AnalectError
from analect.models import KNOWN, cache_folder, known_model, places_of

State = Literal["pinned", "unpinned", "wrong", "broken", "absent"]


@dataclass(frozen=True, slots=True)
class Listed:
    """One model in one place. `used` tells that the settings lead to it.

    `state`: the weights are those that are "pinned"; of an "unpinned" model nobody can say; "wrong" weights are not
    those of the known model of that name; a "broken" folder cannot be run, for the reason in `error`; "absent" means
    that a known model is not here.
    """

    name: str
    place: str
    used: bool
    state: State
    folder: Path | None = None
    weights: str | None = None
    sha256: str | None = None
    dim: int | None = None
    max_tokens: int | None = None
    pooling: str | None = None
    error: str | None = None


def list_models(settings: Settings) -> Iterator[Listed]:
    """Yield the model of the settings, then the known models, then what else the cache has; each place by itself."""
    chosen = str(settings.embedder.options.get("model", "all-MiniLM-L6-v2"))
    wanted = chosen if settings.embedder.use == "local" else None
    cache = cache_folder()
    cached = [path.name for path in sorted(cache.glob("[!.]*")) if path.is_dir()] if cache.is_dir() else []
    seen: set[Path] = set()
    names = [*([_short(wanted)] if wanted else []), *KNOWN, *(name.replace("__", "/") for name in cached)]
    for name in dict.fromkeys(names):
        found = [(place, folder) for place, folder in places_of(name) if folder.resolve() not in seen]
        seen.update(folder.resolve() for _, folder in found)
        for number, (place, folder) in enumerate(found):
            yield _looked_at(name, place, folder, used=bool(wanted) and number == 0 and name == _short(wanted or ""))
        if not found and not any(True for _ in places_of(name)):
            yield Listed(name, "-", used=name == _short(wanted or ""), state="absent")


def _short(name: str) -> str:
    known = known_model(name)
    return known.name if known else name


def _looked_at(name: str, place: str, folder: Path, *, used: bool) -> Listed:
    try:
        embedder = LocalEmbedder(model=str(folder))
    except AnalectError as error:
        return Listed(name, place, used, "broken", folder, error=str(error))
    known = known_model(name)
    state: State = "unpinned" if known is None else "pinned" if embedder.sha256 == known.sha256 else "wrong"
    return Listed(
        name=name,
        place=place,
        used=used,
        state=state,
        folder=folder,
        weights=embedder.weights,
        sha256=embedder.sha256,
        dim=embedder.dim,
        max_tokens=embedder.max_tokens,
        pooling=embedder.pooling,
    )

"""Settings: `analect.toml`, then `ANALECT_…` variables over it.

```toml
corpus = ".analect/corpus.db"     # ANALECT_CORPUS
ledger = ".analect/ledger.db"     # ANALECT_LEDGER

[embedder]                        # ANALECT_EMBEDDER_USE, ANALECT_EMBEDDER_MODEL, …
use = "local"
model = "all-MiniLM-L6-v2"
```

A section names a part by `use`; its other keys are that part's own settings, checked when the part is built. Paths in
the file are relative to the file. Secrets never stand in it.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from analect.errors import ConfigError

FILE = "analect.toml"
PREFIX = "ANALECT_"
SECTIONS = ("chunker", "embedder", "store", "retriever", "chat", "server")
_PATHS = ("corpus", "ledger")
_NAMES = ("aliases", "deployments")  # tables of a name that clients use and the model that it means
_ELSEWHERE = ("config", "debug", "api_keys")  # variables that are read elsewhere, not settings


@dataclass(frozen=True, slots=True)
class PartSettings:
    """Which part to use, and its own settings."""

    use: str
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set. The defaults work with no file, no account and no key."""

    corpus: Path = Path(".analect/corpus.db")
    ledger: Path = Path(".analect/ledger.db")
    chunker: PartSettings = PartSettings("markdown")
    embedder: PartSettings = PartSettings("local")
    store: PartSettings = PartSettings("sqlite")
    retriever: PartSettings = PartSettings("hybrid")
    chat: PartSettings = PartSettings("extractive")
    server: PartSettings = PartSettings("http")
    models: Mapping[str, PartSettings] = field(default_factory=lambda: MappingProxyType({}))
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    deployments: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def quota(self) -> Path:
        """Where processes share what they know of the quotas of services: next to the ledger."""
        return self.ledger.with_name("quota.db")


def load_settings(path: str | Path | None = None, *, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of a file (default: `analect.toml` here, where there is one) and of the environment.

    Raises `ConfigError` naming the file or variable, what is wrong with it and the nearest name that is right.
    """
    environ = os.environ if environ is None else environ
    settings = Settings()
    file = Path(path) if path is not None else Path(FILE)
    if path is not None or file.exists():
        settings = _apply(settings, _read(file), where=str(file), base=file.parent)
    return _apply(settings, _from_environment(environ), where="the environment", base=Path())


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the settings {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variable, value in sorted(environ.items()):
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or name in _ELSEWHERE:
            continue
        section, _, key = name.partition("_")
        if section in SECTIONS and key:
            found.setdefault(section, {})[key] = value
        elif name in _PATHS:
            found[name] = value
        else:
            known = [PREFIX + each.upper() for each in (*_PATHS, *(f"{section}_USE" for section in SECTIONS))]
            raise ConfigError(f"the variable {variable} is not a setting{nearest(variable, known)}")
    return found


def _apply(settings: Settings, values: Mapping[str, Any], *, where: str, base: Path) -> Settings:
    changed: dict[str, Any] = {}
    for name, value in values.items():
        if name in _PATHS and isinstance(value, str) and value:
            changed[name] = base / value
        elif name in SECTIONS and isinstance(value, Mapping):
            changed[name] = _section(getattr(settings, name), value, where=f"[{name}] of {where}")
        elif name == "models" or name in _NAMES:
            changed[name] = _table(name, value, where=where)
        elif name in _PATHS or name in SECTIONS:
            wanted = "a path" if name in _PATHS else f"a section: [{name}]"
            raise ConfigError(f"{name!r} in {where} must be {wanted}")
        else:
            raise ConfigError(
                f"unknown setting {name!r} in {where}{nearest(name, (*_PATHS, *SECTIONS, 'models', *_NAMES))}"
            )
    return replace(settings, **changed)


def _table(name: str, values: Any, *, where: str) -> Mapping[str, Any]:
    """Return [models], a section a model, or a table of names."""
    wanted: type = dict if name == "models" else str
    if not isinstance(values, Mapping) or not all(isinstance(value, wanted) for value in values.values()):
        shape = "[models.NAME] sections" if name == "models" else 'lines of "name" = "model"'
        raise ConfigError(f"[{name}] in {where} must hold {shape}")
    if name != "models":
        return MappingProxyType(dict(values))
    before = PartSettings("local")
    return MappingProxyType(
        {key: _section(before, value, where=f"[models.{key}] of {where}") for key, value in values.items()}
    )


def _section(before: PartSettings, values: Mapping[str, Any], *, where: str) -> PartSettings:
    use = values.get("use", before.use)
    if not isinstance(use, str):
        raise ConfigError(f"'use' in {where} is {use!r}: it must be the name of a part")
    options = {key: value for key, value in values.items() if key != "use"}
    kept = before.options if use == before.use else {}
    return PartSettings(use, MappingProxyType({**kept, **options}))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean …?" with the nearest known name, or the list of all when none is near."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""

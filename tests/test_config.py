"""Settings: the file, the environment over it, and errors that name the nearest valid thing."""

from __future__ import annotations

from pathlib import Path

import pytest

from analect.config import PartSettings, Settings, load_settings
from analect.embedders.hashing import HashingEmbedder
from analect.errors import ConfigError, MissingExtraError
from analect.registry import PARTS, READERS, Part, build_part, load_part, reader_for


def test_the_defaults_need_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings(environ={}) == Settings()


def test_the_environment_goes_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "analect.toml"
    file.write_text('corpus = "here.db"\n[embedder]\nuse = "local"\nmodel = "mine"\non_overflow = "truncate"\n')
    settings = load_settings(file, environ={"ANALECT_EMBEDDER_MODEL": "other", "ANALECT_LEDGER": "/l.db", "HOME": "/x"})
    assert settings.corpus == tmp_path / "here.db"
    assert settings.ledger == Path("/l.db")
    assert settings.embedder.use == "local"
    assert dict(settings.embedder.options) == {"model": "other", "on_overflow": "truncate"}


def test_another_part_does_not_inherit_settings(tmp_path: Path) -> None:
    file = tmp_path / "analect.toml"
    file.write_text('[embedder]\nuse = "local"\nmodel = "mine"\n')
    settings = load_settings(file, environ={"ANALECT_EMBEDDER_USE": "hashing", "ANALECT_EMBEDDER_DIM": "64"})
    assert dict(settings.embedder.options) == {"dim": "64"}
    built = build_part("embedder", settings.embedder)
    assert isinstance(built, HashingEmbedder)
    assert built.dim == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[embeder]\nuse='local'", "unknown setting 'embeder'.*did you mean 'embedder'"),
        ("embedder = 'local'", r"must be a section: \[embedder\]"),
        ("corpus = 5", "'corpus' in .* must be a path"),
        ("[embedder]\nuse = 5", "'use' in .* is 5"),
        ("[embedder", "is not TOML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "analect.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_settings(file, environ={})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml: No such file"):
        load_settings(tmp_path / "nothing.toml", environ={})


def test_an_unknown_variable_is_named() -> None:
    with pytest.raises(ConfigError, match=r"ANALECT_LEGDER is not a setting.*did you mean 'ANALECT_LEDGER'"):
        load_settings(environ={"ANALECT_LEGDER": "x"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (PartSettings("locl"), "no embedder 'locl'; did you mean 'local'"),
        (PartSettings("hashing", {"dimm": 5}), "no setting 'dimm'; did you mean 'dim'"),
        (PartSettings("hashing", {"dim": "many"}), "dim is 'many': it must be int"),
        (PartSettings("hashing", {"dim": True}), "dim is True: it must be int"),
        (PartSettings("local", {"on_overflow": "cut"}), "must be error or truncate"),
    ],
)
def test_a_wrong_part_or_setting_is_named(settings: PartSettings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_part("embedder", settings)


def test_every_part_and_reader_can_be_loaded() -> None:
    for family, parts in PARTS.items():
        for name in parts:
            assert isinstance(load_part(family, name), type), (family, name)
    for suffix in READERS:
        assert hasattr(reader_for(suffix), "read"), suffix
    assert reader_for(".nothing") is None


def test_a_missing_extra_names_the_pip_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "needs_much.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(PARTS["store"], "much", Part("needs_much:Store", extra="much"))
    with pytest.raises(MissingExtraError, match=r"'surely_not_installed'.*pip install 'analect\[much\]'"):
        load_part("store", "much")


def test_a_broken_install_shows_its_own_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "is_broken.py").write_text("raise ImportError('libsomething.so is missing')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(PARTS["store"], "broken", Part("is_broken:Store", extra="much"))
    with pytest.raises(ImportError, match=r"libsomething\.so"):
        load_part("store", "broken")


def test_other_packages_add_parts_by_entry_points(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "their_parts.py").write_text(
        "class Theirs:\n    def __init__(self, *, size: int = 3):\n        self.size = size\n"
        "class Reader:\n    def read(self, data, *, uri):\n        return None\n"
    )
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[analect.embedders]\ntheirs = their_parts:Theirs\n[analect.readers]\n.theirs = their_parts:Reader\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from analect import registry

    registry._entry_points.cache_clear()
    registry.reader_for.cache_clear()
    try:
        assert build_part("embedder", PartSettings("theirs", {"size": 5})).size == 5
        assert reader_for(".theirs") is not None
    finally:
        registry._entry_points.cache_clear()
        registry.reader_for.cache_clear()

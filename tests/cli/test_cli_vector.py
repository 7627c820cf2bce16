"""`analect vector`: vectors as JSON, cosines for two or more."""

from __future__ import annotations

import pytest
from cli_running import Run

from analect.embedders.local import LocalEmbedder


def test_the_known_pair(analect: Run, local_embedder: LocalEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALECT_EMBEDDER_USE", "local")
    found = analect("vector", "I feel extremely chilly", "I am so cold", "--json").json
    assert (found["embedder"], found["dim"]) == (local_embedder.id, 384)
    assert [len(vector) for vector in found["vectors"]] == [384, 384]
    assert found["cosines"][0][1] == found["cosines"][1][0] == pytest.approx(0.7421, abs=0.003)


def test_one_text_has_no_cosines(analect: Run) -> None:
    found = analect("vector", "alone", "--json").json
    assert set(found) == {"embedder", "dim", "vectors"}
    assert sum(value**2 for value in found["vectors"][0]) == pytest.approx(1, abs=1e-5)


def test_for_people(analect: Run) -> None:
    ran = analect("vector", "a seat", "a saddle and a seat")
    lines = ran.out.splitlines()
    assert lines[0].startswith("a seat: ")
    assert lines[0].endswith("... (256 components)")
    assert lines[-1].split()[0] == "2"
    assert "1.0000" in lines[-1]
    assert lines[-1].endswith("a saddle and a seat")


def test_an_empty_text_is_named(analect: Run) -> None:
    ran = analect("vector", "good", " ", "--json")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "analect: document 2 of 2 cannot be embedded: the text is empty\n"

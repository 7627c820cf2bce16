"""`analect embed`: a table with its vectors, from the shell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_running import PLANTS, Run


@pytest.fixture
def plants(folder: Path) -> Path:
    path = folder / "plants.csv"
    path.write_text(PLANTS, encoding="utf-8")
    return path


def test_for_people(plants: Path, analect: Run) -> None:
    ran = analect("embed", "plants.csv", "out.jsonl", "--text", "{name} is {colour}")
    assert (ran.code, ran.out, ran.err) == (0, "3 rows: 3 embedded, 0 from the ledger\n", "")
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [(row["id"], len(row["embedding"]), row["error"]) for row in rows] == [
        ("1", 256, None),
        ("2", 256, None),
        ("3", 256, None),
    ]


def test_for_programs(plants: Path, analect: Run) -> None:
    plants.write_text(PLANTS + "4,,none,\n", encoding="utf-8")
    ran = analect("embed", "plants.csv", "out.csv", "--text", "{name}", "--json")
    assert ran.code == 1
    assert ran.json == {"rows": 4, "embedded": 3, "reused": 0, "cut": 0, "failed": 1, "out": "out.csv"}
    assert ran.err == "failed: 1 rows, see the column 'error' of out.csv\n"
    assert analect("embed", "plants.csv", "out.csv", "--text", "{name}", "--json").json["reused"] == 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("none.csv", "out.csv", "--text", "{name}"), "there is no file 'none.csv'"),
        (("plants.csv", "out.csv", "--text", "{nam}"), "no record has a field 'nam'"),
        (("plants.csv", "out.doc", "--text", "{name}"), "its suffix must be one of"),
        (("plants.csv", "out.csv"), "--text"),
    ],
)
def test_what_is_wrong_is_one_line(plants: Path, analect: Run, args: tuple[str, ...], message: str) -> None:
    ran = analect("embed", *args)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert message in ran.err

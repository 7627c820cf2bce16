"""Tables written again with their vectors: nothing of a row changes, no row is lost, nothing is paid twice."""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import json
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analect import AddProgress, EmbedReport, embed_table
from analect.config import PartSettings, Settings
from analect.embedders.hashing import HashingEmbedder
from analect.embedders.local import LocalEmbedder
from analect.errors import InputError, MissingExtraError, NotFoundError
from analect.ledger import BATCH
from embedders import tiny_bert

ROWS = [
    {"code": "007", "name": "Rose, red", "note": 'a "quoted"\r\nline'},
    {"code": "1e3", "name": " Iris ", "note": ""},
    {"code": "", "name": "", "note": "nothing to embed"},
    {"code": "TRUE", "name": "Tansy — Köln", "note": "x\ry"},
]


def settings_in(folder: Path) -> Settings:
    return Settings(ledger=folder / "ledger.db", embedder=PartSettings("hashing", {"dim": 8, "max_tokens": 20}))


def embed(source: Path, out: Path, *, text: str = "{name}", **options: Any) -> EmbedReport:
    return embed_table(source, out, text=text, settings=settings_in(source.parent), **options)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """Read a table with other code than ours; the vector is a list, or None."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    text = path.read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix == ".tsv" else ","))
    for row in rows:
        row["embedding"] = json.loads(row["embedding"]) if row["embedding"] else None
        row["error"] = row["error"] or None
    return rows


@pytest.mark.parametrize("target", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("source", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_format_keeps_rows_columns_and_values(tmp_path: Path, source: str, target: str) -> None:
    table, out = write(tmp_path / f"in{source}", ROWS), tmp_path / f"out{target}"
    assert embed(table, out) == EmbedReport(rows=4, embedded=3, reused=0, cut=0, failed=1)
    found = read(out)
    assert [list(row) for row in found] == [["code", "name", "note", "embedding", "error"]] * 4
    assert [{name: row[name] for name in ROWS[0]} for row in found] == ROWS
    assert [row["error"] for row in found] == [None, None, "the text is empty", None]
    assert found[2]["embedding"] is None
    vectors = np.array([found[row]["embedding"] for row in (0, 1, 3)], dtype=np.float32)
    texts = [ROWS[row]["name"] for row in (0, 1, 3)]
    assert np.array_equal(vectors, HashingEmbedder(dim=8).embed(texts, kind="document").vectors)  # bit for bit
    again = out.read_bytes()
    assert embed(table, out) == EmbedReport(rows=4, embedded=0, reused=3, cut=0, failed=1)
    assert out.read_bytes() == again
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([table.name, out.name, "ledger.db"])


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "name": pa.array(["a", None, "c"]).dictionary_encode(),
            "when": pa.array([1, None, 1_704_164_645_123_456_789], pa.timestamp("ns", "UTC")),
            "blob": [b"\x00", b"", None],
            "small": pa.array([1, 2, None], pa.int8()),
            "bed": [{"place": "north", "rows": [1]}, None, {"place": "south", "rows": []}],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    report = embed(tmp_path / "in.parquet", tmp_path / "out.parquet", text="{name} {bed.place}")
    assert (report.rows, report.failed) == (3, 1)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.drop_columns(["embedding", "error"]).equals(table)
    assert found.schema.field("embedding").type == pa.list_(pa.float32())
    assert found["embedding"].null_count == 1
    (vector,) = HashingEmbedder(dim=8).embed(["c south"], kind="document").vectors
    assert found["embedding"][2].as_py() == vector.tolist()


def test_parquet_becomes_json_and_text(tmp_path: Path) -> None:
    day = datetime.date(2024, 1, 2)
    pq.write_table(pa.table({"name": ["a"], "day": [day], "tags": [["x", "y"]], "n": [1.5]}), tmp_path / "in.parquet")
    embed(tmp_path / "in.parquet", tmp_path / "out.jsonl")
    embed(tmp_path / "in.parquet", tmp_path / "out.csv")
    (row,) = read(tmp_path / "out.jsonl")
    assert (row["day"], row["tags"], row["n"]) == ("2024-01-02", ["x", "y"], 1.5)
    (row,) = read(tmp_path / "out.csv")
    assert (row["day"], row["tags"], row["n"]) == ("2024-01-02", '["x", "y"]', "1.5")


def test_json_keeps_what_is_nested(tmp_path: Path) -> None:
    rows = [{"name": "a", "deep": {"b": [1, {"c": None}]}, "big": 10**30}, {"other": True, "name": "b"}]
    table = write(tmp_path / "in.jsonl", rows)
    embed(table, tmp_path / "out.jsonl")
    assert [
        {name: row[name] for name in row if name not in ("embedding", "error")} for row in read(tmp_path / "out.jsonl")
    ] == rows
    embed(table, tmp_path / "out.csv")
    assert [row["other"] for row in read(tmp_path / "out.csv")] == ["", "true"]
    with pytest.raises(InputError, match=r"write \.jsonl"):
        embed(table, tmp_path / "out.parquet")


def test_json_types_fit_all_blocks_of_a_parquet_file(tmp_path: Path) -> None:
    rows = [{"name": f"n{row}", "x": row if row < 3000 else row + 0.5} for row in range(5000)]
    embed(write(tmp_path / "in.jsonl", rows), tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found["x"].to_pylist() == [row["x"] for row in rows]
    write(tmp_path / "in.jsonl", [{"name": "a", "x": 1}, {"name": "b", "x": "one"}])
    with pytest.raises(InputError, match="the column 'x' has no one type in Parquet"):
        embed(tmp_path / "in.jsonl", tmp_path / "bad.parquet")
    assert not (tmp_path / "bad.parquet").exists()
    write(tmp_path / "in.jsonl", [{"name": "a", "x": {}}])
    with pytest.raises(InputError, match=r"cannot be written to Parquet \(.*'x'.*\): write \.jsonl"):
        embed(tmp_path / "in.jsonl", tmp_path / "bad.parquet")
    assert not (tmp_path / "bad.parquet").exists()


def test_rows_that_cannot_be_read_are_there_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,name\n1,a\n2\n3,c,d\n4,e\n")
    report = embed(tmp_path / "in.csv", tmp_path / "out.csv")
    assert (report.rows, report.embedded, report.failed) == (4, 2, 2)
    found = read(tmp_path / "out.csv")
    assert [row["id"] for row in found] == ["1", "2", "3", "4"]
    assert found[1]["error"].startswith("line 3 has 1 fields")
    assert found[2]["name"] == "c"
    (tmp_path / "in.jsonl").write_text('{"name": "a"}\nnonsense\n{"name": "b\\ud800", "n": 1}\n')
    embed(tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    found = read(tmp_path / "out.jsonl")
    assert found[1]["embedding"] is None
    assert "line 2 is not JSON" in found[1]["error"]
    assert (found[2]["name"], found[2]["n"]) == ("b\ud800", 1)


def test_an_over_long_text_is_an_error_or_marked_as_cut(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(f"name\n{'word ' * 30}\nshort\n")
    assert embed(tmp_path / "in.csv", tmp_path / "out.csv").failed == 1
    assert read(tmp_path / "out.csv")[0]["error"] == "the text has 32 tokens, the model takes 20"
    tiny_bert.write(tmp_path / "tiny", pooling="mean_tokens")
    cutting = LocalEmbedder(model=str(tmp_path / "tiny"), on_overflow="truncate")
    report = embed(tmp_path / "in.csv", tmp_path / "out.csv", embedder=cutting)
    assert report == EmbedReport(rows=2, embedded=2, reused=0, cut=1, failed=0)
    assert [len(row["embedding"]) for row in read(tmp_path / "out.csv")] == [tiny_bert.HIDDEN] * 2


def test_parquet_is_written_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analect.table_files._GROUP_ROWS", 2500)
    rows = [{"name": f"row {row}"} for row in range(9000)]
    for suffix in (".csv", ".parquet"):
        embed(write(tmp_path / f"in{suffix}", rows), tmp_path / "out.parquet")
        found = pq.ParquetFile(tmp_path / "out.parquet")
        assert 1 < found.num_row_groups < 4
        assert found.read()["name"].to_pylist() == [row["name"] for row in rows]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("name\na\n")
    with pytest.raises(InputError, match=r"x\.csv cannot be written: "):
        embed(tmp_path / "in.csv", tmp_path / f"{'x' * 250}.csv")  # too long for the file it is written to first


def test_a_table_without_rows_keeps_its_header(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id;name\n")
    for suffix in (".csv", ".jsonl", ".parquet"):
        assert embed(tmp_path / "in.csv", tmp_path / f"out{suffix}").rows == 0
    assert (tmp_path / "out.csv").read_text() == "id,name,embedding,error\n"
    assert pq.read_table(tmp_path / "out.parquet").column_names == ["id", "name", "embedding", "error"]


@pytest.mark.parametrize(
    ("content", "out", "text", "message"),
    [
        ("id,embedding\n1,2\n", "out.csv", "{id}", "has a column 'embedding' already: rename or drop it"),
        ("error,id\n1,2\n", "out.csv", "{id}", "has a column 'error' already"),
        ("id,name\n1,a\n", "out.csv", "{nam}", "no record has a field 'nam': there is 'name'"),
        ("id,name\n1,a\n", "out.csv", "name", "names no field"),
        ('id,name\n1,"a\n', "out.csv", "{id}", "is never closed: nothing after it was read"),
        ("id,name\n1,a\n", "out.xlsx", "{id}", r"its suffix must be one of \.csv"),
        ("id,name\n1,a\n", "in.csv", "{id}", "is the table itself"),
        ("id,name\n1,a\n", "no/out.csv", "{id}", "name a file in a folder that is there"),
        ("", "out.csv", "{id}", "has no header line"),
    ],
)
def test_what_is_refused_is_refused_before_anything_is_embedded(
    tmp_path: Path, content: str, out: str, text: str, message: str
) -> None:
    (tmp_path / "in.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        embed(tmp_path / "in.csv", tmp_path / out, text=text)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_what_is_not_there_or_no_table(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no file '.*none\.csv'"):
        embed(tmp_path / "none.csv", tmp_path / "out.csv")
    (tmp_path / "in.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"in\.parquet is no Parquet file"):
        embed(tmp_path / "in.parquet", tmp_path / "out.csv")


def test_without_pyarrow_the_pip_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.csv").write_text("name\na\n")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'analect\[parquet\]'"):
        embed(tmp_path / "in.csv", tmp_path / "out.parquet")
    assert embed(tmp_path / "in.csv", tmp_path / "out.jsonl").embedded == 1


def test_progress_counts_rows_and_texts(tmp_path: Path) -> None:
    told: list[AddProgress] = []
    table = write(tmp_path / "in.csv", [{"name": f"row {row}"} for row in range(3000)])
    embed(table, tmp_path / "out.csv", on_progress=told.append)
    assert told[-1] == AddProgress(documents=3000, total=3000, embedded=3000)
    assert len(told) > 5


def test_memory_is_that_of_a_block(tmp_path: Path) -> None:
    """Four times the rows take about the same memory."""

    def peak(rows: int) -> int:
        table = write(tmp_path / f"in{rows}.csv", [{"name": f"{row}", "more": "text " * 100} for row in range(rows)])
        tracemalloc.start()
        embed(table, tmp_path / f"out{rows}.csv")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(24_000) < 1.3 * peak(6_000)


EMBED = """
import hashlib, os, sys, time
from pathlib import Path
from analect import embed_table
from analect.config import Settings
from analect.embedders.hashing import HashingEmbedder
from analect.embedders.local import LocalEmbedder

class Slow(HashingEmbedder):
    def embed(self, texts, *, kind):
        time.sleep(0.05)
        with open(sys.argv[3], "a") as log:
            log.write("".join(hashlib.sha256(text.encode()).hexdigest() + "\\n" for text in texts))
        return super().embed(texts, kind=kind)

folder = Path(sys.argv[1]).parent
embed_table(sys.argv[1], sys.argv[2], text="{name}", settings=Settings(ledger=folder / "ledger.db"), embedder=Slow())
"""


def test_killed_and_run_again(tmp_path: Path) -> None:
    """Nothing half written, next to nothing computed twice, and the leftover of the dead run is removed."""
    table, out, log = tmp_path / "in.csv", tmp_path / "out.jsonl", tmp_path / "log"
    write(table, [{"id": str(row), "name": f"row number {row}"} for row in range(6000)])
    out.write_text("what was there before\n")
    command = [sys.executable, "-c", EMBED, str(table), str(out), str(log)]
    for batches in (3, 12):
        process = subprocess.Popen(command)
        while not log.exists() or len(log.read_text().splitlines()) < batches * BATCH:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert out.read_text() == "what was there before\n"
    assert list(tmp_path.glob(".out.jsonl.*.part")) != []
    subprocess.run(command, check=True, timeout=120)
    assert list(tmp_path.glob(".out.jsonl.*.part")) == []
    assert [row["id"] for row in read(out)] == [str(row) for row in range(6000)]
    assert all(len(row["embedding"]) == 256 for row in read(out))
    computed = log.read_text().split()
    assert len(set(computed)) == 6000
    assert len(computed) - 6000 <= 2 * BATCH
    assert len(computed[0]) == len(hashlib.sha256().hexdigest())

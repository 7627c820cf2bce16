"""Parquet as a source: what its types become, what cannot be read, and that it is read as a stream."""

from __future__ import annotations

import datetime
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analect.config import PartSettings, Settings
from analect.corpus import Corpus
from analect.errors import InputError, MissingExtraError
from analect.sources.records import RecordsSource
from analect.stores.memory import MemoryStore
from analect.types import Document, ReadFailure


def read(path: Path, columns: dict[str, Any], **options: Any) -> list[Document | ReadFailure]:
    pq.write_table(pa.table(columns), path)
    return list(RecordsSource(path, **options).read())


def metadata(path: Path, columns: dict[str, Any]) -> dict[str, Any]:
    (found,) = read(path, {"text": ["a garden"], **columns}, text="{text}")
    assert isinstance(found, Document), found
    return dict(found.metadata)


def test_types_are_those_that_json_would_have(tmp_path: Path) -> None:
    when = datetime.datetime(2024, 1, 2, 3, 4, 5, 678_000)
    found = metadata(
        tmp_path / "t.parquet",
        {
            "day": [when.date()],
            "nanos": pa.array([1_704_164_645_123_456_789], pa.timestamp("ns")),
            "zoned": pa.array([when], pa.timestamp("ms", "UTC")),
            "time": pa.array([1_001], pa.time64("ns")),
            "code": ["007"],
            "price": pa.array([Decimal("1.50")], pa.decimal128(10, 2)),
            "huge": pa.array([Decimal("12345678901234567890.5")], pa.decimal128(30, 1)),
            "tags": [["red", None, "low"]],
            "sizes": pa.array([[1, 2]], pa.list_(pa.int32(), 2)),
            "kind": pa.array(["herb"]).dictionary_encode(),
            "half": pa.array([1.5], pa.float16()),
            "nan": [float("nan")],
            "none": pa.nulls(1),
            "whole": pa.array([2**63], pa.uint64()),
            "ok": [True],
            "bed": [{"place": "north", "rows": 3}],
        },
    )
    assert found == {
        "day": "2024-01-02",
        "nanos": "2024-01-02T03:04:05.123456",
        "zoned": "2024-01-02T03:04:05.678000+00:00",
        "time": "00:00:00.000001",
        "code": "007",
        "price": 1.5,
        "huge": "12345678901234567890.5",
        "tags": ("red", "low"),
        "sizes": ("1", "2"),
        "kind": "herb",
        "half": 1.5,
        "whole": str(2**63),
        "ok": True,
        "bed.place": "north",
        "bed.rows": 3,
    }


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([b"\x00"]), "binary"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32())), "map<string, int32"),
        (pa.array([5], pa.duration("s")), "duration[s]"),
        (pa.array([[b"\x00"]]), "binary"),
    ],
)
def test_a_column_without_a_meaning_ends_the_table_by_name(tmp_path: Path, column: Any, kind: str) -> None:
    path = tmp_path / "t.parquet"
    (failure,) = read(path, {"text": ["a"], "odd": column})
    assert isinstance(failure, ReadFailure)
    assert failure.uri == str(path)
    assert failure.error.startswith("the column 'odd' is of the type ")
    assert kind in failure.error


@pytest.mark.parametrize("content", [b"PAR1 is no table PAR1", b"id,text\n1,a\n"])
def test_what_is_no_parquet_file_is_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    source = RecordsSource(path)
    (failure,) = source.read()
    assert isinstance(failure, ReadFailure)
    assert failure.error.startswith("is no Parquet file that can be read: ")
    assert source.total() == 0


def test_a_name_that_stands_for_two_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["x", "x"]), path)
    (failure,) = RecordsSource(path).read()
    assert isinstance(failure, ReadFailure)
    assert failure.error == "names the column 'x' twice: rename one of them"


def test_rows_are_numbered_and_ids_are_theirs(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    found = read(path, {"id": [7, 8, 7], "text": ["a", "", "c"]}, text="{text}", id="id")
    assert [each.uri.partition("#")[2] for each in found] == ["7", "8", "row 3"]
    assert [type(each) for each in found] == [Document, ReadFailure, ReadFailure]
    assert "row 3 has the id '7', which row 1 has already" in found[2].error  # type: ignore[union-attr]
    assert RecordsSource(path).total() == 3


def test_an_unknown_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no record has a field 'txt': there is 'text'"):
        read(tmp_path / "t.parquet", {"text": ["a"]}, text="{txt}")


def test_row_groups_are_read_one_after_the_other(tmp_path: Path) -> None:
    """Memory stays that of a batch, however long the table."""
    path = tmp_path / "t.parquet"
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for group in range(40):
            rows = range(group * 1000, (group + 1) * 1000)
            writer.write_batch(
                pa.RecordBatch.from_pydict({"id": list(rows), "text": [f"{row} " * 200 for row in rows]}, schema)
            )
    whole = 40_000 * 200 * 5
    before = pa.total_allocated_bytes()
    most = 0
    for number, each in enumerate(RecordsSource(path, text="{text}").read()):
        assert isinstance(each, Document)
        assert each.id == str(number)
        most = max(most, pa.total_allocated_bytes() - before)
    assert number == 39_999
    assert most < whole / 4


def test_without_pyarrow_the_pip_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "t.parquet")
    (tmp_path / "note.md").write_text("A note.")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    settings = Settings(ledger=tmp_path / ".ledger.db", embedder=PartSettings("hashing"))
    with Corpus.open(settings=settings, store=MemoryStore()) as corpus:
        with pytest.raises(MissingExtraError, match=r"pip install 'analect\[parquet\]'"):
            corpus.add(tmp_path / "t.parquet")
        report = corpus.add(tmp_path, source="all")  # in a folder, the rest goes on
    assert report.added == 1
    assert [failure.uri for failure in report.failed] == [str(tmp_path / "t.parquet")]
    assert "analect[parquet]" in report.failed[0].error

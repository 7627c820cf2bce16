"""Tables become one document a record; what cannot be read is reported, and the rest goes on."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analect.errors import InputError
from analect.protocols import Source
from analect.sources import DOCUMENT_LIMIT
from analect.sources.records import RecordsSource
from analect.types import Document, ReadFailure

DATA = Path(os.environ.get("ANALECT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data sets in {DATA}")


def read(path: Path, content: str | bytes, **options: Any) -> tuple[list[Document], list[ReadFailure]]:
    """Write a table and return its documents and failures."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    outcomes = list(RecordsSource(path, **options).read())
    return (
        [each for each in outcomes if isinstance(each, Document)],
        [each for each in outcomes if isinstance(each, ReadFailure)],
    )


def documents(path: Path, content: str | bytes, **options: Any) -> list[Document]:
    found, failures = read(path, content, **options)
    assert failures == []
    return found


def failures(path: Path, content: str | bytes, **options: Any) -> list[ReadFailure]:
    return read(path, content, **options)[1]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "t.csv"


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    return tmp_path / "t.jsonl"


@pytest.fixture
def array(tmp_path: Path) -> Path:
    return tmp_path / "t.json"


def test_a_table_is_a_source(table: Path) -> None:
    source = RecordsSource(table)
    assert isinstance(source, Source)
    assert (source.name, source.roots) == (str(table), (str(table),))
    assert RecordsSource(table, name="n").name == "n"


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match=r"'/x/a\.md' is no table: its suffix must be one of \.csv"):
        RecordsSource("/x/a.md")


def test_without_template_the_string_fields_are_text_and_metadata(table: Path) -> None:
    (document,) = documents(table, "id,Title,price,note\n7,A book,9.5,\n")
    assert document == Document(
        id="7",
        text="Title: A book",
        source=str(table),
        uri=f"{table}#7",
        title="A book",
        metadata={"Title": "A book", "price": 9.5},
        record=True,
    )


def test_a_template_makes_the_text_and_its_fields_are_no_metadata(table: Path) -> None:
    (document,) = documents(table, "id,name,price,note\n7,A book,9.50,x\n", text="{{{note}}} costs {price}")
    assert document.text == "{x} costs 9.50"
    assert document.metadata == {"name": "A book"}
    assert document.title is None


def test_a_template_that_uses_the_title_gives_it(table: Path) -> None:
    (document,) = documents(table, "id,NAME,x\n1,A  book,y\n", text="{NAME}: {x}")
    assert document.title == "A book"


def test_template_fields_may_be_called_anything(array: Path) -> None:
    record = {"price:usd": 3, "a b!": True, "user": {"name": "Ann"}, "tags": ["x", "y"], "none": None}
    (document,) = documents(array, json.dumps([record]), text="{price:usd}|{a b!}|{user.name}|{tags}|{none}")
    assert document.text == "3|true|Ann|x, y|"


@pytest.mark.parametrize("template", ["{a", "a}", "{}", "{{a}}", "plain", "", "{a{b}}"])
def test_a_broken_template_is_refused_at_once(table: Path, template: str) -> None:
    with pytest.raises(InputError, match="template"):
        RecordsSource(table, text=template)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": "{summary} {Text}"}, "no record has a field 'summary': there is 'Summary'"),
        ({"text": "{Text:>10}"}, "no record has a field 'Text:>10': there is 'Text'"),
        ({"id": "Idd"}, "no record has a field 'Idd': there is 'Id'"),
        ({"id": "zzzz"}, "no record has a field 'zzzz': there is 'Id', 'Summary', 'Text'"),
    ],
)
def test_a_field_that_no_record_has_is_refused_before_anything_is_yielded(
    table: Path, options: dict[str, str], message: str
) -> None:
    table.write_text("Id,Summary,Text\n1,a,b\n2,c,d\n")
    with pytest.raises(InputError, match=message):
        next(RecordsSource(table, **options).read())


def test_a_field_that_some_records_lack_is_empty_there(lines: Path) -> None:
    found = documents(lines, '{"id":1,"a":"x","b":"y"}\n{"id":2,"a":"z"}\n', text="{a}{b}")
    assert [each.text for each in found] == ["xy", "z"]


def test_a_record_without_text_is_a_failure(table: Path) -> None:
    found, failed = read(table, "id,t\n1,x\n2,\n3,  \n", text="{t}")
    assert [each.id for each in found] == ["1"]
    assert [each.uri for each in failed] == [f"{table}#2", f"{table}#3"]
    assert "line 3 has no text" in failed[0].error


@pytest.mark.parametrize("name", ["id", "_id", "Id", "ID"])
def test_the_usual_id_fields_are_found(table: Path, name: str) -> None:
    found = documents(table, f"t,{name}\nx,b\ny,a\n")
    assert [each.id for each in found] == ["b", "a"]
    assert all(name not in each.metadata and f"{name}:" not in each.text for each in found)


@pytest.mark.parametrize("content", ["id,t\n1,x\n1,y\n", "id,t\n1,x\n,y\n"])
def test_an_id_field_with_gaps_or_repeats_is_no_id_field(table: Path, content: str) -> None:
    found = documents(table, content)
    assert len({each.id for each in found}) == 2
    assert {len(each.id) for each in found} == {16}


def test_an_id_field_by_name_reports_gaps_and_repeats(table: Path) -> None:
    found, failed = read(table, "k,t\na,1x\nb,2x\na,3x\n,4x\n", id="k")
    assert [(each.id, each.text) for each in found] == [("a", "t: 1x"), ("b", "t: 2x")]
    assert [each.uri for each in failed] == [f"{table}#line 4", f"{table}#line 5"]
    assert "line 4 has the id 'a', which line 2 has already" in failed[0].error
    assert "line 5 has no value in the id field 'k'" in failed[1].error


def test_ids_are_written_as_they_stand(table: Path, lines: Path) -> None:
    assert [each.id for each in documents(table, "id,t\n007,x\n1.50,x\n")] == ["007", "1.50"]
    assert [each.id for each in documents(lines, '{"id":7,"t":"x"}\n{"id":1.5,"t":"x"}\n')] == ["7", "1.5"]


def test_a_content_id_does_not_depend_on_the_order_of_the_fields(lines: Path) -> None:
    first, second = documents(lines, '{"a":"x","b":{"c":1}}\n{"b":{"c":1},"a":"x"}\n')
    assert second.id == f"{first.id}-2"


def test_equal_records_get_numbers(table: Path) -> None:
    ids = [each.id for each in documents(table, "t\nx\ny\nx\nx\n")]
    assert ids == [ids[0], ids[1], f"{ids[0]}-2", f"{ids[0]}-3"]
    assert ids[0] != ids[1]


RECORDS = st.lists(st.dictionaries(st.sampled_from("abc"), st.text("xyz", min_size=1), min_size=1), max_size=8)


@given(records=RECORDS, seed=st.integers(0, 99))
def test_content_ids_do_not_depend_on_the_order(records: list[dict[str, str]], seed: int) -> None:
    def ids(ordered: list[dict[str, str]]) -> dict[str, str]:
        with tempfile.TemporaryDirectory() as folder:
            content = "\n".join(json.dumps(dict(random.Random(seed).sample(list(r.items()), len(r)))) for r in ordered)
            found = documents(Path(folder) / "t.jsonl", content)
            return {each.id: json.dumps(dict(each.metadata), sort_keys=True) for each in found}

    shuffled = random.Random(seed).sample(records, len(records))
    assert ids(records) == ids(shuffled)
    assert len(ids(records)) == len(records)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (["1", "-2", ""], [1, -2, None]),
        (["1", "2.5", "1e3"], [1.0, 2.5, 1000.0]),
        (["true", "FALSE", ""], [True, False, None]),
        (["1", "007"], ["1", "007"]),
        (["1", "+5"], ["1", "+5"]),
        (["1", "1_000"], ["1", "1_000"]),
        (["1", "9223372036854775808"], ["1", "9223372036854775808"]),
        (["9223372036854775807", "-9223372036854775808"], [9223372036854775807, -9223372036854775808]),
        (["1.5", "9223372036854775808"], ["1.5", "9223372036854775808"]),
        (["1.5", "007"], ["1.5", "007"]),
        (["1", "true"], ["1", "true"]),
        (["nan", "1.0"], ["nan", "1.0"]),
        (["inf", "1.0"], ["inf", "1.0"]),
        (["1e999", "1.0"], ["1e999", "1.0"]),
        (["١", "1"], ["١", "1"]),
        ([" 1", "1"], [" 1", "1"]),
        (["1.2.3", "1.2"], ["1.2.3", "1.2"]),
    ],
)
def test_csv_columns_have_one_type(table: Path, column: list[str], values: list[object]) -> None:
    content = "t,v\n" + "".join(f"x,{value}\n" for value in column)
    found = [each.metadata.get("v") for each in documents(table, content)]
    assert found == values
    assert [type(each) for each in found] == [type(each) for each in values]


def test_json_values_keep_their_types(array: Path) -> None:
    record = {
        "t": "x",
        "i": 3,
        "f": 2.5,
        "b": True,
        "n": None,
        "big": 2**70,
        "tags": ["a", 1, True, None, 1.5],
        "none": [],
        "deep": {"er": {"x": 1}, "y": "z"},
        "list": [{"a": 1}],
    }
    (document,) = documents(array, json.dumps([record]))
    assert document.metadata == {
        "t": "x",
        "i": 3,
        "f": 2.5,
        "b": True,
        "big": str(2**70),
        "tags": ("a", "1", "true", "1.5"),
        "none": (),
        "deep.er.x": 1,
        "deep.y": "z",
        "list": '[{"a": 1}]',
    }
    assert document.metadata["b"] is True


def test_an_embedding_in_a_record_is_no_metadata(array: Path) -> None:
    record = {"t": "x", "embedding": [0.5] * 384, "point": [0.5, 1.5], "counts": [1] * 40}
    (document,) = documents(array, json.dumps([record]))
    assert document.metadata == {"t": "x", "point": ("0.5", "1.5"), "counts": ("1",) * 40}


def test_json_numbers_that_are_none_are_left_out(array: Path) -> None:
    (document,) = documents(array, '[{"t": "x", "a": NaN, "b": -Infinity, "c": 1e999}]')
    assert document.metadata == {"t": "x"}


def test_a_json_column_of_whole_and_other_numbers_is_one_of_floats(lines: Path) -> None:
    found = documents(lines, '{"t":"x","p":3}\n{"t":"y","p":2.5}\n{"t":"z","p":null}\n')
    assert [each.metadata.get("p") for each in found] == [3.0, 2.5, None]
    assert isinstance(found[0].metadata["p"], float)


def test_an_object_of_arrays_is_a_table(array: Path) -> None:
    found = documents(array, '{"id": [1, 2], "t": ["x", "y"]}')
    assert [(each.id, each.text) for each in found] == [("1", "t: x"), ("2", "t: y")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"t": "x"}', "one JSON object: expected an array of objects, or an object of equally long arrays"),
        ('{"a": [1], "b": [1, 2]}', r"arrays of different lengths \(a: 1, b: 2\)"),
        ("{}", "one JSON object"),
        ("3", "one JSON number"),
        ('"x"', "one JSON string"),
        ('[{"t": "x"},\n {"t": ', "is not JSON at line 2, column 8"),
        ("[" * 100_000, "nested too deep"),
        ('[{"a":' * 100_000, "nested too deep"),
        ("[" + "9" * 5000 + "]", "a number too long"),
        ("", "is not JSON at line 1, column 1"),
        (b'[{"t": "\xff"}]', "byte 0xff at offset 8"),
    ],
)
def test_a_json_file_that_is_no_table_is_one_failure(array: Path, content: str | bytes, message: str) -> None:
    (failure,) = failures(array, content)
    assert failure.uri == str(array)
    assert re.search(message, failure.error)


def test_an_array_of_other_things_fails_one_by_one(array: Path) -> None:
    found, failed = read(array, '[{"id": "a", "t": "x"}, 3, {"id": "b", "t": "y\\u0000"}, {"id": "c", "t": "\\ud800"}]')
    assert [each.id for each in found] == ["a"]
    assert [each.uri for each in failed] == [f"{array}#record {number}" for number in (2, 3, 4)]
    assert "record 2 is a JSON number, not an object" in failed[0].error
    assert "record 3 holds a NUL character" in failed[1].error
    assert "record 4 holds the lone surrogate U+D800" in failed[2].error


def test_the_last_of_repeated_json_keys_counts(lines: Path) -> None:
    assert documents(lines, '{"id":"1","t":"a","t":"b"}')[0].text == "t: b"


def test_a_bad_line_of_jsonl_does_not_end_it(lines: Path) -> None:
    deep = '{"a":' * 100_000
    found, failed = read(lines, f'{{"t":"1"}}\n\n{{"t": oops}}\r\n[]\n{deep}\n{{"t":"\\ud800"}}\n{{"t":"2"}}\n{{"t":')
    assert [each.text for each in found] == ["t: 1", "t: 2"]
    assert [each.uri for each in failed] == [f"{lines}#line {number}" for number in (3, 4, 5, 6, 8)]
    assert failed[0].error.startswith("line 3 is not JSON at column 7")


@pytest.mark.parametrize("depth", [10, 300, 900, 980, 990, 995, 1000, 3000])
def test_nested_records_are_read_or_reported(lines: Path, depth: int) -> None:
    objects = '{"a":' * depth + '"x"' + "}" * depth
    arrays = '{"t":"x","a":' + "[" * depth + "]" * depth + "}"
    found, failed = read(lines, f"{objects}\n{arrays}\n")
    assert len(found) + len(failed) == 2


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_the_header_tells_the_delimiter(tmp_path: Path, delimiter: str, suffix: str) -> None:
    rows = [["id", 'a,b;c|d\te"f', "t"], ["1", "y", "x,x;x|x\tx\nx"]]
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter).writerows(rows)
    (document,) = documents(tmp_path / f"t{suffix}", buffer.getvalue(), text="{t}")
    assert document.text == "x,x;x|x\tx\nx"
    assert document.metadata == {'a,b;c|d\te"f': "y"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_csv_encodings(table: Path, encoding: str) -> None:
    content = "Straße;Größe;Übung\nMüller;für;schön\n".encode(encoding)
    (document,) = documents(table, content)
    assert document.text == "Straße: Müller\nGröße: für\nÜbung: schön"


def test_ragged_rows_are_reported_and_the_rest_goes_on(table: Path) -> None:
    found, failed = read(table, 'a,b\n1x,"2\n3"\n4x\n5x,6,7\n\n8x,9\n')
    assert [each.metadata["a"] for each in found] == ["1x", "8x"]
    assert [each.uri for each in failed] == [f"{table}#line 4", f"{table}#line 5"]
    assert failed[0].error == "line 4 has 1 fields, the header has 2: quote or repair it"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b,a\n1,2,3\n", "the header names 'a' twice"),
        ("a,,b\n1,2,3\n", "field 2 of the header has no name"),
        ("\n\n", "has no header line"),
        ("a\0,b\n1,2\n", "NUL"),
        (b"a,b\n1,\xc3\x28\n", "byte 0xc3 at offset 6"),
        ('a,b\nx,2\n3,"open\n4,5\n', "the record of line 3 is never closed"),
    ],
)
def test_a_csv_file_that_is_no_table_is_one_failure(table: Path, content: str | bytes, message: str) -> None:
    (failure,) = failures(table, content)
    assert failure.uri == str(table)
    assert message in failure.error


def test_the_total_is_about_the_number_of_records(table: Path, array: Path, tmp_path: Path) -> None:
    table.write_text("t\n" + "x\n" * 50)
    assert RecordsSource(table).total() == 50
    table.write_text("t" + "\nx" * 50)
    array.write_text(json.dumps([{"t": "x"}] * 50))
    assert RecordsSource(table).total() == 50
    assert RecordsSource(array).total() == 50
    assert RecordsSource(tmp_path / "gone.csv").total() == 0


def test_a_nul_in_a_cell_fails_its_record(table: Path) -> None:
    found, failed = read(table, "a\nx\ny\0\nz\n")
    assert [each.text for each in found] == ["a: x", "a: z"]
    assert [each.uri for each in failed] == [f"{table}#line 3"]


def test_a_table_without_records_is_no_error(table: Path, array: Path) -> None:
    assert documents(table, "a,b\n", text="{a}", id="b") == []
    assert documents(array, "[]") == []


VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(rows=st.lists(st.tuples(VALUES, VALUES), max_size=6), delimiter=st.sampled_from(",;\t|"))
def test_what_csv_writer_writes_comes_back(rows: list[tuple[str, str]], delimiter: str) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter)
    writer.writerows(
        [("n", "first", "second"), ("0", "text", "text"), *((str(n), *row) for n, row in enumerate(rows, 1))]
    )
    with tempfile.TemporaryDirectory() as folder:
        found = documents(Path(folder) / "t.csv", buffer.getvalue(), id="n", text="{n}{first}")
    written = [("text", "text"), *rows]
    unified = [value.replace("\r\n", "\n").replace("\r", "\n") for _, value in written]
    assert [each.metadata.get("second", "") for each in found] == unified
    assert [each.id for each in found] == [str(n) for n in range(len(written))]


def test_lone_carriage_returns_end_lines(table: Path) -> None:
    assert [each.text for each in documents(table, "t\rx\ry\r")] == ["t: x", "t: y"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_an_endless_line_ends_in_a_failure(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    with path.open("w") as file:
        file.write('{"t":"a"}\n' if suffix == ".jsonl" else "t\na\n")
        for _ in range(200):
            file.write("x" * (1 << 20))
        file.write('\n{"t":"b"}\n' if suffix == ".jsonl" else "\nb\n")
    outcomes = list(RecordsSource(path).read())
    limits = [each for each in outcomes if isinstance(each, ReadFailure)]
    assert len(limits) == 1
    assert f"{DOCUMENT_LIMIT:,} characters" in limits[0].error
    texts = [each.text for each in outcomes if isinstance(each, Document)]
    # Past a record without end nobody knows where the next CSV record begins; a line of JSON does.
    assert texts == (["t: a", "t: b"] if suffix == ".jsonl" else ["t: a"])
    assert limits[0].uri == (f"{path}#line 2" if suffix == ".jsonl" else str(path))


MEMORY = """
import resource, sys
from analect.sources.records import RecordsSource
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = sum(1 for _ in RecordsSource(sys.argv[1]).read())
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_table_is_not_held_in_memory(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    text = "word " * 200
    with path.open("w") as file:
        file.write("" if suffix == ".jsonl" else "n,t\n")
        for number in range(50_000):
            file.write(f'{{"n": {number}, "t": "{text}"}}\n' if suffix == ".jsonl" else f"{number},{text}\n")
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True)
    count, kilobytes = map(int, done.stdout.split())
    assert count == 50_000
    assert path.stat().st_size > 50e6
    assert kilobytes * (1 if sys.platform == "linux" else 1 / 1024) < 25_000


def test_an_unreadable_path_is_a_failure(tmp_path: Path) -> None:
    (failure,) = RecordsSource(tmp_path / "gone.csv").read()
    assert isinstance(failure, ReadFailure)
    assert failure.error == "cannot be read: No such file or directory"


@needs_data
def test_products() -> None:
    found = list(RecordsSource(DATA / "products.json").read())
    assert len(found) == 295
    assert all(isinstance(each, Document) for each in found)
    products = [each for each in found if isinstance(each, Document)]
    assert len({each.id for each in products}) == 295
    assert {type(each.metadata["price"]) for each in products} == {float}
    assert products[0].metadata["category_name"] == "Components, Saddles"
    assert products[0].title == "LL Road Seat/Saddle"


@needs_data
def test_reviews() -> None:
    template = "Title: {Summary}; Content: {Text}"
    found = list(RecordsSource(DATA / "fine_food_reviews_1k.csv", id="Id", text=template).read())
    reviews = [each for each in found if isinstance(each, Document)]
    assert len(found) == len(reviews) == len({each.id for each in reviews}) == 1000
    assert reviews[0].id == "1"
    assert reviews[0].text.startswith("Title: Good Quality Dog Food; Content: I have bought several")
    assert reviews[0].metadata["Score"] == 5

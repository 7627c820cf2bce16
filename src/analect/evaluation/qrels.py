"""Readers of a judged collection in the BEIR layout: corpus.jsonl, queries.jsonl and qrels.tsv (or TREC qrels).

Every error is an `InputError` of one line that names the file and the line in it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from analect.encoding import check_text
from analect.errors import InputError, NotFoundError, ReadError
from analect.types import Document

Judgments: TypeAlias = Mapping[str, int]
"""Document id → grade; 0 or less means not relevant."""

Qrels: TypeAlias = Mapping[str, Judgments]
"""Query id → its judgments."""

_HEADER = ["query-id", "corpus-id", "score"]
_COLUMNS = {3: (0, 1, 2), 4: (0, 2, 3)}  # BEIR; TREC, whose second column means nothing
_GRADE = re.compile(r"-?[0-9]{1,9}")


def read_corpus(path: str | os.PathLike[str]) -> list[Document]:
    """Return the documents of CORPUS.jsonl: lines of {"_id", "title", "text"}, other fields ignored.

    Each is a record; the title stays apart from the text and may be missing. An empty text is kept: whoever takes the
    documents in decides about it. Raises `InputError`.
    """
    documents: dict[str, Document] = {}
    for where, row in _objects(Path(path)):
        name = _id(row, where=where)
        if name in documents:
            raise InputError(f"{where}: the id {name!r} is there twice")
        title = row.get("title")
        if title is not None and not isinstance(title, str):
            raise InputError(f'{where}: "title" is not a string')
        documents[name] = Document(
            id=name,
            text=_string(row, "text", where=where),
            source=os.fspath(path),
            uri=f"{os.fspath(path)}#{name}",
            title=title.strip() or None if title else None,
            record=True,
        )
    return list(_filled(documents, path=path, what="documents").values())


def read_queries(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return query id → text of QUERIES.jsonl: lines of {"_id", "text"}, other fields ignored. Raises `InputError`."""
    queries: dict[str, str] = {}
    for where, row in _objects(Path(path)):
        name, text = _id(row, where=where), _string(row, "text", where=where)
        if name in queries:
            raise InputError(f"{where}: the id {name!r} is there twice")
        if not text.strip():
            raise InputError(f"{where}: the query {name!r} is empty")
        try:
            check_text(text)
        except ReadError as error:
            raise InputError(f"{where}: the query {name!r} {error}") from error
        queries[name] = text
    return _filled(queries, path=path, what="queries")


def read_qrels(path: str | os.PathLike[str]) -> dict[str, dict[str, int]]:
    """Return the judgments of QRELS.tsv, by query.

    Either the header "query-id corpus-id score" and three columns with tabs between them (BEIR), or four columns
    "query 0 document grade" with any white space between them and no header (TREC). Raises `InputError`.
    """
    qrels: dict[str, dict[str, int]] = {}
    columns = 4
    for number, (where, line) in enumerate(_lines(Path(path))):
        fields = [field.strip() for field in line.split("\t")] if columns == 3 else line.split()
        if number == 0 and fields == _HEADER:
            columns = 3
            continue
        query, document, grade = _judgment(fields, columns=columns, where=where)
        judgments = qrels.setdefault(query, {})
        if judgments.setdefault(document, grade) != grade:
            raise InputError(f"{where}: query {query!r} has two grades for the document {document!r}")
    return _filled(qrels, path=path, what="judgments")


def _judgment(fields: list[str], *, columns: int, where: str) -> tuple[str, str, int]:
    if len(fields) != columns or not all(fields):
        beir = "query-id, corpus-id, score"
        wanted = beir if columns == 3 else f"query, 0, document and grade (or the header {beir} on the first line)"
        raise InputError(f"{where}: there are {len(fields)} columns, wanted: {wanted}")
    query, document, grade = (fields[place] for place in _COLUMNS[columns])
    if not _GRADE.fullmatch(grade):
        raise InputError(f"{where}: the grade is {grade!r}, not a whole number")
    return query, document, int(grade)


def _objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, line in _lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            what = f": {error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
            raise InputError(f"{where}: this is not JSON{what}") from error
        if not isinstance(row, dict):
            raise InputError(f"{where}: this is not a JSON object")
        yield where, row


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (place, line) of every line that is not empty. Raises `InputError`."""
    try:
        with path.open("rb") as file:  # as bytes: only a newline ends a line, not what Unicode calls one
            for number, line in enumerate(file, start=1):
                where = f"{path}, line {number}"
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
                except UnicodeDecodeError as error:
                    raise InputError(f"{where}: byte {error.start} of it is not UTF-8") from error
                if text.strip():
                    yield where, text
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _id(row: Mapping[str, Any], *, where: str) -> str:
    name = row.get("_id")
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)  # qrels name it by its digits
    if not isinstance(name, str) or not name.strip():
        raise InputError(f'{where}: "_id" is missing, empty or not a string')
    return name.strip()


def _string(row: Mapping[str, Any], field: str, *, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        raise InputError(f'{where}: "{field}" is missing or not a string')
    return value


def _filled(found: dict[str, Any], *, path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    if not found:
        raise InputError(f"{os.fspath(path)} holds no {what}")
    return found

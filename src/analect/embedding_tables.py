"""A table in, the same table with a column of vectors out.

The first reading finds the columns, and whether the table can be read to its end; the second one embeds it block by
block through the ledger. What is written is another file until it is whole: a run that was killed has written nothing,
and the next one pays for nothing twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from analect.config import Settings, load_settings
from analect.errors import InputError, NotFoundError, ReadError
from analect.ledger import Ledger, LedgerEmbedder
from analect.protocols import Embedder
from analect.registry import build_part
from analect.sources.tables import SUFFIXES, BadRow
from analect.sources.templates import Template, check_fields
from analect.table_files import ADDED, WRITERS, Block, Layout, TableReader
from analect.types import AddProgress, Embeddings, EmbedReport


def embed_table(
    table: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    text: str,
    settings: Settings | None = None,
    embedder: Embedder | None = None,
    on_progress: Callable[[AddProgress], None] | None = None,
) -> EmbedReport:
    """Write the table again with the columns `embedding` and `error`, and return what was done.

    `text` is the template of what is embedded, such as "{Summary}: {Text}"; the suffixes say the formats (CSV, TSV,
    JSONL, Parquet; JSON is read only). Every row is written, in order; one without a vector has its reason under
    `error`. `settings` default to `analect.toml` and the environment, and give the ledger and, unless there is one,
    the embedder. Raises `InputError` (before anything is embedded) when the table cannot be read to its end, lacks a
    field of the template or has one of the two columns already, and when `out` cannot be written.
    """
    settings = settings or load_settings()
    template = Template(text)
    source, target = _files(Path(table), Path(out))
    with _reading(source):
        reader = TableReader(source, fields=template.fields)
        layout = reader.layout(target.suffix.lower())
    _check(source, layout, template)
    embedder = embedder or build_part("embedder", settings.embedder, quota=settings.quota)
    progress = _Progress(layout.rows, on_progress)
    with (
        closing(Ledger(path=settings.ledger)) as ledger,
        _replacing(target) as file,
        WRITERS[target.suffix.lower()](file, layout=layout) as writer,
    ):
        through = LedgerEmbedder(embedder, ledger=ledger, on_progress=progress.computed)
        report = EmbedReport(rows=0, embedded=0, reused=0, cut=0, failed=0)
        for block in _blocks(source, reader, layout):
            made = _embedded(block, template, embedder=through)
            writer.write(block, made.vectors, errors=_errors(block, made))
            report = _counted(report, block, made)
            progress.read(report.rows)
    return report


def _files(source: Path, target: Path) -> tuple[Path, Path]:
    if not source.is_file():
        raise NotFoundError(f"there is no file {str(source)!r}: check the path")
    if source.suffix.lower() not in SUFFIXES:
        raise InputError(f"{str(source)!r} is no table: its suffix must be one of {', '.join(sorted(SUFFIXES))}")
    if target.suffix.lower() not in WRITERS:
        raise InputError(f"{str(target)!r} cannot be written: its suffix must be one of {', '.join(sorted(WRITERS))}")
    if target.is_dir() or not target.absolute().parent.is_dir():
        raise InputError(f"{str(target)!r} cannot be written: name a file in a folder that is there")
    if target.exists() and target.samefile(source):
        raise InputError(f"{str(target)!r} is the table itself: name another file")
    return source, target


def _check(source: Path, layout: Layout, template: Template) -> None:
    if present := [name for name in ADDED if name in layout.columns]:
        raise InputError(f"{source} has a column {present[0]!r} already: rename or drop it")
    if layout.rows:
        check_fields(sorted(template.fields), present=layout.fields)


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    try:
        yield
    except ReadError as error:
        raise InputError(f"{source} {error}") from error
    except UnicodeDecodeError as error:  # it was checked as a whole before
        raise InputError(f"{source} changed while it was read ({error.reason}): run it again") from error
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror or error}") from error


def _blocks(source: Path, reader: TableReader, layout: Layout) -> Iterator[Block]:
    blocks, known = reader.blocks(), frozenset(layout.columns)
    while True:
        with _reading(source):
            block = next(blocks, None)
            if block is None:
                return
            if any(not row.raw.keys() <= known for row in block.rows):
                raise ReadError("changed while it was read: run it again")
        yield block


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """Lend a new file that takes the target's place once it is whole, and vanishes when it never is."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        _remove_leftovers(target)
        with part.open("wb") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                part.unlink()
                raise
        part.replace(target)
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror or error}") from error


def _remove_leftovers(target: Path) -> None:
    """Remove what runs left that were killed: they may be as big as the table."""
    before, after = f".{target.name}.", ".part"
    for part in target.absolute().parent.iterdir():
        number = part.name.removeprefix(before).removesuffix(after)
        if part.name == f"{before}{number}{after}" and number.isdecimal() and not _runs(int(number)):
            part.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    if os.name != "posix":
        return True  # no harmless way to ask
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def _embedded(block: Block, template: Template, *, embedder: LedgerEmbedder) -> Embeddings:
    # A row that cannot be read is an empty text here: it fails as one, and its own error is the one that is told.
    texts = ["" if isinstance(row, BadRow) else template.fill(row.fields) for row in block.rows]
    return embedder.embed(texts, kind="document")


def _errors(block: Block, made: Embeddings) -> list[str | None]:
    told = {index: row.error for index, row in enumerate(block.rows) if isinstance(row, BadRow)}
    return [told.get(index, made.failures.get(index)) for index in range(len(block.rows))]


def _counted(report: EmbedReport, block: Block, made: Embeddings) -> EmbedReport:
    rows, failed = len(block.rows), len(made.failures)
    return replace(
        report,
        rows=report.rows + rows,
        embedded=report.embedded + rows - failed - made.reused,
        reused=report.reused + made.reused,
        cut=report.cut + int(made.cut.sum()),
        failed=report.failed + failed,
    )


class _Progress:
    def __init__(self, total: int, tell: Callable[[AddProgress], None] | None) -> None:
        self._progress = AddProgress(documents=0, total=total, embedded=0)
        self._tell = tell

    def read(self, rows: int) -> None:
        self._update(documents=rows)

    def computed(self, texts: int) -> None:
        self._update(embedded=self._progress.embedded + texts)

    def _update(self, **values: int) -> None:
        self._progress = replace(self._progress, **values)
        if self._tell:
            self._tell(self._progress)

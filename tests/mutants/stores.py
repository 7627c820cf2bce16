"""Stores broken in one way each, and the rule that must notice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from analect.errors import AnalectError, StoreError
from analect.stores.memory import MemoryStore
from analect.types import Change, Chunk, Document, Entry, Filter, Hit, Matrix, Revision, Stored


class Mutant(MemoryStore):
    """A broken store; `killed_by` names the rule of `StoreContract` that must fail on it."""

    killed_by = ""


class NotEmptyAtFirst(Mutant):
    killed_by = "test_starts_empty"

    def count(self) -> tuple[int, int]:
        documents, chunks = super().count()
        return documents, chunks + 1


class DropsPages(Mutant):
    killed_by = "test_gives_back_what_was_put"

    def read_document(self, document_id: str) -> Document:
        return replace(super().read_document(document_id), pages=())


class RoundsVectors(Mutant):
    killed_by = "test_keeps_vectors_bit_for_bit"

    def put(self, entries: Iterable[Entry]) -> Revision:
        return super().put([replace(each, vectors=each.vectors.round(4)) for each in entries])


class KeepsOldChunks(Mutant):
    killed_by = "test_put_replaces_a_document_whole"

    def _remove(self, document_id: str) -> None:
        before = dict(self._chunks)
        super()._remove(document_id)
        self._chunks = before


class AddsASecondTime(Mutant):
    killed_by = "test_put_twice_is_put_once"

    def put(self, entries: Iterable[Entry]) -> Revision:
        def fresh(each: Entry) -> Entry:
            version = sum(stored.id.startswith(each.document.id) for stored in self.documents())
            if not version:
                return each
            name = f"{each.document.id}~{version}"
            chunks = tuple(replace(chunk, id=f"{chunk.id}~{version}") for chunk in each.chunks)
            return replace(each, document=replace(each.document, id=name), chunks=chunks)

        return super().put([fresh(each) for each in entries])


class PutsOneByOne(Mutant):
    killed_by = "test_put_is_all_or_none"

    def put(self, entries: Iterable[Entry]) -> Revision:
        for each in entries:
            super().put([each])
        return self.revision()


class TakesAnySource(Mutant):
    killed_by = "test_put_refuses_an_id_of_another_source"

    def put(self, entries: Iterable[Entry]) -> Revision:
        entries = list(entries)
        self.delete([each.document.id for each in entries])
        return super().put(entries)


class DeletesOnlyTheDocument(Mutant):
    killed_by = "test_delete_removes_documents_and_their_chunks"

    def delete(self, document_ids: Iterable[str]) -> Revision:
        before = dict(self._chunks)
        revision = super().delete(document_ids)
        self._chunks = before
        return revision


class RefusesUnknownIds(Mutant):
    killed_by = "test_delete_ignores_ids_that_are_not_there"

    def delete(self, document_ids: Iterable[str]) -> Revision:
        document_ids = list(document_ids)
        if any(name not in self._entries for name in document_ids):
            raise StoreError("no such document")
        return super().delete(document_ids)


class GetsInItsOwnOrder(Mutant):
    killed_by = "test_get_keeps_the_order_and_leaves_out_what_is_not_there"

    def get(self, chunk_ids: Sequence[str]) -> list[Chunk]:
        return sorted(super().get(chunk_ids), key=lambda chunk: chunk.start)


class ListsEverySource(Mutant):
    killed_by = "test_documents_are_listed_by_id_and_by_source"

    def documents(self, *, source: str | None = None) -> Iterator[Stored]:
        return super().documents()


class VersionsNeverMove(Mutant):
    killed_by = "test_a_replaced_document_has_another_version"

    def documents(self, *, source: str | None = None) -> Iterator[Stored]:
        for each in super().documents(source=source):
            yield replace(each, version="1")


class DeleteKeepsTheRevision(Mutant):
    killed_by = "test_revision_moves_with_every_change_and_only_then"

    def delete(self, document_ids: Iterable[str]) -> Revision:
        super().delete(document_ids)
        self._revision -= 1
        return self.revision()


class ForgetsRemovals(Mutant):
    killed_by = "test_changes_followed_give_the_store"

    def changes(self, *, since: Revision | None = None) -> Iterator[Change]:
        for each in super().changes(since=since):
            yield replace(each, removed_ids=())


class ChangesAreEverything(Mutant):
    killed_by = "test_changes_since_a_revision_are_only_those"

    def changes(self, *, since: Revision | None = None) -> Iterator[Change]:
        return super().changes()


class BelievesAnyRevision(Mutant):
    killed_by = "test_a_revision_of_the_future_is_refused"

    def changes(self, *, since: Revision | None = None) -> Iterator[Change]:
        try:
            yield from super().changes(since=since)
        except AnalectError:
            return


class MixesModelsOfEqualDim(Mutant):
    killed_by = "test_vectors_of_another_model_are_refused"

    def prepare(self, *, embedder_id: str, dim: int) -> None:
        if self._space is None or self._space[1] != dim:
            super().prepare(embedder_id=embedder_id, dim=dim)


class BoundForEver(Mutant):
    killed_by = "test_an_empty_store_takes_another_model"

    def prepare(self, *, embedder_id: str, dim: int) -> None:
        if self._space is None:
            super().prepare(embedder_id=embedder_id, dim=dim)


class _Ranking(Mutant):
    """A store that ranks for itself, through an index that a mutant then breaks."""

    def search_text(self, query: str, *, k: int, where: Filter = ()) -> list[Hit]:
        from analect.indexes.lexical import LexicalIndex

        return LexicalIndex(store=self).search_text(query, k=k, where=where)

    def search_vectors(self, queries: Matrix, *, k: int, where: Filter = ()) -> list[list[Hit]]:
        from analect.indexes.exact import ExactIndex

        return ExactIndex(store=self).search_vectors(queries, k=k, where=where)


class WorstFirst(_Ranking):
    killed_by = "test_words_are_found_best_first"

    def search_text(self, query: str, *, k: int, where: Filter = ()) -> list[Hit]:
        return super().search_text(query, k=k, where=where)[::-1]


class FindsWhatIsGone(_Ranking):
    killed_by = "test_words_of_what_is_gone_are_not_found"

    def __init__(self) -> None:
        super().__init__()
        self._ever: dict[str, Chunk] = {}

    def put(self, entries: Iterable[Entry]) -> Revision:
        entries = list(entries)
        self._ever.update((chunk.id, chunk) for each in entries for chunk in each.chunks)
        return super().put(entries)

    def search_text(self, query: str, *, k: int, where: Filter = ()) -> list[Hit]:
        found = [Hit(chunk, 1.0, {"lexical": 1.0}) for chunk in self._ever.values() if query in chunk.text]
        return found[:k] or super().search_text(query, k=k, where=where)


class TiesByArrival(_Ranking):
    killed_by = "test_equal_words_rank_by_chunk_id"

    def search_text(self, query: str, *, k: int, where: Filter = ()) -> list[Hit]:
        order = list(self._chunks)
        hits = super().search_text(query, k=1000, where=where)
        return sorted(hits, key=lambda hit: (-hit.score, order.index(hit.chunk.id)))[:k]


class FiltersAfterTheTopK(_Ranking):
    killed_by = "test_filters_act_before_the_top_k"

    def search_vectors(self, queries: Matrix, *, k: int, where: Filter = ()) -> list[list[Hit]]:
        from analect.filters import matches

        found = super().search_vectors(queries, k=k)
        return [[hit for hit in hits if matches(where, hit.chunk.metadata)] for hits in found]


class IgnoresTheFilter(_Ranking):
    killed_by = "test_filters_act_before_the_top_k"

    def search_text(self, query: str, *, k: int, where: Filter = ()) -> list[Hit]:
        return super().search_text(query, k=k)


class MissesTheNearest(_Ranking):
    killed_by = "test_nearest_are_those_of_brute_force"

    def search_vectors(self, queries: Matrix, *, k: int, where: Filter = ()) -> list[list[Hit]]:
        return [hits[1:] for hits in super().search_vectors(queries, k=k + 1, where=where)]


class ReadersSeeHalfASteps(Mutant):
    killed_by = "test_readers_see_whole_steps_beside_a_writer"

    def put(self, entries: Iterable[Entry]) -> Revision:
        import time

        for each in entries:
            super().put([each])
            time.sleep(0.002)
        return self.revision()


class ClosesOnce(Mutant):
    killed_by = "test_closes_twice"

    def close(self) -> None:
        if self._space is None:
            raise StoreError("already closed")
        self._space = None

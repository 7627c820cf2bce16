"""Every rule kills its mutant, and every rule has one: `make mutants`."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.embedder import EmbedderContract
from contracts.store import DIM, SPACE, StoreContract
from mutants import embedders, stores


def rules_of(contract: type) -> list[str]:
    return [name for name in vars(contract) if name.startswith("test_")]


def mutants_of(kind: type) -> list[Any]:
    """Return every class below a family's `Mutant` that names the rule that kills it."""
    below = [each for child in kind.__subclasses__() for each in (child, *mutants_of(child))]
    return sorted((each for each in below if each.killed_by), key=lambda each: each.__name__)


def keeps_store_rule(kind: type[stores.Mutant], rule: str) -> bool:
    store = kind()
    store.prepare(embedder_id=SPACE, dim=DIM)
    return _passes(type("Trial", (StoreContract,), {})(), rule, store)


def keeps_embedder_rule(kind: type[embedders.Mutant], rule: str) -> bool:
    return _passes(EmbedderContract(), rule, kind())


def _passes(trial: Any, rule: str, part: Any) -> bool:
    """Run one rule on a part, as pytest would; a rule that fails in any way has killed it."""
    try:
        getattr(trial, rule)(part)
    except (Exception, pytest.fail.Exception):  # a mutant may break a rule's own steps
        return False
    return True


@pytest.mark.parametrize("mutant", mutants_of(stores.Mutant), ids=lambda mutant: mutant.__name__)
def test_the_rule_kills_the_broken_store(mutant: type[stores.Mutant]) -> None:
    assert mutant.killed_by in rules_of(StoreContract)
    assert not keeps_store_rule(mutant, mutant.killed_by), f"{mutant.__name__} survives {mutant.killed_by}"


@pytest.mark.parametrize("mutant", mutants_of(embedders.Mutant), ids=lambda mutant: mutant.__name__)
def test_the_rule_kills_the_broken_embedder(mutant: type[embedders.Mutant]) -> None:
    assert mutant.killed_by in rules_of(EmbedderContract)
    assert not keeps_embedder_rule(mutant, mutant.killed_by), f"{mutant.__name__} survives {mutant.killed_by}"


def test_every_rule_has_a_mutant() -> None:
    for contract, family in ((StoreContract, stores.Mutant), (EmbedderContract, embedders.Mutant)):
        assert sorted(set(rules_of(contract)) - {mutant.killed_by for mutant in mutants_of(family)}) == []


def test_an_unbroken_part_keeps_every_rule() -> None:
    assert [rule for rule in rules_of(StoreContract) if not keeps_store_rule(stores.Mutant, rule)] == []
    assert [rule for rule in rules_of(EmbedderContract) if not keeps_embedder_rule(embedders.Mutant, rule)] == []

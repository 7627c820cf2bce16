"""Laws and hand-computed values of the measures. Each test names the mutant it kills."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analect.errors import InputError
from analect.evaluation import Interval, bootstrap, mrr_at, ndcg_at, paired_difference, recall_at

MEASURES = [ndcg_at, recall_at, mrr_at]
Measure = Callable[..., float]
each_measure = pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.__name__)

names = st.sampled_from("abcdefghij")
rankings = st.lists(names, unique=True)
judgments = st.dictionaries(names, st.integers(-2, 4))
cuts = st.integers(1, 12)


@pytest.mark.parametrize(
    ("measure", "ranking", "k", "wanted"),
    [
        # DCG@3 of grades 3, 0, 2 is 3/1 + 2/2 = 4; ideal 3, 2, 1: 3/1 + 2/log2(3) + 1/2 = 4.761860
        (ndcg_at, ["a", "x", "b"], 3, 4 / 4.761859507142915),
        # the ideal is cut at k as well: 3/1 over 3/1
        (ndcg_at, ["a", "x", "b"], 1, 1.0),
        # the ideal holds what the ranking lacks: 1/1 over 4.761860
        (ndcg_at, ["c"], 10, 1 / 4.761859507142915),
        # a negative grade gains nothing, and takes nothing away
        (ndcg_at, ["n", "a"], 10, (3 / math.log2(3)) / 4.761859507142915),
        (recall_at, ["a", "x", "b"], 3, 2 / 3),
        (recall_at, ["a", "x", "b"], 2, 1 / 3),
        (recall_at, ["n", "z"], 2, 0.0),
        (mrr_at, ["n", "z", "c", "a"], 10, 1 / 3),
        (mrr_at, ["n", "z", "c", "a"], 2, 0.0),
    ],
)
def test_hand_computed(measure: Measure, ranking: list[str], k: int, wanted: float) -> None:
    """Kills: another discount, an ideal of the ranked only, an uncut ideal, a grade of 0 that counts as relevant."""
    grades = {"a": 3, "b": 2, "c": 1, "z": 0, "n": -1}
    assert measure(ranking, grades, k=k) == pytest.approx(wanted, abs=1e-12)


@each_measure
@given(ranking=rankings, grades=judgments, k=cuts)
def test_every_measure_is_between_0_and_1(
    measure: Measure, ranking: Sequence[str], grades: Mapping[str, int], k: int
) -> None:
    """Kills: negative gains, an ideal that is not the best."""
    assert 0.0 <= measure(ranking, grades, k=k) <= 1.0


@given(grades=judgments, k=cuts)
def test_the_perfect_ranking_scores_1(grades: Mapping[str, int], k: int) -> None:
    """Kills: an ideal by anything but the grade."""
    perfect = sorted(grades, key=lambda name: -grades[name])
    if any(grade > 0 for grade in grades.values()):
        assert ndcg_at(perfect, grades, k=k) == 1.0
        assert mrr_at(perfect, grades, k=k) == 1.0
        assert recall_at(perfect, grades, k=len(perfect)) == 1.0


@each_measure
@given(ranking=rankings, grades=judgments, k=cuts)
def test_what_stands_below_k_changes_nothing(
    measure: Measure, ranking: list[str], grades: Mapping[str, int], k: int
) -> None:
    """Kills: a cut that is missing or one too deep."""
    assert measure(ranking, grades, k=k) == measure(ranking[:k], grades, k=k)


@each_measure
@given(ranking=rankings, grades=judgments, k=cuts)
def test_the_order_of_judgments_changes_nothing(
    measure: Measure, ranking: Sequence[str], grades: Mapping[str, int], k: int
) -> None:
    """Kills: an ideal in the order of the file."""
    turned = dict(reversed(grades.items()))
    assert measure(ranking, grades, k=k) == measure(ranking, turned, k=k)


@given(ranking=rankings, grades=judgments, k=cuts, seed=st.randoms(use_true_random=False))
def test_recall_ignores_the_order_within_k(
    ranking: list[str], grades: Mapping[str, int], k: int, seed: st.DataObject
) -> None:
    """Kills: a recall that weighs ranks."""
    top = ranking[:k]
    shuffled = sorted(top, key=lambda _: seed.random())  # type: ignore[attr-defined]
    assert recall_at(top, grades, k=k) == recall_at(shuffled, grades, k=k)


@each_measure
@given(ranking=rankings, grades=judgments, k=cuts)
def test_a_better_document_moved_up_never_costs(
    measure: Measure, ranking: list[str], grades: Mapping[str, int], k: int
) -> None:
    """Kills: a discount that grows."""
    for place in range(1, len(ranking)):
        above, below = ranking[place - 1 : place + 1]
        if grades.get(below, 0) > grades.get(above, 0):
            swapped = [*ranking[: place - 1], below, above, *ranking[place + 1 :]]
            assert measure(swapped, grades, k=k) >= measure(ranking, grades, k=k)


@each_measure
def test_a_document_ranked_twice_is_an_error(measure: Measure) -> None:
    """Kills: a document that counts twice."""
    with pytest.raises(InputError, match="'a' more than once"):
        measure(["a", "b", "a"], {"a": 1}, k=10)


@each_measure
def test_k_below_1_is_an_error(measure: Measure) -> None:
    with pytest.raises(InputError, match="k is 0"):
        measure(["a"], {"a": 1}, k=0)


values = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(values=values, seed=st.integers(0, 2**32))
def test_an_interval_lies_within_the_values_and_is_the_same_for_the_same_seed(values: list[float], seed: int) -> None:
    """Kills: a generator that is not seeded, percentiles of something else than means."""
    found = bootstrap(values, seed=seed, resamples=50)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    assert found.mean == pytest.approx(math.fsum(values) / len(values))
    assert bootstrap(values, seed=seed, resamples=50) == found


def test_an_interval_is_as_wide_as_theory_says() -> None:
    """Kills: other percentiles, resampling without replacement. The mean of 400 fair coins: 0.5 ± 1.96 · 0.025."""
    found = bootstrap([0.0, 1.0] * 200)
    assert found.low == pytest.approx(0.451, abs=0.006)
    assert found.high == pytest.approx(0.549, abs=0.006)


def test_without_values_or_resamples_there_is_no_interval() -> None:
    with pytest.raises(InputError, match="no queries"):
        bootstrap([])
    with pytest.raises(InputError, match="resamples is 0"):
        bootstrap([1.0], resamples=0)


def test_a_paired_difference_sees_what_two_intervals_hide() -> None:
    """Kills: runs resampled apart from each other, runs paired by position."""
    other = {f"q{number}": number / 40 for number in range(40)}
    run = {name: value + 0.01 for name, value in reversed(other.items())}
    found = paired_difference(run, other)
    assert (found.low, found.mean, found.high) == pytest.approx((0.01, 0.01, 0.01))
    assert bootstrap(run.values()).low < bootstrap(other.values()).high


def test_a_difference_is_positive_when_the_first_run_is_better() -> None:
    """Kills: other - run."""
    assert paired_difference({"q": 1.0}, {"q": 0.25}) == Interval(0.75, 0.75, 0.75)


def test_runs_of_other_queries_are_refused() -> None:
    with pytest.raises(InputError, match="only one of them has 'q2'"):
        paired_difference({"q1": 1.0, "q2": 1.0}, {"q1": 1.0})


def test_an_interval_reads_as_mean_and_bounds() -> None:
    assert str(Interval(0.4346, 0.399, 0.4691)) == "0.435 [0.399, 0.469]"

"""Evaluation: judged queries → how well a retriever ranks, with intervals."""

from analect.evaluation.metrics import Interval, bootstrap, mrr_at, ndcg_at, paired_difference, recall_at
from analect.evaluation.qrels import Judgments, Qrels, read_corpus, read_qrels, read_queries
from analect.evaluation.run import Evaluation, evaluate

__all__ = [
    "Evaluation",
    "Interval",
    "Judgments",
    "Qrels",
    "bootstrap",
    "evaluate",
    "mrr_at",
    "ndcg_at",
    "paired_difference",
    "read_corpus",
    "read_qrels",
    "read_queries",
    "recall_at",
]

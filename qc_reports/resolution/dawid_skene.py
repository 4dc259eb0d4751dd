"""Dawid-Skene: each annotator's confusions, and from them how probable each answer to a pair is.

Votes go in as arrays, a posterior over A, equal and B for each pair comes out. An annotator k who should say t says y
with probability Π_k[t, y]; a pair's votes have the likelihood Σ_t π_t Π_k Π_k[t, y_k]. Both are fitted by EM, from the
shares of the votes.

References: Dawid & Skene 1979. Without votes of others a confusion is unknown, so each row of Π has a weak prior of
Dirichlet type (`PRIOR` votes, all but a tenth of them on the right answer); 0 gives the paper's plain maximum
likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qc_reports.agreement.coefficients import SCALE
from qc_reports.agreement.vote_table import VoteTable

MOST_STEPS = 200
TOLERANCE = 1e-7
PRIOR = 1.0
"""Votes that the prior is worth, in each row of each confusion matrix."""


@dataclass(frozen=True)
class Fitted:
    posterior: np.ndarray
    """(P, 3) float64: how probable A, equal and B are."""
    confusion: np.ndarray
    """(K, 3, 3) float64: rows are what is right, columns what is said."""
    shares: np.ndarray
    """(3,) float64: how often each answer is right."""


def dawid_skene(votes: VoteTable, *, prior: float = PRIOR, steps: int = MOST_STEPS) -> Fitted:
    """The posterior of every pair, and every annotator's confusions.

    Args:
        steps: EM steps at most; it stops before where no probability changes by more than 1e-7.
    """
    pairs, people, words = len(votes.pair_ids), len(votes.annotators), len(SCALE)
    posterior = _sum_at(votes.pair, np.eye(words)[votes.answer], pairs)
    posterior /= posterior.sum(axis=1, keepdims=True)
    pseudo = prior * (0.9 * np.eye(words) + 0.05 * (1 - np.eye(words)))
    confusion, shares = np.empty((0, words, words)), np.empty(words)
    for _ in range(steps):
        shares = posterior.mean(axis=0) if pairs else np.full(words, 1 / words)
        counts = _sum_at(votes.annotator * words + votes.answer, posterior[votes.pair], people * words)
        confusion = counts.reshape(people, words, words).transpose(0, 2, 1) + pseudo
        totals = confusion.sum(axis=2, keepdims=True)
        confusion = np.divide(confusion, totals, out=np.full_like(confusion, 1 / words), where=totals > 0)
        new = _posterior(votes, confusion, shares, pairs)
        change = np.abs(new - posterior).max() if pairs else 0.0
        posterior = new
        if change < TOLERANCE:
            break
    return Fitted(posterior, confusion, shares)


def _posterior(votes: VoteTable, confusion: np.ndarray, shares: np.ndarray, pairs: int) -> np.ndarray:
    tiny = np.finfo(float).tiny
    likely = np.log(np.maximum(confusion, tiny))[votes.annotator, :, votes.answer]
    logs = np.log(np.maximum(shares, tiny)) + _sum_at(votes.pair, likely, pairs)
    logs -= logs.max(axis=1, keepdims=True, initial=-np.inf)
    weights = np.exp(logs)
    return weights / weights.sum(axis=1, keepdims=True)


def _sum_at(place: np.ndarray, rows: np.ndarray, size: int) -> np.ndarray:
    """(size, 3): the rows added up at their places."""
    return np.stack([np.bincount(place, column, minlength=size) for column in rows.T], axis=1).astype(float)

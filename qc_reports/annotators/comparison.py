"""Each answer beside what the others' answers to the same pair, and gold, make one expect: answers go in, one
`Comparison` for each annotator comes out, which is what all tests against others rest on.

A person's own answer to a pair counts once, however many others answered it, and what is expected knows how hard the
pair is (`qc_reports.agreement.pair_model`). Gold, suspended or not, counts as one more answer to its pair, by somebody
as reliable as people's answers say. Answers of earlier batches count less: half for each batch that came after them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from preference.records import Answer
from qc_reports.agreement.coefficients import SCALE
from qc_reports.agreement.pair_model import PairModel, fit_pairs
from qc_reports.agreement.vote_table import table_of
from qc_reports.answers import Answered, votes

GOLD = "\0gold"
"""Gold's name among those who answered; nobody else can have it."""
BATCHES = 4
"""The batch at hand and the three before it; older ones say little of how somebody works today."""


@dataclass(frozen=True)
class Comparison:
    """One annotator's N first answers to pairs that somebody else, or gold, answered too; the oldest batch first."""

    pair_ids: list[str]
    answer: np.ndarray
    """(N,) int64 into SCALE."""
    expected: np.ndarray
    """(N, 3) float64: how somebody like most people would answer."""
    left: np.ndarray
    """(N,) int64 into SCALE: the answer that stood on the left; -1 = not known."""
    age: np.ndarray
    """(N,) int64: batches that came after it."""
    others: int
    """How many others, gold included, it is held against."""

    @property
    def weight(self) -> np.ndarray:
        """(N,) float64: 1 for the batch at hand, half for the one before, and so on."""
        return 0.5**self.age

    def newest(self) -> Comparison:
        """The batch at hand alone."""
        return self.where(self.age == 0)

    def where(self, mask: np.ndarray) -> Comparison:
        places = np.flatnonzero(mask)
        return Comparison([self.pair_ids[i] for i in places], self.answer[mask], self.expected[mask], self.left[mask],
                          self.age[mask], self.others)  # fmt: skip


def model_of(batches: Sequence[Sequence[Answered]]) -> PairModel:
    """How hard every pair is and how far everybody can be relied on, without gold; the newest batch first."""
    answers = [answer for batch in reversed(batches) for answer in batch]
    table = table_of(votes(answers))
    return fit_pairs(table, _strata(table.pair_ids, answers))


def compare(
    batches: Sequence[Sequence[Answered]], gold: Mapping[str, Answer], without_gold: PairModel
) -> tuple[dict[str, Comparison], dict[str, float]]:
    """Annotator → their answers beside what is expected of them; and annotator → share of careful answers.

    Args:
        batches: Answers, the newest batch first.
        gold: Pair → its answer.
        without_gold: `model_of` the same answers.
    """
    answers = [answer for batch in reversed(batches) for answer in batch]
    ballots = votes(answers)
    with_gold: dict[str, dict[str, Answer]] = {
        pair_id: {**ballot, GOLD: gold[pair_id]} if pair_id in gold else ballot for pair_id, ballot in ballots.items()
    }
    table = table_of(with_gold)
    model = fit_pairs(table, _strata(table.pair_ids, answers), start=without_gold) if gold else without_gold
    voters = np.bincount(table.pair, minlength=len(table.pair_ids))[table.pair]
    place = {(int(i), int(k)): m for m, (i, k) in enumerate(zip(table.pair, table.annotator, strict=True))}
    number = {pair_id: i for i, pair_id in enumerate(table.pair_ids)}
    person = {name: k for k, name in enumerate(table.annotators)}
    rows: dict[str, list[tuple[int, int, int]]] = {name: [] for name in person if name != GOLD}
    for age in reversed(range(len(batches))):
        for answer in batches[age]:
            m = place[number[answer.pair_id], person[answer.annotator_id]]
            if not answer.duplicate and voters[m] > 1:
                rows[answer.annotator_id].append((m, SCALE.index(answer.left) if answer.left else -1, age))
    others = _others(table.pair, table.annotator, len(table.annotators))
    found = {}
    for name, own in rows.items():
        at, left, age = np.array(own, dtype=np.int64).reshape(-1, 3).T
        found[name] = Comparison([table.pair_ids[i] for i in table.pair[at]], table.answer[at], model.expected[at],
                                 left, age, int(others[person[name]]))  # fmt: skip
    return found, {name: float(model.reliability[person[name], 0]) for name in rows}


def _strata(pair_ids: Sequence[str], answers: Sequence[Answered]) -> list[str]:
    stratum = {answer.pair_id: answer.stratum for answer in answers}
    return [stratum[pair_id] for pair_id in pair_ids]


def _others(pair: np.ndarray, annotator: np.ndarray, people: int) -> np.ndarray:
    """(K,) how many others each annotator shares a pair with."""
    from scipy.sparse import csr_array

    said = csr_array((np.ones(len(pair)), (annotator, pair)))
    shared = (said @ said.T).toarray() if len(pair) else np.zeros((people, people))
    return (shared > 0).sum(axis=1) - 1

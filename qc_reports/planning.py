"""What a campaign would cost and give with two, three or four people a pair: votes so far in, a table out.

People and pairs are simulated as the pair model of the votes so far has them (`agreement.pair_model`): how often a pair
is how hard, and how far each person answers carefully, without looking, or with the sides swapped. Every simulated
batch is resolved by the product's own rule, third opinions included. Before there are `ENOUGH` pairs with two votes,
the people are `TYPICAL` ones, and the table says so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qc_reports.agreement.coefficients import SCALE, resampled_alphas
from qc_reports.agreement.pair_model import PRIOR, fit_pairs
from qc_reports.agreement.vote_table import table_of
from qc_reports.answers import Answered, planned, votes
from qc_reports.resolution.vote import DECIDED, reason_of

OVERLAPS = (2, 3, 4)
ENOUGH = 50
"""Pairs with two votes or more, from which on the people at hand are simulated instead of typical ones."""
TYPICAL = (
    (0.30, (0.97, 0.02, 0.01)),
    (0.40, (0.92, 0.05, 0.03)),
    (0.30, (0.70, 0.20, 0.10)),
)
"""Share of pairs and how careful people answer them (better, equal, worse), in the protocol's strata: distant, adjacent
and same quartile. Two typical people reach an alpha of 0.6, the middle of what the protocol expects."""
POOL = 20_000
"""Simulated pairs."""
NONE = (math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Crew:
    """How the people of a campaign answer its pairs."""

    difficulties: np.ndarray
    """(G, 3) float64: how careful people answer a kind of pair, over SCALE."""
    frequency: np.ndarray
    """(G,) float64: how often it occurs."""
    reliability: np.ndarray
    """(K, 3) float64: each person's shares of answers that are careful, careless, swapped."""
    habit: np.ndarray
    """(3,) float64: what is answered without looking."""
    pairs: int
    """Pairs with two votes or more that this rests on; 0 = typical people."""


@dataclass(frozen=True)
class OverlapRow:
    """What so many people a pair bring; all by simulation."""

    overlap: int
    alpha: float
    alpha_low: float
    alpha_high: float
    """95 % of campaigns of this size have an alpha between these."""
    lost: float
    """Share of pairs that end without a label."""
    right: float
    """Share of the labels that are what most careful people would say."""
    answers: int
    """Third opinions and duplicates included."""
    hours: tuple[float, float]
    """Least and most, over all people, at the quicker and the slower pace."""
    cost: tuple[float, float]
    """Of these hours; nan where no wage is given."""


def crew(answers: Sequence[Answered], people: int) -> Crew:
    """The people at hand, from their votes so far; typical ones where there are too few.

    Args:
        people: How many there will be: like those who answered, or typical ones.
    """
    ballots = {pair: given for pair, given in votes(planned(answers)).items() if len(given) > 1}
    if len(ballots) < ENOUGH:
        return _typical(people)
    table = table_of(ballots)
    model = fit_pairs(table)
    said = np.bincount(table.answer, minlength=3) / len(table.answer)
    who = np.arange(people) % len(table.annotators)
    return Crew(model.difficulties, model.frequency, model.reliability[who], said, len(ballots))


def _typical(people: int) -> Crew:
    rows, shares = [], []
    for share, said in TYPICAL:
        rows += [said, said[::-1]]
        shares += [share / 2, share / 2]
    difficulties, frequency = np.array(rows), np.array(shares)
    return Crew(difficulties, frequency, np.tile(PRIOR / PRIOR.sum(), (max(people, 1), 1)), frequency @ difficulties, 0)


def overlap_table(
    crew: Crew,
    pairs: int,
    *,
    rng: np.random.Generator,
    duplicates: float,
    hourly: tuple[float, float],
    wage: float = math.nan,
    overlaps: Sequence[int] = OVERLAPS,
    draws: int = 1000,
) -> list[OverlapRow]:
    """A row for each number of people a pair; none for more people than there are.

    Args:
        pairs: Of the campaign.
        duplicates: Share of each person's pairs that is shown twice.
        hourly: Answers per person and hour, the lowest and the highest.
        wage: Per hour, in any currency.
        draws: Campaigns, for the interval of alpha.
    """
    kind = rng.choice(len(crew.frequency), size=POOL, p=crew.frequency / crew.frequency.sum())
    best = crew.difficulties[kind].argmax(axis=1)
    rows = []
    for overlap in overlaps:
        if overlap > len(crew.reliability):
            break
        counts, thirds = simulated_votes(crew, kind, overlap, rng)
        alphas = resampled_alphas(counts, draws, rng, pairs=pairs)
        alphas = alphas[np.isfinite(alphas)]
        label = labels_of(counts + thirds)
        kept = label >= 0
        answers = math.ceil(pairs * (overlap * (1 + duplicates) + thirds.sum() / POOL))
        slow, quick = sorted(hourly)
        hours = (answers / quick, answers / slow)
        rows.append(
            OverlapRow(
                overlap,
                *((float(alphas.mean()), *map(float, np.percentile(alphas, [2.5, 97.5]))) if len(alphas) else NONE),
                lost=1.0 - float(kept.mean()),
                right=float((label == best)[kept].mean()) if kept.any() else math.nan,
                answers=answers,
                hours=hours,
                cost=(hours[0] * wage, hours[1] * wage),
            )
        )
    return rows


def simulated_votes(
    crew: Crew, kind: np.ndarray, overlap: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(P, 3) votes of `overlap` people drawn for each pair, and (P, 3) third opinions where two differ."""
    people = np.argsort(rng.random((len(kind), len(crew.reliability))), axis=1)[:, : overlap + 1]
    chance = np.stack([_answers(crew, kind, person) for person in people.T], axis=1)
    said = (rng.random((*people.shape, 1)) > np.cumsum(chance, axis=2)[:, :, :-1]).sum(axis=2)
    own = np.eye(len(SCALE), dtype=int)[said]
    counts = own[:, :overlap].sum(axis=1)
    if overlap != 2 or people.shape[1] < 3:
        return counts, np.zeros_like(counts)
    return counts, own[:, 2] * (counts.max(axis=1) == 1)[:, None]


def _answers(crew: Crew, kind: np.ndarray, person: np.ndarray) -> np.ndarray:
    """(P, 3): how each pair's person answers it."""
    careful, careless, swapped = crew.reliability[person].T[:, :, None]
    likely = crew.difficulties[kind]
    return careful * likely + careless * crew.habit + swapped * likely[:, ::-1]


def labels_of(counts: np.ndarray) -> np.ndarray:
    """(P,) the label that the votes give, over SCALE; -1 where they give none."""
    kinds, where = np.unique(counts, axis=0, return_inverse=True)
    labels = []
    for row in kinds:
        ranked = Counter({place: int(n) for place, n in enumerate(row) if n}).most_common()
        labels.append(ranked[0][0] if reason_of(ranked, int(row.sum())) in DECIDED else -1)
    return np.array(labels)[where.ravel()]

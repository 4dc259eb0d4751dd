"""What the others' answers to the same pairs say of one annotator: guessing, sides swapped, one side preferred, always
the same answer, hardly ever with the majority. A `Comparison` goes in, tested flags come out.

Who took a side is held against the side that is likelier, and an answer counts as much as that side is clear: with
d = P(likelier) − P(other), hits s = ±1 and Σ over answers, Σ d·s / Σ d² is 1 for somebody like most people, 0 for a
guesser, −1 for somebody who swapped the sides. Ties are left out there, so a strict annotator who often says equal
loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median

import numpy as np

from preference.config import Quality
from qc_reports.agreement.coefficients import SCALE
from qc_reports.agreement.exact_tests import hits_bound, interval_of_share
from qc_reports.annotators.comparison import Comparison
from qc_reports.annotators.flag import Flag, Kind, Tested

ENOUGH = 20
"""Answers that a verdict on guessing, or on always the same answer, needs."""
HALF_GUESSED = 0.5
"""Σ d·s / Σ d² below which it is called guessing: half of the answers, or more."""
SWAPPED = -0.5
"""And below which the sides are swapped, where a coin does not explain it: nearer to −1 than to a guesser's 0."""
COIN_P = 0.05
ONE_SIDED = 0.1
"""At least so much more often one side than the others' answers to the same pairs explain."""
ONE_ANSWER = 0.9
"""One answer in so many of all is no comparing, when the others see it differently on the same pairs."""
OTHERS_BELOW = 0.8
"""And the others give it to no more than so many."""
FURTHER = 0.3
"""Further from the others' likeliest answer than most, in steps of A, equal, B: somebody strict, who says equal to one
pair in five where others take a side, is 0.2 further; a guesser half a step."""


def tests_against_others(people: Mapping[str, Comparison], quality: Quality) -> Iterator[Tested]:
    """Every test that there are enough answers for; somebody with one other person to compare with is not tested, since
    of two who differ either may be the one who is wrong."""
    spread, of_words = _spread(people.values()), _spread_of_words(people.values())
    for name, own in people.items():
        if own.others < 2:
            continue
        yield from _sides(name, own, spread)
        if own.answer.size >= quality.min_answers:
            yield from _majority(name, own, quality, spread)
            yield from _one_answer(name, own, np.maximum(of_words, spread))
            yield from _side_bias(name, own, quality)


def _sides(name: str, own: Comparison, spread: float) -> Iterator[Tested]:
    """Guessing, or swapped."""
    took = own.where(own.answer != SCALE.index("equal"))
    if took.answer.size < ENOUGH:
        return
    likelier, hit, d = _side_chances(took)
    weight, score = took.weight, _score(took)
    value, expected = float(hit.mean()), float(likelier.mean())
    n = hit.size
    p = hits_bound(hit, likelier, weight * d, above=False, spread=spread)
    if score <= SWAPPED and hits_bound(hit, np.full(n, 0.5), weight * d, above=False) < COIN_P:
        words = f"{name} took the opposite side of the others in {1 - value:.0%} of {n} pairs: sides swapped?"
        yield Tested(_flag(name, "swapped", 1 - value, 0.5, n, words, 1 - expected, p, ENOUGH), True)
        return
    words = (
        f"{name} took the side that the others make likelier in {value:.0%} of {n} pairs, where most would in "
        f"{expected:.0%}: like somebody who guesses {min(1.0, max(0.0, 1 - score)):.0%} of the answers."
    )
    flag = _flag(name, "guessing", value, (0.5 + expected) / 2, n, words, expected, p, ENOUGH)
    yield Tested(flag, score < HALF_GUESSED)


def _majority(name: str, own: Comparison, quality: Quality, spread: float) -> Iterator[Tested]:
    """With the answer that the others make likeliest."""
    places = np.arange(len(SCALE))
    best = own.expected.argmax(axis=1)
    hit, chance = (own.answer == best).astype(float), own.expected.max(axis=1)
    value, expected, limit = float(hit.mean()), float(chance.mean()), quality.min_majority_agreement
    distance = np.abs(own.answer - best).mean() - (own.expected * np.abs(places - best[:, None])).sum(axis=1).mean()
    p = hits_bound(hit, chance, own.weight, above=False, spread=spread)
    words = (
        f"{name} gave the others' likeliest answer to {value:.0%} of {hit.size} pairs; most would to {expected:.0%}."
    )
    flag = _flag(name, "majority", value, limit, hit.size, words, expected, p, quality.min_answers)
    yield Tested(flag, value < limit and distance >= FURTHER)


def _one_answer(name: str, own: Comparison, spread: np.ndarray) -> Iterator[Tested]:
    """`spread` of each word's count."""
    if own.answer.size < ENOUGH:
        return
    word = int(np.bincount(own.answer, minlength=3).argmax())
    hit, chance = (own.answer == word).astype(float), own.expected[:, word]
    value, expected = float(hit.mean()), float(chance.mean())
    p = min(1.0, 3 * hits_bound(hit, chance, own.weight, above=True, spread=float(spread[word])))
    words = f"{name} answered {SCALE[word]} to {value:.0%} of {hit.size} pairs; most would to {expected:.0%}."
    flag = _flag(name, "one_answer", value, ONE_ANSWER, hit.size, words, expected, p, ENOUGH)
    yield Tested(flag, value >= ONE_ANSWER and expected <= OTHERS_BELOW)


def _side_bias(name: str, own: Comparison, quality: Quality) -> Iterator[Tested]:
    """Left or right more often than what the others said of the same pairs explains; who guesses in a part of the
    answers takes each side in half of that part."""
    took = own.where((own.answer != SCALE.index("equal")) & (own.left >= 0))
    if took.answer.size < quality.min_answers:
        return
    sides = took.expected[:, [SCALE.index("A"), SCALE.index("B")]]
    like_most = sides[np.arange(len(sides)), took.left // 2] / sides.sum(axis=1)
    left = 0.5 + min(1.0, max(0.0, _score(took))) * (like_most - 0.5)
    hit = (took.answer == took.left).astype(float)
    side = "left" if hit.mean() >= left.mean() else "right"
    if side == "right":
        hit, left = 1 - hit, 1 - left
    value, expected, n = float(hit.mean()), float(left.mean()), hit.size
    p = min(1.0, 2 * hits_bound(hit, left, took.weight, above=True))
    words = f"{name} chose the {side} side in {value:.0%} of {n} answers; on these pairs {expected:.0%} would be usual."
    flag = _flag(name, "side_bias", value, 0.5, n, words, expected, p, quality.min_answers)
    yield Tested(flag, value >= expected + ONE_SIDED)


def _score(took: Comparison) -> float:
    """Σ d·s / Σ d², newer answers counting more; only answers that took a side."""
    _, hit, d = _side_chances(took)
    return float((took.weight * d) @ (2 * hit - 1) / max(took.weight @ d**2, 1e-9))


def _side_chances(took: Comparison) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N,) chance of the likelier side, whether it was taken, and how clear it is."""
    sides = took.expected[:, [SCALE.index("A"), SCALE.index("B")]]
    sides = sides / sides.sum(axis=1, keepdims=True)
    likelier = sides.max(axis=1)
    hit = (took.answer == 2 * sides.argmax(axis=1)).astype(float)
    return likelier, hit, 2 * likelier - 1


def _spread(people: Iterable[Comparison]) -> float:
    """How many times the variance of independent answers is seen between people, ≥ 1: somebody's pairs may be harder
    than the few votes on each can tell, and honest people differ. By the median, which nobody's fault moves."""
    scores = []
    for own in people:
        took = own.where(own.answer != SCALE.index("equal"))
        if took.answer.size >= ENOUGH and own.others > 1:
            likelier, hit, d = _side_chances(took)
            variance = float(d**2 @ (4 * likelier * (1 - likelier)))
            if variance > 0:
                scores.append(float(d @ (2 * hit - 1) - d @ d) ** 2 / variance)
    return _times_independent(scores)


def _spread_of_words(people: Iterable[Comparison]) -> np.ndarray:
    """(3,) the same of how often each answer is given: some say equal more readily than others."""
    scores: list[list[float]] = [[] for _ in SCALE]
    for own in people:
        if own.answer.size < ENOUGH or own.others < 2:
            continue
        counts, variances = (
            np.bincount(own.answer, minlength=len(SCALE)),
            (own.expected * (1 - own.expected)).sum(axis=0),
        )
        for word in np.flatnonzero(variances):
            scores[word].append(float(counts[word] - own.expected[:, word].sum()) ** 2 / float(variances[word]))
    return np.array([_times_independent(found) for found in scores])


def _times_independent(squares: Sequence[float]) -> float:
    """Of squared standard scores: their median, where that of independent answers is 0.455 (χ² of one degree)."""
    return max(1.0, median(squares) / 0.455) if squares else 1.0


def _flag(
    name: str, kind: Kind, value: float, limit: float, n: int, words: str, expected: float, p: float, minimum: int
) -> Flag:
    interval = interval_of_share(round(value * n), n)
    return Flag(name, kind, value, limit, n, words, *interval, minimum=minimum, expected=expected, p=p)

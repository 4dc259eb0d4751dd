"""The figures of a batch: answers and pairs go in, one `BatchReport` comes out, which is what qc.json holds.

Works on any answers, from a workspace or from a file, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from preference.config import Quality
from preference.records import Answer, AssignmentView, BatchStatus, Pair, Preference, ResolutionReason, Review
from qc_reports.agreement.coefficients import ENOUGH_SHARED, NOTHING, confusions, krippendorff_alpha, pairwise_kappas
from qc_reports.agreement.contested import best_against_rest
from qc_reports.agreement.exact_tests import interval_of_share
from qc_reports.agreement.parts import parts
from qc_reports.annotators.clock import clock_flags
from qc_reports.annotators.examine import examine
from qc_reports.annotators.reviews import ReviewStatus, review_status
from qc_reports.annotators.statistics import annotator_stats
from qc_reports.answers import Answered, planned, votes, waiting_by_pair
from qc_reports.report.gate import gate
from qc_reports.resolution.exclusions import LeftOut, left_out
from qc_reports.resolution.methods import differences
from qc_reports.resolution.vote import resolve as resolve_pairs

ENOUGH = 30
"""Pairs with two votes from which on a stratum's disagreement is spoken of."""
EASY = 0.15
"""Pairs of one quartile should divide people; where the whole interval lies below, the tiers are badly calibrated."""
HARD = 0.2
"""Gold pairs should not; where the whole interval lies above, they are no gold. The protocol's limit for one person."""


@dataclass(frozen=True)
class BatchReport:
    """The keys of qc.json."""

    batch_id: str
    status: BatchStatus
    reasons: list[str]
    pairs: int
    judgments: int
    annotators: int
    alpha: dict[str, float]
    """Krippendorff's alpha, ordinal, of the judgments that no review has left out: value, low, high."""
    kappa: list[dict[str, Any]]
    """Of every two who share a pair; rough where they share fewer than `agreement.ENOUGH_SHARED`."""
    confusions: list[dict[str, Any]]
    """Of the same twos: `annotator_1`, `annotator_2` and `counts`, (3, 3) over A, equal, B: rows what the first said,
    columns what the second said to the same pair."""
    annotator_stats: list[dict[str, Any]]
    resolved: dict[str, int]
    flags: list[dict[str, Any]]
    """`annotators.flag.Flag` with its `effect`."""
    thresholds: list[dict[str, Any]] = field(default_factory=list)
    """Everybody beside the protocol's plain limits: `annotators.protocol.Threshold`."""
    gold: dict[str, Any] = field(default_factory=dict)
    """How much of gold people contradict, and whether it is suspended: `annotators.gold.GoldCheck`."""
    best_against_rest: list[dict[str, Any]] = field(default_factory=list)
    """Pairs on which the most reliable people disagree with the rest: see `agreement.contested`."""
    warnings: list[str] = field(default_factory=list)
    """What the figures cannot tell, and why; see the function `warnings`."""
    notes: list[str] = field(default_factory=list)
    """What was said when the batch was planned."""
    decision: dict[str, str] | None = None
    """What a person decided about the batch, and it holds: `status`, `by`, `at`, `why`."""
    parts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Way to divide the pairs (task_type, stratum, both, tiers, quartiles, task_type_and_tiers, batch, time) → its
    `parts.Part`s: name, alpha, disagreement with low and high, pairs."""
    left_out: dict[str, Any] = field(default_factory=lambda: asdict(LeftOut()))
    """Whose judgments do not count, and what that changes: see `changes.LeftOut`."""
    methods: list[dict[str, Any]] = field(default_factory=list)
    """Where Dawid-Skene and the weighted Bradley-Terry would label otherwise than the vote: `methods.Difference`."""
    review: list[dict[str, Any]] = field(default_factory=list)
    """For each flagged annotator the latest judgments to look at, as links: see `review_list`. Only in a workspace."""
    questions: list[dict[str, Any]] = field(default_factory=list)
    """Agreement on the optional questions: `agreement.questions.QuestionAgreement`. Only in a workspace."""
    labels: list[Preference] = field(default_factory=list)
    """Every pair's label, for pairs.csv; not in qc.json, which would be as long as the batch."""


def figures(
    batch_id: str,
    answers: Sequence[Answered],
    pairs: Sequence[Pair],
    quality: Quality,
    *,
    rng: np.random.Generator,
    open_assignments: Sequence[AssignmentView] | None = None,
    so_far: bool = False,
    reviews: Sequence[Review] = (),
    leave_out: bool = True,
    earlier: Sequence[Sequence[Answered]] = (),
    settled: Collection[str] = (),
) -> BatchReport:
    """The figures of any answers, from a workspace or from elsewhere.

    Args:
        open_assignments: Those whose answers are still to come; default: not known.
        so_far: Pass or hold by the answers there are, though others are still to come.
        reviews: What people made of those who were flagged in this batch before.
        leave_out: Resolve without those who are flagged. False for judgments from elsewhere, which nobody can review:
            there `left_out` says what it would change.
        earlier: Answers of the batches before, the newest first, which count less: see `annotators.examine`.
        settled: As `annotators.examine` has it.
    """
    stats = annotator_stats(answers, quality)
    examined = examine(answers, stats, quality, rng=flags_rng(batch_id), earlier=earlier, settled=settled)
    found = clock_flags(answers) + examined.flags
    where = review_status(found, reviews)
    dropped = {review.annotator_id for review in where.dropped}
    kept = [answer for answer in answers if answer.annotator_id not in dropped]
    ballots = votes(planned(kept))
    alpha = krippendorff_alpha(ballots, draws=quality.bootstrap, rng=rng)
    stratified = stratified_pairs(pairs)
    asked = {"": alpha} if stratified else {}
    if stratified and len(stratified) < len(pairs):
        own = {pair_id: said for pair_id, said in ballots.items() if pair_id in stratified}
        part = krippendorff_alpha(own, draws=quality.bootstrap, rng=rng)
        asked = {" of the stratified pairs": part, " of the whole dataset": alpha}
    waiting = None if open_assignments is None else waiting_by_pair(open_assignments)
    with_all = resolve_pairs(pairs, answers, waiting=waiting)
    counting = [answer for answer in kept if answer.annotator_id not in where.pending]
    without = resolve_pairs(pairs, counting, waiting=waiting, aside=set_aside(answers, where))
    resolved, used = (without, counting) if leave_out else (with_all, answers)
    status, reasons = gate(
        asked,
        found,
        quality,
        waiting=0 if so_far else len(open_assignments or ()),
        where=where,
        reported=NOTHING if stratified else alpha,
    )
    names, tables = confusions(votes(planned(answers)))
    return BatchReport(
        batch_id=batch_id,
        status=status,
        reasons=reasons,
        pairs=len(resolved),
        judgments=len(answers),
        annotators=len(stats),
        alpha=asdict(alpha),
        kappa=[
            {"annotator_1": first, "annotator_2": second, "shared": shared, "kappa": kappa}
            for first, second, shared, kappa in pairwise_kappas(names, tables)
        ],
        confusions=[
            {"annotator_1": names[i], "annotator_2": names[j], "counts": table.astype(int).tolist()}
            for (i, j), table in tables.items()
        ],
        annotator_stats=[asdict(row) for row in stats],
        resolved=count_resolved(resolved),
        flags=[asdict(flag) | {"effect": flag.effect} for flag in found],
        thresholds=[asdict(row) for row in examined.thresholds],
        gold={key: value for key, value in asdict(examined.gold).items() if key not in ("asked", "usable")},
        best_against_rest=best_against_rest(answers, examined.reliability),
        warnings=[*filter(None, [examined.gold.sentence]), *warnings(answers)],
        parts=parts(planned(kept), draws=quality.bootstrap, rng=rng),
        left_out=asdict(
            left_out(
                with_all,
                without,
                pending=where.pending,
                dropped=sorted(dropped),
                judgments=sum(a.annotator_id in where.left_out for a in answers),
            )
        ),
        methods=[asdict(difference) for difference in differences(pairs, used, resolved, examined.model)],
        labels=resolved,
    )


def stratified_pairs(pairs: Sequence[Pair]) -> set[str]:
    """The pairs of batches that no selection rule filled."""
    active = {pair.batch_id for pair in pairs if pair.kind == "active"}
    return {pair.pair_id for pair in pairs if pair.batch_id not in active}


def flags_rng(batch_id: str) -> np.random.Generator:
    """The same flags for the same answers, whoever asks: the report, and what is resolved."""
    return np.random.default_rng([*b"flags ", *batch_id.encode()])


def set_aside(answers: Sequence[Answered], where: ReviewStatus) -> dict[str, ResolutionReason]:
    """Pair → why answers to it do not count; an open review comes before one that is done."""
    found: dict[str, ResolutionReason] = {}
    for answer in answers:
        if answer.annotator_id in where.pending:
            found[answer.pair_id] = "needs_review"
        elif answer.annotator_id in where.left_out:
            found.setdefault(answer.pair_id, "left_out")
    return found


def count_resolved(preferences: Sequence[Preference]) -> dict[str, int]:
    """How many pairs ended as A, B, equal, ambiguous, or have no label yet."""
    words = {1.0: "A", 0.0: "B", 0.5: "equal"}
    counts: dict[str, int] = dict.fromkeys(("A", "B", "equal", "ambiguous", "unresolved"), 0)
    for preference in preferences:
        if preference.preference is not None:
            counts[words[preference.preference]] += 1
        else:
            counts["ambiguous" if preference.reason == "ambiguous" else "unresolved"] += 1
    return counts


def warnings(answers: Sequence[Answered]) -> list[str]:
    """What a reader must know before trusting the figures: a sentence for each thing that the answers cannot tell.

    A figure that cannot be computed is nan, and here is why. What stands in the way of everything comes first.
    """
    ballots = votes(planned(answers))
    return [*_agreement(answers), *_strata(answers, ballots), *_shared(ballots), *_unknown(answers)]


def _agreement(answers: Sequence[Answered]) -> list[str]:
    people = sorted({answer.annotator_id for answer in answers})
    words = {answer.preference for answer in answers}
    found = []
    if len(people) == 1:
        found.append(f"Only {people[0]} answered: agreement cannot be measured with one annotator.")
    elif all(len(ballots) < 2 for ballots in votes(answers).values()):
        found.append(f"No pair was answered by two of the {len(people)} annotators: agreement cannot be measured.")
    if len(words) == 1:
        found.append(f"Every answer is {words.pop()}: agreement beyond chance has no meaning, so alpha is not given.")
    return found


def _strata(answers: Sequence[Answered], ballots: Mapping[str, Mapping[str, Answer]]) -> list[str]:
    """Hard pairs that are easy, and easy ones that are hard: then the quartiles do not say how good a trajectory is."""
    found = []
    differing, n = _differing(ballots, {a.pair_id for a in answers if a.stratum == "same"})
    if n >= ENOUGH and interval_of_share(differing, n)[1] < EASY:
        found.append(
            f"Annotators differ on only {differing} of {n} pairs of one quartile, which should be hard: the tiers may "
            "be badly calibrated."
        )
    differing, n = _differing(ballots, {a.pair_id for a in answers if a.expected is not None})
    if n >= ENOUGH and interval_of_share(differing, n)[0] > HARD:
        found.append(
            f"Annotators differ on {differing} of {n} gold pairs, which should be easy: look at their expected answers "
            "before anybody is held against them."
        )
    return found


def _differing(ballots: Mapping[str, Mapping[str, Answer]], pair_ids: Iterable[str]) -> tuple[int, int]:
    """On how many of the pairs with two votes or more not all agree, and how many these are."""
    shared = [ballots[key] for key in pair_ids if len(ballots.get(key, {})) > 1]
    return sum(len(set(ballot.values())) > 1 for ballot in shared), len(shared)


def _shared(ballots: Mapping[str, Mapping[str, Answer]]) -> list[str]:
    tables = confusions(ballots)[1].values()
    few = sum(table.sum() < ENOUGH_SHARED for table in tables)
    if not few:
        return []
    return [f"{few} of {len(tables)} pairs of annotators share fewer than {ENOUGH_SHARED} pairs: their kappas are "
            "rough."]  # fmt: skip


def _unknown(answers: Sequence[Answered]) -> list[str]:
    columns = [
        (any(a.confidence is not None for a in answers), "confidence", "the confidence scale is not looked at"),
        (any(a.response_time_ms is not None for a in answers), "response time", "speed is not checked"),
        (any(a.expected is not None for a in answers), "gold answer", "nobody is held against the truth"),
        (any(a.duplicate for a in answers), "second showing", "nobody's consistency is checked"),
        (any(a.left is not None for a in answers), "side", "a preference for one side cannot be seen"),
    ]
    return [f"No answer has a {name}: {effect}." for known, name, effect in columns if not known]

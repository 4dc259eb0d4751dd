"""Certification over a workspace: Cohen's kappa with the expert decides who may annotate; every decision is recorded.

Kappa of 40 answers has a standard error of 0.11, so a point estimate lets through a quarter of the people with a true
kappa of 0.58 and refuses a sixth of those with 0.75 (`scripts/bench/certification.py`). So the interval decides
(Fleiss, Cohen & Everitt 1969): above the threshold certifies, below refuses, and one that holds the threshold asks for
more pairs: the rest of the set, and after that the second set, together with what was answered of the first. Only where
there are no more does the point estimate decide. Whoever was refused is judged by the second set alone.

Two attempts are everybody's: the first set, and after a second training session the other set. A third, on a set of its
own, needs a manager, and a certificate can be taken back; who did it, when and why stays in the database.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from labeling_config.contract import load_template
from preference.errors import NotReady, UserError
from preference.formats import now
from preference.records import Answer, Batch, Certification, Judgment
from preference.signed import signed
from preference.workspace import Workspace
from qc_reports.agreement.coefficients import (
    cohen_kappa_interval,
    confusion,
    kappa_standard_errors,
    kappas_of_tables,
)
from qc_reports.annotators.error_patterns import findings, missed_pairs
from qc_reports.annotators.reviews import task_url
from qc_reports.answers import Answered, by_annotator, join

FREE_ATTEMPTS = 2
FIRST, SECOND = "calibration-1", "calibration-2"
EXPECTED_PASS, EXPECTED_H = (0.7, 0.8), (1.0, 3.0)
"""The protocol's: share certified at the first attempt, and hours of training and tests a person."""
SET = re.compile(r"calibration-(\d+)")
Z = 1.2816
"""Half-width of the deciding interval in standard errors: one look passes each end by chance once in ten. Over both
sets, up to four looks, somebody with a true kappa of 0.58 is certified in 24 %, one with 0.75 is not in 5 %."""
Outcome = Literal["certified", "refused", "undecided"]


def template_version() -> str:
    """A fingerprint of the template in which calibration sets and batches are answered."""
    return hashlib.sha256(load_template("pair_compare").encode()).hexdigest()[:12]


def certify(ws: Workspace, batch_id: str = FIRST) -> list[Certification]:
    """Compare everybody who finished the calibration set with the expert; the results are stored.

    A result that is there stays as it is while the answers are the same, with its date; so does one taken back.

    Raises:
        NotReady: the set does not exist, or the expert has not finished it.
    """
    number = SET.fullmatch(batch_id)
    views = ws.store.assignments(batch_id) if number else []
    if not number or not views:
        raise NotReady(f"There is no calibration set {batch_id!r}.", fix="Run `robopref calibration build` first.")
    experts = ws.store.experts()
    judgments = ws.store.judgments(batch_id)
    answers = by_annotator(join(judgments, views))
    truth = _expert_truth(ws, batch_id, [j for j in judgments if j.annotator_id in experts], answers, experts)
    assigned = Counter(view.assignment.annotator_id for view in views)
    records = ws.store.certifications()
    known = {record.annotator_id: record for record in records if record.batch_id == batch_id}
    earlier, earlier_truth = _undecided_answers(ws, records) if batch_id == SECOND else ({}, {})
    results = []
    for name, own in answers.items():
        if name in experts or len(own) < assigned[name]:
            continue
        result = compare(
            [*earlier.get(name, []), *own],
            earlier_truth | truth,
            threshold=ws.config.calibration.min_kappa,
            attempt=int(number[1]),
            batch_id=batch_id,
            last=batch_id != FIRST and assigned[name] >= len(truth),
            draws=ws.config.quality.bootstrap,
            rng=ws.rng(f"certify {batch_id} {name}"),
        )
        result = _kept(replace(result, template=template_version()), known.get(name))
        ws.store.put_certification(result)
        results.append(result)
    return results


@dataclass(frozen=True)
class Effort:
    """How certification goes, beside what the protocol expects (`EXPECTED_PASS`, `EXPECTED_H`)."""

    tested: int
    """Annotators with a result of the first set."""
    passed_first: int
    """Of them, certified by it."""
    median_h: float
    """Of the time that each of them spent on training and tests, idle time excluded; nan without answers."""


def outcome(table: np.ndarray, threshold: float, *, last: bool) -> Outcome:
    """What these answers say.

    Args:
        table: (3, 3) `confusion` of the annotator's and the expert's answers, with at least one answer.
        last: There are no more pairs to ask, so the point estimate decides where the interval does not.
    """
    kappa = float(kappas_of_tables(table[None])[0])
    margin = Z * float(kappa_standard_errors(table[None])[0])
    if kappa - margin >= threshold:
        return "certified"
    if kappa + margin < threshold:
        return "refused"
    if not last:
        return "undecided"
    return "certified" if kappa >= threshold else "refused"


def effort(ws: Workspace) -> Effort:
    """Pass rate at the first attempt, and hours."""
    first = [r for r in ws.store.certifications() if r.batch_id == FIRST and r.pairs]
    spent = dict.fromkeys((record.annotator_id for record in first), 0.0)
    for judgment in (judgment for batch_id in ws.store.calibration_sets() for judgment in ws.store.judgments(batch_id)):
        if judgment.annotator_id in spent:
            spent[judgment.annotator_id] += judgment.response_time_ms / 3_600_000
    hours = [time for time in spent.values() if time > 0]
    return Effort(len(first), sum(r.certified for r in first), float(np.median(hours)) if hours else math.nan)


def compare(
    answers: Sequence[Answered],
    truth: Mapping[str, Answer],
    *,
    threshold: float,
    attempt: int,
    batch_id: str,
    last: bool,
    draws: int,
    rng: np.random.Generator,
) -> Certification:
    """One annotator's attempt at one calibration set.

    Args:
        answers: This annotator's, at least one of them on a pair of `truth`.
        truth: Pair → the expert's answer.
        last: There are no more pairs to ask.
    """
    judged = [answer for answer in answers if answer.pair_id in truth and not answer.duplicate]
    given: list[Answer] = [answer.preference for answer in judged]
    right: list[Answer] = [truth[answer.pair_id] for answer in judged]
    kappa = cohen_kappa_interval(given, right, draws=draws, rng=rng)
    said = outcome(confusion(given, right), threshold, last=last)
    return Certification(
        annotator_id=answers[0].annotator_id,
        batch_id=batch_id,
        attempt=attempt,
        kappa=kappa.value,
        kappa_low=kappa.low,
        kappa_high=kappa.high,
        certified=said == "certified",
        undecided=said == "undecided",
        pairs=len(judged),
        created_at=now(),
        findings=findings(judged, truth),
        review=missed_pairs(judged, truth),
    )


def _undecided_answers(
    ws: Workspace, records: Sequence[Certification]
) -> tuple[dict[str, list[Answered]], dict[str, Answer]]:
    """What those said of the first set whom it did not decide, and what the expert said of it."""
    names = {record.annotator_id for record in records if record.batch_id == FIRST and record.undecided}
    truth: dict[str, Answer] = {p.pair_id: p.expected for p in ws.store.pairs(FIRST) if p.expected is not None}
    said = by_annotator(join(ws.store.judgments(FIRST), ws.store.assignments(FIRST)))
    return {name: own for name, own in said.items() if name in names}, truth


def _expert_truth(
    ws: Workspace,
    batch_id: str,
    said: Sequence[Judgment],
    answers: Mapping[str, Sequence[Answered]],
    experts: set[str],
) -> dict[str, Answer]:
    """Pair → the expert's answer, which is also written to the pairs with the reason for it."""
    expert = [answer for name in experts for answer in answers.get(name, []) if not answer.duplicate]
    pairs = {pair.pair_id: pair for pair in ws.store.pairs(batch_id)}
    if len({answer.pair_id for answer in expert}) < len(pairs):
        raise NotReady(
            f"The expert has answered {len(expert)} of {len(pairs)} pairs of {batch_id}.",
            fix="Annotators are compared with the expert, who therefore answers first.",
        )
    truth: dict[str, Answer] = {answer.pair_id: answer.preference for answer in expert}
    reasons = {judgment.pair_id: judgment.free_text_reason for judgment in said}
    ws.store.put_expert_answers(
        replace(pair, expected=truth[key], reasoning=reasons.get(key, "")) for key, pair in pairs.items()
    )
    return truth


def _kept(new: Certification, old: Certification | None) -> Certification:
    """`new`, or what of `old` must not change by looking again."""
    if old is None:
        return new
    if old.revoked:
        return replace(new, certified=False, undecided=False, created_at=old.created_at, template=old.template,
                       override=old.override, revoked=old.revoked)  # fmt: skip
    same = (new.kappa, new.pairs, new.certified, new.undecided) == (old.kappa, old.pairs, old.certified, old.undecided)
    new = replace(new, override=old.override)
    return replace(new, created_at=old.created_at, template=old.template or new.template) if same else new


def review_links(ws: Workspace, record: Certification) -> dict[str, str]:
    """Pair to go over again → its task in Label Studio, with the annotator's own answer; empty where there is none."""
    views = {
        view.assignment.pair_id: view
        for view in ws.store.assignments(record.batch_id)
        if view.assignment.annotator_id == record.annotator_id
    }
    return {
        pair_id: task_url(views[pair_id], ws.config.label_studio.address) if pair_id in views else ""
        for pair_id in record.review
    }


def allow_attempt(ws: Workspace, annotator_id: str, *, by: str, why: str) -> Certification:
    """A manager lets somebody who failed twice, or whose certificate was taken back, try once more.

    Returns:
        The attempt to come, without a result; its set is `calibration-N`, which
        `importer.calibration.build.further_set`
        fills. Asked again before there is a result: the same.

    Raises:
        UserError: the annotator may still have the other set, or is certified.
    """
    own = _attempts(ws, annotator_id)
    last = own[-1] if own else None
    if last is None or ((last.attempt < FREE_ATTEMPTS or last.undecided) and not last.revoked):
        raise UserError(
            f"{annotator_id} has not used both attempts.",
            fix="Run `robopref certify --retest` for what comes next; no override is needed for it.",
        )
    if last.certified:
        raise UserError(f"{annotator_id} is certified.")
    if not last.pairs:
        return last
    number = max(last.attempt, FREE_ATTEMPTS) + 1
    batch_id = f"calibration-{number}"
    record = Certification(
        annotator_id, batch_id, number, math.nan, math.nan, math.nan, False, 0,
        override=signed(by, why),
    )  # fmt: skip
    today = now()
    ws.store.put_pairs(Batch(batch_id, "calibration", created_at=today), [], [])
    ws.store.put_certification(record)
    return record


def revoke(ws: Workspace, annotator_id: str, *, by: str, why: str) -> Certification:
    """Take a certificate back; the annotator gets no further pairs.

    Raises:
        UserError: there is none.
    """
    own = _attempts(ws, annotator_id)
    if not own or not own[-1].certified:
        raise UserError(f"{annotator_id} holds no certificate.")
    record = replace(own[-1], certified=False, undecided=False, revoked=signed(by, why))
    ws.store.put_certification(record)
    return record


def _attempts(ws: Workspace, annotator_id: str) -> list[Certification]:
    people = [a.annotator_id for a in ws.store.annotators()]
    if annotator_id not in people:
        fix = f"Annotators: {', '.join(people)}." if people else "Name them in [annotators] of robopref.toml."
        raise UserError(f"There is no annotator {annotator_id!r}.", fix=fix)
    return [record for record in ws.store.certifications() if record.annotator_id == annotator_id]

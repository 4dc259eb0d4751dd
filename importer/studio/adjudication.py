"""Disputed pairs go to an adjudicator: first a blind answer, then the others' answers, then a decision with its cause.

Pair ids and a name go in; assignments in a batch `adjudication-N` come out, which push makes into the adjudicator's own
project with the same screen. The others' answers are part of the task, shown only after one's own, without their names.
What was decided: `preference.adjudicated.decisions`; `qc_reports.resolution.disputed` says which pairs to ask about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from importer.pairs.assignments import assign_everyone
from importer.pairs.batches import now
from labeling_config.contract import answer_of, side_of
from preference.adjudicated import ADJUDICATION, copy_of
from preference.errors import UserError
from preference.records import CALIBRATION, Assignment, Batch, Judgment
from preference.workspace import Workspace

WORDS = {"left": "left is better", "equal": "roughly equal", "right": "right is better"}
NO_LONGER = 400
"""Characters of a reason that are shown."""


def open_adjudication(ws: Workspace, adjudicator: str, pair_ids: Iterable[str]) -> list[Assignment]:
    """Ask this person about these pairs; those that somebody adjudicates already, and their own, are left out.

    Returns:
        The new assignments; none where nothing is left.

    Raises:
        UserError: there is no such person, or no such pair.
    """
    people = {annotator.annotator_id: annotator for annotator in ws.store.annotators()}
    if adjudicator not in people or not people[adjudicator].active:
        raise UserError(
            f"There is no annotator {adjudicator!r} who could adjudicate.",
            fix=f"There are: {', '.join(name for name, one in people.items() if one.active) or 'none'}.",
        )
    pairs = {pair.pair_id: pair for pair in ws.store.pairs()}
    wanted = list(dict.fromkeys(pair_ids))
    if unknown := [key for key in wanted if key not in pairs or pairs[key].kind == CALIBRATION]:
        raise UserError(f"There is no pair {unknown[0]!r} that could be adjudicated.", fix="See the report's list.")
    answers: dict[str, list[Judgment]] = defaultdict(list)
    second = {v.assignment.assignment_id for v in ws.store.assignments(calibration=False) if v.assignment.duplicate_of}
    for judgment in ws.store.judgments():
        if judgment.assignment_id not in second:
            answers[judgment.pair_id].append(judgment)
    own = {key for key in wanted if any(judgment.annotator_id == adjudicator for judgment in answers[key])}
    left = [key for key in wanted if copy_of(key) not in pairs and key not in own]
    if not left:
        return []
    number = 1 + sum(batch.batch_id.startswith(ADJUDICATION) for batch in ws.store.batches())
    batch_id = f"{ADJUDICATION}-{number:03d}"
    copies = [
        replace(pairs[key], pair_id=copy_of(key), kind=CALIBRATION, batch_id=batch_id, expected=None) for key in left
    ]
    made = assign_everyone(copies, [adjudicator], batch_id=batch_id, rng=ws.secret_rng(f"{batch_id} {adjudicator}"))
    original = {copy_of(key): key for key in left}
    side = {assignment.pair_id: assignment for assignment in made}
    copies = [replace(one, reasoning=_said(answers[original[one.pair_id]], side[one.pair_id])) for one in copies]
    ws.store.put_pairs(Batch(batch_id, CALIBRATION, created_at=now()), copies, made)
    return made


def _said(answers: Sequence[Judgment], assignment: Assignment) -> str:
    """Everybody's answer, on the sides on which the adjudicator sees the pair, in the order in which they came."""
    return " · ".join(f"{i}: {_one(judgment, assignment)}" for i, judgment in enumerate(answers, start=1))


def _one(judgment: Judgment, assignment: Assignment) -> str:
    words = [
        WORDS[side_of(judgment.preference, assignment.left)],
        f"sure {judgment.confidence} of 5",
        _seen(judgment.raw),
    ]
    if reason := judgment.free_text_reason.strip():
        words.append(f"“{reason[:NO_LONGER]}”")
    return ", ".join(filter(None, words))


def _seen(raw: Mapping[str, object]) -> str:
    """Whether they saw both clips to the end, where the page said so."""
    try:
        watch = answer_of(raw).watch
    except UserError:
        return ""
    both = [watch.get("seen_left"), watch.get("seen_right")]
    return "" if None in both else "saw both clips" if all(both) else "did not see both clips to the end"

"""Claimed time against the server's clock: answers that cannot have been watched for as long as they say.

What an annotation says of time (`response_ms`, seconds of each clip, `lead_time`) comes from the annotator's browser,
and a program can say anything. Label Studio's own stamps cannot be chosen. A pair is served when the one before it is
done, so no more time can have gone into it than passed between the two stamps. An answer is called impossible if

- it claims more time than that;
- it claims that both clips were seen, or the screen demands it, and their moving part is longer than that;
- the screen demands that both clips are seen and the answer's own record says that they were not.

A few such answers happen to honest people: a second tab, a clock that was set. So a flag needs many of them.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from labeling_config.contract import LONGEST_S, BadAnswer, ScreenAnswer, answer_of
from preference.records import Judgment
from preference.workspace import Workspace
from qc_reports.agreement.exact_tests import at_least, interval_of_share
from qc_reports.annotators.flag import Flag
from qc_reports.answers import Answered, by_annotator

TOLERATED = 0.05
"""Share of impossible answers that honest people stay under: they give 1.0 % in `scripts/bench/clock.py`."""
BY_CHANCE = 0.001
FEWEST = 10
"""Answers with both stamps that a flag needs."""
SLACK_S, SLACK = 1.0, 0.05
"""Seconds, and a share of the time that passed, by which browser and server may differ."""
SEEN_SHARE = 0.9
"""Of a clip: what the screen takes for seen (static/watch.js)."""


@dataclass(frozen=True)
class Visit:
    """One annotation as Label Studio keeps it: an answer, a skip, or one that was superseded."""

    task_id: int
    created: float
    """Seconds since 1970, by the server's clock."""
    changed: float


def with_clock(ws: Workspace, answers: Sequence[Answered], judgments: Iterable[Judgment]) -> list[Answered]:
    """`answers` with `impossible` set where both stamps are known; simulated annotators, whose time is made up, aside.

    Args:
        judgments: Those that `answers` were made from.
    """
    simulated = {annotator.annotator_id for annotator in ws.store.annotators() if annotator.teacher}
    batch = {answer.assignment_id: answer.batch_id for answer in answers}
    groups: dict[tuple[str, str], list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        if judgment.assignment_id in batch and judgment.annotator_id not in simulated:
            groups[batch[judgment.assignment_id], judgment.annotator_id].append(judgment)
    beside, moving = _visits_without_answer(ws), _moving_seconds(ws)
    records = {key[0] for key, own in groups.items() if any(_said(judgment.raw).watch for judgment in own)}
    found: dict[str, bool] = {}
    for key, own in groups.items():
        demanded = ws.config.label_studio.watch_to_end and key[0] in records
        found |= impossible(own, beside.get(key, ()), moving, demanded=demanded)
    return [replace(answer, impossible=found.get(answer.assignment_id)) for answer in answers]


def _visits_without_answer(ws: Workspace) -> dict[tuple[str, str], list[Visit]]:
    """(batch, annotator) → their skips and superseded answers."""
    rejections = {r.annotation_id: r for r in ws.store.rejections() if r.task_id is not None}
    tasks = ws.store.assignments_of_tasks({r.task_id for r in rejections.values() if r.task_id is not None})
    found: dict[tuple[str, str], list[Visit]] = defaultdict(list)
    for rejection in rejections.values():
        visit = visit_of(rejection.task_id, rejection.raw)
        if visit and (assignment := tasks.get(visit.task_id)):
            found[assignment.batch_id, assignment.annotator_id].append(visit)
    return found


def _moving_seconds(ws: Workspace) -> dict[str, float]:
    """Pair → seconds for which the longer of its two clips moves, before the last picture is held."""
    lasts = {t.trajectory_id: t.end_s - t.start_s for t in ws.store.trajectories()}
    return {pair.pair_id: max(lasts[pair.trajectory_a_id], lasts[pair.trajectory_b_id]) for pair in ws.store.pairs()}


def impossible(
    judgments: Sequence[Judgment], beside: Iterable[Visit], moving_s: Mapping[str, float], *, demanded: bool
) -> dict[str, bool]:
    """Assignment → whether the server's clock rules out what its answer claims; unknown for the first one.

    Args:
        judgments: One annotator's in one batch.
        beside: Their skips and superseded answers there.
        moving_s: Pair → seconds for which the longer of its clips moves; clips play side by side, at their own speed.
        demanded: The screen takes an answer only after both clips were seen, and does keep a record of it.
    """
    known = [(j, visit) for j in judgments if (visit := visit_of(j.task_id, j.raw))]
    visits = sorted([*(visit for _, visit in known), *beside], key=lambda visit: visit.created)
    stamps = [visit.created for visit in visits]
    changes = sorted({stamp for visit in visits for stamp in (visit.created, visit.changed)})
    first: dict[int, float] = {}
    for visit in visits:
        first.setdefault(visit.task_id, visit.created)
    found = {}
    for judgment, visit in known:
        before = bisect.bisect_left(stamps, first[visit.task_id])
        if before:
            passed = visit.created - stamps[before - 1]
            if visit.changed > visit.created:  # sent again: from the last sign of life before that
                passed += visit.changed - changes[bisect.bisect_left(changes, visit.changed) - 1]
            found[judgment.assignment_id] = _is_impossible(judgment, passed, moving_s[judgment.pair_id], demanded)
    return found


def _is_impossible(judgment: Judgment, passed_s: float, moving_s: float, demanded: bool) -> bool:
    said = _said(judgment.raw)
    times = [said.watch.get(name) for name in ("response_ms", "left_ms", "right_ms")]
    # cut first: an integer of 400 digits is JSON, and no float
    claimed = [max(0, min(t, 1000 * LONGEST_S)) / 1000 for t in times if isinstance(t, int | float)]
    claimed = claimed or [said.lead_time_s or 0.0]
    seen = bool(said.watch.get("seen_left") and said.watch.get("seen_right"))
    if demanded and said.watch and not seen:
        return True
    needed = SEEN_SHARE * moving_s if demanded or seen else 0.0
    return max(*claimed, needed) > passed_s * (1 + SLACK) + SLACK_S


def clock_flags(answers: Iterable[Answered]) -> list[Flag]:
    """Who gave more impossible answers than slips and clocks explain."""
    found = []
    for name, own in by_annotator(answers).items():
        known = [answer.impossible for answer in own if answer.impossible is not None]
        n, count = len(known), sum(known)
        if n < FEWEST or at_least(count, n, TOLERATED) >= BY_CHANCE:
            continue
        sentence = f"{name} claims, in {count} of {n} answers, more watching than the server's clock leaves time for."
        interval = interval_of_share(count, n)
        found.append(Flag(name, "clock", count / n, TOLERATED, n, sentence, *interval, minimum=FEWEST))
    return found


def visit_of(task_id: int | None, raw: Mapping[str, Any]) -> Visit | None:
    """None where the annotation has no stamps, as judgments from elsewhere."""
    try:
        created, changed = (datetime.fromisoformat(str(raw.get(key))) for key in ("created_at", "updated_at"))
        return Visit(task_id, created.timestamp(), max(created, changed).timestamp()) if task_id is not None else None
    except (ValueError, TypeError):
        return None


def _said(raw: Mapping[str, Any]) -> ScreenAnswer:
    try:
        return answer_of(raw)
    except BadAnswer:  # cannot be of a judgment
        return ScreenAnswer("equal", 1)

"""The card's figures on labels, people and pool: records in, counts out; each function fills a part of `card.Facts`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ml_backend.release.card import STRATIFIED, Share
from preference.records import Annotator, Certification, Pair, Preference, Trajectory
from qc_reports.answers import Answered


def label_facts(preferences: Sequence[Preference], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts of labels, of pairs without one, and of the splits.

    Args:
        preferences: All resolved pairs, with and without a label.
        rows: The released ones (rows of preferences.parquet).
    """
    values = Counter(row["preference"] for row in rows)
    splits = Counter(row["split"] for row in rows)
    reasons = Counter(p.reason.replace("_", " ") for p in preferences if p.preference is None)
    return {
        "pairs": len(rows),
        "wins": {"A": values[1.0], "B": values[0.0], "tie": values[0.5]},
        "unlabelled": dict(sorted(reasons.items())),
        "split": {name: splits[name] for name in ("train", "validation", "test")},
    }


def selection_facts(pairs: Iterable[Pair]) -> dict[str, Any]:
    """By which rule the released pairs were chosen, and of which stratum they are."""
    pairs = list(pairs)
    rules = Counter(f"by {p.strategy}" if p.strategy else STRATIFIED for p in pairs)
    strata = Counter(f"from {p.stratum} quartiles" for p in pairs)
    return {"selection": dict(rules.most_common()), "strata": dict(sorted(strata.items()))}


def answer_facts(answers: Sequence[Answered]) -> dict[str, Any]:
    """Gold accuracy (on first showings), self-consistency (a second showing against the first), and the sides taken."""
    first = {(a.pair_id, a.annotator_id): a.preference for a in answers if not a.duplicate}
    gold = [a.preference == a.expected for a in answers if a.expected is not None and not a.duplicate]
    again = [a for a in answers if a.duplicate]
    both = [a.preference == first[key] for a in again if (key := (a.pair_id, a.annotator_id)) in first]
    sides = Counter(a.side for a in answers)
    return {
        "judgments": len(answers),
        "duplicates": len(again),
        "gold": Share(sum(gold), len(gold)),
        "consistency": Share(sum(both), len(both)),
        "left": Share(sides["left"], sides["left"] + sides["right"]),
    }


def people_facts(
    annotators: Iterable[Annotator],
    certifications: Iterable[Certification],
    judged: Iterable[Answered],
    names: Mapping[str, str],
) -> list[dict[str, Any]]:
    """A row for each annotator with a released answer; kappa of the latest attempt.

    Args:
        judged: Answers under released names.
        names: Annotator id → released name.
    """
    answers = Counter(a.annotator_id for a in judged)
    kappa = {c.annotator_id: c.kappa for c in certifications}
    rows = [
        {
            "name": names[a.annotator_id],
            "simulated": bool(a.teacher),
            "kappa": kappa.get(a.annotator_id, math.nan),
            "answers": answers[names[a.annotator_id]],
        }
        for a in annotators
        if answers[names[a.annotator_id]]
    ]
    return sorted(rows, key=lambda row: row["name"])


def pool_facts(trajectories: Sequence[Trajectory], compared: set[str]) -> dict[str, Any]:
    """The pool by source and task; `compared` are the ids in a released pair."""
    tasks = sorted({t.task_type for t in trajectories})
    rows = []
    for source in sorted({t.source for t in trajectories}):
        mine = [t for t in trajectories if t.source == source]
        known = [t.success for t in mine if t.success is not None]
        counts = Counter(t.task_type for t in mine)
        rows.append(
            {
                "source": source,
                "tasks": {task: counts[task] for task in tasks},
                "all": len(mine),
                "success": f"{sum(known)} of {len(known)}" if known else "unknown",
            }
        )
    return {
        "trajectories": len(trajectories),
        "compared": sum(t.trajectory_id in compared for t in trajectories),
        "datasets": sorted({t.dataset for t in trajectories}),
        "tasks": tasks,
        "pool": rows,
    }

"""Pairs that an adjudicator should look at: those that would be discarded as ambiguous, those on which two people
differ and nobody is left to ask, and those on which the most reliable people disagree with the rest. A workspace goes
in, pair ids come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from preference.adjudicated import Decision, copy_of, decisions
from preference.records import LABELS, Preference
from preference.workspace import Workspace


def disputed(ws: Workspace, best_against_rest: Iterable[Mapping[str, Any]]) -> list[str]:
    """Pairs without a decision, the ambiguous ones first.

    Args:
        best_against_rest: Of the report on all batches.

    Raises:
        NotReady: nothing has been resolved yet.
    """
    ambiguous = [p.pair_id for p in ws.store.preferences() if p.reason == "ambiguous"]
    best = [row["pair_id"] for row in best_against_rest]
    done = decisions(ws)
    return [pair_id for pair_id in dict.fromkeys([*ambiguous, *without_third(ws), *best]) if pair_id not in done]


def without_third(ws: Workspace) -> list[str]:
    """Pairs on which two people differ, and that wait for nobody: everybody certified has seen them, and no
    adjudicator has them.

    Raises:
        NotReady: nothing has been resolved yet.
    """
    wanted = [p.pair_id for p in ws.store.preferences() if p.reason == "needs_third"]
    if not wanted:
        return []
    done = ws.store.answered() | ws.store.skipped().keys()
    asked = {v.assignment.pair_id for v in ws.store.assignments() if v.assignment.assignment_id not in done}
    return [pair_id for pair_id in wanted if not asked & {pair_id, copy_of(pair_id)}]


def with_decision(preference: Preference, decision: Decision) -> Preference:
    """The label as it was decided, or none. The votes it had stay; a pair of a held batch stays without a label."""
    if preference.reason in ("held", "left_out", "needs_review"):
        return preference
    if decision.decision == "none":
        return replace(preference, preference=None, reason="ambiguous")
    return replace(preference, preference=LABELS[decision.decision], reason="adjudicated")

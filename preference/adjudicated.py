"""What adjudicators decided: of each pair their blind answer, then their decision with the cause of the dispute.

An adjudicated pair is asked again as a copy of it, in a batch `adjudication-N` that is no test and no vote: its kind is
`calibration`, so nothing that counts labels sees it. In: the database. Out: one `Decision` a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from preference.records import Answer
from preference.workspace import Workspace

ADJUDICATION = "adjudication"
"""Begins the names of batches, and of the copies of pairs in them."""


@dataclass(frozen=True)
class Decision:
    """What became of one pair."""

    pair_id: str
    """The pair that people disputed, not its copy."""
    adjudicator: str
    blind: Answer
    """Before the others' answers were shown."""
    confidence: int
    decision: Answer | Literal["none"]
    """`none` = it gets no label."""
    cause: str
    """One of labeling_config's CAUSES; empty if none was named."""
    why: str
    at: str


def copy_of(pair_id: str) -> str:
    return f"{ADJUDICATION}-{pair_id}"


def decisions(ws: Workspace) -> dict[str, Decision]:
    """Disputed pair → the newest decision about it; an answer without a decision is none yet."""
    found = {}
    for judgment in ws.store.judgments():
        if judgment.pair_id.startswith(f"{ADJUDICATION}-") and "decision" in judgment.questions:
            pair_id = judgment.pair_id.removeprefix(f"{ADJUDICATION}-")
            found[pair_id] = Decision(
                pair_id, judgment.annotator_id, judgment.preference, judgment.confidence,
                judgment.questions["decision"], judgment.questions.get("cause", ""), judgment.free_text_reason,
                judgment.created_at,
            )  # fmt: skip
    return found

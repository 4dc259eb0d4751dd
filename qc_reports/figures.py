"""The figures of a batch: answers and pairs go in, one `BatchReport` comes out, which is what qc.json holds.

Works on any answers, from a workspace or from a file, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from preference.config import Quality
from preference.records import BatchStatus, Pair, Preference
from qc_reports.agreement import krippendorff_alpha, pairwise_kappas
from qc_reports.annotator_stats import annotator_stats
from qc_reports.answers import Answered, votes
from qc_reports.flags import flags
from qc_reports.gate import gate
from qc_reports.resolve import resolve as resolve_pairs
from qc_reports.warnings import warnings


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
    kappa: list[dict[str, Any]]
    annotator_stats: list[dict[str, Any]]
    resolved: dict[str, int]
    flags: list[dict[str, Any]]
    warnings: list[str] = field(default_factory=list)
    """What the figures cannot tell, and why; see `qc_reports.warnings`."""
    notes: list[str] = field(default_factory=list)
    """What was said when the batch was planned."""


def figures(
    batch_id: str,
    answers: Sequence[Answered],
    pairs: Sequence[Pair],
    quality: Quality,
    *,
    rng: np.random.Generator,
    waiting: Mapping[str, int] | None = None,
    missing: int = 0,
) -> BatchReport:
    """The figures of any answers, from a workspace or from elsewhere.

    Args:
        waiting: Pair → assignments still without an answer, second showings aside.
        missing: All assignments still without an answer.
    """
    ballots = votes(answers)
    stats = annotator_stats(answers, quality)
    alpha = krippendorff_alpha(ballots, draws=quality.bootstrap, rng=rng)
    found = flags(answers, stats, quality, rng=rng)
    resolved = resolve_pairs(pairs, answers, waiting=waiting)
    status, reasons = gate(alpha, found, quality, waiting=missing)
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
            for first, second, shared, kappa in pairwise_kappas(ballots)
        ],
        annotator_stats=[asdict(row) for row in stats],
        resolved=count_resolved(resolved),
        flags=[asdict(flag) for flag in found],
        warnings=warnings(answers),
    )


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

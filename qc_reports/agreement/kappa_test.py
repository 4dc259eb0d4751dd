"""Is an annotator's kappa with the expert at least the threshold? A sequential test on a calibration set.

Kappa of 40 answers has a standard error of 0.11, so a point estimate lets through a quarter of the people with a true
kappa of 0.58 and refuses a sixth of those with 0.75 (`scripts/bench/certification.py`). So the interval decides: above
the threshold certifies, below refuses, and one that holds the threshold asks for more pairs. Only where there are no
more does the point estimate decide.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from qc_reports.agreement.coefficients import kappa_standard_errors, kappas_of_tables

Z = 1.2816
"""Half-width of the deciding interval in standard errors: one look passes each end by chance once in ten. Over both
sets, up to four looks, somebody with a true kappa of 0.58 is certified in 24 %, one with 0.75 is not in 5 %."""
Outcome = Literal["certified", "refused", "undecided"]


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

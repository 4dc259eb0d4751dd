"""Claim: of batches whose people are typical, fewer than one in twenty is held for its alpha, however small it is; of
batches in which half of the answers are random, most are.

Batches of 50 and of 200 pairs with two answers each, simulated by the model of `robopref plan` (typical people: alpha
0.6). `tested` is the default: a batch is held when even the upper end of alpha's 95 % interval is below
`quality.min_alpha`. `protocol` compares alpha itself. Random answers are those that a person gives without looking.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from preference.config import Quality
from qc_reports.agreement.coefficients import SCALE, krippendorff_alpha
from qc_reports.annotators.reviews import review_status
from qc_reports.planning import Crew, crew, simulated_votes
from qc_reports.report.gate import gate

BATCHES, PEOPLE = 400, 8
SIZES = (50, 200)
RANDOM = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Share of answers that are given without looking."""
MOST_FALSE, LEAST_CAUGHT = 0.05, 0.5


def careless(people: Crew, share: float) -> Crew:
    """The same people, each of whom answers this share of pairs without looking."""
    reliability = (1 - share) * people.reliability + share * np.array([0.0, 1.0, 0.0])
    return replace(people, reliability=reliability)


def held(people: Crew, pairs: int, rules: Sequence[Quality], rng: np.random.Generator) -> np.ndarray:
    """(R,) share of the simulated batches that each rule holds."""
    found = np.zeros(len(rules))
    for _ in range(BATCHES):
        kind = rng.choice(len(people.frequency), size=pairs, p=people.frequency)
        counts, _ = simulated_votes(people, kind, 2, rng)
        said = [np.repeat(SCALE, row).tolist() for row in counts]
        ballots = {str(i): dict(zip("xy", row, strict=True)) for i, row in enumerate(said)}
        alpha = krippendorff_alpha(ballots, draws=Quality().bootstrap, rng=rng)
        asked = {"": alpha}
        nobody = review_status([], [])
        found += [gate(asked, [], rule, waiting=0, where=nobody)[0] == "held" for rule in rules]
    return found / BATCHES


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rules = [Quality(), Quality(flags="protocol")]
    typical = crew([], PEOPLE)
    print(f"{'pairs':>5}{'random answers':>16}{'held: tested':>14}{'protocol':>10}")
    rows = []
    for pairs in SIZES:
        for share in RANDOM:
            rng = np.random.default_rng([pairs, int(100 * share)])
            tested, protocol = held(careless(typical, share), pairs, rules, rng)
            rows.append({"pairs": pairs, "random": share, "tested": tested, "protocol": protocol})
            print(f"{pairs:>5}{share:>16.0%}{tested:>14.1%}{protocol:>10.1%}", flush=True)
    met = all(row["tested"] <= MOST_FALSE for row in rows if row["random"] == 0.0)
    met &= all(row["tested"] >= LEAST_CAUGHT for row in rows if row["random"] >= 0.5)
    target = f"held: at most {MOST_FALSE:.0%} of typical batches, at least {LEAST_CAUGHT:.0%} where half is random"
    print(json.dumps({"name": "gate", "figures": {"rows": rows}, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()

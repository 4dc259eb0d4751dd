"""Claim: labels weighted by reliability (`quality.resolution = "dawid_skene"`) are right on at least 3 points more
pairs than the vote where 30 % of the people click at random, with two and with three votes a pair, and are never behind
it by more than 0.5 points where fewer do, or nobody.

Ten people, 200 judgments each (tests/makers/qc_maker.py). A vote that is split counts as right in as many cases as
drawing lots would be; the product asks a third person there.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from qc_reports.agreement.coefficients import SCALE
from qc_reports.agreement.pair_model import fit_pairs
from qc_reports.agreement.vote_table import table_of

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests" / "makers"))

from qc_maker import draw_crowd

SEEDS, GAIN, BEHIND = 20, 0.03, 0.005
CARELESS = (0.0, 0.1, 0.3)


def measure(votes: int, careless: float, seed: int) -> tuple[float, float]:
    """Share of pairs that the vote, and the model, have right."""
    ballots, truth, strata = draw_crowd(seed, votes=votes, careless=careless)
    table = table_of(ballots)
    right = np.array([SCALE.index(truth[pair_id]) for pair_id in table.pair_ids])
    counts = np.stack([np.bincount(table.pair, table.answer == k, len(right)) for k in range(3)], axis=1)
    tops = counts == counts.max(axis=1, keepdims=True)
    by_vote = (tops / tops.sum(axis=1, keepdims=True))[np.arange(len(right)), right].mean()
    best = fit_pairs(table, [strata[pair_id] for pair_id in table.pair_ids]).best.argmax(axis=1)
    return float(by_vote), float((best == right).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", type=int, nargs="?", default=SEEDS, help=f"Crowds a row; default: {SEEDS:,}.")
    seeds = parser.parse_args().seeds
    print(f"{'votes':>6}{'careless':>10}{'vote':>9}{'model':>9}{'gain':>9}{'s.e.':>8}")
    rows = []
    for votes in (2, 3):
        for careless in CARELESS:
            found = np.array([measure(votes, careless, seed) for seed in range(seeds)])
            gains = found[:, 1] - found[:, 0]
            row = {"votes": votes, "careless": careless, "vote": found[:, 0].mean(), "model": found[:, 1].mean(),
                   "gain": gains.mean(), "se": gains.std(ddof=1) / np.sqrt(seeds)}  # fmt: skip
            rows.append({key: round(float(value), 4) for key, value in row.items()})
            print(f"{votes:>6}{careless:>10.0%}{row['vote']:>9.1%}{row['model']:>9.1%}{row['gain']:>+9.1%}{row['se']:>8.1%}",
                  flush=True)  # fmt: skip
    met = all(row["gain"] >= (GAIN if row["careless"] == max(CARELESS) else -BEHIND) for row in rows)
    target = f"{GAIN:.0%} more pairs right with 30 % careless, never {BEHIND:.1%} fewer"
    print(json.dumps({"name": "labels", "figures": {"seeds": seeds, "rows": rows}, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()

"""Claims: the server's clock flags fewer than 2 in 1,000 honest, fast people, and every program that answers for
somebody within 200 answers, also where it sends only every fourth of them (tests/makers/clock_maker.py).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from preference.records import Judgment
from qc_reports.agreement.exact_tests import interval_of_share
from qc_reports.annotators.clock import clock_flags, impossible
from qc_reports.answers import Answered

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests" / "makers"))

from clock_maker import cheat, honest, lengths

PEOPLE = 3000
CHEATS: dict[str, dict[str, Any]] = {
    "0.1 s apart, 9 s claimed, unseen": {},
    "3.2 s apart, seen claimed": {"every_s": 3.2, "claims_s": 3.1, "seen": True},
    "3.2 s apart, no record of watching": {"every_s": 3.2, "claims_s": 3.1, "record": False},
    "every fourth by a program": {"share": 0.25},
}


def flagged(
    judgments: Sequence[Judgment], beside: Any, moving: dict[str, float], *, to_end: bool
) -> tuple[bool, float]:
    """Whether the person is flagged, and their share of impossible answers."""
    found = impossible(judgments, beside, moving, demanded=to_end)
    answers = [
        replace(Answered(j.pair_id, j.annotator_id, "A"), impossible=found.get(j.assignment_id)) for j in judgments
    ]
    return bool(clock_flags(answers)), sum(found.values()) / max(1, len(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "people", type=int, nargs="?", default=PEOPLE, help=f"Honest people a row; default: {PEOPLE:,}."
    )
    people = parser.parse_args().people
    rows: list[dict[str, Any]] = []
    for to_end in (True, False):
        rngs = [np.random.default_rng([seed, to_end]) for seed in range(people)]
        results = [flagged(*honest(rng, moving, to_end=to_end), moving, to_end=to_end)
                   for rng in rngs if (moving := lengths(rng))]  # fmt: skip
        who = "honest, clips watched to the end" if to_end else "honest, answers as soon as they know"
        rows.append({"who": who, "flagged": sum(hit for hit, _ in results), "of": people,
                     "impossible": float(np.mean([share for _, share in results]))})  # fmt: skip
    for who, how in CHEATS.items():
        rngs = [np.random.default_rng([seed, 2]) for seed in range(people // 10)]
        results = [
            flagged(cheat(rng, moving, **how), [], moving, to_end=True) for rng in rngs if (moving := lengths(rng))
        ]
        rows.append({"who": who, "flagged": sum(hit for hit, _ in results), "of": people // 10,
                     "impossible": float(np.mean([share for _, share in results]))})  # fmt: skip
    print(f"{'who':<40}{'flagged':>9}{'of':>7}{'95 % interval':>18}{'impossible answers':>21}")
    for row in rows:
        row["low"], row["high"] = interval_of_share(row["flagged"], row["of"])
        print(f"{row['who']:<40}{row['flagged']:>9}{row['of']:>7}{row['low']:>9.2%} to {row['high']:<6.2%}"
              f"{row['impossible']:>18.2%}")  # fmt: skip
    met = all(row["high"] < 0.002 for row in rows[:2]) and all(row["flagged"] == row["of"] for row in rows[2:])
    target = "honest people flagged: the interval ends under 0.2 %; every cheat flagged"
    print(json.dumps({"name": "clock", "figures": {"rows": rows}, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()

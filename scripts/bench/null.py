"""Claim: where everybody is alike, hardly anybody is accused: fewer than 0.5 people a run of 79, on average.

Real judgments (sigir2010: 79 workers, 281 pairs, ten votes each; PandaLM: three annotators, 999 pairs) are dealt out
anew among those who answered the same pair. Then nobody differs from anybody else but by luck, and every flag is
false; but pairs stay as hard as they are, people answer as many as they did, and in the order they did, or in a random
one. With ten, five, three and two votes a pair; two are what the product asks for.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from preference.config import Quality
from qc_reports.annotators.examine import flags
from qc_reports.annotators.statistics import annotator_stats
from qc_reports.answers import Answered

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests" / "makers"))

from real_judgments import PANDALM, SIGIR2010, exchangeable, pandalm, sigir2010

RUNS, MOST = 40, 0.5
QUALITY = Quality()


def accused(answers: list[Answered], seed: int) -> list[tuple[str, str]]:
    """(annotator, kind) of every flag."""
    found = flags(answers, annotator_stats(answers, QUALITY), QUALITY, rng=np.random.default_rng(seed))
    return [(flag.annotator_id, flag.kind) for flag in found]


def measure(
    answers: list[Answered], votes: int, runs: int, *, shuffle_order: bool
) -> tuple[float, float, Counter[str]]:
    """Mean number of people accused in a run, share of runs in which anybody is, and how often for what."""
    people, any_of_them, kinds = 0, 0, Counter[str]()
    for seed in range(runs):
        rng = np.random.default_rng([seed, votes])
        found = accused(exchangeable(answers, votes, rng, shuffle_order=shuffle_order), seed)
        people += len({name for name, _ in found})
        any_of_them += bool(found)
        kinds.update(kind for _, kind in found)
    return people / runs, any_of_them / runs, kinds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=int, nargs="?", default=RUNS, help=f"Runs a row; default: {RUNS:,}.")
    runs = parser.parse_args().runs
    if not SIGIR2010.exists():
        print(json.dumps({"name": "null", "figures": {}, "target": f"{SIGIR2010.name} is not here", "met": None}))
        return
    data = [("sigir2010", sigir2010(), (10, 5, 3, 2)), ("PandaLM", pandalm() if PANDALM.exists() else [], (3, 2))]
    print(f"{'data':<11}{'votes':>6}{'order':>9}{'accused a run':>15}{'runs with any':>15}   for what")
    rows = []
    for name, answers, votes in data:
        for count in votes if answers else ():
            for shuffle_order in (False, True):
                mean, share, kinds = measure(answers, count, runs, shuffle_order=shuffle_order)
                order = "random" if shuffle_order else "file"
                said = ", ".join(f"{kind} {n / runs:.2f}" for kind, n in kinds.most_common())
                print(f"{name:<11}{count:>6}{order:>9}{mean:>15.2f}{share:>15.0%}   {said}", flush=True)
                rows.append({"data": name, "votes": count, "order": order, "accused": mean, "runs_with_any": share})
    target = f"fewer than {MOST:g} people accused a run, on average"
    met = all(row["accused"] < MOST for row in rows)
    print(json.dumps({"name": "null", "figures": {"runs": runs, "rows": rows}, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()

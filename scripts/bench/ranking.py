"""Claims: from 100,000 trajectories (5·10⁹ pairs) every strategy finds the next 100 in under 2 s and under 1 GB on one
core, with 50,000 pairs asked before; and from 10⁵ to 10⁶ the time grows no faster than N log N, give or take a
quarter.

Pools of 10³ to 10⁶ trajectories in ten task types, with 160 last-layer features (five members of width 32) and, for
`v_optimal`, the 364 features of its Bayesian model (a state of 39 values, an action of 4 and a frame of 16, summarized
in four ways, and 128 radial ones), each in a process of its own, whose peak memory counts everything: the interpreter,
the pool, the ranking. Fitting that model to the labels is not in it. Beside it, in the same run, a plain sort
of the rewards, which no exact rule can go below, and where it fits, brute force for the closest pairs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from ml_backend.ranking import STRATEGIES, Design, PoolScores, rank_pairs

SIZES = (1_000, 10_000, 100_000, 1_000_000)
BRUTE_FORCE_UP_TO = 10_000
COUNT, FEATURES, DESIGN_FEATURES, MEMBERS, TASKS, ASKED = 100, 160, 364, 5, 10, 50_000
AT, MOST_S, MOST_GB = 100_000, 2.0, 1.0
SLACK = 1.25


def pool(n: int) -> PoolScores:
    rng = np.random.default_rng(n)
    phi = rng.standard_normal((n, FEATURES))
    members = rng.standard_normal((MEMBERS, FEATURES)) / math.sqrt(FEATURES) @ phi.T
    summaries = rng.standard_normal((n, DESIGN_FEATURES)) / math.sqrt(DESIGN_FEATURES)
    plan = Design(summaries, summaries @ rng.standard_normal(DESIGN_FEATURES))
    tasks = tuple(f"task {i % TASKS}" for i in range(n))
    return PoolScores(tuple(map(str, range(n))), tasks, members, phi, design=plan)


def measure(n: int) -> dict[str, Any]:
    """Seconds of each strategy, of a sort and of brute force, and peak memory of this process in GB."""
    scores = pool(n)
    rng = np.random.default_rng(0)
    count = min(ASKED, n)
    asked = {frozenset(map(str, pair)) for pair in rng.integers(n, size=(count, 2)).tolist() if pair[0] != pair[1]}
    row: dict[str, Any] = {"n": n}
    for strategy in STRATEGIES:
        fresh = dataclasses.replace(scores)  # without what an earlier strategy has made it keep
        row[strategy] = seconds(
            lambda s=strategy, p=fresh: rank_pairs(
                p, COUNT, strategy=s, asked=asked, audit=0.1, within_sd=0.5, rng=np.random.default_rng(0)
            )
        )
    row["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    row["sort"] = seconds(lambda: np.sort(scores.rewards))
    row["brute_force"] = seconds(lambda: brute_force(scores.rewards)) if n <= BRUTE_FORCE_UP_TO else None
    return row


def seconds(work: Any) -> float:
    """Of this process alone: other work on the machine does not count."""
    start = time.process_time()
    work()
    return time.process_time() - start


def brute_force(rewards: np.ndarray) -> None:
    a, b = np.triu_indices(len(rewards), 1)
    np.argpartition(np.abs(rewards[a] - rewards[b]), COUNT)


def growth(rows: list[dict[str, Any]], strategy: str) -> float:
    """Time over N log N at the largest size, in units of that at the size before."""
    before, last = rows[-2:]
    per = [row[strategy] / (row["n"] * math.log(row["n"])) for row in (before, last)]
    return per[1] / per[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    columns = [*STRATEGIES, "sort", "brute_force", "peak_gb"]
    print(f"{'N':>9} " + " ".join(f"{name:>12}" for name in columns))
    rows = []
    for n in SIZES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
            row = own.submit(measure, n).result()
        rows.append(row)
        print(f"{n:>9} " + " ".join(f"{'–':>12}" if row[c] is None else f"{row[c]:>12.3f}" for c in columns))
    grown = {strategy: growth(rows, strategy) for strategy in STRATEGIES}
    print("time over N log N, 10⁶ against 10⁵: " + ", ".join(f"{name} {value:.2f}" for name, value in grown.items()))
    at = next(row for row in rows if row["n"] == AT)
    met = max(at[s] for s in STRATEGIES) < MOST_S and at["peak_gb"] < MOST_GB and max(grown.values()) < SLACK
    target = f"100,000 trajectories: every strategy under {MOST_S:g} s and {MOST_GB:g} GB; grows like N log N"
    print(json.dumps({"name": "ranking", "figures": {"rows": rows, "growth": grown}, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()

"""Claim: 10,000 stratified pairs are sampled from 100,000 ranked trajectories in under 2 s on one core.

For pools of 10³ to 10⁶ trajectories; the time must grow with the pairs and the pool, not with the pairs that there are.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from importer.pairs.sampling import sample_pairs
from importer.pool.quality import quartiles
from preference.records import Stratum, Trajectory

SIZES = (1_000, 10_000, 100_000, 1_000_000)
COUNT = 10_000
STRATA: dict[Stratum, float] = {"adjacent": 0.4, "same": 0.3, "distant": 0.3}


def pool(size: int) -> list[Trajectory]:
    """Five task types of equal size."""
    rng = np.random.default_rng(size)
    quality = rng.random(size)
    ranks = np.concatenate([quartiles(part) for part in np.array_split(quality, 5)])
    return [
        Trajectory(f"t-{i:07d}", "d", i, "expert", f"task-{i * 5 // size}", quality=float(q), quartile=int(r))
        for i, (q, r) in enumerate(zip(quality, ranks, strict=True))
    ]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(f"{'trajectories':>13} {'pairs there are':>16} {'seconds':>8}")
    rows = []
    for size in SIZES:
        trajectories = pool(size)
        count = min(COUNT, size * 5)
        start = time.perf_counter()
        pairs = sample_pairs(trajectories, count, strata=STRATA, rng=np.random.default_rng(0), batch_id="b")
        seconds = time.perf_counter() - start
        rows.append({"trajectories": size, "pairs": len(pairs), "seconds": seconds})
        print(f"{size:>13} {5 * (size // 5) * (size // 5 - 1) // 2:>16} {seconds:>8.2f}")
    at = next(row["seconds"] for row in rows if row["trajectories"] == 100_000)
    target = "10,000 pairs of 100,000 trajectories: under 2 s"
    print(json.dumps({"name": "pairs", "figures": {"rows": rows}, "target": target, "met": at < 2}))
    sys.exit(0 if at < 2 else 1)


if __name__ == "__main__":
    main()

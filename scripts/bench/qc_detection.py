"""Claims: by 200 judgments, a random clicker, one who always takes the left, one who is too fast, a copycat, a good one
who turns bad half-way and one who swapped the sides are each flagged for the right reason in at least 95 % of seeds;
an honest but strict annotator, and the other honest ones, in fewer than 5 %.

Teams of four honest people, one of them strict, and the faulty one; two or three annotators a pair
(tests/makers/qc_maker.py).
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from preference.config import Quality
from qc_reports.annotators.flags import flags
from qc_reports.annotators.statistics import annotator_stats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests" / "makers"))

from qc_maker import draw_batch

SEEDS = 200
REASONS = {
    "clicker": {"guessing", "gold"}, "lefty": {"side_bias"}, "fast": {"speed"}, "copycat": {"copy"},
    "turncoat": {"turned"}, "swapped": {"swapped"},
}  # fmt: skip
"""Fault → the flags that name it."""
QUALITY = Quality()


def kinds(seed: int, fault: str, overlap: int) -> dict[str, set[str]]:
    """Annotator → the kinds of their flags."""
    answers, _ = draw_batch(seed, fault, overlap=overlap)
    found: dict[str, set[str]] = {}
    for flag in flags(answers, annotator_stats(answers, QUALITY), QUALITY, rng=np.random.default_rng(seed)):
        found.setdefault(flag.annotator_id, set()).add(flag.kind)
    return found


def measure(fault: str, overlap: int, seeds: int) -> dict[str, float | str]:
    """Shares of the seeds: the fault named, somebody strict flagged; and of all other honest people, those flagged."""
    named = strict = honest = 0
    all_kinds: Counter[str] = Counter()
    for seed in range(seeds):
        found = kinds(seed, fault, overlap)
        own = found.pop(fault, set())
        all_kinds.update(own)
        named += bool(own & REASONS.get(fault, set()))
        strict += "strict" in found
        honest += sum(name != "strict" for name in found)
    common = ", ".join(f"{kind} {count / seeds:.0%}" for kind, count in all_kinds.most_common(4))
    return {"fault": fault or "nobody", "overlap": overlap, "named": named / seeds if fault else float("nan"),
            "strict": strict / seeds, "honest": honest / seeds / 3, "kinds": common}  # fmt: skip


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS
    print(f"{'planted':<10}{'overlap':>8}{'named':>9}{'strict flagged':>16}{'honest flagged':>16}   what was said")
    rows = []
    for overlap in (2, 3):
        for fault in ("", *REASONS):
            row = measure(fault, overlap, seeds)
            rows.append(row)
            named = f"{row['named']:.1%}" if fault else "–"
            print(
                f"{row['fault']:<10}{overlap:>8}{named:>9}{row['strict']:>16.1%}{row['honest']:>16.1%}   {row['kinds']}"
            )
    met = all(row["named"] >= 0.95 for row in rows if row["fault"] != "nobody")
    met = met and all(max(row["strict"], row["honest"]) < 0.05 for row in rows)
    for row in rows:
        row["named"] = None if row["fault"] == "nobody" else row["named"]
    target = "each fault named in 95 % of seeds or more; a strict or another honest annotator flagged in under 5 %"
    print(json.dumps({"name": "qc_detection", "figures": {"seeds": seeds, "rows": rows}, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()

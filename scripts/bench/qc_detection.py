"""Claims: by 200 judgments, a random clicker, one who always takes the left, one who is too fast, a copycat, a good one
who turns bad half-way and one who swapped the sides are each flagged for the right reason in at least 95 % of seeds;
an honest but strict annotator, and the other honest ones, in fewer than 5 %; also where pairs are as differently hard
as sigir2010's. And where 0, 10, 20 or 28 % of gold is wrong, honest people are accused in fewer than 5 %, and the
suspicion of gold is said in at least 95 % of seeds from 15 % on. And who answers only repeats at random, at one repeat
a batch, is flagged for it within 20 batches in at least 75 % of campaigns. Where each flag is reviewed and the answers
are kept, that takes two reviews at most on average, and anybody honest is flagged in fewer than 5 % of batches.

Teams of four honest people, one of them strict, and the faulty one; two or three annotators a pair
(tests/makers/qc_maker.py).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from preference.config import Quality
from preference.records import Review
from qc_reports.annotators.examine import Examination, examine
from qc_reports.annotators.history import batches_before
from qc_reports.annotators.statistics import annotator_stats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests" / "makers"))

from qc_maker import draw_batch, draw_campaign

SEEDS = 60
REASONS = {
    "clicker": {"guessing", "gold"}, "lefty": {"side_bias"}, "fast": {"speed"}, "copycat": {"copy"},
    "turncoat": {"turned"}, "swapped": {"swapped"},
}  # fmt: skip
"""Fault → the flags that name it."""
WRONG = (0.0, 0.1, 0.15, 0.2, 0.28)
"""Shares of gold that are wrong; 28 % is what quartiles without success or return come to."""
SAID_FROM = 0.15
SMALL, REPEATER_NAMED, REVIEWS = 20, 0.75, 2.0
"""Batches of 50 pairs in a campaign; share of campaigns in which who repeats at random is named; reviews of that person
in a campaign, on average, if each keeps the answers."""
QUALITY = Quality()


def examined(
    seed: int, fault: str, overlap: int, *, broad: bool = False, wrong_gold: float = 0.0
) -> tuple[Examination, dict[str, set[str]]]:
    """And annotator → the kinds of their flags."""
    answers, _ = draw_batch(seed, fault, overlap=overlap, broad=broad, wrong_gold=wrong_gold)
    found = examine(answers, annotator_stats(answers, QUALITY), QUALITY, rng=np.random.default_rng(seed))
    kinds: dict[str, set[str]] = {}
    for flag in found.flags:
        kinds.setdefault(flag.annotator_id, set()).add(flag.kind)
    return found, kinds


def planted(fault: str, overlap: int, seeds: int, *, broad: bool) -> dict[str, float | str | bool]:
    """Shares of the seeds: the fault named, its person flagged for anything, somebody strict flagged; and of all other
    honest people, those flagged."""
    named = flagged = strict = honest = 0
    all_kinds: Counter[str] = Counter()
    for seed in range(seeds):
        _, found = examined(seed, fault, overlap, broad=broad)
        own = found.pop(fault, set())
        all_kinds.update(own)
        named += bool(own & REASONS.get(fault, set()))
        flagged += bool(own)
        strict += "strict" in found
        honest += sum(name != "strict" for name in found)
    common = ", ".join(f"{kind} {count / seeds:.0%}" for kind, count in all_kinds.most_common(4))
    shares = {"named": named / seeds if fault else 1.0, "flagged": flagged / seeds, "strict": strict / seeds,
              "honest": honest / seeds / 3}  # fmt: skip
    return {"fault": fault or "nobody", "overlap": overlap, "broad": broad, **shares, "kinds": common}


def wrong_gold(share: float, overlap: int, seeds: int) -> dict[str, float]:
    """Four honest people and gold of which a share is wrong: people accused, and seeds in which gold is suspended."""
    accused = said = 0
    for seed in range(seeds):
        found, kinds = examined(seed, "", overlap, wrong_gold=share)
        accused += len(kinds)
        said += found.gold.suspended
    return {"wrong": share, "overlap": overlap, "honest": accused / seeds / 4, "said": said / seeds}


def small_batches(seeds: int) -> dict[str, Any]:
    """Campaigns of batches with one repeat a person, where each flag is reviewed at once and the answers are kept: by
    when who repeats at random is flagged for it, and how many reviews of them there are; the share of batches in which
    somebody honest is flagged for anything, and of the honest who ever are."""
    named, reviewed, batches_with, ever = [], 0, 0, 0
    for seed in range(seeds):
        reviews: list[Review] = []
        batches = draw_campaign(seed, "repeater", SMALL)
        order = [answers[0].batch_id for answers in batches]
        everything = [a for answers in batches for a in answers]
        for batch_id, answers in zip(order, batches, strict=True):
            found = examine(answers, annotator_stats(answers, QUALITY), QUALITY, rng=np.random.default_rng(seed),
                            earlier=batches_before(order, batch_id, everything, reviews)).flags  # fmt: skip
            for name, own in groupby(found, key=lambda flag: flag.annotator_id):
                reviews.append(Review(batch_id, name, "keep", [flag.kind for flag in own], "maria", "", "measured"))
        own = [review for review in reviews if review.annotator_id == "repeater"]
        first = [order.index(review.batch_id) + 1 for review in own if "self_consistency" in review.kinds]
        named.append(min(first, default=SMALL + 1))
        reviewed += len(own)
        batches_with += len({review.batch_id for review in reviews if review.annotator_id != "repeater"})
        ever += len({review.annotator_id for review in reviews} - {"repeater"})
    within = {n: float(np.mean(np.array(named) <= n)) for n in (8, 12, 16, SMALL)}
    return {"campaigns": seeds, "within": within, "reviews": reviewed / seeds, "honest": batches_with / seeds / SMALL,
            "honest_ever": ever / seeds / 4}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", type=int, nargs="?", default=SEEDS, help=f"Teams a row; default: {SEEDS:,}.")
    seeds = parser.parse_args().seeds
    print(
        f"{'planted':<10}{'overlap':>8}{'pairs':>7}{'named':>8}{'flagged':>9}"
        f"{'strict flagged':>16}{'honest flagged':>16}   for what"
    )
    rows, gold = [], []
    for broad in (False, True):
        for overlap in (2, 3):
            for fault in ("", *REASONS):
                row = planted(fault, overlap, seeds, broad=broad)
                rows.append(row)
                named, any_flag = (f"{row[key]:.1%}" if fault else "–" for key in ("named", "flagged"))
                pairs = "broad" if broad else "alike"
                print(f"{row['fault']:<10}{overlap:>8}{pairs:>7}{named:>8}{any_flag:>9}{row['strict']:>16.1%}"
                      f"{row['honest']:>16.1%}   {row['kinds']}", flush=True)  # fmt: skip
    print(f"\n{'gold wrong':<10}{'overlap':>8}{'honest flagged':>16}{'suspended':>12}")
    for overlap in (2, 3):
        for share in WRONG:
            found = wrong_gold(share, overlap, seeds)
            gold.append(found)
            print(f"{share:<10.0%}{overlap:>8}{found['honest']:>16.1%}{found['said']:>12.1%}", flush=True)
    small = small_batches(max(1, seeds // 3))
    print(f"\nrepeats at random, one a batch, {small['campaigns']} campaigns: named "
          + ", ".join(f"within {n} batches {share:.0%}" for n, share in small["within"].items())
          + f"; {small['reviews']:.2f} reviews each; somebody honest flagged in {small['honest']:.1%} of batches, "
          + f"{small['honest_ever']:.1%} of the honest ever")  # fmt: skip
    met = all(row["named"] >= 0.95 and max(row["strict"], row["honest"]) < 0.05 for row in rows)
    met = met and all(row["honest"] < 0.05 and (row["said"] >= 0.95 or row["wrong"] < SAID_FROM) for row in gold)
    met = met and small["within"][SMALL] >= REPEATER_NAMED and small["honest"] < 0.05 and small["reviews"] <= REVIEWS
    target = (
        "each fault named in 95 % of seeds or more; honest people, strict ones too, flagged in under 5 %, also with "
    )
    target += "wrong gold, which is said in 95 % of seeds from 15 % on; random repeats, one a batch, named in 75 %, "
    target += "with two reviews each at most"
    figures = {"seeds": seeds, "rows": rows, "gold": gold, "small_batches": small}
    print(json.dumps({"name": "qc_detection", "figures": figures, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()

"""Claim: where pairs are as differently hard as sigir2010's, no test names every fault in 95 % of 200-judgment batches
while it flags under 5 % of honest people. So what `qc_detection.py` asks of the product there cannot be reached.

The best test there is, by Neyman and Pearson, is the likelihood ratio of a person's answers, each beside the others'
to the same pair, for somebody who knows how the simulation draws pairs, people and faults: the tables are counted on
other batches of tests/makers/qc_maker.py. It knows that people are honest, strict or faulty in one known way, and when
the turncoat turned. Only repeats are not used. The threshold is the one at which the given share of honest people, or
of strict ones, would be flagged.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from preference.records import OPPOSITE, Answer
from qc_reports.answers import Answered

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests" / "makers"))

from qc_maker import draw_batch

BATCHES, LEARNED_FROM = 150, 1000
"""Batches to judge the test on, and the first seed of as many others to count the tables on."""
FAULTS = ("clicker", "turncoat", "swapped")
"""Of which the product names fewer than 95 % there, or did."""
HONEST, STRICT = ("honest0", "honest1", "honest2"), ("strict",)
ALLOWED = (0.01, 0.05)
TARGET = 0.95
Cell = tuple[str, str, tuple[str, ...]]
"""Gold or the stratum, the person's answer, the others' answers."""


def cells(answers: list[Answered], name: str, since: float = 0.0) -> Iterator[Cell]:
    """What `name` answered after a share of their answers. Gold is turned so that A is right; which trajectory of
    another pair is called A says nothing, so both ways are one cell."""
    said: dict[str, dict[str, Answer]] = defaultdict(dict)
    for answer in answers:
        if not answer.duplicate:
            said[answer.pair_id][answer.annotator_id] = answer.preference
    own = [answer for answer in answers if answer.annotator_id == name]
    for answer in own[round(since * len(own)) :]:
        if answer.duplicate:
            continue
        words: list[Answer] = [answer.preference, *(word for who, word in said[answer.pair_id].items() if who != name)]
        other_way: list[Answer] = [OPPOSITE[word] for word in words]
        one, two = ((kind_of(answer), first, tuple(sorted(rest))) for first, *rest in (words, other_way))
        if one[0] == "gold":
            yield two if answer.expected == "B" else one
        else:
            yield min(one, two)


def kind_of(answer: Answered) -> str:
    return "gold" if answer.expected else answer.stratum


def table(fault: str, people: Iterable[str], overlap: int, since: float) -> Callable[[Cell], float]:
    """Log probability of a cell within its kind of pair."""
    counts: Counter[Cell] = Counter()
    for seed in range(LEARNED_FROM, LEARNED_FROM + BATCHES):
        answers, _ = draw_batch(seed, fault, overlap=overlap, broad=True)
        for name in people:
            counts.update(cells(answers, name, since))
    kinds: Counter[str] = Counter()
    for (kind, _, _), count in counts.items():
        kinds[kind] += count
    return lambda cell: float(np.log((counts[cell] + 0.5) / (kinds[cell[0]] + 10.0)))


def power(fault: str, overlap: int) -> dict[float, float]:
    """Allowed share of honest people → share of the faulty ones that the best test names."""
    since = 0.5 if fault == "turncoat" else 0.0
    faulty, honest, strict = (
        table(planted, people, overlap, since) for planted, people in ((fault, [fault]), ("", HONEST), ("", STRICT))
    )
    ratios: dict[str, list[float]] = defaultdict(list)
    for seed in range(BATCHES):
        answers, _ = draw_batch(seed, fault, overlap=overlap, broad=True)
        for name in (fault, *HONEST, *STRICT):
            kind, own = "honest" if name in HONEST else name, list(cells(answers, name, since))
            best, *innocent = (sum(map(probability, own)) for probability in (faulty, honest, strict))
            ratios[kind].append(best - max(innocent))
    found = {}
    for share in ALLOWED:
        threshold = max(np.quantile(ratios[kind], 1 - share) for kind in ("honest", "strict"))
        found[share] = float(np.mean(np.array(ratios[fault]) > threshold))
    return found


def main() -> None:
    rows = []
    print(f"{'planted':<10}{'overlap':>8}" + "".join(f"{f'at {share:.0%} of honest':>18}" for share in ALLOWED))
    for overlap in (2, 3):
        for fault in FAULTS:
            found = power(fault, overlap)
            rows.append({"fault": fault, "overlap": overlap, **{f"{share:.0%}": p for share, p in found.items()}})
            print(f"{fault:<10}{overlap:>8}" + "".join(f"{p:>18.1%}" for p in found.values()), flush=True)
    met = any(row["5%"] < TARGET for row in rows)
    target = "for some fault the best test stays under 95 % at 5 % of honest people flagged"
    figures = {"batches": BATCHES, "rows": rows}
    print(json.dumps({"name": "detection_bound", "figures": figures, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()

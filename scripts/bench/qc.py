"""Claim: 100,000 judgments by 50 annotators are checked, with 1,000 bootstrap draws, in under 30 s on two cores.

The whole of `robopref qc --judgments`: read the CSV file, statistics, flags, alpha with its interval, kappas, labels,
report.html and the figures as files; with two annotators a pair, gold pairs, second showings, times and confidence.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from preference.config import Quality
from qc_reports.answers import Answered
from qc_reports.report.judgments_file import check_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tests" / "makers"))

from qc_maker import draw_batch

SIZES = (2_000, 10_000, 100_000)
ANNOTATORS, DRAWS, SECONDS = 50, 1_000, 30
COLUMNS = ("annotator_id", "preference", "confidence", "response_time_ms", "left", "created_at", "stratum", "task_type")


def write_csv(path: Path, answers: list[Answered]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["pair_id", "duplicate_of", "gold", *COLUMNS])
        for a in answers:
            shown = (f"{a.pair_id}-again", a.pair_id) if a.duplicate else (a.pair_id, "")
            writer.writerow([*shown, a.expected or "", *(getattr(a, column) for column in COLUMNS)])


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    quality = Quality(bootstrap=DRAWS)
    rows = []
    print(f"{'judgments':>10}{'annotators':>12}{'pairs':>8}{'draws':>7}{'seconds':>9}{'memory, MB':>12}")
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            answers, _ = draw_batch(0, "clicker", judgments=size // ANNOTATORS, honest=ANNOTATORS - 2)
            path = Path(folder) / f"{size}.csv"
            write_csv(path, answers)
            start = time.perf_counter()
            report = check_file(path, quality, rng=np.random.default_rng(0), out=Path(folder) / "report")
            seconds = time.perf_counter() - start
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            rows.append({"judgments": report.judgments, "annotators": report.annotators, "pairs": report.pairs,
                         "seconds": round(seconds, 2)})  # fmt: skip
            print(
                f"{report.judgments:>10}{report.annotators:>12}{report.pairs:>8}{DRAWS:>7}{seconds:>9.2f}{memory:>12.0f}"
            )
    met = rows[-1]["seconds"] < SECONDS
    target = f"100,000 judgments by {ANNOTATORS} annotators, {DRAWS} draws: under {SECONDS} s"
    print(json.dumps({"name": "qc", "figures": {"rows": rows}, "target": target, "met": met}))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()

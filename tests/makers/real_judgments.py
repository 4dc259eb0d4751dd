"""Real judgments with several votes a pair, kept outside the repository: sigir2010 (79 workers) and PandaLM (three)."""

import csv
import json
from dataclasses import replace

from paths import DATA

from qc_reports.answers import Answered

SIGIR2010 = DATA / "sigir2010_music" / "judgments.csv"
PANDALM = DATA / "pandalm" / "testset-v1.json"


def sigir2010():
    """2,805 answers of 79 workers to 281 pairs, ten to nearly every pair, with their times; A stood on the left."""
    words = {"a": "A", "b": "B", "s": "equal"}
    with SIGIR2010.open(encoding="latin-1", newline="") as file:
        return [
            Answered("|".join(row[f"Input.{part}"] for part in ("query", "docA", "docB")), row["WorkerId"],
                     words[row["Answer.radio"]], response_time_ms=1000 * int(row["WorkTimeInSeconds"]), left="A")
            for row in csv.DictReader(file)
            if row["Answer.radio"]
        ]  # fmt: skip


def pandalm():
    """2,997 answers of three annotators to 999 pairs."""
    words = {1: "A", 2: "B", 0: "equal"}
    rows = json.loads(PANDALM.read_text(encoding="utf-8"))
    return [Answered(str(row["idx"]), f"annotator{k}", words[int(row[f"annotator{k}"])], left="A")
            for row in rows for k in (1, 2, 3)]  # fmt: skip


def exchangeable(answers, votes, rng, *, shuffle_order):
    """`votes` answers of each pair at most, what was said dealt out anew among those who said it: nobody differs from
    anybody else but by luck."""
    by_pair = {}
    for answer in answers:
        by_pair.setdefault(answer.pair_id, []).append(answer)
    kept = []
    for ballot in by_pair.values():
        some = [ballot[i] for i in sorted(rng.permutation(len(ballot))[:votes])]
        for person, said in zip(some, rng.permutation(len(some)), strict=True):
            other = some[said]
            kept.append(replace(other, annotator_id=person.annotator_id))
    if shuffle_order:
        return [kept[i] for i in rng.permutation(len(kept))]
    return kept

"""`robopref qc --judgments` on real judgments with published answers, and on every kind of file that is not right."""

import csv
import json

import pytest
from cli_maker import robopref
from paths import DATA

from preference.config import Quality

KEYS = ["pairs", "judgments", "annotators", "alpha", "kappa", "annotator_stats", "resolved", "flags"]


def needs(path):
    if not path.exists():
        pytest.skip(f"{path} is not here: real judgments are kept outside the repository")
    return path


def qc(path, *options):
    return robopref("qc", "--judgments", path, *options, cwd=path.parent)


def write(folder, rows, header=("pair_id", "annotator_id", "preference")):
    path = folder / "judgments.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_pandalms_three_annotators_give_the_published_kappas(tmp_path):
    rows = json.loads(needs(DATA / "pandalm" / "testset-v1.json").read_text(encoding="utf-8"))
    words = {1: "A", 2: "B", 0: "equal"}
    judgments = [(row["idx"], f"annotator{k}", words[int(row[f"annotator{k}"])]) for row in rows for k in (1, 2, 3)]
    run = qc(write(tmp_path, judgments), "--json")
    found = json.loads(run.stdout)
    assert list(found) == KEYS
    assert (found["pairs"], found["judgments"], found["annotators"]) == (999, 2997, 3)
    assert [(k["annotator_1"], k["annotator_2"], k["shared"]) for k in found["kappa"]] == [
        ("annotator1", "annotator2", 999), ("annotator1", "annotator3", 999), ("annotator2", "annotator3", 999),
    ]  # fmt: skip
    assert [round(k["kappa"], 3) for k in found["kappa"]] == [0.852, 0.879, 0.862]
    assert 0.8 < found["alpha"]["low"] < found["alpha"]["value"] < found["alpha"]["high"] < 0.95
    assert sum(found["resolved"].values()) == 999 and found["resolved"]["unresolved"] == 0
    assert found["flags"] == []


def test_79_workers_of_sigir2010_load_and_resolve(tmp_path):
    words = {"a": "A", "b": "B", "s": "equal"}
    with needs(DATA / "sigir2010_music" / "judgments.csv").open(encoding="latin-1", newline="") as file:
        rows = [
            ("|".join(row[f"Input.{part}"] for part in ("query", "docA", "docB")), row["WorkerId"],
             words[row["Answer.radio"]], 1000 * int(row["WorkTimeInSeconds"]))
            for row in csv.DictReader(file)
            if row["Answer.radio"]
        ]  # fmt: skip
    path = write(tmp_path, rows, ("pair_id", "annotator_id", "preference", "response_time_ms"))
    run = qc(path, "--json", "--out", "report")
    found = json.loads(run.stdout)
    assert (found["pairs"], found["judgments"], found["annotators"]) == (281, 2805, 79)
    counts = found["resolved"]
    assert sum(counts.values()) == 281 and counts["A"] and counts["B"] and counts["equal"]
    assert 0 < found["alpha"]["value"] < 1
    assert "<!doctype html>" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "report" / "qc.json").read_text(encoding="utf-8"))["alpha"] == found["alpha"]


FULL = "pair_id,annotator_id,preference,confidence,response_time_ms,gold,duplicate_of,left"
TWO = ["p1,x,A", "p1,y,A", "p2,x,B", "p2,y,B", "p3,x,A", "p3,y,B"]
THREE = "pair_id,annotator_id,preference"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([THREE, "p1,x,A", "p2,x,better"], "line 3, column preference: found 'better', expected A, B or equal."),
        ([THREE, "p1,x,A", "p1,x,A"], "line 3, column pair_id: found 'p1', expected one answer of 'x' to it"),
        ([f"{THREE},response_time_ms", "p1,x,A,-5"], "found '-5', expected milliseconds, 0 or more, or nothing."),
        (["pair_id,annotator_id", "p1,x"], "the column 'preference' is missing"),
        ([], "is empty"),
        ([THREE], "holds no judgments, only a header."),
        ([THREE, "p1,zo\xeb,A"], "found the byte 0xeb, expected UTF-8."),
    ],
    ids=["unknown label", "duplicate row", "negative time", "missing column", "empty", "header only", "not UTF-8"],
)
def test_a_file_that_cannot_be_used_is_one_clear_sentence(tmp_path, lines, said):
    path = tmp_path / "judgments.csv"
    path.write_bytes("\n".join(lines).encode("latin-1"))
    run = qc(path, "--json")
    assert run.returncode == 1 and run.stdout == ""
    assert said in run.stderr and "judgments.csv" in run.stderr and "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([THREE, "p1,x,A", "p2,x,B"], "Only x answered: agreement cannot be measured with one annotator."),
        ([THREE, "p1,x,A", "p2,y,B"], "No pair was answered by two of the 2 annotators"),
        ([THREE, "p1,x,A", "p1,y,A", "p2,x,A"], "Every answer is A: agreement beyond chance has no meaning"),
    ],
    ids=["one annotator", "no overlap", "constant answers"],
)
def test_what_cannot_be_computed_is_null_and_a_sentence_says_why(tmp_path, lines, said):
    path = tmp_path / "judgments.csv"
    path.write_text("\n".join(lines))
    for options in (["--json"], []):
        run = qc(path, *options)
        assert run.returncode == 0 and said in run.stderr
        assert "nan" not in run.stdout.lower() + run.stderr.lower()
    assert json.loads(qc(path, "--json").stdout)["alpha"] == {"value": None, "low": None, "high": None}


def test_a_missing_confidence_is_no_zero(tmp_path):
    path = tmp_path / "judgments.csv"
    path.write_text("\n".join([FULL, "p1,x,A,5,,,,", "p2,x,B,,,,,", *(f"{row},,,,," for row in TWO[1::2])]))
    row = json.loads(qc(path, "--json").stdout)["annotator_stats"][0]
    assert row["mean_confidence"] == 5
    path.write_text("\n".join([THREE, *TWO]))
    run = qc(path, "--json")
    assert json.loads(run.stdout)["annotator_stats"][0]["mean_confidence"] is None
    assert "No answer has a confidence" in run.stderr


def test_the_projects_thresholds_are_used_where_there_is_a_project(tmp_path):
    header = f"{THREE},response_time_ms"
    path = tmp_path / "judgments.csv"
    path.write_text("\n".join([header, *(f"p{i},x,{'AB'[i % 2]},4000" for i in range(30))]))
    assert json.loads(qc(path, "--json").stdout)["flags"] == [] and Quality().min_response_s == 3
    (tmp_path / "robopref.toml").write_text("[quality]\nmin_response_s = 5.0\n")
    assert [flag["kind"] for flag in json.loads(qc(path, "--json").stdout)["flags"]] == ["speed"]

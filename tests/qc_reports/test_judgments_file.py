"""Anybody's CSV of judgments is read whole or refused with the line and the column; its figures are the stage's."""

import math

import numpy as np
import pytest

from preference.config import Quality
from preference.errors import DataError
from qc_reports.answers import Answered
from qc_reports.report.batch_report import figures
from qc_reports.report.judgments_file import check_file, pairs_of, read_judgments_csv
from qc_reports.report.page import write_report

HEADER = "pair_id,annotator_id,preference"
FULL = f"{HEADER},confidence,response_time_ms,gold,duplicate_of,left,created_at,stratum,task_type"


@pytest.fixture
def csv_file(tmp_path):
    def write(*lines, encoding="utf-8"):
        path = tmp_path / "judgments.csv"
        path.write_bytes("\n".join(lines).encode(encoding) + b"\n")
        return path

    return write


def test_three_columns_are_enough(csv_file):
    path = csv_file(HEADER, "p1,x,A", "p1,y,equal", "p2,x,B")
    assert read_judgments_csv(path) == [
        Answered("p1", "x", "A"),
        Answered("p1", "y", "equal"),
        Answered("p2", "x", "B"),
    ]


def test_every_known_column_is_used_and_others_are_left_aside_with_a_warning(csv_file, capsys):
    path = csv_file(
        f"comment,{FULL}",
        '"two\nlines",p1,x,A,5,1200.4,B,,A,2026-01-31T09:30:00,same,push',
        ",p1-again,x,B,,,,p1,B,2026-01-31T09:40:00Z,same,push",
    )
    first, again = read_judgments_csv(path)
    assert first == Answered(
        "p1", "x", "A", 5, 1200, "2026-01-31T09:30:00+00:00", "", "A", False, "B", "", "same", "push"
    )
    assert (again.pair_id, again.duplicate, again.side, again.confidence) == ("p1", True, "left", None)
    assert f"{path}: ignored the column comment. Known: pair_id, annotator_id" in capsys.readouterr().err


def test_a_confidence_as_pandas_writes_a_column_with_gaps_is_read(csv_file):
    path = csv_file(f"{HEADER},confidence", "p1,x,A,3.0", "p2,x,B,")
    assert [answer.confidence for answer in read_judgments_csv(path)] == [3, None]


def test_a_spreadsheets_mark_windows_lines_blank_lines_and_spaces_are_read(csv_file):
    path = csv_file(HEADER + "\r", " p1 , x , A \r", "\r", "p2,x,B\r", encoding="utf-8-sig")
    assert [(a.pair_id, a.annotator_id, a.preference) for a in read_judgments_csv(path)] == [
        ("p1", "x", "A"),
        ("p2", "x", "B"),
    ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([HEADER, "p1,x,A", "p2,x,left"], "line 3, column preference: found 'left', expected A, B or equal"),
        ([HEADER, "p1,x,a"], "line 2, column preference: found 'a'"),
        ([HEADER, "p1,x,"], "line 2, column preference: found ''"),
        ([f"comment,{HEADER}", '"two\nlines",p1,x,A', ",p2,x,left"], "line 4, column preference: found 'left'"),
        ([HEADER, ",x,A"], "line 2, column pair_id: found '', expected an id"),
        ([HEADER, "p1, ,A"], "line 2, column annotator_id: found ''"),
        ([HEADER, "p1,x,A", "p2,x,A", "p1,x,B"], "line 4, column pair_id: found 'p1'.*line 2 has another"),
        ([HEADER, "p1,x"], "line 2: found 2 cells, expected 3"),
        ([HEADER, "p1,x,A,B"], "line 2: found 4 cells, expected 3"),
        ([f"{HEADER},response_time_ms", "p1,x,A,-1"], "column response_time_ms: found '-1'"),
        ([f"{HEADER},response_time_ms", "p1,x,A,nan"], "column response_time_ms: found 'nan'"),
        ([f"{HEADER},response_time_ms", "p1,x,A,3 s"], "column response_time_ms: found '3 s'"),
        ([f"{HEADER},confidence", "p1,x,A,6"], "column confidence: found '6', expected a whole number from 1 to 5"),
        ([f"{HEADER},gold", "p1,x,A,tie"], "column gold: found 'tie', expected A, B, equal or nothing"),
        ([f"{HEADER},gold", "p1,x,A,A", "p1,y,A,B"], "line 3, column gold: found 'B', expected 'A'"),
        ([f"{HEADER},duplicate_of", "p1,x,A,", "p2,y,A,p1"], "line 3, column duplicate_of: found 'p1'"),
        ([f"{HEADER},left", "p1,x,A,left"], "column left: found 'left', expected A, B or nothing"),
        ([f"{HEADER},created_at", "p1,x,A,yesterday"], "column created_at: found 'yesterday'"),
        (["pair_id,annotator_id", "p1,x"], "line 1: the column 'preference' is missing; found pair_id, annotator_id"),
        ([HEADER.replace(",", ";"), "p1;x;A"], "line 1: the column 'pair_id' is missing.*separated by commas"),
        ([f"{HEADER},pair_id", "p1,x,A,p1"], "line 1: the column 'pair_id' appears twice"),
        ([""], "is empty"),
        ([HEADER], "holds no judgments"),
        ([HEADER, 'p1,x,"A'], "is not CSV"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(csv_file, lines, said):
    path = csv_file(*lines)
    with pytest.raises(DataError, match=said) as refused:
        read_judgments_csv(path)
    assert str(path) in str(refused.value)


def test_another_encoding_is_refused_with_the_line(csv_file):
    path = csv_file(HEADER, "p1,x,A", "p2,zoë,A", encoding="latin-1")
    with pytest.raises(DataError, match="line 3: found the byte 0xeb, expected UTF-8"):
        read_judgments_csv(path)


def test_an_empty_file_and_a_missing_file_are_clean_errors(tmp_path):
    (tmp_path / "empty.csv").touch()
    for name, said in (("empty.csv", "is empty"), ("gone.csv", "File not found"), ("", "cannot be read")):
        with pytest.raises(DataError, match=said):
            read_judgments_csv(tmp_path / name)


def test_a_file_gives_the_figures_of_the_same_answers_from_the_database(csv_file):
    draw = np.random.default_rng(3)
    rows = [
        f"p{i:02d},{name},{draw.choice(['A', 'B', 'equal'])},3,{draw.integers(1000, 9000)},"
        f"{'A' if i % 3 else ''},,A,,same,push"
        for i in range(60)
        for name in ("x", "y", "z")
    ]
    path = csv_file(FULL, *rows)
    report = check_file(path, Quality(), rng=np.random.default_rng(0))
    answers = read_judgments_csv(path)
    same = figures("judgments", answers, pairs_of(answers), Quality(), rng=np.random.default_rng(0), leave_out=False)
    assert report == same
    assert (report.pairs, report.judgments, report.annotators) == (60, 180, 3)
    assert sum(report.resolved.values()) == 60
    assert report.status == "held" and not math.isnan(report.alpha["value"])
    assert {flag["kind"] for flag in report.flags} >= {"gold"} and report.gold["heuristic"] == 40
    assert "is on hold" in write_report(report, answers, [])

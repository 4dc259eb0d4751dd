"""Agreement on the optional questions is what people would compute by hand."""

import pytest

from preference.records import Assignment, AssignmentView, Judgment, Pair
from qc_reports.agreement.questions import marked, question_agreement


def said(name, pair, **questions):
    return Judgment(f"{name}-{pair}", name, pair, "A", 3, 9000, questions=questions)


def mark(of, at, what=""):
    return {"of": of, "at": at, "what": what}


def rows(*judgments, views=()):
    return {(row.question, row.measure): (row.value, row.compared) for row in question_agreement(judgments, views)}


def test_marks_agree_within_a_tolerance_each_with_one_other():
    found = rows(
        said("ann", "p", where=[mark("A", 1.0, "slip"), mark("A", 5.0), mark("B", None)]),
        said("bob", "p", where=[mark("A", 1.4, "slip"), mark("A", 1.1, "collision"), mark("B", None)]),
    )
    assert found["where", "whether anything went wrong"] == (1.0, 2)
    assert found["where", "same moments, within 0.25 s"] == (0.5, 1), "one of two marks of each"
    assert found["where", "same moments, within 2 s"] == (0.5, 1), "5.0 s has nothing near"
    assert found["where", "same word for a moment within 1 s"] == (0.0, 1), "1.0 goes with 1.1, the nearest"
    found = rows(said("ann", "p", where=[mark("A", None)]), said("bob", "p", where=[mark("A", 3.0)]))
    assert found == {("where", "whether anything went wrong"): (0.0, 1)}
    assert rows(said("ann", "p", where=[mark("A", 3.0)]), said("bob", "p", where=[mark("B", 3.0)])) == {}


def test_outcomes_reasons_and_parts():
    outcome = [
        said(name, f"p{i}", outcome={"A": "success", "B": "failure"}) for name in ("ann", "bob") for i in range(3)
    ]
    assert rows(*outcome)["outcome", "Krippendorff's alpha"] == (1.0, 6)
    found = rows(
        said("ann", "p", why=["grasp", "transport"], part=[{"better": "A", "from": 1.0, "to": 3.0}]),
        said(
            "bob",
            "p",
            why=["grasp"],
            part=[{"better": "A", "from": 2.0, "to": 4.0}, {"better": "B", "from": 5, "to": 6}],
        ),
    )
    assert found["why", "reasons in common (Jaccard)"] == (0.5, 1)
    assert found["part", "seconds in common (intersection over union)"] == (pytest.approx(1 / 4), 1)


def test_second_showings_are_left_out_and_nothing_asked_is_nothing_said():
    again = AssignmentView(Assignment("bob-p", "p", "bob", "b", 1, "A", duplicate_of="x"),
                           Pair("p", "a", "b", "push", "same", "production"))  # fmt: skip
    assert rows(said("ann", "p", why=["grasp"]), said("bob", "p", why=["grasp"]), views=[again]) == {}
    assert rows(said("ann", "p"), said("bob", "p")) == {}


def test_the_moment_of_a_clip_is_the_median_of_its_marks():
    judgments = [said("ann", "p", where=[mark("A", 1.0), mark("B", None)]), said("bob", "p", where=[mark("A", 2.0)]),
                 said("cy", "q", where=[mark("A", 9.0)])]  # fmt: skip
    assert marked(judgments, "p") == {"A": 1.5}

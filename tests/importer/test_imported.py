"""Judgments from elsewhere become an answered batch that is checked, resolved and counted like any other."""

import json
import re

import pytest
from plan_maker import certify, open_workspace, trajectories

from importer.pairs import batches
from importer.pairs.annotators import add_annotators
from importer.pairs.imported import import_judgments
from importer.studio.participants import is_outside
from importer.studio.queues import all_queues
from preference.errors import DataError, UserError
from qc_reports.answers import join
from qc_reports.qc import qc
from qc_reports.resolve import resolve

HEADER = "trajectory_a_id,trajectory_b_id,annotator_id,preference"


@pytest.fixture
def ws(tmp_path):
    workspace = open_workspace(tmp_path)
    workspace.store.put_trajectories(trajectories())
    add_annotators(workspace)
    certify(workspace)
    yield workspace
    workspace.store.close()


def twos(ws, count=20):
    push = sorted(t.trajectory_id for t in ws.store.trajectories() if t.task_type == "push")
    return list(zip(push[::2], push[1::2], strict=True))[:count]


def better(ws, a, b):
    quality = {t.trajectory_id: t.quality for t in ws.store.trajectories()}
    return "A" if quality[a] > quality[b] else "B"


def study(ws, tmp_path, name="study.csv", people=("anna", "ben"), pairs=None):
    rows = [f"{a},{b},{who},{better(ws, a, b)}" for a, b in pairs or twos(ws) for who in people]
    path = tmp_path / name
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_they_are_checked_resolved_and_keep_their_people_and_source(ws, tmp_path):
    made = import_judgments(ws, study(ws, tmp_path), source="kitchen-study")
    assert (made.batch, made.pairs, made.judgments, made.people, made.known) == ("production-001", 20, 40, 2, 0)
    batch = ws.store.batches(calibration=False)[0]
    assert batch.notes == ["Imported from study.csv, source kitchen-study: 40 answers of 2 people."]
    assert {p.strategy for p in ws.store.pairs(made.batch)} == {"imported"}
    report = qc(ws, made.batch)
    assert (report.pairs, report.judgments, report.annotators) == (20, 40, 2)
    assert report.alpha["value"] == 1.0
    resolve(ws)
    labels = ws.store.labelled()
    assert len(labels) == 20
    assert all(p.annotator_ids == ["kitchen-study:anna", "kitchen-study:ben"] for p in labels)
    quality = {t.trajectory_id: t.quality for t in ws.store.trajectories()}
    assert all((quality[p.trajectory_a_id] > quality[p.trajectory_b_id]) == (p.preference == 1.0) for p in labels)


def test_what_the_file_does_not_say_is_unknown_and_no_number(ws, tmp_path):
    (a, b), *_ = twos(ws)
    path = tmp_path / "full.jsonl"
    full = {"trajectory_a_id": b, "trajectory_b_id": a, "annotator_id": "anna", "preference": "A", "confidence": 5,
            "response_time_ms": 4200, "left": "B", "created_at": "2026-01-31T09:30:00Z"}  # fmt: skip
    short = {"trajectory_a_id": a, "trajectory_b_id": b, "annotator_id": "ben", "preference": "A"}
    path.write_text("".join(json.dumps(row) + "\n" for row in (full, short)))
    import_judgments(ws, path)
    answers = {x.annotator_id: x for x in join(ws.store.judgments(), ws.store.assignments())}
    anna, ben = answers["full:anna"], answers["full:ben"]
    assert (anna.preference, anna.confidence, anna.response_time_ms, anna.left) == ("B", 5, 4200, "A")
    assert (ben.preference, ben.confidence, ben.response_time_ms, ben.left) == ("A", None, None, None)


def test_a_confidence_as_pandas_writes_a_column_with_gaps_is_read(ws, tmp_path):
    (a, b), *_ = twos(ws)
    path = tmp_path / "full.csv"
    path.write_text(f"trajectory_a_id,trajectory_b_id,annotator_id,preference,confidence\n{a},{b},anna,A,4.0\n")
    import_judgments(ws, path)
    assert [j.confidence for j in ws.store.judgments() if j.annotator_id == "full:anna"] == [4]


def test_again_adds_nothing_and_more_answers_are_another_batch(ws, tmp_path):
    import_judgments(ws, study(ws, tmp_path))
    again = import_judgments(ws, study(ws, tmp_path))
    assert (again.batch, again.judgments, again.known) == ("", 0, 40)
    more = import_judgments(ws, study(ws, tmp_path, people=("anna", "ben", "cleo"), pairs=[b[::-1] for b in twos(ws)]))
    assert (more.batch, more.judgments, more.known) == ("production-002", 20, 40)
    path = study(ws, tmp_path, people=("anna",))
    path.write_text(re.sub(r",(A|B)\n", lambda m: f",{'B' if m[1] == 'A' else 'A'}\n", path.read_text(), count=1))
    with pytest.raises(DataError, match=r"row 2: 'anna' answered [AB] to this pair in an earlier import"):
        import_judgments(ws, path)


def test_nobody_is_asked_under_an_imported_id_and_the_next_batch_waits_for_qc(ws, tmp_path):
    made = import_judgments(ws, study(ws, tmp_path))
    assert [q for q in all_queues(ws) if q.annotator.annotator_id.startswith("study:") and q.waiting] == []
    with pytest.raises(UserError, match="production-001 is open, not accepted"):
        batches.next_batch(ws)
    assert {a.annotator_id for a in add_annotators(ws) if a.active}.isdisjoint({"study:anna", "study:ben"})
    asked = {frozenset((p.trajectory_a_id, p.trajectory_b_id)) for p in ws.store.pairs(made.batch)}
    following = batches.next_batch(ws, force=True)
    again = {frozenset((p.trajectory_a_id, p.trajectory_b_id)) for p in ws.store.pairs(following.batch_id)}
    assert not asked & again, "what was answered elsewhere is not asked again"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("elsewhere-1,{b},anna,A", "row 2, trajectory_a_id: found 'elsewhere-1', expected a trajectory of the pool"),
        ("{a},{a},anna,A", "row 2, trajectory_b_id: .*another trajectory"),
        ("{a},{b},,A", "row 2, annotator_id: found ''"),
        ("{a},{b},an/na,A", "row 2, annotator_id: found 'an/na'"),
        ("{a},{b},anna,left", "row 2, preference: found 'left', expected A, B or equal"),
        ("{a},{b},anna,A\n{b},{a},anna,B", "row 3: 'anna' answered this pair already in row 2"),
        ("{a},{pick},anna,A", "have different task types"),
        ("", "contains no judgments"),
    ],
)
def test_a_wrong_file_is_one_clear_error_and_stores_nothing(ws, tmp_path, row, words):
    (a, b), *_ = twos(ws)
    pick = next(t.trajectory_id for t in ws.store.trajectories() if t.task_type == "pick")
    path = tmp_path / "wrong.csv"
    path.write_text(f"{HEADER}\n{row.format(a=a, b=b, pick=pick)}\n")
    with pytest.raises(UserError, match=words):
        import_judgments(ws, path)
    assert ws.store.batches(calibration=False) == []


@pytest.mark.parametrize(
    ("column", "value"), [("confidence", "6"), ("response_time_ms", "-1"), ("response_time_ms", "3 s"), ("left", "x"),
                          ("created_at", "yesterday")],
)  # fmt: skip
def test_a_value_that_cannot_be_used_is_named(ws, tmp_path, column, value):
    (a, b), *_ = twos(ws)
    path = tmp_path / "wrong.csv"
    path.write_text(f"{HEADER},{column}\n{a},{b},anna,A,{value}\n")
    with pytest.raises(DataError, match=f"row 2, {column}: found '{value}', expected"):
        import_judgments(ws, path)


def test_a_source_that_is_no_name_and_a_killed_import(ws, tmp_path, monkeypatch):
    path = study(ws, tmp_path)
    with pytest.raises(UserError, match="source 'a study' may have letters"):
        import_judgments(ws, path, source="a study")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(ws.store), "put_judgments", killed)
        import_judgments(ws, path)
    assert ws.store.batches(calibration=False) == []
    assert import_judgments(ws, path).judgments == 40


def test_times_are_kept_in_utc_so_that_all_can_be_compared(ws, tmp_path):
    (a, b), (c, d), *_ = twos(ws)
    path = tmp_path / "times.csv"
    path.write_text(
        f"{HEADER},created_at\n{a},{b},anna,A,2026-01-31T09:30:00\n{c},{d},anna,A,2026-01-31T11:00:00+02:00\n"
    )
    import_judgments(ws, path)
    assert {j.created_at for j in ws.store.judgments()} == {"2026-01-31T09:30:00+00:00", "2026-01-31T09:00:00+00:00"}
    qc(ws, "production-001")


def test_a_study_whose_name_begins_as_invitations_do_takes_no_place(ws, tmp_path):
    import_judgments(ws, study(ws, tmp_path, "outside-study.csv"))
    known = {a.annotator_id for a in ws.store.annotators()}
    assert "outside-study:anna" in known and not [name for name in known if is_outside(name)]


def test_a_reason_that_no_database_takes_is_named(ws, tmp_path):
    (a, b), *_ = twos(ws)
    row = {"trajectory_a_id": a, "trajectory_b_id": b, "annotator_id": "anna", "preference": "A"}
    path = tmp_path / "half.jsonl"
    path.write_text(json.dumps(row | {"free_text_reason": "\ud800"}) + "\n")
    with pytest.raises(DataError, match="row 1, free_text_reason"):
        import_judgments(ws, path)

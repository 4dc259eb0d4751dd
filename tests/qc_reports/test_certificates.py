"""Two attempts are everybody's; a third, and taking a certificate back, are a manager's, and stay on record."""

import dataclasses
import math

import pytest

from importer.calibration.build import further_set
from preference.config import Config
from preference.errors import NotReady, UserError
from preference.records import OPPOSITE, Annotator, Assignment, Batch, Judgment, Pair, Trajectory
from preference.workspace import Workspace
from qc_reports.certification import allow_attempt, certify, effort, review_links, revoke, template_version

CYCLE = ("A", "B", "equal")
MANAGER = {"by": "maria", "why": "was ill during the second session"}


@pytest.fixture
def ws(tmp_path):
    workspace = Workspace(Config.model_validate({"work": tmp_path / "work", "quality": {"bootstrap": 50}}))
    workspace.store.put_trajectories(
        Trajectory(f"t{i:02d}", "d", i, "expert", "push", quality=i / 30, quartile=1 + i * 4 // 30, clip=f"{i}.mp4",
                   success=i > 8, smoothness=-1 - i % 7, duration_s=5 + i % 5, path_efficiency=0.4 + i / 60,
                   grasp_stability=1.0)
        for i in range(30)
    )  # fmt: skip
    workspace.store.put_annotators(
        [Annotator("bob", "bob@example.org"), Annotator("chief", "chief@example.org", role="expert")]
    )
    yield workspace
    workspace.store.close()


def attempt(ws, batch_id, passes):
    """Bob and the expert answer a set; made here for the first two."""
    if batch_id not in {batch.batch_id for batch in ws.store.batches()}:
        number = int(batch_id[-1])
        pairs = [Pair(f"{batch_id}-{i:02d}", f"t{i + number:02d}", f"t{i + 10 + number:02d}", "push", "same",
                      "calibration", batch_id, dimension="grasp") for i in range(12)]  # fmt: skip
        work = [Assignment(f"{p.pair_id}-{who}", p.pair_id, who, batch_id, i, "AB"[i % 2])
                for i, p in enumerate(pairs) for who in ("bob", "chief")]  # fmt: skip
        ws.store.put_pairs(Batch(batch_id, "calibration"), pairs, work)
    for view in ws.store.assignments(batch_id):
        a = view.assignment
        truth = CYCLE[int(a.pair_id[-2:], 36) % 3]
        word = truth if passes or a.annotator_id == "chief" else OPPOSITE[truth]
        ws.store.put_judgments([Judgment(a.assignment_id, a.annotator_id, a.pair_id, word, 4, 9000)])
    return certify(ws, batch_id)[0]


def test_a_certificate_is_dated_and_tied_to_its_set_and_template(ws):
    record = attempt(ws, "calibration-1", True)
    assert record.certified and record.batch_id == "calibration-1" and record.created_at[:2] == "20"
    assert record.template == template_version() and len(record.template) == 12


def test_the_pairs_to_go_over_again_lead_to_the_annotators_own_tasks(ws):
    record = attempt(ws, "calibration-1", False)
    missed = record.review[0]
    ws.store.set_tasks([(f"{missed}-bob", 3, 41)])
    links = review_links(ws, record)
    assert list(links) == record.review
    assert links[missed] == "http://127.0.0.1:8080/projects/3/data?task=41" and links[record.review[1]] == ""


def test_effort_counts_first_attempts_and_the_hours_on_training_and_tests(ws):
    before = effort(ws)
    assert (before.tested, before.passed_first) == (0, 0) and math.isnan(before.median_h)
    record = attempt(ws, "calibration-1", passes=True)
    seconds = sum(j.response_time_ms for j in ws.store.judgments() if j.annotator_id == record.annotator_id) / 1000
    found = effort(ws)
    assert (found.tested, found.passed_first) == (1, int(record.certified))
    assert found.median_h == pytest.approx(seconds / 3600)


def test_looking_again_changes_no_date(ws):
    attempt(ws, "calibration-1", True)
    old = dataclasses.replace(ws.store.certifications()[0], created_at="2026-01-01T00:00:00+00:00", template="older")
    ws.store.put_certification(old)
    again = certify(ws, "calibration-1")[0]
    assert (again.created_at, again.template) == (old.created_at, "older")


def test_a_third_attempt_needs_both_failures_and_a_managers_word(ws):
    attempt(ws, "calibration-1", False)
    with pytest.raises(UserError, match=r"not used both attempts.*--retest"):
        allow_attempt(ws, "bob", **MANAGER)
    attempt(ws, "calibration-2", False)
    for wrong in ({"by": "", "why": "x"}, {"by": "maria", "why": " "}):
        with pytest.raises(UserError, match="Who decides and why is recorded"):
            allow_attempt(ws, "bob", **wrong)
    with pytest.raises(NotReady, match="no calibration set 'calibration-3'"):
        certify(ws, "calibration-3")
    allowed = allow_attempt(ws, "bob", **MANAGER)
    assert (allowed.attempt, allowed.batch_id, allowed.pairs) == (3, "calibration-3", 0)
    assert allow_attempt(ws, "bob", by="otto", why="again").override == allowed.override, "asked again, the first holds"
    assert ws.store.certified() == []


def test_the_third_set_is_new_and_its_result_names_who_allowed_it(ws):
    for number in (1, 2):
        attempt(ws, f"calibration-{number}", False)
    seen = {frozenset((p.trajectory_a_id, p.trajectory_b_id)) for p in ws.store.pairs()}
    number = allow_attempt(ws, "bob", **MANAGER).attempt
    assert further_set(ws, "bob", number)
    assert further_set(ws, "bob", number) == [], "asking again adds nothing"
    fresh = {frozenset((p.trajectory_a_id, p.trajectory_b_id)) for p in ws.store.pairs("calibration-3")}
    assert len(fresh) >= 4 and not fresh & seen
    record = attempt(ws, "calibration-3", True)
    assert record.certified and record.attempt == 3
    assert record.override.startswith("maria, 20") and record.override.endswith(MANAGER["why"])
    assert ws.store.certified() == ["bob"]


def test_a_certificate_taken_back_stays_taken_back(ws):
    attempt(ws, "calibration-1", True)
    record = revoke(ws, "bob", by="maria", why="copied answers")
    assert not record.certified and record.revoked.endswith("copied answers") and record.kappa == 1.0
    assert ws.store.certified() == []
    assert not certify(ws, "calibration-1")[0].certified
    assert ws.store.certifications()[0].revoked == record.revoked
    with pytest.raises(UserError, match="holds no certificate"):
        revoke(ws, "bob", by="maria", why="again")
    assert allow_attempt(ws, "bob", by="maria", why="a second chance").attempt == 3


def test_nobodys_id_is_a_clear_sentence(ws):
    for act in (allow_attempt, revoke):
        with pytest.raises(UserError, match=r"no annotator 'nobody'.*Annotators: bob, chief"):
            act(ws, "nobody", **MANAGER)

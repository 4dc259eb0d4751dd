"""certify, qc, accept and resolve on a real workspace: what they need, what they write, that they repeat."""

import json
import math
import threading
from dataclasses import replace

import pytest
from answers_maker import CYCLE, PEOPLE, answer, make_batch, opposite, workspace

from preference.errors import NotReady, UserError
from preference.records import OPPOSITE, Assignment, Batch, Judgment, Pair, Rejection
from qc_reports import certification
from qc_reports import qc as checks
from qc_reports import resolve as resolution
from qc_reports.decisions import decide, review


@pytest.fixture
def ws(tmp_path):
    made = workspace(tmp_path)
    yield made
    made.store.close()


def test_certifying_needs_the_set_and_then_the_expert(ws):
    with pytest.raises(NotReady, match="no calibration set 'calibration-1'"):
        certification.certify(ws)
    make_batch(ws, "calibration-1", ["chief", "alice"], kind="calibration")
    answer(ws, "calibration-1", "alice")
    answer(ws, "calibration-1", "chief", pairs=range(11))
    with pytest.raises(NotReady, match="expert has answered 11 of 12"):
        certification.certify(ws)
    assert ws.store.certifications() == []


def test_whoever_agrees_with_the_expert_is_certified_and_the_unfinished_are_not_judged(ws):
    make_batch(ws, "calibration-1", ["chief", *PEOPLE], kind="calibration")
    answer(ws, "calibration-1", "chief", why="the grasp slips")
    answer(ws, "calibration-1", "alice")
    answer(ws, "calibration-1", "bob", opposite)
    answer(ws, "calibration-1", "carmen", pairs=range(11))
    found = {result.annotator_id: result for result in certification.certify(ws)}
    assert set(found) == {"alice", "bob"}
    assert found["alice"].certified and found["alice"].kappa == 1 and found["alice"].attempt == 1
    assert not found["bob"].certified
    assert ws.store.certified() == ["alice"]
    pair = ws.store.pairs("calibration-1")[0]
    assert (pair.expected, pair.reasoning, pair.dimension) == ("A", "the grasp slips", "grasp")


def test_the_second_set_is_a_second_attempt_and_replaces_the_first(ws):
    for batch_id, word in (("calibration-1", opposite), ("calibration-2", lambda i: CYCLE[i % 3])):
        make_batch(ws, batch_id, ["chief", "bob"], kind="calibration")
        answer(ws, batch_id, "chief")
        answer(ws, batch_id, "bob", word)
        certification.certify(ws, batch_id)
    assert [(c.attempt, c.certified) for c in ws.store.certifications()] == [(1, False), (2, True)]
    assert ws.store.certified() == ["bob"]


def test_what_the_first_set_left_undecided_is_decided_by_both_sets_together(ws):
    results = []
    for batch_id, wrong in (("calibration-1", 3), ("calibration-2", 1)):
        make_batch(ws, batch_id, ["chief", "bob"], kind="calibration")
        answer(ws, batch_id, "chief")
        answer(ws, batch_id, "bob")
        answer(ws, batch_id, "bob", opposite, pairs=[0, 3, 6][:wrong])
        results += certification.certify(ws, batch_id)
    assert [(r.undecided, r.certified, r.pairs) for r in results] == [(True, False, 12), (False, True, 24)]


def test_certifying_twice_changes_no_figure(ws):
    make_batch(ws, "calibration-1", ["chief", "alice"], kind="calibration")
    for name in ("chief", "alice"):
        answer(ws, "calibration-1", name)
    first = [replace(c, created_at="") for c in certification.certify(ws)]
    assert [replace(c, created_at="") for c in certification.certify(ws)] == first
    assert len(ws.store.certifications()) == 1


def test_qc_needs_answers(ws):
    with pytest.raises(UserError, match="no batch 'production-001'") as refused:
        checks.qc(ws, "production-001")
    assert "run `robopref pairs` first" in refused.value.fix
    make_batch(ws, "production-001", PEOPLE)
    with pytest.raises(NotReady, match="has no answers"):
        checks.qc(ws, "production-001")


def test_qc_writes_the_same_figures_for_people_and_for_programs(ws):
    make_batch(ws, "production-001", PEOPLE)
    for name in PEOPLE:
        answer(ws, "production-001", name, why="smoother" if name == "bob" else "")
    report = checks.qc(ws, "production-001")
    assert report.status == "accepted" and report.alpha["value"] == 1
    assert report.resolved == {"A": 4, "B": 4, "equal": 4, "ambiguous": 0, "unresolved": 0}
    written = json.loads((ws.reports / "production-001" / "qc.json").read_text(encoding="utf-8"))
    assert written["alpha"] == report.alpha and written["status"] == "accepted"
    assert written["annotator_stats"][0]["gold_agreement"] is None, "nan is null in JSON"
    page = (ws.reports / "production-001" / "report.html").read_text(encoding="utf-8")
    assert "is good." in page
    batch = ws.store.batches()[0]
    assert (batch.status, batch.reasons) == ("accepted", report.reasons)


def test_a_contested_pair_shows_the_annotators_own_words(ws):
    make_batch(ws, "production-001", PEOPLE)
    for name, word in zip(PEOPLE, (opposite, opposite, lambda i: CYCLE[i % 3]), strict=True):
        answer(ws, "production-001", name, word, why=f"so says <{name}>")
    checks.qc(ws, "production-001")
    page = (ws.reports / "production-001" / "report.html").read_text(encoding="utf-8")
    assert "so says &lt;carmen&gt;" in page


def test_an_unfinished_batch_stays_open_and_what_is_missing_is_counted(ws):
    make_batch(ws, "production-001", PEOPLE)
    answer(ws, "production-001", "alice")
    answer(ws, "production-001", "bob", pairs=range(10))
    report = checks.qc(ws, "production-001")
    assert report.status == "open" and report.reasons == ["14 answers are still missing."]
    assert report.resolved["unresolved"] == 12


def skip(ws, batch_id, pair, name, reason):
    """As pull finds it: a cancelled annotation of the assignment's task."""
    task = 100 + pair
    ws.store.set_tasks([(f"{batch_id}-{pair:02d}-{name}", 1, task)])
    ws.store.put_judgments([], [Rejection(900 + pair, task, reason)])


def test_nobody_waits_for_a_pair_that_was_skipped(ws):
    make_batch(ws, "production-001", ["alice", "bob"])
    answer(ws, "production-001", "alice")
    answer(ws, "production-001", "bob", pairs=range(2, 12))
    skip(ws, "production-001", 0, "bob", "skipped: missing clip: right")
    skip(ws, "production-001", 1, "bob", "skipped")
    report = checks.qc(ws, "production-001")
    assert report.status == "accepted"
    assert report.notes[0].startswith("2 times a pair was skipped, 1 for a missing clip")
    assert checks.qc(ws, "production-001").notes == report.notes
    answer(ws, "production-001", "bob", pairs=range(2))  # they went back to them
    assert checks.qc(ws, "production-001").notes == []


MARIA = {"by": "maria", "why": "the task is ambiguous"}


@pytest.mark.parametrize("unfinished", [False, True], ids=["held", "open"])
def test_a_batch_accepted_by_hand_stays_accepted_and_who_and_why_is_on_record(ws, unfinished):
    make_batch(ws, "production-001", PEOPLE)
    answer(ws, "production-001", "alice")
    answer(ws, "production-001", "bob", opposite)
    if not unfinished:
        answer(ws, "production-001", "carmen", lambda i: CYCLE[(i + 1) % 3])
    assert checks.qc(ws, "production-001").status == ("open" if unfinished else "held")
    accepted = decide(ws, "production-001", "accepted", **MARIA)
    sentence = f"Accepted by maria on {accepted.decision['at'][:10]}: the task is ambiguous"
    assert accepted.status == "accepted" and accepted.reasons[-1] == sentence
    again = checks.qc(ws, "production-001")
    assert again.status == "accepted" and again.reasons.count(sentence) == 1
    batch = ws.store.batches()[0]
    assert batch.status == "accepted" and batch.decisions == [accepted.decision]
    page = (ws.reports / "production-001" / "report.html").read_text(encoding="utf-8")
    assert "was accepted by hand." in page


def test_a_batch_held_by_hand_stays_held_whatever_the_gate_says_until_it_is_accepted(ws):
    make_batch(ws, "production-001", PEOPLE)
    for name in PEOPLE:
        answer(ws, "production-001", name)
    assert checks.qc(ws, "production-001").status == "accepted"
    assert decide(ws, "production-001", "held", by="maria", why="the camera had moved").status == "held"
    assert checks.qc(ws, "production-001").status == "held"
    assert {p.reason for p in resolution.resolve(ws)} == {"held"}
    assert {p.preference for p in ws.store.preferences()} == {None}, "nothing for training"
    decide(ws, "production-001", "accepted", by="maria", why="only the last clip")
    assert {p.reason for p in resolution.resolve(ws)} == {"unanimous"}
    assert [d["status"] for d in ws.store.batches()[0].decisions] == ["held", "accepted"], "the history stays"


def test_a_batch_can_be_held_before_anybody_answers(ws):
    make_batch(ws, "production-001", PEOPLE)
    assert decide(ws, "production-001", "held", by="maria", why="wrong question") is None
    batch = ws.store.batches()[0]
    assert batch.status == "held" and batch.reasons[0].endswith("wrong question")


def test_a_decision_needs_a_batch_who_and_why(ws):
    make_batch(ws, "production-001", PEOPLE)
    for missing in ({"by": " ", "why": "x"}, {"by": "maria", "why": ""}):
        with pytest.raises(UserError, match="Who decides and why is recorded"):
            decide(ws, "production-001", "accepted", **missing)
    with pytest.raises(UserError, match=r"no batch 'production-009'.*Batches: production-001"):
        decide(ws, "production-009", "held", **MARIA)
    assert ws.store.batches()[0].decisions == []


def make_flagged(ws):
    """Alice, bob and carmen answer 36 pairs; carmen in a second each, and twelve of them as nobody else."""
    make_batch(ws, "production-001", PEOPLE, pairs=36)
    every = range(36)
    answer(ws, "production-001", "alice", pairs=every)
    answer(ws, "production-001", "bob", pairs=range(30))
    ws.store.put_judgments(
        Judgment(f"production-001-{i:02d}-carmen", "carmen", f"production-001-{i:02d}",
                 opposite(i) if i < 12 else CYCLE[i % 3], 4, 1000) for i in every
    )  # fmt: skip
    answer(ws, "production-001", "bob", lambda i: OPPOSITE[CYCLE[i % 3]], pairs=range(30, 36))


def test_a_flagged_annotators_judgments_are_left_out_until_they_are_reviewed(ws):
    make_flagged(ws)
    report = checks.qc(ws, "production-001")
    assert {flag["annotator_id"] for flag in report.flags} == {"carmen"} and report.status == "held"
    assert report.left_out["pending"] == ["carmen"] and report.left_out["judgments"] == 36
    # carmen is the third voice on the four sided pairs where bob is the odd one out
    assert report.left_out["vanished"] == 4 and report.left_out["changed"] == 0
    assert {row["without"] for row in report.left_out["pairs"]} == {"needs_third"}
    decide(ws, "production-001", "accepted", **MARIA)
    assert sum("carmen" in p.annotator_ids for p in resolution.resolve(ws)) == 0, "accepting the batch is no review"
    kept = review(ws, "production-001", "carmen", "keep", by="maria", why="all looked at")
    assert kept.kinds == sorted({flag["kind"] for flag in report.flags})
    assert sum("carmen" in p.annotator_ids for p in resolution.resolve(ws)) == 36
    assert checks.qc(ws, "production-001").left_out["judgments"] == 0


def test_a_check_that_began_before_a_review_does_not_have_the_last_word(ws, monkeypatch):
    """The worker checks a batch while a manager reviews it: what the worker had found is older."""
    make_flagged(ws)
    found, reviewed = threading.Event(), threading.Event()
    write = checks.write_folder

    def slowly(*arguments):
        if not found.is_set():
            found.set()
            assert reviewed.wait(60)
        write(*arguments)

    monkeypatch.setattr(checks, "write_folder", slowly)
    worker = threading.Thread(target=checks.qc, args=(ws, "production-001"))
    worker.start()
    assert found.wait(60)
    review(ws, "production-001", "carmen", "keep", by="maria", why="all looked at")
    reviewed.set()
    worker.join()
    assert next(b.status for b in ws.store.batches() if b.batch_id == "production-001") == "accepted"


def test_whoever_is_left_out_by_a_review_counts_neither_for_labels_nor_for_alpha(ws):
    make_flagged(ws)
    before = checks.qc(ws, "production-001")
    review(ws, "production-001", "carmen", "leave_out", by="maria", why="did not watch")
    after = checks.qc(ws, "production-001")
    assert after.status == "accepted" and after.alpha["value"] > before.alpha["value"]
    assert after.left_out["dropped"] == ["carmen"] and after.left_out["pending"] == []
    assert {flag["annotator_id"] for flag in after.flags} == {"carmen"}, "the flag stays in sight"
    found = json.loads((ws.reports / "resolution.json").read_text()) if resolution.resolve(ws) else {}
    assert found["left_out"]["dropped"] == ["carmen"] and found["left_out"]["judgments"] == 36


def test_nobody_waits_for_whom_a_review_left_out(ws):
    make_flagged(ws)
    more = Pair("more", "t0", "t2", "push", "same", "production", "production-001")
    work = [Assignment(f"more-{name}", "more", name, "production-001", 50, "A") for name in PEOPLE]
    ws.store.put_pairs(Batch("production-001", "production"), [more], work)
    ws.store.put_judgments(Judgment(f"more-{n}", n, "more", "A", 4, 9000) for n in ("alice", "bob"))
    assert checks.qc(ws, "production-001").status == "open"
    review(ws, "production-001", "carmen", "leave_out", by="maria", why="has left")
    assert checks.qc(ws, "production-001").status == "accepted"
    assert {p.pair_id: p.reason for p in resolution.resolve(ws)}["more"] == "unanimous"


def test_only_the_flagged_can_be_reviewed(ws):
    make_flagged(ws)
    with pytest.raises(UserError, match=r"alice has no flag in production-001.*Flagged: carmen"):
        review(ws, "production-001", "alice", "keep", **MARIA)


def test_what_to_review_are_the_latest_judgments_as_links_into_label_studio(ws):
    make_flagged(ws)
    ws.store.set_tasks([("production-001-35-carmen", 7, 1035)])
    entry = checks.qc(ws, "production-001").review[0]
    assert (entry["annotator_id"], entry["reviewed"]) == ("carmen", "") and "speed" in entry["kinds"]
    assert len(entry["judgments"]) == 20
    newest = entry["judgments"][0]
    assert newest["url"] == "http://127.0.0.1:8080/projects/7/data?task=1035"
    assert newest["others"] == {"alice": "equal", "bob": "equal"} and newest["seconds"] == 1.0
    assert entry["judgments"][1]["url"] == "", "a task that is not in Label Studio has no link"


def test_resolving_twice_gives_the_same_file_without_calibration(ws):
    make_batch(ws, "calibration-1", ["chief"], kind="calibration")
    answer(ws, "calibration-1", "chief")
    make_batch(ws, "production-001", ["alice", "bob"])
    answer(ws, "production-001", "alice")
    answer(ws, "production-001", "bob", lambda i: "A" if i == 1 else CYCLE[i % 3], range(11))
    preferences = resolution.resolve(ws)
    first = ws.preferences.read_bytes()
    resolution.resolve(ws)
    assert ws.preferences.read_bytes() == first
    assert ws.store.preferences()[:11] == preferences[:11]
    assert len(preferences) == 12
    reasons = [p.reason for p in preferences]
    assert (reasons[0], reasons[1], reasons[11]) == ("unanimous", "needs_third", "unanswered")


def test_the_third_answer_decides(ws):
    make_batch(ws, "production-001", ["alice", "bob"], pairs=1)
    answer(ws, "production-001", "alice", lambda i: "A", [0])
    answer(ws, "production-001", "bob", lambda i: "B", [0])
    assert resolution.resolve(ws)[0].reason == "needs_third"
    third = Assignment("third", "production-001-00", "carmen", "production-001", 0, "A")
    ws.store.put_pairs(Batch("production-001", "production"), [], [third])
    assert resolution.resolve(ws)[0].reason == "unanswered", "asked, and not answered yet"
    ws.store.put_judgments([Judgment("third", "carmen", "production-001-00", "B", 5, 8000)])
    found = resolution.resolve(ws)[0]
    assert (found.reason, found.preference, found.num_annotators) == ("majority", 0.0, 3)


def test_a_run_killed_while_writing_leaves_the_old_file(ws, monkeypatch):
    make_batch(ws, "production-001", PEOPLE)
    answer(ws, "production-001", "alice")
    resolution.resolve(ws)
    before = ws.preferences.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    for name in PEOPLE:
        answer(ws, "production-001", name)
    with monkeypatch.context() as patch:
        patch.setattr("preference.artifacts.os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            resolution.resolve(ws)
    assert ws.preferences.read_bytes() == before
    assert not [path for path in ws.root.iterdir() if path.name.startswith(".preferences")]
    resolution.resolve(ws)
    assert ws.preferences.read_bytes() != before


def test_without_a_resolution_there_is_one_clean_error(ws):
    with pytest.raises(NotReady, match="Nothing has been resolved"):
        ws.store.preferences()
    assert not ws.store.resolved()


def test_an_unlabelled_preference_survives_the_database(ws):
    make_batch(ws, "production-001", ["alice"])
    resolution.resolve(ws)
    found = ws.store.preferences()[0]
    assert found.preference is None and math.isnan(found.agreement) and math.isnan(found.confidence_mean)


def test_calibration_and_training_are_no_batches_for_qc(ws):
    for name in ("calibration-1", "training"):
        make_batch(ws, name, ["alice"], kind="calibration")
        answer(ws, name, "alice")
        with pytest.raises(UserError, match=f"{name} is a calibration set"):
            checks.qc(ws, name)
    resolution.resolve(ws)
    assert ws.store.preferences() == []
    assert {batch.status for batch in ws.store.batches()} == {"open"}


def test_what_a_batch_was_opened_with_stays_on_record_whatever_qc_says(ws):
    note = "Opened with --force: production-000 was held, not accepted."
    ws.store.put_pairs(Batch("production-001", "production", notes=[note]), [], [])
    make_batch(ws, "production-001", PEOPLE)
    for name in PEOPLE:
        answer(ws, "production-001", name)
    for _ in range(2):
        assert checks.qc(ws, "production-001").notes == [note]
        assert [batch.notes for batch in ws.store.batches()] == [[note]]

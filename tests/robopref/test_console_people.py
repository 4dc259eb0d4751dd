"""On the People page: a refresher is proposed and given, a join link is made, and the campaign's settings are shown."""

import json

import pytest
from console_maker import Browser, answered

from importer.studio.participants import invitation
from preference.records import DISAGREES, Assignment, Batch, Certification, Judgment, Pair
from robopref.console import people
from robopref.service import create_app


@pytest.fixture
def ws(tmp_path):
    ws = answered(tmp_path, more="[pairs]\noverlap = 3\n")
    pairs = [
        Pair(f"c{i}", f"t{i}", f"t{i + 1}", "push", "distant", "calibration", "calibration-1", "A") for i in (0, 1)
    ]
    own = [Assignment(f"y{i}", f"c{i}", "alice", "calibration-1", i, "A") for i in (0, 1)]
    ws.store.put_pairs(Batch("calibration-1", "calibration"), pairs, own)
    ws.store.put_judgments([Judgment(a.assignment_id, "alice", a.pair_id, "B", 3, 9000) for a in own])
    ws.store.put_certification(Certification("alice", "calibration-1", 1, 0.8, 0.7, 0.9, True, 30))
    yield ws
    ws.store.close()


@pytest.fixture
def maria(ws):
    return Browser(create_app(ws).test_client())


def lessons(ws):
    return [v.assignment.pair_id for v in ws.store.assignments() if v.assignment.batch_id == "training-refresher-1"]


def report(ws, **flag):
    folder = ws.reports / "production-001"
    folder.mkdir(parents=True)
    row = dict.fromkeys(people.FIGURES, 0.5) | {"annotator_id": "alice", "answers": 3}
    flags = [{"annotator_id": "alice", "sentence": "She agrees less.", **flag}] if flag else []
    (folder / "qc.json").write_text(json.dumps({"annotator_stats": [row], "flags": flags}))


@pytest.mark.parametrize("kind", [DISAGREES[0], "speed", ""])
def test_a_refresher_is_proposed_to_whoever_agrees_less_than_they_should(ws, maria, kind):
    report(ws, **({"kind": kind} if kind else {}))
    assert ("A refresher may help" in maria.get("/people").text) == (kind == DISAGREES[0])


def test_a_refresher_is_the_commands_own_recorded_with_the_name_and_given_once(ws, maria):
    form = maria.form("annotators refresh", "alice", "/people")
    assert "alice has 2 training pairs to answer (training-refresher-1)" in maria.said(maria.send(form))
    assert sorted(lessons(ws)) == ["c0", "c1"]
    done, pushes = (next(r for r in ws.store.requests() if r.kind == kind) for kind in ("annotators refresh", "push"))
    assert (done.subject, done.by, done.state) == ("alice", "maria@example.org", "done")
    assert (pushes.by, pushes.state) == ("maria@example.org", "waiting"), "the worker puts them into Label Studio"
    form["press"] = "another-tab"
    assert maria.send(form).status_code == 409, "a page from before says that this has changed"
    maria.press("annotators refresh", "alice", "/people")
    assert sorted(lessons(ws)) == ["c0", "c1"], "the one that is open counts"


def test_a_join_link_is_the_commands_own_and_recorded_with_the_name(ws):
    ws.config.annotators.outside, ws.config.service.url = 5, "https://annotate.example.org"
    maria = Browser(create_app(ws).test_client())
    said = maria.said(maria.press("annotators invite", "", "/people", participant=" P1001 "))
    assert invitation(ws, "p1001") in said
    assert ws.store.requests()[0].by == "maria@example.org"
    for wrong in ("", " ", "../x", "p" * 99):
        reply = maria.press("annotators invite", "", "/people", participant=wrong)
        assert reply.status_code == 400 and "is not a participant id" in maria.said(reply)


def test_nobody_is_invited_where_nobody_may_join(maria):
    assert "Invite from outside" not in maria.get("/people").text


def test_the_settings_of_the_campaign_are_shown_with_their_fields(maria):
    text = maria.get("/batches").text
    for field, value in (("pairs.overlap", "3"), ("active.plan_next_at", "0.8"), ("questions.where", "false"),
                         ("annotators.hand_over_after_h", "24.0")):  # fmt: skip
        assert f"<code>{field}</code></th><td>{value}</td>" in text

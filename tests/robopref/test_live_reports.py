"""Managers open the quality reports in the service: always of now, behind the password, and never an error page."""

import base64
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import pytest
from qc_maker import draw_batch

from preference.errors import UserError
from preference.records import Annotator, Assignment, Batch, Judgment, Pair, Trajectory
from preference.workspace import Workspace
from robopref.console import reports
from robopref.console.reports import LiveReports

PASSWORD, TOKEN = "backend-password", "f" * 40
BASIC = {"Authorization": "Basic " + base64.b64encode(f"robopref:{PASSWORD}".encode()).decode()}
HOSTILE = "<script>window.hacked = 1</script>"


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    """One batch of 120 answers by three people, and one without an answer."""
    folder = tmp_path_factory.mktemp("live")
    (folder / "robopref.toml").write_text(
        f"name = '{HOSTILE}'\n[service]\npassword = '{PASSWORD}'\n[label_studio]\ntoken = '{TOKEN}'\n"
        "[annotators]\nexpert = 'e'\n[quality]\nbootstrap = 50\n"
    )
    ws = Workspace.open(folder / "robopref.toml")
    answers, pairs = draw_batch(1, judgments=40, honest=2)
    ids = sorted({t for pair in pairs for t in (pair.trajectory_a_id, pair.trajectory_b_id)})
    ws.store.put_trajectories(
        [Trajectory(t, "d", i, "expert", "push", tier="expert", quartile=1 + i % 4) for i, t in enumerate(ids)]
    )
    people = sorted({a.annotator_id for a in answers})
    ws.store.put_annotators([Annotator(name, f"{name}@example.org") for name in people])
    put(ws, "production-001", pairs, answers)
    later = [Pair("q1", ids[0], ids[1], "push", "same", "production", "production-002")]
    ws.store.put_pairs(
        Batch("production-002", "production"), later, [Assignment("y1", "q1", people[0], "production-002", 0, "A")]
    )
    yield ws
    ws.store.close()


def put(ws, batch_id, pairs, answers):
    first = {(a.annotator_id, a.pair_id): a.assignment_id for a in answers if not a.duplicate}
    places = {name: iter(range(1000)) for name in {a.annotator_id for a in answers}}
    ws.store.put_pairs(
        Batch(batch_id, "production"),
        [Pair(**{**pair.to_dict(), "batch_id": batch_id}) for pair in pairs],
        sorted(
            (
                Assignment(a.assignment_id, a.pair_id, a.annotator_id, batch_id, next(places[a.annotator_id]), a.left,
                           first[a.annotator_id, a.pair_id] if a.duplicate else None)
                for a in answers
            ),
            key=lambda assignment: assignment.duplicate_of is not None,
        ),
    )  # fmt: skip
    ws.store.put_judgments([judgment(a) for a in answers])


def judgment(a, reason=HOSTILE):
    return Judgment(a.assignment_id, a.annotator_id, a.pair_id, a.preference, a.confidence, a.response_time_ms, reason,
                    created_at=a.created_at, raw={"token": TOKEN})  # fmt: skip


@pytest.fixture(scope="module")
def client(ws):
    from robopref.service import create_app

    return create_app(ws).test_client()


def opened(client, path):
    """What a browser ends with, that asks again while the page is being made."""
    deadline = time.monotonic() + 400  # it is made at low priority, and beside other tests that takes a minute or two
    while (answer := client.get(path, headers=BASIC)).status_code == 202:
        assert time.monotonic() < deadline, f"{path} is never made"
        time.sleep(0.1)
    return answer


@pytest.mark.parametrize("path", ["/reports", "/reports/production-001", "/reports/live"])
def test_nobody_sees_a_report_without_the_password(client, path):
    assert client.get(path).status_code == 401
    answer = opened(client, path)
    assert answer.status_code == 200 and answer.content_type == "text/html; charset=utf-8"
    assert TOKEN not in answer.text and PASSWORD not in answer.text
    assert "<script>window" not in answer.text


def test_the_list_leads_to_every_batch_and_says_how_far_it_is(client):
    page = client.get("/reports", headers=BASIC).text
    assert 'href="reports/production-001"' in page and 'href="reports/live"' in page
    assert "0 of 1 answers" in page


def test_a_batch_without_answers_says_so(client):
    answer = opened(client, "/reports/production-002")
    assert answer.status_code == 200 and "has no answers" in answer.text


@pytest.mark.parametrize("name", ["nowhere", "..", "%3Cscript%3E", "calibration-1", "a" * 5000])
def test_an_unknown_batch_is_not_found(client, name):
    assert client.get(f"/reports/{name}", headers=BASIC).status_code == 404


def test_a_page_is_made_again_only_when_the_database_has_changed(ws, client):
    ws.store.put_judgments([])
    first = opened(client, "/reports/production-001")
    again = client.get("/reports/production-001", headers={**BASIC, "If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304 and again.data == b""
    changed = ws.store.judgments("production-001")[0]
    other = "B" if changed.preference == "A" else "A"
    ws.store.put_judgments([Judgment(**{**changed.to_dict(), "preference": other})])
    deadline = time.monotonic() + 400  # it is made at low priority, and beside other tests that takes a minute or two
    while (after := opened(client, "/reports/production-001")).headers["ETag"] == first.headers["ETag"]:
        assert time.monotonic() < deadline, "the page of before the change is shown for ever"
        time.sleep(0.1)
    assert after.status_code == 200


class Hands:
    """Makes pages when told to; the clock stands still meanwhile."""

    def __init__(self):
        self.now, self.asked = 0.0, []

    def __call__(self, config, name):
        self.asked.append((name, Future()))
        return self.asked[-1][1]

    def done(self, html, after=10.0):
        self.now += after
        self.asked[-1][1].set_result(html)


@pytest.fixture
def hands(monkeypatch):
    monkeypatch.setattr(reports, "PATIENCE_S", 0.0)
    return Hands()


def change(ws):
    one = ws.store.judgments("production-001")[0]
    ws.store.put_judgments([Judgment(**{**one.to_dict(), "confidence": 1 + (one.confidence or 0) % 5})])


def test_a_page_that_takes_long_keeps_nobody_waiting_and_is_made_once(ws, hands):
    reports = LiveReports(ws, start=hands, clock=lambda: hands.now)
    for _ in range(3):
        soon = reports.page("live")
        assert not soon.ready and "is being made" in soon.html and "location.reload()" in soon.html
    assert not reports.page("production-001").ready, "one at a time"
    hands.done("all of it")
    assert reports.page("live").html == "all of it"
    assert [name for name, _ in hands.asked] == ["live"]


def test_while_people_answer_a_page_that_took_long_is_shown_for_a_while(ws, hands):
    reports = LiveReports(ws, start=hands, clock=lambda: hands.now)
    reports.page("live")
    change(ws)
    hands.done("before", after=10.0)
    hands.now = 29.0
    assert reports.page("live").html == "before"
    hands.now = 31.0
    assert not reports.page("live").ready
    hands.done("after")
    assert reports.page("live").html == "after"


def test_a_process_that_is_ended_is_a_sentence_and_the_next_who_asks_gets_a_page(ws, hands):
    reports = LiveReports(ws, start=hands, clock=lambda: hands.now)
    reports.page("production-001")
    hands.asked[-1][1].set_exception(BrokenProcessPool())
    with pytest.raises(UserError, match="production-001 could not be made"):
        reports.page("production-001")
    assert not reports.page("production-001").ready
    hands.done("there")
    assert reports.page("production-001").html == "there"


def test_looking_decides_nothing_and_writes_nothing(ws, client):
    opened(client, "/reports/production-001")
    assert {batch.status for batch in ws.store.batches()} == {"open"}
    assert not ws.reports.exists()

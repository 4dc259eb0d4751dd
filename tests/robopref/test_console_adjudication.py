"""The console's page of disputed pairs: what is disputed, whom it is sent to, and what was decided."""

import pytest
from console_maker import Browser
from disputed_maker import decide, disputed_batch
from service_maker import TOML

from importer.pairs.leave import leave
from importer.studio.adjudication import open_adjudication
from preference.records import Annotator
from robopref.console import adjudication, handle
from robopref.service import create_app


@pytest.fixture
def ws(tmp_path):
    ws = disputed_batch(tmp_path, TOML)
    yield ws
    ws.store.close()


@pytest.fixture
def maria(ws):
    return Browser(create_app(ws).test_client())


def test_disputed_pairs_are_shown_with_what_everybody_said(maria):
    text = maria.get("/adjudication").text
    assert "2 disputed pairs wait" in text and "ann: left, bob: right, cy: equal" in text
    assert "p0, push, same" in text and "p2, push" not in text
    assert "Nothing yet." in text
    assert "Send to rosa" in text and "Send to ann" not in text, "whoever answered them all decides none"


def test_a_manager_sends_them_and_the_worker_opens_the_batch(ws, maria, monkeypatch):
    monkeypatch.setattr(adjudication, "pushed", lambda ws: "1 projects and 2 tasks made in Label Studio.")
    reply = maria.press("adjudicate", "rosa", "/adjudication")
    assert reply.status_code == 303
    (request,) = ws.store.requests()
    assert (request.kind, request.subject, request.by, request.state) == (
        "adjudicate", "rosa", "maria@example.org", "waiting",
    )  # fmt: skip
    assert handle(ws, request).startswith("rosa has 2 disputed pairs to decide.")
    assert handle(ws, request) == "There is nothing left for rosa to decide.", "a killed worker takes it up again"
    text = maria.get("/adjudication").text
    assert "An adjudicator has all disputed pairs." in text and "with an adjudicator" in text


def test_what_was_decided_is_listed_with_its_cause(ws, maria):
    first, _ = sorted(open_adjudication(ws, "rosa", ["p0", "p1"]), key=lambda a: a.pair_id)
    decide(ws, first, "B", cause="gap in the guidelines")
    text = maria.get("/adjudication").text
    assert "right is better" in text and "gap in the guidelines" in text and "equal, 4 of 5" in text
    assert "p0, push" not in text, "it is disputed no more"


def test_somebody_who_has_left_is_sent_nothing(ws, maria):
    ws.store.put_annotators([Annotator("dee", "dee@example.org")])
    form = maria.form("adjudicate", "dee", "/adjudication")
    leave(ws, "dee", "Paused", by="maria", why="holiday")
    reply = maria.send(form)
    assert reply.status_code == 400 and "Nobody of that name is taking part." in maria.said(reply)
    assert ws.store.requests() == []

"""From Label Studio's webhook to the stored judgment: one id, in the reply, in the log lines, and with the judgment."""

import json
import logging

import pytest
from service_maker import HEADER, annotation, event, planned
from told_maker import Told

from importer.studio.hints import Hints
from importer.studio.judgments import replace_annotations
from preference import logs
from robopref.service import create_app


@pytest.fixture
def studio():
    told = Told()
    yield told
    told.end()


@pytest.fixture
def ws(tmp_path, studio):
    ws = planned(tmp_path, url=studio.url)
    yield ws
    ws.store.close()


@pytest.fixture
def hints(ws):
    hints = Hints(ws, gather_s=0.2, waits_s=[0.05])
    yield hints
    assert hints.settled(30)


@pytest.fixture
def client(ws, hints):
    return create_app(ws, hints).test_client()


@pytest.fixture
def lines(caplog):
    """What was logged since, as JSON."""
    caplog.set_level(logging.INFO, "robopref")
    caplog.handler.setFormatter(logs._Json())
    return lambda: [json.loads(line) for line in caplog.text.splitlines() if line.startswith("{")]


def hear(client, hints, one, **headers):
    said = event("ANNOTATION_CREATED", annotation=one)
    answer = client.post("/webhook", json=said, headers=HEADER | headers)
    assert answer.status_code == 201
    return answer.headers["X-Request-ID"]


def test_an_id_leads_from_the_webhook_to_the_judgment(client, hints, studio, ws, lines):
    studio.say(annotation())
    made = hear(client, hints, annotation())
    assert hints.settled(30)
    (judgment,) = ws.store.judgments()
    assert judgment.request_id == made
    assert [line["message"] for line in lines() if line.get("request_id") == made] == [
        "webhook", "request", "task settled",
    ]  # fmt: skip
    (settled,) = [line for line in lines() if line["message"] == "task settled"]
    assert (settled["task"], settled["annotation_id"], settled["assignment_id"]) == (10, 77, "x0")


def test_an_id_that_the_sender_gives_is_kept_and_each_of_two_in_one_breath_keeps_its_own(client, hints, studio, ws):
    first, second = annotation(), annotation(identifier=78, task=11)
    studio.say(first, second)
    ids = [hear(client, hints, one, **{"X-Request-ID": f"from-proxy-{one['id']}"}) for one in (first, second)]
    assert hints.settled(30) and ids == ["from-proxy-77", "from-proxy-78"]
    assert {j.annotation_id: j.request_id for j in ws.store.judgments()} == {77: ids[0], 78: ids[1]}


def test_a_judgment_keeps_its_id_until_the_annotation_changes(client, hints, studio, ws):
    studio.say(annotation())
    first = hear(client, hints, annotation())
    assert hints.settled(30)
    studio.say(annotation("right", identifier=76) | {"result": []})  # an older one, unusable: the rows are written anew
    second = hear(client, hints, annotation())
    assert hints.settled(30)
    assert [j.request_id for j in ws.store.judgments()] == [first]
    assert [r.request_id for r in ws.store.rejections()] == [second]
    studio.say(annotation("right") | {"updated_at": "2026-01-02T10:00:00Z"})
    third = hear(client, hints, annotation())
    assert hints.settled(30)
    assert [j.request_id for j in ws.store.judgments()] == [third]


def test_what_a_pull_brings_has_the_pulls_id(ws):
    with logs.request("pull-1"):
        replace_annotations(ws.store, {10: [annotation()]})
    assert [j.request_id for j in ws.store.judgments()] == ["pull-1"]


def test_a_webhook_that_could_not_be_followed_is_named(client, hints, studio, lines):
    studio.down = True
    made = hear(client, hints, annotation())
    assert hints.settled(30)
    (line,) = [line for line in lines() if "next pull" in line["message"]]
    assert line["of"] == [made] and line["level"] == "warning"


def test_no_secret_and_no_address_is_logged(client, hints, lines, ws):
    client.get("/join?participant=eve&key=sesame-open")
    client.post("/webhook", json={}, headers={"X-Robopref-Secret": "sesame-open"})
    client.post("/setup", json={"access_token": "sesame-open"}, headers=HEADER)
    said = lines()
    assert [line["status"] for line in said if line["message"] == "request"] == [401, 401, 401]
    assert "sesame" not in json.dumps(said)


def test_watching_writes_no_line_unless_it_fails(client, lines):
    assert client.get("/health").status_code == 200
    assert client.get("/metrics").status_code == 401
    assert [line["endpoint"] for line in lines()] == ["prometheus"]

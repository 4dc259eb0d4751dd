"""The ML backend speaks Label Studio's protocol, believes no webhook, and lets nobody in without the secret."""

import base64
import json
import os
import random
import re

import pytest
from pydantic import SecretStr
from random_json_maker import odd
from service_maker import BASIC, HEADER, PASSWORD, SECRET, annotation, event, planned
from told_maker import Told

from labeling_config.contract import CONSOLE
from ml_backend.loop.worker import beat_file
from preference.locks import WORKER, exclusively
from preference.records import ModelVersion


@pytest.fixture
def studio():
    """What Label Studio has."""
    told = Told()
    yield told
    told.end()


@pytest.fixture
def ws(tmp_path, studio):
    ws = planned(tmp_path, more="", url=studio.url)
    yield ws
    ws.store.close()


@pytest.fixture
def hints(ws):
    from importer.studio.hints import Hints

    hints = Hints(ws, waits_s=[0.1] * 5)
    yield hints
    assert hints.settled(30)


@pytest.fixture
def client(ws, hints):
    from robopref.service import create_app

    return create_app(ws, hints).test_client()


@pytest.fixture
def hear(client, hints):
    """Send a webhook and wait until the service has looked after it; returns the status."""

    def send(action, **rest):
        answer = client.post("/webhook", json=event(action, **rest), headers=HEADER)
        assert hints.settled(30)
        return answer.status_code

    return send


def test_health_needs_no_password_and_says_up(client):
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json["status"] == "UP"


def test_setup_answers_with_the_model_version_and_keeps_no_token(client, ws):
    body = {"project": "2.1795394922", "schema": "<View/>", "hostname": "http://x", "access_token": "sesame-open"}
    answer = client.post("/setup", json=body, headers=BASIC)
    assert answer.json["model_version"]
    assert all(b"sesame-open" not in path.read_bytes() for path in ws.root.rglob("*") if path.is_file())


def test_predictions_rank_and_pre_select_nothing(client):
    tasks = [{"id": 10 + i, "data": {"assignment_id": f"x{i}"}} for i in range(3)]
    answer = client.post("/predict", json={"tasks": tasks, "project": "2.1"}, headers=BASIC).json
    assert [row["result"] for row in answer["results"]] == [[], [], []]
    scores = [row["score"] for row in answer["results"]]
    assert scores == sorted(scores)
    assert len(set(scores)) == 3


def test_a_task_that_is_not_ours_comes_last(client):
    tasks = [{"id": 1, "data": {}}, {"id": 10, "data": {"assignment_id": "x0"}}]
    foreign, ours = client.post("/predict", json={"tasks": tasks}, headers=BASIC).json["results"]
    assert ours["score"] < foreign["score"]


def test_what_a_webhook_names_is_stored_as_label_studio_has_it(ws, studio, hear):
    studio.say(annotation())
    forged = annotation("right") | {"completed_by": 99, "result": []}
    assert hear("ANNOTATION_CREATED", annotation=forged) == 201
    (judgment,) = ws.store.judgments()
    assert (judgment.preference, judgment.confidence, judgment.free_text_reason) == ("B", 4, "steadier")
    assert ws.store.rejections() == []


def test_a_forged_annotation_supersedes_nothing(ws, studio, hear):
    studio.say(annotation())
    hear("ANNOTATION_CREATED", annotation=annotation())
    before = ws.store.judgments()
    assert hear("ANNOTATION_CREATED", annotation=annotation("right", identifier=2**31 - 1)) == 201
    assert hear("ANNOTATIONS_DELETED", annotations=[{"id": 77}]) == 201
    assert (ws.store.judgments(), ws.store.rejections()) == (before, [])


def test_the_same_webhook_twice_is_one_judgment_and_an_update_replaces_it(ws, studio, hear):
    for action, side in (
        ("ANNOTATION_CREATED", "left"),
        ("ANNOTATION_CREATED", "left"),
        ("ANNOTATION_UPDATED", "equal"),
    ):
        studio.say(annotation(side))
        hear(action, annotation=annotation(side))
    assert [judgment.preference for judgment in ws.store.judgments()] == ["equal"]


def test_a_deleted_annotation_is_forgotten(ws, studio, hear):
    studio.say(annotation())
    hear("ANNOTATION_CREATED", annotation=annotation())
    studio.tasks[10] = []
    hear("ANNOTATIONS_DELETED", annotations=[{"id": 77}])
    assert ws.store.judgments() == []


def test_a_bogus_answer_is_kept_as_rejected_with_its_reason(ws, studio, hear):
    studio.say(annotation() | {"result": []})
    assert hear("ANNOTATION_CREATED", annotation=annotation()) == 201
    assert ws.store.judgments() == []
    assert ws.store.rejections()[0].reason


def test_a_label_studio_that_is_away_for_a_moment_is_asked_again(ws, studio, client, hints):
    studio.say(annotation())
    studio.down = True
    client.post("/webhook", json=event("ANNOTATION_CREATED", annotation=annotation()), headers=HEADER)
    while not studio.asked:
        pass
    studio.down = False
    assert hints.settled(30)
    assert len(ws.store.judgments()) == 1


@pytest.mark.timeout(1200)
def test_no_random_annotation_is_an_error_of_ours_announced_or_stored(request, ws, studio, client, hints, caplog):
    """`--bodies 10000` tries as many. Each is sent as a webhook, and stands in Label Studio as an annotation."""
    rng = random.Random(17)
    for number in range(1, request.config.getoption("--bodies") + 1):
        task = rng.randrange(9, 14)
        stored, said = odd(rng, number, task)
        studio.say({**annotation(identifier=number, task=task), **stored})
        for announced in (said, event("ANNOTATION_CREATED", annotation={"id": number, "task": task})):
            made = client.post("/webhook", data=json.dumps(announced), headers=HEADER, content_type="application/json")
            assert made.status_code == 201, made.text
        if number % 100 == 0:
            assert hints.settled(60)
            studio.tasks = {key: found[-1:] for key, found in studio.tasks.items()}
    good = [annotation(identifier=2**30 + task, task=task) for task in (10, 11, 12)]
    studio.say(*good)
    for one in good:
        client.post("/webhook", json=event("ANNOTATION_CREATED", annotation=one), headers=HEADER)
    assert hints.settled(60)
    assert sorted(j.annotation_id for j in ws.store.judgments()) == [a["id"] for a in good], "the neighbours are stored"
    assert [record.message for record in caplog.records if record.exc_info] == []


def test_start_training_only_leaves_a_request_for_the_worker(client, ws):
    assert client.post("/webhook", json=event("START_TRAINING", project={"id": 2}), headers=BASIC).status_code == 201
    assert ws.store.training_request() is not None
    assert not ws.models.exists()


@pytest.mark.parametrize("action", ["PROJECT_UPDATED", "TASKS_CREATED", "TASKS_DELETED", "SOMETHING_NEW", ""])
def test_events_that_do_not_concern_us_are_taken_calmly(client, action):
    assert client.post("/webhook", json=event(action, project={"id": 2}), headers=HEADER).status_code == 201


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/webhook", {}),
        ("/webhook", {"X-Robopref-Secret": "wrong"}),
        ("/predict", HEADER),
        ("/setup", {}),
        ("/predict", {"Authorization": "Basic " + base64.b64encode(b"robopref:wrong").decode()}),
    ],
)
def test_without_the_right_secret_nothing_is_done(client, ws, path, headers):
    answer = client.post(path, json=event("ANNOTATION_CREATED", annotation=annotation(), tasks=[]), headers=headers)
    assert answer.status_code == 401
    assert ws.store.judgments() == []


def test_a_secret_is_asked_for_where_no_password_is_set(ws, studio, hints):
    from robopref.service import create_app

    ws.config.service.password = SecretStr("")
    client = create_app(ws, hints).test_client()
    studio.say(annotation())
    for action in ("ANNOTATION_CREATED", "START_TRAINING"):
        for headers in ({}, {"X-Robopref-Secret": "wrong"}, BASIC):
            made = client.post("/webhook", json=event(action, annotation=annotation()), headers=headers)
            assert made.status_code == 401
    for path in ("/reports", "/", "/metrics", "/versions", "/openapi.json"):
        assert client.get(path).status_code == 401
    assert hints.settled(30)
    assert (ws.store.judgments(), ws.store.training_request()) == ([], None)
    with_secret = {"Authorization": "Basic " + base64.b64encode(f"robopref:{SECRET}".encode()).decode()}
    assert client.get("/versions", headers=with_secret).status_code == 200
    assert client.post("/webhook", json=event("START_TRAINING"), headers=HEADER).status_code == 201


@pytest.mark.parametrize("path", ["/", "/metrics", "/versions"])
def test_what_people_and_prometheus_read_needs_the_password(client, path):
    assert client.get(path).status_code == 401
    assert client.get(path, headers=BASIC).status_code == 200


@pytest.mark.parametrize("body", ["", "[]", "null", '"x"', "{", '{"tasks": 3}', '{"tasks": [1]}'])
def test_malformed_bodies_are_the_clients_mistake(client, body):
    answer = client.post("/predict", data=body, headers=BASIC, content_type="application/json")
    assert answer.status_code == 400
    assert "error" in json.loads(answer.data)


@pytest.mark.parametrize(
    "body",
    [
        {"action": "ANNOTATION_CREATED"},
        {"action": "ANNOTATION_CREATED", "annotation": 3},
        {"action": "ANNOTATIONS_DELETED", "annotations": [3]},
        {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": "x"}]},
        {"action": "ANNOTATIONS_DELETED", "annotations": 3},
    ],
)
def test_malformed_events_never_are_our_error(client, body):
    assert client.post("/webhook", json=body, headers=HEADER).status_code < 500


@pytest.mark.parametrize("body", ['{"tasks": [NaN]}', "[" * 100_000, '{"action": Infinity}', b"\xff\xfe"])
def test_what_is_no_json_is_refused_and_never_our_error(client, body):
    for path in ("/predict", "/webhook", "/setup"):
        answer = client.post(path, data=body, headers=BASIC, content_type="application/json")
        assert (answer.status_code, answer.json) == (400, {"error": "the body is not JSON"})
    assert client.post("/predict", data="tasks=1", headers=BASIC).status_code == 415


@pytest.mark.parametrize("headers", [{}, HEADER])
def test_a_body_without_end_is_refused_before_anybody_is_asked_who_they_are(client, headers):
    body = b" " * (8 * 1024 * 1024 + 1)
    answer = client.post("/webhook", data=body, headers=headers, content_type="application/json")
    assert (answer.status_code, "error" in answer.json) == (413, True)


@pytest.mark.parametrize("number", [2**31, 2**70, -1, True, "7", None])
def test_an_id_that_no_database_holds_names_nothing(ws, studio, hear, number):
    asked = studio.asked
    assert hear("ANNOTATION_CREATED", annotation=annotation(task=number)) == 201
    assert hear("ANNOTATIONS_DELETED", annotations=[{"id": number}]) == 201
    assert (studio.asked, ws.store.count_judgments(), ws.store.count_rejections()) == (asked, 0, 0)


def test_a_bug_is_logged_and_its_traceback_stays_here(client, ws, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("sesame")

    monkeypatch.setattr(ws.store, "request_training", broken)
    answer = client.post("/webhook", json=event("START_TRAINING"), headers=HEADER)
    assert (answer.status_code, answer.json) == (500, {"error": "internal error; see the service's log"})
    assert "sesame" in caplog.text


def test_no_token_password_or_secret_is_logged_whatever_fails(client, ws, caplog):
    body = {"project": "2.1", "access_token": "sesame-open", "tasks": 3}
    for path in ("/setup", "/predict", "/webhook", "/nowhere"):
        for headers in (BASIC, HEADER, {"X-Robopref-Secret": "sesame-wrong"}):
            client.post(path, json=body, headers=headers)
    ws.store.close()
    (ws.root / "robopref.db").write_bytes(b"no database " * 1000)
    for path in ("/setup", "/predict"):
        assert client.post(path, json={**body, "tasks": []}, headers=BASIC).status_code in (500, 503)
    for secret in ("sesame", SECRET, PASSWORD, BASIC["Authorization"].split()[1]):
        assert secret not in caplog.text


def test_the_secrets_are_compared_in_constant_time(client, monkeypatch):
    import hmac

    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr("ml_backend.service.app.hmac.compare_digest", lambda a, b: compared.append(b) or real(a, b))
    client.post("/webhook", json=event("X"), headers={"X-Robopref-Secret": "wrong"})
    assert compared == [b"robopref", PASSWORD.encode(), SECRET.encode()]


def test_unknown_paths_are_json_too(client):
    answer = client.get("/nowhere", headers=BASIC)
    assert (answer.status_code, "error" in answer.json) == (404, True)


def test_metrics_count_what_is_there(client, ws, studio, hear):
    studio.say(annotation())
    hear("ANNOTATION_CREATED", annotation=annotation())
    ws.store.put_model_version(
        ModelVersion(
            "rm-0001",
            "m",
            "2026-01-01T00:00:00+00:00",
            50,
            0.8,
            0.7,
            "resnet18",
            "none",
            metrics={"training_s": 12.5, "audit": {"value": 0.83, "low": 0.66, "high": 0.93, "pairs": 30}},
        )
    )
    text = client.get("/metrics", headers=BASIC).text
    for line in (
        "robopref_judgments 1.0",
        "robopref_open_assignments 2.0",
        'version="rm-0001"} 50.0',
        'robopref_model_active{version="rm-0001"} 1.0',
        'robopref_webhook_events_total{action="ANNOTATION_CREATED"} 1.0',
        'robopref_request_seconds_count{endpoint="webhook",status="201"} 1.0',
        "robopref_last_training_duration_seconds 12.5",
        "robopref_last_training_timestamp_seconds 1.7672256e+09",
        "robopref_worker_up 0.0",
        "robopref_worker_looked_timestamp_seconds 0.0",
    ):
        assert line in text
    page = client.get("/", headers=BASIC).text
    for said in ("rm-0001", "0.800", "0.83 (0.66 to 0.93)", "1/3", "not running", "took 12 s"):
        assert said in page
    ws.store.put_model_version(
        ModelVersion("rm-0002", "m", "2026-01-02T00:00:00+00:00", 80, 0.9, 0.8, "resnet18", "none")
    )
    assert "rm-0002" in client.get("/", headers=BASIC).text  # its predecessor is not in use, and was not kept back
    beat_file(ws).touch()
    os.utime(beat_file(ws), (1_700_000_000, 1_700_000_000))
    assert "robopref_worker_looked_timestamp_seconds 1.7e+09" in client.get("/metrics", headers=BASIC).text
    with exclusively(ws, WORKER):
        assert "robopref_worker_up 1.0" in client.get("/metrics", headers=BASIC).text
        assert "not running" not in client.get("/", headers=BASIC).text


def test_the_document_names_every_route(client):
    rules = {
        re.sub(r"<(.*?)>", r"{\1}", str(rule)): rule.methods & {"GET", "POST"}
        for rule in client.application.url_map.iter_rules()
        if not str(rule).startswith(CONSOLE)  # for people
    }
    paths = client.get("/openapi.json", headers=BASIC).json["paths"]
    assert {path: {method.upper() for method in methods} for path, methods in paths.items()} == rules


def test_without_a_password_the_webhook_secret_opens_what_label_studio_calls_and_nothing_that_people_read(tmp_path):
    from robopref.service import create_app

    ws = planned(tmp_path)
    ws.config.service.password = SecretStr("")
    client = create_app(ws).test_client()
    known = {"Authorization": "Basic " + base64.b64encode(f"robopref:{SECRET}".encode()).decode()}
    nothing = {"Authorization": "Basic " + base64.b64encode(b"robopref:").decode()}
    assert client.post("/predict", json={"tasks": []}, headers=known).status_code == 200
    assert client.get("/versions", headers=known).status_code == 200
    for place in ("/", "/reports", "/reports/live", "/reports/production-001", "/metrics", CONSOLE):
        for headers in (known, nothing, HEADER, {}):
            assert client.get(place, headers=headers).status_code == 401, place
    assert client.post("/predict", json={"tasks": []}, headers=nothing).status_code == 401
    ws.store.close()


def test_where_nothing_is_configured_nothing_is_asked(tmp_path):
    from robopref.service import create_app

    ws = planned(tmp_path)
    ws.config.service.password = ws.config.service.webhook_secret = SecretStr("")
    assert create_app(ws).test_client().get("/reports").status_code == 200
    ws.store.close()

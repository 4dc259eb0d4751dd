"""Webhooks lost, doubled, late and out of order, and then a pull: the database ends where a pull alone would end."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from service_maker import HEADER, annotation, planned
from told_maker import Told

from importer.studio.hints import Hints
from importer.studio.judgments import replace_annotations
from ml_backend.service.app import create_app

TASKS = (10, 11, 12)
SIDES = ("left", "right", "equal", "nonsense")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    told = Told()
    ws = planned(tmp_path_factory.mktemp("events"), url=told.url)
    hints = Hints(ws, gather_s=0.0)
    yield ws, create_app(ws, hints).test_client(), told, hints
    ws.store.close()
    told.end()


@st.composite
def histories(draw):
    """What happened in Label Studio, as the webhooks that told of it, each with what is there then."""
    events, present, there = [], {}, []
    for second in range(draw(st.integers(1, 8))):
        what = draw(st.sampled_from(["create", "update", "delete"])) if present else "create"
        number = second + 1 if what == "create" else draw(st.sampled_from(sorted(present)))
        if what == "delete":
            events.append({"action": "ANNOTATIONS_DELETED", "annotations": [{"id": number}]})
            del present[number]
            there.append(dict(present))
            continue
        task = draw(st.sampled_from(TASKS)) if what == "create" else present[number]["task"]
        made = annotation(draw(st.sampled_from(SIDES[:3])), number, task)
        made |= {"updated_at": f"2026-01-01T10:00:{second:02d}.000000Z"}
        made |= {"result": []} if draw(st.booleans()) and draw(st.booleans()) else {}
        present[number] = made
        events.append({"action": f"ANNOTATION_{what.upper()}D", "annotation": made})
        there.append(dict(present))
    return events, there


def rows(store):
    judged = sorted((j.assignment_id, j.annotation_id, j.preference, j.raw["updated_at"]) for j in store.judgments())
    return judged, sorted((r.annotation_id, r.task_id, r.reason, r.raw["updated_at"]) for r in store.rejections())


def pulled(store, present):
    """What a pull does with what Label Studio has; twice, as the worker's comes again and again."""
    final = {task: [a for a in present.values() if a["task"] == task] for task in TASKS}
    for _ in range(2):
        replace_annotations(store, final)
    return rows(store)


def forget(store):
    store.delete_judgments([row.annotation_id for row in (*store.judgments(), *store.rejections())])


def has(told, present):
    """What Label Studio says from now on."""
    told.tasks = {task: [a for a in present.values() if a["task"] == task] for task in TASKS}


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(history=histories(), data=st.data())
def test_whatever_became_of_the_webhooks_the_pull_puts_it_right(service, history, data):
    ws, client, told, hints = service
    events, there = history
    forget(ws.store)
    expected = pulled(ws.store, there[-1])
    forget(ws.store)
    for event in data.draw(st.lists(st.sampled_from(events), max_size=12)):
        has(told, data.draw(st.sampled_from(there)))
        assert client.post("/webhook", json=event, headers=HEADER).status_code == 201
        assert data.draw(st.booleans()) or hints.settled(30)
    assert hints.settled(30)
    has(told, there[-1])
    assert pulled(ws.store, there[-1]) == expected
    for event in data.draw(st.lists(st.sampled_from(events), max_size=4)):
        client.post("/webhook", json=event, headers=HEADER)
    assert hints.settled(30)
    assert rows(ws.store) == expected


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(history=histories())
def test_webhooks_in_their_order_need_no_pull(service, history):
    ws, client, told, hints = service
    events, there = history
    forget(ws.store)
    expected = pulled(ws.store, there[-1])
    forget(ws.store)
    for event, present in zip(events, there, strict=True):
        has(told, present)
        for _ in range(2):
            client.post("/webhook", json=event, headers=HEADER)
        assert hints.settled(30)
    assert rows(ws.store) == expected

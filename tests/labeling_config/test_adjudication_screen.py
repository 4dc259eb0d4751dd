"""An adjudicator's screen in a real browser: blind first, then the others' answers, then a decision with its cause."""

import json

import pytest
from paths import ARTIFACTS
from screen_maker import (
    CHOSEN,
    PASSWORD,
    SEEN,
    annotations,
    make_project,
    mark,
    open_stream,
    sign_in,
    submit,
    task_ids,
)

from importer.studio.users import admin_session, annotator_session
from labeling_config import contract
from labeling_config.questions import answers_in

EMAIL = "judith@example.com"
SAID = "1: left is better, sure 3 of 5"


@pytest.fixture
def project(label_studio):
    return make_project(label_studio, EMAIL, "Adjudication", template="adjudication", prefix="j", tasks=1,
                        lines=[mark("adjudication-001")])  # fmt: skip


@pytest.fixture
def page(chromium, label_studio, project):
    with chromium.new_context(viewport={"width": 1440, "height": 900}) as context:
        page = context.new_page()
        sign_in(page, label_studio, EMAIL)
        yield page


def test_the_others_answers_come_after_ones_own_which_stays_and_a_decision_is_asked_for(page, label_studio, project):
    open_stream(page, label_studio, project)
    page.wait_for_function(SEEN)
    assert not page.get_by_text("What the others said:").is_visible()
    assert not page.get_by_text("Decision").is_visible()
    assert SAID not in page.content() and SAID not in page.evaluate("JSON.stringify(window.Htx.task)")
    page.keyboard.press("1")
    page.keyboard.press("f")
    page.get_by_text("What the others said:").wait_for()
    page.get_by_text(SAID).wait_for()
    page.reload()  # the draft is there again, or nothing is: either way the first answer stays
    page.wait_for_function(SEEN)
    if not page.evaluate(CHOSEN):
        page.keyboard.press("3")
        page.keyboard.press("f")
    page.get_by_text(SAID).wait_for()
    page.wait_for_function(f"({CHOSEN})[0] === 'left'")
    page.keyboard.press("3")
    page.get_by_text("yours stays as it is").wait_for()
    page.keyboard.press("Enter")
    page.get_by_text("Decide: press 4, 5, 6 or 7.").wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("Decide: press 4, 5, 6 or 7.").wait_for(state="hidden")
    page.keyboard.press("6")
    page.keyboard.press("i")
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "adjudication.png")
    assert page.evaluate(CHOSEN)[:2] == ["left", "4"]
    assert submit(page).status == 201
    said = answers_in(annotations(label_studio, project)["j0"][0]["result"], "A")
    assert (said["decision"], said["cause"]) == ("B", "slip")


@pytest.fixture
def session(label_studio, project):
    with annotator_session(label_studio.url, EMAIL, PASSWORD) as session:
        yield session


def everything(session, server, project, task):
    """What this account's own pages read of the task."""
    places = (f"tasks/{task}/", f"projects/{project}/next/", f"projects/{project}/", f"tasks/{task}/drafts/",
              f"tasks/?project={project}", f"dm/project?project={project}")  # fmt: skip
    pages = [session.get(f"{server.url}/api/{place}").text for place in places]
    pages.append(session.post(f"{server.url}/api/dm/actions/?id=next_task&project={project}", json={}).text)
    return "\n".join([*pages, session.get(f"{server.url}/projects/{project}/data?labeling=1").text])


def test_no_page_and_no_api_tells_the_others_answers_before_ones_own_is_kept(session, label_studio, project):
    (task,) = task_ids(label_studio, project)
    address = f"{label_studio.url}/robopref/others/{task}"
    blind = {"side": "right", "confidence": 4}
    assert session.post(address, json=blind).status_code == 403, "it was not served yet"
    assert contract.OTHERS in everything(session, label_studio, project, task)
    assert SAID not in everything(session, label_studio, project, task)
    for wrong in ({}, {"side": "right"}, {"side": "up", "confidence": 4}, {**blind, "confidence": True},
                  {**blind, "confidence": 9}, {**blind, "user": 1}):  # fmt: skip
        reply = session.post(address, json=wrong)
        assert reply.status_code in (400, 403) and SAID not in reply.text
    assert session.get(address).status_code in (403, 405)
    assert session.post(address, json=blind).json() == {"side": "right", "said": SAID}
    assert SAID not in everything(session, label_studio, project, task), "nor in the task afterwards"

    again = session.post(address, json={"side": "left", "confidence": 1}).json()
    assert again == {"side": "right", "said": SAID}, "the first answer stays"
    with admin_session(label_studio.url, label_studio.token) as manager:  # saves the whole task
        assert manager.patch(f"{label_studio.url}/api/tasks/{task}/", json={"meta": {"note": "x"}}).status_code == 200
    answers = f"{label_studio.url}/api/tasks/{task}/annotations/"
    refused = session.post(answers, json={"result": contract.result_of("left", 4), "lead_time": 5})
    assert refused.status_code == 409 and "stays: right" in refused.json()["detail"]
    made = session.post(answers, json={"result": contract.result_of("right", 4), "lead_time": 5})
    assert made.status_code == 201
    changed = {"result": contract.result_of("equal", 4), "lead_time": 5}
    assert session.patch(f"{label_studio.url}/api/annotations/{made.json()['id']}/", json=changed).status_code == 409


def test_an_answer_that_came_without_the_screen_is_the_blind_one(session, label_studio, project):
    (task,) = task_ids(label_studio, project)
    everything(session, label_studio, project, task)
    answers = f"{label_studio.url}/api/tasks/{task}/annotations/"
    assert session.post(answers, json={"result": contract.result_of("equal", 2), "lead_time": 5}).status_code == 201
    told = session.post(f"{label_studio.url}/robopref/others/{task}", json={"side": "left", "confidence": 5})
    assert told.json() == {"side": "equal", "said": SAID}
    assert json.dumps(annotations(label_studio, project)["j0"][0]["result"]).count('"equal"') == 1

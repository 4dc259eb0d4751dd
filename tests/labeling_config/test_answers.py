"""The plugin takes one whole answer to each pair, and a finished test stays as it is."""

import functools
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier

import psycopg
import pytest
from screen_maker import PASSWORD, make_project, mark, task_ids

from importer.studio.users import admin_session, annotator_session
from labeling_config import contract
from robopref import studio

MOST = 50
"""Skips and drafts of one pair by one person: answers.MOST_SKIPS, answers.MOST_DRAFTS."""
GOOD = {"result": contract.result_of("left", 4, "steady"), "lead_time": 6.5}


def with_value(name, kind, value):
    """A good answer in which one region is replaced."""
    kept = [region for region in GOOD["result"] if region["from_name"] != name]
    return {"result": [*kept, {"from_name": name, "to_name": "left", "type": kind, "value": value}], "lead_time": 1}


MALFORMED = {
    "a reason of a number": with_value("reason", "textarea", {"text": 5}),
    "a reason of true, on a skip": {**with_value("reason", "textarea", {"text": True}), "was_cancelled": True},
    "a reason that is a lone surrogate": with_value("reason", "textarea", {"text": ["\ud800"]}),
    "a confidence that is an object": with_value("confidence", "number", {"number": {}}),
    "a nested choice": with_value("preference", "choices", {"choices": [["left"]]}),
    "two choices": with_value("preference", "choices", {"choices": ["left", "right"]}),
    "an unknown choice": with_value("preference", "choices", {"choices": ["best"]}),
    "no result": {"result": [], "lead_time": 1},
    "a time without end": {**GOOD, "lead_time": float("inf")},
    "a time without end, as text": {**GOOD, "lead_time": "inf"},
    "a skip that took no number of seconds": {"result": [], "was_cancelled": True, "lead_time": "nan"},
    "a result of words": {"result": ["x"], "lead_time": 1},
    "two megabytes": with_value("reason", "textarea", {"text": ["x" * 2_000_000]}),
}


class Person:
    """Somebody signed in, with projects of their own."""

    def __init__(self, server, name):
        self.url, self.email, self.server = server.url, f"{name}@example.com", server

    def project(self, phase, tasks=2, lines=(), **more):
        lines = [mark(phase), *lines]
        made = make_project(self.server, self.email, phase, tasks=tasks, lines=lines, prefix=phase, **more)
        self.session = annotator_session(self.url, self.email, PASSWORD)
        return made, task_ids(self.server, made)

    def answer(self, task, body=GOOD):
        sent = json.dumps(body)  # httpx's own refuses a lone surrogate
        kind = {"Content-Type": "application/json"}
        return self.session.post(f"{self.url}/api/tasks/{task}/annotations/", content=sent, headers=kind)

    def change(self, annotation, body=GOOD):
        return self.session.patch(f"{self.url}/api/annotations/{annotation}/", json=body)

    def next(self, project, **body):
        return self.session.post(f"{self.url}/api/dm/actions/?id=next_task&project={project}", json=body)


def test_a_malformed_answer_is_refused_at_the_door_with_the_reason(label_studio):
    person = Person(label_studio, "malformed")
    _, (task, _) = person.project("production")
    for what, body in MALFORMED.items():
        reply = person.answer(task, body)
        assert reply.status_code in (400, 413) and reply.json()["detail"], what
    assert person.answer(task).status_code == 201


def test_what_the_managers_lists_cannot_show_is_refused_wherever_it_is_sent(label_studio):
    person = Person(label_studio, "unshowable")
    project, (task, _) = person.project("production")
    kind = {"Content-Type": "application/json"}
    nested = '{"result": ' + "[" * 20_000 + "]" * 20_000 + "}"
    keys = json.dumps({"custom_hotkeys": {"annotation:\ud800": {"key": "x"}}})
    tab = json.dumps({"project": project, "data": {"title": "\ud800"}})
    for method, path, sent in (
        ("POST", f"api/tasks/{task}/annotations/", nested),
        ("PATCH", "api/current-user/hotkeys/", keys),
        ("POST", "api/dm/views/", tab),
    ):
        reply = person.session.request(method, f"{person.url}/{path}", content=sent, headers=kind)
        assert reply.status_code == 400 and reply.json()["detail"], path


def test_a_pair_is_answered_once_and_a_skip_can_still_be_answered(label_studio):
    person = Person(label_studio, "once")
    _, (first, second) = person.project("production")
    assert person.answer(first).status_code == 201
    assert person.answer(first, {**GOOD, "result": contract.result_of("right", 2)}).status_code == 409
    overruled = f"{person.url}/api/tasks/{second}/annotations/?was_cancelled=false"
    assert person.session.post(overruled, json={"result": [], "was_cancelled": True}).status_code == 403
    assert person.answer(second, {"result": [], "was_cancelled": True}).status_code == 201
    assert person.answer(second).status_code == 201


def at_once(*calls):
    """What the calls return, all begun at the same moment."""
    ready = Barrier(len(calls))

    def wait_and(call):
        ready.wait(30)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [done.result() for done in [pool.submit(wait_and, call) for call in calls]]


def once_whatever_arrives_together(server, name):
    """Answers of one person to one pair at the same moment: one of them is stored. The same of a skip that becomes an
    answer while another answer arrives."""
    person = Person(server, name)
    _, tasks = person.project("production", tasks=12)
    with ExitStack() as stack:
        hands = [stack.enter_context(annotator_session(person.url, person.email, PASSWORD)) for _ in range(4)]

        def post(hand, task):
            side = contract.SIDES[hands.index(hand) % 3]
            body = {"result": contract.result_of(side, 3), "lead_time": 5}
            return hand.post(f"{person.url}/api/tasks/{task}/annotations/", json=body).status_code

        def revive(skip):
            return person.change(skip, {**GOOD, "was_cancelled": False}).status_code

        for task in tasks[:6]:
            found = at_once(*(functools.partial(post, hand, task) for hand in hands))
            assert sorted(found) == [201, 409, 409, 409], found
        for task in tasks[6:]:
            skip = person.answer(task, {"result": [], "was_cancelled": True}).json()["id"]
            revived = functools.partial(revive, skip)
            assert sorted(at_once(revived, functools.partial(post, hands[0], task))) in ([200, 409], [201, 409])
    for task in tasks:
        kept = person.session.get(f"{person.url}/api/tasks/{task}/").json()["annotations"]
        assert sum(not one["was_cancelled"] for one in kept) == 1


def test_answers_that_arrive_at_once_are_one_answer(label_studio):
    once_whatever_arrives_together(label_studio, "hasty-hands")


@pytest.mark.slow
@pytest.mark.timeout(1200)  # its first start makes all tables
def test_so_they_are_on_postgresql(label_studio, postgres, tmp_path, monkeypatch):
    host, _, port = postgres.partition("@")[2].partition(":")
    with psycopg.connect(f"postgresql://{postgres}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE label_studio_at_once")
    place = {"DJANGO_DB": "default", "POSTGRE_NAME": "label_studio_at_once", "POSTGRE_USER": "robopref",
             "POSTGRE_PASSWORD": "", "POSTGRE_HOST": host, "POSTGRE_PORT": port}  # fmt: skip
    usual = studio.environment
    monkeypatch.setattr(studio, "environment", lambda *given, **how: usual(*given, **how) | place)
    with studio.LabelStudioServer(tmp_path / "data", label_studio.document_root, timeout_s=900) as server:
        once_whatever_arrives_together(server, "hasty-hands")
        assert not (tmp_path / "data" / "label_studio.sqlite3").exists()


def test_a_skip_does_not_become_a_second_answer(label_studio):
    person = Person(label_studio, "second-thoughts")
    _, (first, second) = person.project("production")
    skips = [person.answer(task, {"result": [], "was_cancelled": True}).json()["id"] for task in (first, second)]
    assert person.answer(first).status_code == 201
    refused = person.change(skips[0], {**GOOD, "was_cancelled": False})
    assert refused.status_code == 409 and "already" in refused.json()["detail"]
    assert person.change(skips[1], {**GOOD, "was_cancelled": False}).status_code == 200


def test_drafts_are_limited_as_answers_are(label_studio):
    person = Person(label_studio, "drafting")
    project, (task, _) = person.project("production")
    person.next(project).raise_for_status()
    address = f"{person.url}/api/tasks/{task}/drafts"
    large = with_value("reason", "textarea", {"text": ["x" * 70_000]})
    kept = person.session.post(address, json={"result": GOOD["result"]})
    assert kept.status_code == 201
    for body, status in ((large, 413), (with_value("reason", "textarea", {"text": 5}), 400), ({"result": ["x"]}, 400)):
        draft = {"result": body["result"]}
        assert person.session.post(address, json=draft).status_code == status
        assert person.session.patch(f"{person.url}/api/drafts/{kept.json()['id']}/", json=draft).status_code == status
    made = [person.session.post(address, json={"result": []}).status_code for _ in range(MOST)]
    assert made == [201] * (MOST - 1) + [429]


def test_nobody_fills_the_database_with_skips_of_one_pair(label_studio):
    person = Person(label_studio, "refusing")
    _, (task, _) = person.project("production")
    skip = {"result": [], "was_cancelled": True}
    assert [person.answer(task, skip).status_code for _ in range(MOST + 1)] == [201] * MOST + [429]
    assert person.answer(task).status_code == 201


def test_a_finished_test_cannot_be_changed_and_an_unfinished_one_can(label_studio):
    person = Person(label_studio, "final")
    _, (first, second) = person.project("calibration-1", lines=[contract.final_line()])
    answered = person.answer(first).json()["id"]
    assert person.change(answered, {**GOOD, "result": contract.result_of("right", 3)}).status_code == 200
    assert person.answer(second).status_code == 201
    refused = person.change(answered)
    assert refused.status_code == 403 and "finished" in refused.json()["detail"]
    kept = person.session.get(f"{person.url}/api/annotations/{answered}/").json()
    assert contract.answer_of(kept).side == "right"


def test_more_pairs_do_not_reopen_the_answers_of_a_finished_test(label_studio):
    person = Person(label_studio, "extended")
    project, tasks = person.project("calibration-1", lines=[contract.final_line()])
    before = [person.answer(task).json()["id"] for task in tasks]
    with admin_session(person.url, label_studio.token) as manager:
        more = [{"data": manager.get(f"{person.url}/api/tasks/{task}/").json()["data"]} for task in tasks]
        manager.post(f"{person.url}/api/projects/{project}/import", json=more).raise_for_status()
    added = sorted(set(task_ids(label_studio, project)) - set(tasks))
    assert [person.change(answer).status_code for answer in before] == [403, 403]
    answered = person.answer(added[0]).json()["id"]
    assert person.change(answered, {**GOOD, "result": contract.result_of("right", 3)}).status_code == 200
    assert person.answer(added[1]).status_code == 201
    assert person.change(answered).status_code == 403


def test_a_test_waits_for_the_training_and_the_experts_sets_for_nothing(label_studio):
    person, expert = Person(label_studio, "ordered"), Person(label_studio, "expertly")
    _, training = person.project("training")
    _, test = person.project("calibration-1", lines=[contract.final_line()])
    refused = person.answer(test[0])
    assert refused.status_code == 403 and "training" in refused.json()["detail"]
    for task in (*training, *test):
        assert person.answer(task).status_code == 201
    _, second = person.project("calibration-2", lines=[contract.final_line()])
    again, lessons = person.project("training-2")
    assert person.answer(second[0]).status_code == 403, "a training after a failed test comes before the next one"
    going = person.session.get(f"{person.url}/robopref/next", follow_redirects=False).headers["location"]
    assert going == f"/projects/{again}/data?labeling=1"
    for task in (*lessons, *second):
        assert person.answer(task).status_code == 201
    expert.project("training")
    _, unordered = expert.project("calibration-1")
    assert expert.answer(unordered[0]).status_code == 201


def test_skips_do_not_open_the_test_and_the_way_leads_back_to_them(label_studio):
    person = Person(label_studio, "skipping")
    project, training = person.project("training")
    for task in training:
        assert person.answer(task, {"result": [], "was_cancelled": True}).status_code == 201
    before = person.session.get(f"{person.url}/robopref/next").text
    assert "training is not finished" in before and f"/projects/{project}/data" in before
    test_project, test = person.project("calibration-1", lines=[contract.final_line()])
    refused = person.answer(test[0])
    assert refused.status_code == 403 and "skipped" in refused.json()["detail"]
    shown = person.session.get(f"{person.url}/robopref/next")
    assert shown.status_code == 200 and "training is not finished" in shown.text and "See the 2 skipped" in shown.text
    assert person.session.get(f"{person.url}/robopref/state").json()["next"] is None
    stream = f"{person.url}/projects/{test_project}/data?labeling=1"
    assert person.session.get(stream, follow_redirects=False).headers["location"] == "/robopref/next"
    for task in training:
        assert person.answer(task).status_code == 201
    assert person.session.get(stream, follow_redirects=False).status_code == 200
    going = person.session.get(f"{person.url}/robopref/next", follow_redirects=False).headers["location"]
    assert going == f"/projects/{test_project}/data?labeling=1"
    assert person.answer(test[0]).status_code == 201


def unseen(side):
    """A skip as the page sends it where a clip could not be shown."""
    return {**with_value("reason", "textarea", {"text": [f"missing clip: {side}"]}), "was_cancelled": True}


def test_training_clips_that_cannot_be_shown_hold_nobody_up_if_they_are_few(label_studio):
    person = Person(label_studio, "unseeing")
    _, training = person.project("training", tasks=8)
    test_project, test = person.project("calibration-1", lines=[contract.final_line()])
    stream = f"{person.url}/projects/{test_project}/data?labeling=1"

    def opened():
        page = person.session.get(stream, follow_redirects=False).status_code == 200
        going = person.session.get(f"{person.url}/robopref/next", follow_redirects=False)
        assert page == (going.headers.get("location") == f"/projects/{test_project}/data?labeling=1")
        return page

    for task in training[:5]:
        person.answer(task)
    for task, side in zip(training[5:], ("left", "right", "left and right"), strict=True):
        assert not opened()
        assert person.answer(task, unseen(side)).status_code == 201
    assert not opened(), "a quarter of eight is two"
    assert person.answer(test[0]).status_code == 403
    shown = person.session.get(f"{person.url}/robopref/next").text
    assert "training is not finished" in shown
    assert person.answer(training[7]).status_code == 201
    assert opened()
    for task in test:
        assert person.answer(task).status_code == 201
    done = person.session.get(f"{person.url}/robopref/next").text
    assert "That was the test" in done and "See the 2 skipped pairs again" in done


WRONG = {**GOOD, "result": contract.result_of("right", 2)}


def test_a_training_skips_what_was_right_often_enough_in_a_row_and_the_test_opens(label_studio):
    person = Person(label_studio, "quick")
    about = ["grasp", "contrast", "grasp", "grasp", "grasp", "grasp", "contrast", "grasp", "grasp"]
    training, tasks = person.project("training", tasks=9, template="calibration", about=about)
    _, test = person.project("calibration-1", lines=[contract.final_line()])

    def stage(of=training):
        return person.session.get(f"{person.url}/robopref/state?project={of}").json()["stage"]

    person.answer(tasks[0])
    person.answer(tasks[2], WRONG)  # the row begins again
    for task in (3, 4, 5):
        person.answer(tasks[task])
    assert (stage()["left"], stage()["settled"]) == (4, 0), "of seven pairs, five have to be right"
    person.answer(tasks[1])  # about something else
    assert (stage()["left"], stage()["settled"]) == (3, 0)
    person.answer(tasks[7])
    person.answer(tasks[8])
    assert (stage()["left"], stage()["skipped"], stage()["settled"]) == (1, 0, 0), "nothing of this kind was left"
    assert person.answer(test[0]).status_code == 403
    person.answer(tasks[6])
    assert person.answer(test[0]).status_code == 201

    again, tasks = person.project("training-2", tasks=7, template="calibration", about=["grasp"] * 6 + ["contrast"])
    for task in tasks[:4]:
        person.answer(task)
    assert {key: stage(again)[key] for key in ("done", "left", "skipped", "settled")} == {
        "done": 4, "left": 1, "skipped": 0, "settled": 2}  # fmt: skip
    assert person.next(again).json()["id"] == tasks[6]
    assert person.answer(tasks[6]).status_code == 201
    assert person.next(again).status_code == 404, "not even in the queue of what was skipped"
    with admin_session(label_studio.url, label_studio.token) as manager:
        found = manager.get(f"{person.url}/api/tasks/{tasks[4]}/").json()
        (closed,) = found["annotations"]
    assert found["is_labeled"] and contract.is_settled(closed)
    assert person.answer(tasks[4]).status_code == 201, "whoever wants to may still answer it"


def test_an_answer_that_is_mended_after_the_experts_word_closes_nothing(label_studio):
    person = Person(label_studio, "mending")
    training, tasks = person.project("training", tasks=6, template="calibration", about=["grasp"] * 6)
    skip = {"result": [], "was_cancelled": True}
    mended = [person.answer(task, WRONG).json()["id"] for task in tasks[:2]]
    mended.append(person.answer(tasks[2], skip).json()["id"])
    assert person.change(mended[2], {**WRONG, "was_cancelled": False}).status_code == 200
    for annotation in mended:
        assert person.change(annotation, GOOD).status_code == 200
    person.answer(tasks[3])
    stage = person.session.get(f"{person.url}/robopref/state?project={training}").json()["stage"]
    assert (stage["done"], stage["left"], stage["settled"]) == (4, 2, 0), "one of four was right at first"


def test_no_annotator_closes_a_pair_of_the_training_themselves(label_studio):
    person = Person(label_studio, "hurried")
    _, tasks = person.project("training", template="calibration", about=["grasp"] * 2)
    forged = {"result": contract.settled_result(), "was_cancelled": True}
    reply = person.answer(tasks[0], forged)
    assert (reply.status_code, reply.json()["detail"][:16]) == (400, "Which pairs need")
    skip = person.answer(tasks[0], {"result": [], "was_cancelled": True}).json()["id"]
    assert person.change(skip, forged).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {"ordering": ["tasks:predictions_score"]},
        {"filters": {"conjunction": "and", "items": [{"filter": "filter:tasks:data.video_left", "value": "a"}]}},
        {"selectedItems": {"all": False, "included": [1]}},
    ],
)
def test_nobody_sorts_filters_or_picks_from_their_queue(label_studio, body):
    person = Person(label_studio, "leafing")
    project, _ = person.project("production")
    assert person.next(project, **body).status_code == 403
    filtered = f"{person.url}/api/dm/actions/?id=next_task&project={project}&query={json.dumps(body)}"
    assert person.session.post(filtered, json={}).status_code == 403
    view = {"project": project, "data": body}
    assert person.session.post(f"{person.url}/api/dm/views/", json=view).status_code == 403


def test_only_the_present_pair_and_those_before_it_can_be_read(label_studio):
    person = Person(label_studio, "reading")
    project, (present, later) = person.project("production")
    read = {task: f"{person.url}/api/tasks/{task}/" for task in (present, later)}
    assert person.session.get(read[present]).status_code == 403
    assert person.next(project).json()["id"] == present
    assert person.session.get(read[present]).status_code == 200
    assert person.session.get(read[later]).status_code == 403
    draft = {"result": [], "lead_time": 1}
    assert person.session.post(f"{person.url}/api/tasks/{later}/drafts", json=draft).status_code == 403
    assert person.session.post(f"{person.url}/api/tasks/{present}/drafts", json=draft).status_code == 201
    assert person.session.get(read[later]).status_code == 403
    for more in ("", "&fields=all", "&ordering=tasks:predictions_score", f"&query={json.dumps({'filters': None})}"):
        listed = person.session.get(f"{person.url}/api/tasks/?project={project}{more}")
        assert listed.json() == {"tasks": [], "total": 0, "total_annotations": 0, "total_predictions": 0}

"""Against a real server: what is planned arrives once, what is answered comes back right, trouble is one message."""

import contextlib
import http.server
import json
import socket
import stat
import threading
from dataclasses import replace

import httpx
import pytest
from studio_maker import SECRET, answer, exactly_one_task_each, make_workspace, plan, serve, sign_in
from typer.testing import CliRunner

from importer.studio.client import LabelStudio, connect
from importer.studio.clip_check import _wrong, clip_trouble
from importer.studio.order import rescore
from importer.studio.pull import pull, pull_tasks
from importer.studio.push import credentials, push
from importer.studio.queues import PLANNED
from importer.studio.replies import next_version
from importer.studio.users import admin_session
from labeling_config.contract import SECRET_HEADER, TASK_KEYS, in_a_row, result_of
from preference.errors import NotReady, StudioError
from preference.records import Trajectory
from robopref.cli import app
from robopref.doctor import examine


@pytest.fixture
def ws(label_studio, request):
    """A workspace of its own on the server, with ann and bob."""
    workspace = make_workspace(label_studio, f"w{abs(hash(request.node.name)) % 10**8}", simulated=("ann", "bob"))
    yield workspace
    workspace.store.close()


@pytest.fixture
def manager(label_studio):
    return admin_session(label_studio.url, label_studio.token)


def assignment(ws, key):
    return next(v.assignment for v in ws.store.assignments() if v.assignment.assignment_id.endswith(key))


def test_push_makes_users_projects_and_one_task_per_assignment(ws, manager):
    plan(ws, "calibration-1", "ann", 4, "calibration")
    plan(ws, "production-001", "ann", 6)
    plan(ws, "production-001", "bob", 6)
    made = push(ws)
    assert (made.users, made.projects, made.tasks) == (2, 3, 19)
    assert exactly_one_task_each(ws)
    titles = {p.title for p in connect(ws).projects() if f".{ws.root.name}@" in p.description}
    assert titles == {"Calibration 1 · ann", "Production · ann", "Production · bob"}
    again = push(ws)
    assert (again.users, again.projects, again.tasks) == (0, 0, 0)
    assert exactly_one_task_each(ws)


def test_a_later_batch_goes_into_the_same_production_project(ws):
    plan(ws, "production-001", "ann", 4)
    push(ws)
    plan(ws, "active-001", "ann", 4, "active")
    made = push(ws)
    assert (made.users, made.projects, made.tasks) == (0, 0, 5)
    assert len({v.assignment.project_id for v in ws.store.assignments()}) == 1


def test_a_push_that_was_killed_after_the_import_is_repaired(ws, monkeypatch):
    plan(ws, "production-001", "ann", 6)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(ws.store), "set_tasks", killed)
        push(ws)
    assert push(ws).tasks == 0
    assert exactly_one_task_each(ws)


def test_a_push_that_was_killed_between_project_and_tasks_finds_its_project_again(ws, monkeypatch):
    plan(ws, "production-001", "ann", 4)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LabelStudio, "import_tasks", killed)
        push(ws)
    made = push(ws)
    assert (made.users, made.projects, made.tasks) == (0, 0, 5)


def test_an_import_that_was_made_twice_leaves_one_task_each(ws, monkeypatch):
    plan(ws, "production-001", "ann", 4)
    once = LabelStudio.import_tasks

    def unheard(*arguments):
        once(*arguments)
        once(*arguments)
        raise StudioError("no answer")

    with monkeypatch.context() as patch, pytest.raises(StudioError):
        patch.setattr(LabelStudio, "import_tasks", unheard)
        push(ws)
    push(ws)
    assert exactly_one_task_each(ws)


def test_a_project_serves_one_person_in_our_order_and_shows_no_prediction(ws, manager):
    plan(ws, "production-001", "ann", 3)
    push(ws)
    project_id = assignment(ws, "ann-p-0").project_id
    project = manager.get(f"{ws.config.label_studio.url}/api/projects/{project_id}/").json()
    assert project["sampling"] == "Uncertainty sampling"
    assert project["maximum_annotations"] == 1
    assert project["show_collab_predictions"] is False
    assert project["enable_empty_annotation"] is False
    assert project["model_version"] == PLANNED
    assert "annotator: ann." in project["description"]
    assert "Which robot did it better?" in project["expert_instruction"]


TELLING = ("gold", "distant", "expert", "duplicate", "quartile", "quality", "stratum", "tier", "expected", "calibrat")


@pytest.mark.parametrize(
    ("batch_id", "kind"),
    [("production-001", "gold"), ("production-001", "production"), ("calibration-1", "calibration")],
)
def test_a_task_tells_two_clips_a_question_and_nothing_of_the_pair(ws, manager, batch_id, kind):
    plan(ws, batch_id, "ann", 3, kind)
    push(ws)
    ann = sign_in(ws, "ann")
    url = ws.config.label_studio.url
    project_id = ws.store.assignments()[0].assignment.project_id
    served = serve(ws, ann, project_id)
    for view in ws.store.assignments():
        a = view.assignment
        answer(ws, ann, a.task_id)  # a task can be read once it was served or answered
        task = ann.get(f"{url}/api/tasks/{a.task_id}/?project={a.project_id}").json()
        assert set(task["data"]) == set(TASK_KEYS)
        told = json.dumps([task["data"], task["meta"], [p["result"] for p in task["predictions"]]])
        assert not any(word in told for word in (*TELLING, view.pair.pair_id))
        shown = [view.pair.trajectory_a_id, view.pair.trajectory_b_id]
        left, right = shown if a.left == "A" else shown[::-1]
        assert task["data"]["video_left"] == f"/robopref/clips/{a.task_id}/left"
        assert not any(key in told for key in shown)
        data = manager.get(f"{url}/api/tasks/{a.task_id}/").json()["data"]
        assert data["video_left"].endswith(f"{left}.mp4") and data["video_right"].endswith(f"{right}.mp4")
    assert set(served["data"]) == set(TASK_KEYS)
    project = manager.get(f"{url}/api/projects/{project_id}/").json()
    told = f"{project['title']} {project['description']}".lower()
    assert not any(word in told for word in TELLING[:-1])  # that it is a test is no secret


def test_training_shows_the_experts_answer_as_the_sides_lie_and_the_test_shows_nothing(ws, manager):
    from importer.calibration.sets import TRAINING
    from labeling_config.contract import EXPERT_KEYS, load_template

    plan(ws, TRAINING, "ann", 2, "calibration")
    plan(ws, "calibration-1", "ann", 2, "calibration")
    ws.store.put_expert_answers(
        replace(pair, expected="B", reasoning="It let go.") for pair in ws.store.pairs(TRAINING)[:1]
    )
    ws.store.put_expert_answers(replace(pair, expected="B", reasoning="") for pair in ws.store.pairs(TRAINING)[1:])
    push(ws)
    data = {}
    for view in ws.store.assignments():
        task = manager.get(f"{ws.config.label_studio.url}/api/tasks/{view.assignment.task_id}/").json()
        data[view.assignment.assignment_id] = (view, task["data"])
    shown = [(view, d) for view, d in data.values() if view.pair.batch_id == TRAINING]
    hidden = [d for view, d in data.values() if view.pair.batch_id != TRAINING]
    assert {d["expert_reasoning"] for _, d in shown} == {"It let go.", "The expert gave no reason."}
    for view, d in shown:
        assert d["expert_answer"] == f"The expert: {'left' if view.assignment.left == 'B' else 'right'} is better"
    assert all(set(d) == set(TASK_KEYS) and not set(d) & set(EXPERT_KEYS) for d in hidden)
    projects = {p["title"]: p["label_config"] for p in manager.get(
        f"{ws.config.label_studio.url}/api/projects/?page_size=500").json()["results"]
        if p["id"] in {view.assignment.project_id for view, _ in data.values()}}  # fmt: skip
    assert projects == {
        "Training · ann": load_template("calibration").strip(),
        "Calibration 1 · ann": load_template("pair_compare").strip(),
    }


def test_a_training_that_skips_what_is_known_is_finished_for_status_and_loses_no_assignment(ws):
    from robopref.status import owed

    made = plan(ws, "training", "ann", 6, "calibration")
    pairs = [replace(pair, expected="A", reasoning="", dimension="grasp") for pair in ws.store.pairs("training")]
    ws.store.put_expert_answers(pairs)
    push(ws)
    ann, views = sign_in(ws, "ann"), [view.assignment for view in ws.store.assignments()]
    enough = in_a_row(len(made))
    assert enough < len(made)
    for a in views[:enough]:
        answer(ws, ann, a.task_id, side="left" if a.left == "A" else "right")
    pull(ws)
    assert serve(ws, ann, views[0].project_id) is None
    assert (owed(ws), len(ws.store.settled()), len(ws.store.judgments())) == ([], len(made) - enough, enough)
    again = pull(ws)
    assert (again.new, again.updated, again.rejected) == (0, 0, 0)


def test_the_annotator_gets_the_clips_and_a_stranger_does_not(ws):
    plan(ws, "production-001", "ann", 2)
    plan(ws, "production-001", "bob", 2)
    push(ws)
    ann = sign_in(ws, "ann")
    task = serve(ws, ann, assignment(ws, "ann-p-0").project_id)
    clip = f"{ws.config.label_studio.url}{task['data']['video_left']}"
    assert ann.get(clip).content.startswith((ws.clips / "d-000000.mp4").read_bytes())
    assert httpx.get(clip).status_code == 401


def test_tasks_are_served_by_score_and_a_new_order_takes_effect(ws):
    plan(ws, "production-001", "ann", 4)
    push(ws)
    ann, project_id = sign_in(ws, "ann"), assignment(ws, "ann-p-0").project_id
    views = [v.assignment for v in ws.store.assignments()]
    first = serve(ws, ann, project_id)
    assert first["id"] == views[0].task_id
    answer(ws, ann, first["id"])
    # the one that is being looked at stays locked, so the new order is given before the next is asked for
    for scores in ((0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (9.0, -4.0, 0.5, -7.5, 1e9)):
        wanted = {a.assignment_id: score for a, score in zip(views, scores, strict=True)}
        assert rescore(ws, wanted, "v1") == 5
    served = []
    while task := serve(ws, ann, project_id):
        served.append(task["id"])
        answer(ws, ann, task["id"])
    open_views = sorted(views[1:], key=lambda a: wanted[a.assignment_id])
    assert served == [a.task_id for a in open_views]


def test_new_tasks_are_pushed_in_the_order_that_is_given(ws):
    assignments = plan(ws, "production-001", "ann", 3)
    push(ws, scores={a.assignment_id: 9.0 - a.position for a in assignments})
    ann, served = sign_in(ws, "ann"), []
    while task := serve(ws, ann, assignment(ws, "ann-p-0").project_id):
        served.append(task["id"])
        answer(ws, ann, task["id"])
    assert served == [v.assignment.task_id for v in reversed(ws.store.assignments())]


def test_scores_of_a_version_that_was_there_before_get_a_running_number(ws, manager):
    plan(ws, "production-001", "ann", 3)
    push(ws)
    scores = {v.assignment.assignment_id: float(n) for n, v in enumerate(ws.store.assignments())}
    project = f"{ws.config.label_studio.url}/api/projects/{assignment(ws, 'ann-p-0').project_id}/"
    for expected in ("v1", "v1+1", "v1+2"):
        rescore(ws, scores, "v1")
        assert manager.get(project).json()["model_version"] == expected
    assert next_version({"v1", "v1+1"}, "v1") == "v1+2"
    assert next_version({"v1"}, "v2") == "v2"


def test_pull_maps_every_answer_back_to_a_and_b(ws):
    plan(ws, "production-001", "ann", 4)
    push(ws)
    ann = sign_in(ws, "ann")
    said = {0: "left", 1: "left", 2: "right", 3: "right"}
    for number, side in said.items():
        answer(ws, ann, assignment(ws, f"p-{number}").task_id, side)
    assert pull(ws).new == 4
    found = {j.assignment_id[-1]: j.preference for j in ws.store.judgments()}
    assert found == {"0": "A", "1": "B", "2": "B", "3": "A"}  # every second has B on the left
    assert [pull(ws) for _ in range(2)] == [type(pull(ws))(0, 0, 0)] * 2


def test_pull_follows_changes_deletions_and_answers_by_the_wrong_person(ws, manager):
    plan(ws, "production-001", "ann", 4)
    push(ws)
    url, ann = ws.config.label_studio.url, sign_in(ws, "ann")
    ids = [answer(ws, ann, assignment(ws, f"p-{n}").task_id) for n in range(3)]
    answer(ws, manager, assignment(ws, "p-3").task_id)
    assert (pull(ws).new, len(ws.store.rejections())) == (3, 1)
    assert ann.patch(f"{url}/api/annotations/{ids[0]}/", json={"result": result_of("equal", 1)}).is_success
    assert manager.delete(f"{url}/api/annotations/{ids[1]}/").status_code == 204
    changed = pull(ws)
    assert (changed.new, changed.updated) == (0, 2)
    assert {j.annotation_id: j.preference for j in ws.store.judgments()} == {ids[0]: "equal", ids[2]: "A"}


def test_pull_finds_what_its_cursor_would_pass_over(ws):
    plan(ws, "production-001", "ann", 4)
    push(ws)
    ann = sign_in(ws, "ann")
    answer(ws, ann, assignment(ws, "p-0").task_id)
    pull(ws)
    cursor = json.loads((ws.root / "pull.json").read_text())
    cursor["seen"] = dict.fromkeys(cursor["seen"], "2199-01-01T00:00:00.000000Z")  # a clock that was wrong for a while
    (ws.root / "pull.json").write_text(json.dumps(cursor))
    answer(ws, ann, assignment(ws, "p-1").task_id)
    assert pull(ws).new == 1


def test_an_answer_that_comes_after_its_page_was_read_stays(ws, monkeypatch):
    """It is fetched by name, as after a webhook, before the page that lacks it is written."""
    plan(ws, "production-001", "ann", 3)
    push(ws)
    ann, late = sign_in(ws, "ann"), assignment(ws, "p-1")
    answer(ws, ann, assignment(ws, "p-0").task_id)
    read = LabelStudio.annotations

    def late_answer(studio, project_id, since="", *, tasks=None):
        pages = list(read(studio, project_id, since, tasks=tasks))
        if tasks is None and not ws.store.count_judgments():
            answer(ws, ann, late.task_id, "right")
            assert pull_tasks(ws, studio, [late.task_id, 10**9]).new == 1
        yield from pages

    monkeypatch.setattr(LabelStudio, "annotations", late_answer)
    assert pull(ws).new == 1
    assert {j.assignment_id[-1] for j in ws.store.judgments()} == {"0", "1"}
    assert pull(ws).new == 0
    assert len(ws.store.judgments()) == 2


def test_passwords_are_kept_for_the_manager_alone(ws):
    plan(ws, "production-001", "ann", 2)
    push(ws)
    path = ws.root / "credentials.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(credentials(ws)) == [f"ann.{ws.root.name}@annotators.example"]


class Backend(http.server.BaseHTTPRequestHandler):
    """Says yes to whatever Label Studio asks, and remembers the requests."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, dict(self.headers), body))
        self.do_GET()

    def do_GET(self):
        reply = json.dumps({"status": "UP", "model_version": "v1", "model_class": "R"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


@pytest.fixture
def backend():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    server.seen = []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_the_backend_is_connected_once_and_hears_of_answers_with_the_secret_and_of_nothing_else(ws, manager, backend):
    plan(ws, "production-001", "ann", 2)
    push(ws, backend_url=backend.url)
    plan(ws, "active-001", "ann", 2, "active")
    push(ws, backend_url=backend.url)
    url, project_id = ws.config.label_studio.url, assignment(ws, "ann-p-0").project_id
    assert [b["url"] for b in manager.get(f"{url}/api/ml?project={project_id}").json()] == [backend.url]
    assert manager.get(f"{url}/api/projects/{project_id}/").json()["model_version"] == PLANNED
    assert len(manager.get(f"{url}/api/webhooks/?project={project_id}").json()) == 1
    backend.seen.clear()
    ann = sign_in(ws, "ann")
    task = serve(ws, ann, project_id)
    assert task["id"] == assignment(ws, "ann-p-0").task_id
    made = answer(ws, ann, task["id"])
    assert [path for path, _, _ in backend.seen] == ["/webhook"]  # /predict would have held the annotator up
    _, headers, body = backend.seen[0]
    assert headers[SECRET_HEADER] == SECRET
    assert (body["action"], body["annotation"]["id"], body["task"]["id"]) == ("ANNOTATION_CREATED", made, task["id"])


def test_a_backend_that_moved_is_connected_anew(ws, manager, backend):
    plan(ws, "production-001", "ann", 2)
    push(ws, backend_url=f"{backend.url}/old")
    push(ws, backend_url=backend.url)
    url, project_id = ws.config.label_studio.url, assignment(ws, "ann-p-0").project_id
    assert [b["url"] for b in manager.get(f"{url}/api/ml?project={project_id}").json()] == [backend.url]
    hooks = manager.get(f"{url}/api/webhooks/?project={project_id}").json()
    assert [hook["url"] for hook in hooks] == [f"{backend.url}/webhook"]


def test_a_backend_that_is_not_there_is_one_message(ws):
    plan(ws, "production-001", "ann", 2)
    with pytest.raises(StudioError, match="could not connect the ML backend"):
        push(ws, backend_url="http://127.0.0.1:9")


def test_who_has_the_port_is_asked_once_for_each_connection(label_studio, monkeypatch):
    asked = []
    monkeypatch.setattr("importer.studio.client.check_own", lambda url, *_, **__: asked.append(url))
    kept, other = (LabelStudio(label_studio.url, label_studio.token, embedded=True) for _ in range(2))
    for studio in (kept, kept, kept, other):
        studio.users()
    assert asked == [label_studio.url] * 2


def test_a_personal_access_token_works_too(label_studio, personal_token):
    studio = LabelStudio(label_studio.url, personal_token)
    studio.check()
    assert label_studio.username in studio.users()


def test_no_token_and_legacy_tokens_that_are_switched_off_are_told_from_a_wrong_one(label_studio, manager):
    with pytest.raises(StudioError, match="There is no token for Label Studio"):
        LabelStudio(label_studio.url, "").check()
    said = "Authentication token no longer valid: legacy token authentication has been disabled for this organization"
    refused = LabelStudio(label_studio.url, label_studio.token)._refused(401, said, "sign in")
    assert "legacy tokens switched off" in refused.message and "personal access token" in refused.fix


def test_clips_that_annotators_cannot_see_are_found_and_the_setting_is_named(ws, monkeypatch):
    assert clip_trouble(ws) is None, "there is no task yet"
    plan(ws, "production-001", "ann", 2)
    push(ws)
    assert clip_trouble(ws) is None
    for clip in ws.clips.iterdir():
        clip.rename(clip.with_suffix(".gone"))
    trouble = clip_trouble(ws)
    assert "/robopref/clips/" in trouble.message and "HTTP 404" in trouble.message
    assert f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={ws.config.label_studio.document_root}" in trouble.fix
    monkeypatch.setattr(LabelStudio, "plugin_health", lambda _: None)
    assert "/data/local-files/" in clip_trouble(ws).message, "without the plugin browsers ask there, signed in"
    ws.config.label_studio.clips, ws.config.label_studio.clips_url = "url", f"{ws.config.label_studio.url}/nowhere"
    trouble = clip_trouble(ws)
    assert "HTTP 404" in trouble.message and "clips_url" in trouble.fix


def test_of_a_server_that_knows_no_range_only_the_beginning_is_read(ws):
    plan(ws, "production-001", "ann", 2)
    push(ws)
    sent, length = [], 500_000_000

    class Whole(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "video/mp4")
            self.send_header("Content-Length", str(length))
            self.end_headers()
            with contextlib.suppress(OSError):
                while sum(sent) < length:
                    sent.append(self.wfile.write(bytes(100_000)))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Whole) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ws.config.label_studio.clips, ws.config.label_studio.clips_url = "url", f"http://127.0.0.1:{server.server_port}"
        assert clip_trouble(ws) is None
        server.shutdown()
    assert 0 < sum(sent) < length / 10
    nothing = httpx.Response(200, headers={"Content-Type": "video/mp4"}, stream=httpx.ByteStream(b""))
    assert _wrong(contextlib.nullcontext(nothing)) == "with an empty file"


@pytest.mark.parametrize("token", ["0" * 40, "a.b.c"])
def test_a_wrong_token_is_one_message(label_studio, token):
    with pytest.raises(StudioError, match="refuses the token") as found:
        LabelStudio(label_studio.url, token).check()
    assert "ROBOPREF_LABEL_STUDIO_TOKEN" in found.value.fix
    assert token not in str(found.value) or not token


def test_a_server_that_is_down_is_one_message(ws):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        ws.config.label_studio.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    plan(ws, "production-001", "ann", 2)
    with pytest.raises(StudioError, match="does not answer"):
        push(ws)


def test_something_else_at_the_address_is_one_message(backend):
    with pytest.raises(StudioError, match="is not Label Studio"):
        LabelStudio(backend.url, "x").check()


def test_another_version_is_one_message(label_studio, monkeypatch):
    monkeypatch.setattr("importer.studio.client.EXPECTED_VERSION", "1.99")
    with pytest.raises(StudioError, match=r"runs Label Studio 1\.23\.\d+; Robopref works with 1\.99"):
        LabelStudio(label_studio.url, label_studio.token).check()


def test_a_project_that_was_deleted_is_one_message_and_the_others_are_pulled(ws, manager):
    plan(ws, "production-001", "ann", 2)
    plan(ws, "production-001", "bob", 2)
    push(ws)
    gone, kept = assignment(ws, "ann-p-0"), assignment(ws, "bob-p-0")
    answer(ws, sign_in(ws, "bob"), kept.task_id)
    assert manager.delete(f"{ws.config.label_studio.url}/api/projects/{gone.project_id}/").status_code == 204
    with pytest.raises(StudioError, match="no longer has 'Production · ann'"):
        pull(ws)
    assert [j.annotator_id for j in ws.store.judgments()] == ["bob"]
    plan(ws, "active-001", "ann", 2, "active")
    with pytest.raises(StudioError, match="no longer has 'Production · ann'"):
        push(ws)


def test_the_doctor_names_a_deleted_project_a_wrong_service_and_people_who_cannot_be(ws, manager, tmp_path):
    plan(ws, "production-001", "ann", 2)
    push(ws)
    studio = ws.config.label_studio
    config = tmp_path / "robopref.toml"

    def bad(people='["ann@example.org", "bob@example.org"]', port=9):
        config.write_text(
            f'work = "{ws.root}"\n[annotators]\nexpert = "eve@example.org"\npeople = {people}\n'
            f'[service]\nport = {port}\n[label_studio]\nurl = "{studio.url}"\n'
            f'token = "{studio.token.get_secret_value()}"\ndocument_root = "{studio.document_root}"\n'
        )
        found = [finding for finding in examine(config) if finding.level == "bad"]
        # other tests' browsers report to the same server what they lacked
        return [f"{one.what} {one.fix}" for one in found if "says the browser of" not in one.what]

    assert bad() == []
    assert any("is named twice" in line for line in bad('["ann@example.org", "ann@example.org"]'))
    assert any("is not an e-mail address" in line for line in bad('["ann@example.org", "bo lab.org"]'))
    other = bad(port=int(studio.url.rpartition(":")[2]))
    assert any("is not Robopref's ML backend" in line and "service.port" in line for line in other)
    gone = assignment(ws, "ann-p-0").project_id
    assert manager.delete(f"{studio.url}/api/projects/{gone}/").status_code == 204
    assert any("no longer has 'Production · ann'" in line and "--repair" in line for line in bad())


def test_push_with_nothing_planned_says_where_label_studio_is_away(ws, tmp_path):
    (tmp_path / "robopref.toml").write_text('[label_studio]\nurl = "http://127.0.0.1:1"\n')
    run = CliRunner().invoke(app, ["push", "--config", str(tmp_path / "robopref.toml")])
    assert run.exit_code == 1 and "does not answer" in run.stderr


def test_push_says_who_gets_what_and_pull_counts_what_webhooks_brought(ws, tmp_path):
    plan(ws, "production-001", "ann", 2)
    studio = ws.config.label_studio
    (tmp_path / "robopref.toml").write_text(
        f'work = "{ws.root}"\n[label_studio]\nurl = "{studio.url}"\ntoken = "{studio.token.get_secret_value()}"\n'
        f'document_root = "{studio.document_root}"\n'
    )

    def said(command):
        return CliRunner().invoke(app, [command, "--config", str(tmp_path / "robopref.toml")]).output

    pushed = said("push")
    assert "1 accounts, 1 projects and 2 tasks made" in pushed and "credentials.json" in pushed
    assert f"sign in at {studio.url}" in pushed and "Next: " in pushed
    task = assignment(ws, "ann-p-0").task_id
    answer(ws, sign_in(ws, "ann"), task)
    pull_tasks(ws, connect(ws), [task])
    assert "0 answers fetched, 0 changed, 0 rejected; 1 in all" in said("pull")


def test_a_missing_clip_is_told_before_anything_is_made(ws):
    ws.store.put_trajectories([Trajectory("d-000000", "d", 0, "expert", "push", clip="")])
    plan(ws, "production-001", "ann", 2)
    with pytest.raises(NotReady, match="d-000000 has no clip"):
        push(ws)
    assert credentials(ws) == {}


def test_clips_outside_what_the_server_serves_are_one_message(ws, tmp_path):
    ws.config.label_studio.document_root = str(tmp_path)
    plan(ws, "production-001", "ann", 2)
    with pytest.raises(StudioError, match=r"label_studio\.document_root"):
        push(ws)

"""The console shows managers what is so, does what commands do, and refuses what is forged, old or without a reason."""

import threading

import pytest
from console_maker import Browser, answered, signed_in
from plan_maker import SETTINGS, certify, open_workspace, trajectories
from service_maker import BASIC, SECRET

from importer.pairs.annotators import add_annotators
from labeling_config.contract import CONSOLE, CONSOLE_HEADER, MANAGER_HEADER, SECRET_HEADER
from preference.records import Annotator, Assignment, Batch, Certification, Judgment, ModelVersion
from robopref.console import ACTIONS, PAGES, handle
from robopref.console.now import command_of
from robopref.service import create_app


@pytest.fixture
def ws(tmp_path):
    ws = answered(tmp_path, more="")
    yield ws
    ws.store.close()


@pytest.fixture
def client(ws):
    return create_app(ws).test_client()


@pytest.fixture
def maria(client):
    return Browser(client)


def status_of(ws, batch_id="production-001"):
    return next((b.status, [d["by"] for d in b.decisions]) for b in ws.store.batches() if b.batch_id == batch_id)


@pytest.mark.parametrize("page", [page.name for page in PAGES])
def test_every_page_opens_for_a_manager_and_names_them(maria, page):
    reply = maria.get(f"/{page}".rstrip("/"))
    assert reply.status_code == 200
    assert "maria@example.org" in reply.text and 'aria-current="page"' in reply.text
    assert reply.headers["Cache-Control"] == "private, no-store"


def test_nobody_gets_in_without_label_studios_word_or_the_password(client):
    assert client.get(CONSOLE).status_code == 401
    assert client.get(CONSOLE, headers={MANAGER_HEADER: "maria"}).status_code == 401
    assert client.get(CONSOLE, headers=signed_in() | {CONSOLE_HEADER: "guess"}).status_code == 401
    webhook = {SECRET_HEADER: SECRET, MANAGER_HEADER: "maria"}
    assert client.get(CONSOLE, headers=webhook).status_code == 401, "what webhooks carry opens no console"
    assert client.post(f"{CONSOLE}/do", headers=webhook).status_code == 401
    assert client.get(CONSOLE, headers=BASIC | {MANAGER_HEADER: "maria"}).status_code == 403, (
        "nor what predictions carry"
    )
    assert client.get(CONSOLE, headers=signed_in(name="")).status_code == 403, "a webhook is no manager"
    assert client.post(f"{CONSOLE}/do", data={}).status_code == 401


def test_a_service_without_a_password_has_no_console(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "robopref.toml").write_text("")
    from preference.workspace import Workspace

    ws = Workspace.open(tmp_path / "open" / "robopref.toml")
    assert create_app(ws).test_client().get(CONSOLE).status_code == 403
    ws.store.close()


def test_a_decision_is_the_commands_own_and_carries_the_name(ws, maria):
    reply = maria.press("batch accept", "production-001", "/batches", why="labels are good")
    assert reply.status_code == 303
    assert "production-001 is accepted." in maria.said(reply)
    assert status_of(ws) == ("accepted", ["maria@example.org"])
    last = ws.store.requests()[0]
    assert (last.kind, last.by, last.why, last.state) == (
        "batch accept",
        "maria@example.org",
        "labels are good",
        "done",
    )
    assert "labels are good" in maria.get().text, "the first page keeps the log"


@pytest.mark.parametrize("why", ["", " ", "\t", "\N{NO-BREAK SPACE}"])
def test_a_reason_of_nothing_is_refused_and_nothing_is_done(ws, maria, why):
    reply = maria.press("batch hold", "production-001", "/batches", why=why)
    assert reply.status_code == 400 and "Give a reason" in maria.said(reply)
    assert status_of(ws) == ("open", []) and ws.store.requests() == []


@pytest.mark.parametrize("token", [None, "", "0" * 64, "ü"])
def test_a_form_without_this_sessions_token_is_refused(ws, maria, token):
    form = maria.form("batch accept", "production-001", "/batches")
    form.pop("token")
    reply = maria.send(form, why="forged", **({} if token is None else {"token": token}))
    assert reply.status_code == 403 and "nothing was done" in maria.said(reply)
    assert status_of(ws) == ("open", [])


def test_the_token_of_another_session_or_person_or_site_is_refused(ws, client, maria):
    form = maria.form("batch accept", "production-001", "/batches")
    for other in (Browser(client, session="s2"), Browser(client, name="eve@example.org")):
        assert other.send(form, why="stolen").status_code == 403
    elsewhere = {**maria.headers, "Sec-Fetch-Site": "cross-site"}
    assert client.post(f"{CONSOLE}/do", data={**form, "why": "x"}, headers=elsewhere).status_code == 403
    assert status_of(ws) == ("open", [])


def test_actions_are_posts(ws, maria):
    assert maria.get("/do").status_code in (404, 405)
    form = maria.form("batch accept", "production-001", "/batches")
    assert maria.client.get(f"{CONSOLE}/do", query_string=form, headers=maria.headers).status_code in (404, 405)
    assert status_of(ws) == ("open", [])


def test_a_page_left_open_says_what_has_changed_and_does_nothing(ws, client, maria):
    left_open = maria.form("batch hold", "production-001", "/batches")
    theo = Browser(client, name="theo@example.org", session="s9")
    assert theo.press("batch accept", "production-001", "/batches", why="fine").status_code == 303
    reply = maria.send(left_open, why="the camera had moved")
    said = maria.said(reply)
    assert reply.status_code == 409 and "nothing was done" in said and "theo@example.org" in said
    assert status_of(ws) == ("accepted", ["theo@example.org"])


def test_a_form_that_arrives_twice_is_done_once(ws, maria):
    form = maria.form("batch accept", "production-001", "/batches")
    first, second = (maria.send(form, why="fine") for _ in range(2))
    assert first.status_code == second.status_code == 303
    assert first.headers["Location"] == second.headers["Location"]
    assert status_of(ws) == ("accepted", ["maria@example.org"])


def test_of_two_managers_who_press_at_once_one_is_told_that_nothing_was_done(ws):
    app = create_app(ws)
    people = [Browser(app.test_client(), name=f"{name}@example.org", session=name) for name in ("maria", "theo")]
    forms = [one.form("batch accept", "production-001", "/batches") for one in people]
    replies = {}

    def send(one, form):
        replies[one.headers[MANAGER_HEADER]] = one.send(form, why="fine").status_code

    threads = [threading.Thread(target=send, args=pair) for pair in zip(people, forms, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(replies.values()) == [303, 409]
    winner = next(name for name, code in replies.items() if code == 303)
    assert status_of(ws) == ("accepted", [winner])


def test_long_work_waits_for_the_worker_and_is_asked_for_once(ws, client, maria):
    theo = Browser(client, name="theo@example.org", session="s9")
    late = theo.form("qc", "production-001", "/batches")
    reply = maria.press("qc", "production-001", "/batches")
    assert "waits for the worker" in maria.said(reply)
    (request,) = ws.store.requests(unfinished=True)
    assert (request.kind, request.subject, request.by) == ("qc", "production-001", "maria@example.org")
    assert theo.send(late).status_code == 409, "it is asked for already"
    ws.store.set_request(request.request_id, "done", handle(ws, request))
    assert "production-001" in maria.said(reply) and (ws.reports / "production-001" / "qc.json").exists()


def test_what_waits_can_be_withdrawn_before_the_worker_begins(ws, maria):
    maria.press("qc", "production-001", "/batches")
    (request,) = ws.store.requests(unfinished=True)
    assert "Withdrawn" in maria.said(maria.press("withdraw", str(request.request_id)))
    assert ws.store.requests(unfinished=True) == []


def test_what_the_worker_has_begun_goes_on(ws, maria):
    maria.press("qc", "production-001", "/batches")
    (request,) = ws.store.requests(unfinished=True)
    form = maria.form("withdraw", str(request.request_id))
    ws.store.set_request(request.request_id, "running")
    reply = maria.send(form)
    assert reply.status_code == 409 and "nothing was done" in maria.said(reply)
    assert ws.store.requests(unfinished=True)[0].state == "running"


def test_an_action_of_another_version_is_refused(ws, maria):
    form = maria.form("batch accept", "production-001", "/batches")
    assert maria.send({**form, "what": "batch burn"}, why="x").status_code == 400
    del form["version"]
    reply = maria.send(form, why="fine")
    assert reply.status_code == 400 and "another version" in maria.said(reply)
    assert status_of(ws) == ("open", [])


def test_what_annotators_wrote_cannot_become_markup(ws, maria):
    maria.press("batch hold", "production-001", "/batches", why='<script>alert("x")</script>')
    for place in ("", "/batches"):
        text = maria.get(place).text
        assert "<script>alert" not in text and "&lt;script&gt;" in text
    assert "alert" not in maria.get("?said=<script>alert(1)</script>").text.split("<table")[0]


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("robopref pool", ("pool", "")),
        ("robopref calibration build", ("calibration build", "")),
        ("robopref certify --batch calibration-2", ("certify", "calibration-2")),
        ("robopref certify --retest", ("certify --retest", "")),
        ("robopref qc --batch production-001", ("qc", "production-001")),
        ("robopref batch review bob --batch b --keep --by YOU --why REASON", ("batch review", "b")),
        ("robopref doctor", ("", "")),
    ],
)
def test_the_next_command_is_a_button_where_there_is_one(command, found):
    assert command_of(command) == found


def test_every_action_that_the_protocol_wants_a_reason_for_asks_for_one():
    wanted = {"batch accept", "batch hold", "batch review", "certify allow", "certify revoke", "models promote"}
    assert {name for name in wanted & ACTIONS.keys() if not ACTIONS[name].reason} == set()


def person(ws, name):
    return next((a for a in ws.store.annotators() if a.annotator_id == name), None)


def kinds(ws):
    return [r.kind for r in ws.store.requests(unfinished=True)]


def test_somebody_who_is_added_here_is_in_the_database_and_the_file_stays(ws, maria):
    before = ws.config.file.read_text()
    form = maria.form("annotators add", "", "/people")
    reply = maria.send(form, email="carol@example.org", why="more hands")
    assert "carol takes part" in maria.said(reply)
    carol = person(ws, "carol")
    assert carol.active and carol.added.startswith("maria@example.org") and "more hands" in carol.added
    assert ws.config.file.read_text() == before and kinds(ws) == ["push"]
    assert maria.press("annotators add", "", "/people", email="no address", why="x").status_code == 400


def test_a_pause_and_a_removal_are_recorded_and_open_pairs_go_to_others(ws, maria):
    reply = maria.press("annotators pause", "alice", "/people", why="ill")
    assert "alice is paused" in maria.said(reply) and not person(ws, "alice").active
    assert "Paused by maria@example.org" in person(ws, "alice").away and kinds(ws) == ["hand over"]
    maria.press("annotators add", "alice", "/people", why="is back")
    assert person(ws, "alice").active
    reply = maria.press("annotators remove", "alice", "/people", why="left", leave_out="1")
    assert "production-001 are left out" in maria.said(reply)
    assert [(r.annotator_id, r.verdict) for r in ws.store.reviews()] == [("alice", "leave_out")]


def test_a_certificate_is_revoked_and_another_attempt_allowed_only_with_a_reason(ws, maria):
    ws.store.put_pairs(Batch("calibration-1", "calibration"), [], [])
    ws.store.put_certification(Certification("alice", "calibration-1", 1, 0.8, 0.7, 0.9, True, 30))
    assert maria.press("certify revoke", "alice", "/people", why=" ").status_code == 400
    assert ws.store.certified() == ["alice"]
    reply = maria.press("certify revoke", "alice", "/people", why="copied answers")
    assert "no longer certified" in maria.said(reply) and ws.store.certified() == []
    reply = maria.press("certify allow", "alice", "/people", why="was ill")
    assert reply.status_code in (303, 400, 409), "there are no clips for a further set: said, not raised"
    assert maria.said(reply)


def test_the_page_of_a_person_shows_answers_beside_what_others_said(ws, maria):
    ws.store.put_annotators([Annotator("bob", "bob@example.org")])
    view = ws.store.views_of(["x0"])["x0"]
    ws.store.put_pairs(
        ws.store.batches()[0], [], [Assignment("y0", view.pair.pair_id, "bob", "production-001", 0, "A")]
    )
    ws.store.put_judgments([Judgment("y0", "bob", view.pair.pair_id, "B", 2, 5000, annotation_id=50, task_id=60)])
    text = maria.get("/people?who=alice").text
    assert "bob: left" in text, "as it stood on alice's screen, where B was on the left"
    assert f"{CONSOLE}/people/clip/t0" in text
    assert maria.get("/people?who=nobody").status_code == 200


def test_only_files_of_the_clips_folder_are_handed_out(ws, maria):
    ws.clips.mkdir()
    (ws.clips / "t0.mp4").write_bytes(b"a clip")
    assert maria.get("/people/clip/t0").data == b"a clip"
    for subject in ("t9", "../robopref", "..%2Frobopref", "/etc/passwd"):
        reply = maria.get(f"/people/clip/{subject}")
        assert reply.status_code in (404, 503) or b"SQLite" not in reply.data
        assert b"root:" not in reply.data


def models(ws, *versions):
    """Registered models with files; the last one is in use."""
    for number, name in enumerate(versions):
        folder = ws.root / "models" / name
        folder.mkdir(parents=True)
        (folder / "model.pt").write_bytes(b"weights")
        (folder / "rewards.csv").write_text("trajectory_id,reward\n" + "".join(f"t{i},{i}.0\n" for i in range(4)))
        stamp = f"2026-01-0{number + 1}T00:00:00+00:00"
        ws.store.put_model_version(ModelVersion(name, f"models/{name}", stamp, 20, 0.8, 0.7, "", "none"))


def test_a_model_is_promoted_and_rolled_back_with_a_reason_and_a_name(ws, maria):
    models(ws, "rm-0001", "rm-0002")
    assert maria.press("models promote", "rm-0001", "/models", why=" ").status_code == 400
    assert ws.store.active_model().version == "rm-0002"
    assert "rm-0001 is in use" in maria.said(maria.press("models promote", "rm-0001", "/models", why="probes"))
    assert ws.store.active_model().version == "rm-0001"
    maria.press("models promote", "rm-0002", "/models", why="no, it was better")
    assert "rm-0001 is in use" in maria.said(maria.press("models rollback", "", "/models", why="worse on gold"))
    assert [r.by for r in ws.store.requests()] == ["maria@example.org"] * 3


def test_the_validation_page_of_a_model_is_there_once_it_was_made(ws, maria):
    models(ws, "rm-0001")
    assert "models/validation" not in maria.get("/models").text
    assert maria.get("/models/validation/rm-0001").status_code == 404
    (ws.root / "models" / "rm-0001" / "validation.html").write_text("<h1>Can it be trusted?</h1>")
    assert "models/validation/rm-0001" in maria.get("/models").text
    shown = maria.get("/models/validation/rm-0001")
    assert "Can it be trusted?" in shown.text
    assert shown.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'"), "it may be a release's"


def test_a_manager_stops_the_rounds_and_lets_them_go_on(ws, maria):
    maria.press("rounds stop", "", "/models", why="budget")
    assert ws.store.stopped_rounds().why == "budget" and "budget" in maria.get("/models").text
    maria.press("rounds go on", "", "/models", why="new budget")
    assert ws.store.stopped_rounds() is None


def test_a_release_is_asked_for_by_a_version_that_can_be_one(ws, maria):
    models(ws, "rm-0001")
    reply = maria.press("release", "", "/releases", version_number="first")
    assert reply.status_code == 400 and "MAJOR.MINOR.PATCH" in maria.said(reply)
    assert kinds(ws) == []
    maria.press("release", "", "/releases", version_number="1.0.0")
    assert kinds(ws) == ["release"]


def test_a_release_is_downloaded_and_verified(ws, maria):
    ws.releases.mkdir()
    folder = ws.releases / "robopref-preferences-1.0.0"
    folder.mkdir()
    (folder / "CHANGELOG.md").write_text("# Changes\n\n## 1.0.0, today\n\n- First release, with 20 labelled pairs.\n")
    (ws.releases / "robopref-preferences-1.0.0.tar.gz").write_bytes(b"not a tar")
    (ws.releases / "robopref-preferences-1.0.0.tar.gz.sha256").write_text("abc  robopref-preferences-1.0.0.tar.gz\n")
    assert "First release, with 20 labelled pairs." in maria.get("/releases").text
    reply = maria.get("/releases/archive/robopref-preferences-1.0.0")
    assert reply.data == b"not a tar" and "attachment" in reply.headers["Content-Disposition"]
    reply = maria.press("release verify", "robopref-preferences-1.0.0", "/releases")
    assert "differs" in maria.said(reply)
    for subject in ("..%2Frobopref", "../robopref.db", "robopref-preferences-9.9.9"):
        assert maria.get(f"/releases/archive/{subject}").status_code != 200


def test_the_first_batch_is_proposed_as_large_as_rounds_need_it_and_a_manager_may_ask_for_more(tmp_path):
    early = open_workspace(tmp_path, SETTINGS.replace("bootstrap = 60", "bootstrap = 30"))
    early.store.put_trajectories(trajectories())
    add_annotators(early)
    certify(early)
    page = next(page for page in PAGES if page.name == "batches")
    assert page.facts(early, {})["usual"] == 30
    assert len(page.facts(early, {"pairs": "50", "overlap": "2"})["plan"].pairs) == 50
    early.store.close()

"""On a server with the plugin, an annotator reaches their own work and nothing else; a manager reaches everything."""

import csv
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import httpx
import pytest
from paths import ARTIFACTS

from importer.studio.users import admin_session, annotator_session, create_annotator
from labeling_config import contract
from labeling_config.plugin.checks import PARTS
from robopref import studio

PASSWORD = "quiet-otters-12"
REFUSED = (401, 403, 404)
ANSWER = {"result": contract.result_of("left", 4, "steady"), "lead_time": 6.5}


def make_project(server, manager, owner, clips):
    """A project of `owner`'s with two tasks and a local storage; ids of all that is in it."""
    body = {
        "title": f"Access · {owner.partition('@')[0]}",
        "label_config": contract.load_template("pair_compare"),
        "description": f"For a test\n{contract.owner_line(owner)}",
    }
    made = manager.post(f"{server.url}/api/projects/", json=body)
    assert made.status_code == 201, made.text
    project = made.json()["id"]
    (server.document_root / clips).mkdir(exist_ok=True)
    (server.document_root / clips / "a.mp4").write_bytes((server.document_root / "clips" / "a.mp4").read_bytes())
    folder = {"project": project, "path": str(server.document_root / clips), "use_blob_urls": False}
    assert manager.post(f"{server.url}/api/storages/localfiles/", json=folder).status_code == 201
    clip = f"/data/local-files/?d={clips}/a.mp4"
    tasks = [{"data": contract.task_data(f"t{n}", clip, clip, fps=15, question="Which?")} for n in range(2)]
    assert manager.post(f"{server.url}/api/projects/{project}/import", json=tasks).status_code == 201
    view = manager.post(f"{server.url}/api/dm/views/", json={"project": project, "data": {}}).json()["id"]
    listed = manager.get(f"{server.url}/api/projects/{project}/tasks/").json()
    return SimpleNamespace(project=project, tasks=sorted(task["id"] for task in listed), view=view)


def person(server, manager, name):
    email = f"{name}@example.com"
    user = create_annotator(server.url, server.token, email, PASSWORD)
    mine = make_project(server, manager, email, f"clips_{name}")
    session = annotator_session(server.url, email, PASSWORD)
    task = mine.tasks[0]
    mine.annotation = session.post(f"{server.url}/api/tasks/{task}/annotations/", json=ANSWER).json()["id"]
    session.post(f"{server.url}/api/dm/actions/?id=next_task&project={mine.project}", json={}).raise_for_status()
    mine.draft = session.post(f"{server.url}/api/tasks/{mine.tasks[1]}/drafts", json={"result": []}).json()["id"]
    return SimpleNamespace(email=email, id=user, session=session, **vars(mine))


@pytest.fixture(scope="module")
def house(label_studio):
    """Alice and Bob with a project each, and the manager."""
    manager = admin_session(label_studio.url, label_studio.token)
    alice, bob = (person(label_studio, manager, name) for name in ("alice", "bob"))
    return SimpleNamespace(server=label_studio, url=label_studio.url, manager=manager, alice=alice, bob=bob)


def snapshot(house):
    """Everything of Bob's, and Alice's project with its settings, as the manager sees it."""
    projects = [
        house.manager.get(f"{house.url}/api/projects/{who.project}/").json() for who in (house.alice, house.bob)
    ]
    tasks = [house.manager.get(f"{house.url}/api/tasks/{task}/").json() for task in house.bob.tasks + house.alice.tasks]
    volatile = {"created_ago", "updated_at", "last_activity", "queue_total", "num_tasks_with_annotations"}
    return re.sub(rf'"({"|".join(volatile)})": [^,}}]*', "", json.dumps([projects, tasks]))


# What a curious Alice could try, beyond the blind sweep over every address further down.
FORBIDDEN = [
    ("GET", "/api/projects/{bob.project}/", None),
    ("PATCH", "/api/projects/{bob.project}/", {"title": "mine now"}),
    ("DELETE", "/api/projects/{bob.project}/", None),
    ("GET", "/api/projects/{bob.project}/next/", None),
    ("GET", "/api/projects/{bob.project}/export?exportType=JSON", None),
    ("PATCH", "/api/projects/{alice.project}/", {"description": "annotator: alice@example.com bob@example.com"}),
    ("DELETE", "/api/projects/{alice.project}/", None),
    ("GET", "/api/projects/{alice.project}/export?exportType=JSON", None),
    ("POST", "/api/projects/{alice.project}/import", [{"data": {"question": "?"}}]),
    ("POST", "/api/projects/", {"title": "a project of my own"}),
    ("GET", "/api/tasks/{bob.tasks[0]}/", None),
    ("PATCH", "/api/tasks/{bob.tasks[0]}/", {"data": {}}),
    ("GET", "/api/tasks/{bob.tasks[0]}/annotations/", None),
    ("POST", "/api/tasks/{bob.tasks[0]}/annotations/", ANSWER),
    ("POST", "/api/tasks/{bob.tasks[0]}/drafts", {"result": []}),
    ("GET", "/api/tasks/{bob.tasks[0]}/?project={alice.project}", None),
    ("GET", "/api/tasks/?project={bob.project}", None),
    ("GET", "/api/tasks/?project={alice.project}&project={bob.project}", None),
    ("GET", "/api/tasks/?project={bob.project}&project={alice.project}", None),
    ("GET", "/api/tasks/?view={bob.view}", None),
    ("GET", "/api/tasks/?project={alice.project}", {"project": "{bob.project}"}),
    ("PATCH", "/api/tasks/{alice.tasks[0]}/", {"data": {}}),
    ("DELETE", "/api/tasks/{alice.tasks[0]}/", None),
    ("GET", "/api/annotations/{bob.annotation}/", None),
    ("PATCH", "/api/annotations/{bob.annotation}/", ANSWER),
    ("DELETE", "/api/annotations/{bob.annotation}/", None),
    ("DELETE", "/api/annotations/{alice.annotation}/", None),
    ("POST", "/api/annotations/{bob.annotation}/convert-to-draft", {}),
    ("PATCH", "/api/annotations/{alice.annotation}/", {"task": "{bob.tasks[1]}"}),
    ("PATCH", "/api/annotations/{alice.annotation}/", {"project": "{bob.project}"}),
    ("PATCH", "/api/annotations/{alice.annotation}/", {"completed_by": "{bob.id}"}),
    ("PATCH", "/api/annotations/{alice.annotation}/", {"ground_truth": True}),
    ("PATCH", "/api/annotations/{alice.annotation}/", {"parent_annotation": "{bob.annotation}"}),
    ("POST", "/api/tasks/{alice.tasks[1]}/annotations/", {**ANSWER, "completed_by": "{bob.id}"}),
    ("POST", "/api/tasks/{alice.tasks[1]}/annotations/", {**ANSWER, "draft_id": "{bob.draft}"}),
    ("GET", "/robopref/clips/{bob.tasks[0]}/left", None),
    ("GET", "/data/local-files/?d=clips_alice/a.mp4", None),
    ("GET", "/tasks/{alice.tasks[0]}/resolve/?fileuri=czM6Ly94", None),
    ("GET", "/tasks/{alice.tasks[0]}/presign/?fileuri=czM6Ly94", None),
    ("POST", "/robopref/trouble", {"part": "submit", "project": "{bob.project}"}),
    ("POST", "/robopref/trouble", {"part": "submit", "project": "{alice.project}", "what": "[red]said"}),
    ("GET", "/api/drafts/{bob.draft}/", None),
    ("PATCH", "/api/drafts/{bob.draft}/", {"result": []}),
    ("DELETE", "/api/drafts/{bob.draft}/", None),
    ("POST", "/api/dm/actions/?id=next_task&project={bob.project}", {}),
    ("POST", "/api/dm/actions/?id=delete_tasks&project={alice.project}", {"selectedItems": {"all": True}}),
    ("POST", "/api/dm/actions/?id=next_task&id=delete_tasks&project={alice.project}", {"selectedItems": {"all": True}}),
    ("POST", "/api/dm/views/", {"project": "{bob.project}", "data": {}}),
    ("PATCH", "/api/dm/views/{bob.view}/", {"data": {}}),
    ("PATCH", "/api/dm/views/{alice.view}/", {"project": "{bob.project}"}),
    ("DELETE", "/api/dm/views/{alice.view}/", None),
    ("GET", "/api/dm/views/", None),
    ("GET", "/api/dm/columns/", None),
    ("GET", "/api/dm/project/?project={bob.project}", None),
    ("GET", "/api/predictions/?project={alice.project}", None),
    ("GET", "/api/users/{bob.id}/", None),
    ("PATCH", "/api/users/{bob.id}/", {"first_name": "Robert"}),
    ("POST", "/api/users/", {"email": "eve@example.com"}),
    ("GET", "/api/invite", None),
    ("GET", "/api/organizations/1/memberships", None),
    ("POST", "/api/jwt/settings", {"legacy_api_tokens_enabled": True}),
    ("GET", "/api/webhooks/", None),
    ("POST", "/api/ml/", {"project": "{alice.project}", "url": "http://127.0.0.1:1"}),
    ("GET", "/api/storages/?project={alice.project}", None),
    ("GET", "/api/fsm/entities/task/{bob.tasks[0]}/history", None),
    ("GET", "/projects/{bob.project}/data", None),
    ("GET", "/projects/{alice.project}/settings/", None),
    ("GET", "/tasks/{bob.tasks[0]}/resolve/?fileuri=czM6Ly94", None),
    ("GET", "/admin/", None),
    ("GET", "/people/", None),
]


def filled(value, house):
    if isinstance(value, str) and value.startswith("{") and value.endswith("}"):
        return int(value.format(alice=house.alice, bob=house.bob))
    if isinstance(value, dict):
        return {key: filled(item, house) for key, item in value.items()}
    return value


@pytest.mark.parametrize("way", ["session", "token", "bob's cookie, alice's token", "token after a tab"])
def test_a_curious_annotator_gets_nowhere(house, way):
    before = snapshot(house)
    key = house.alice.session.get(f"{house.url}/api/current-user/token").json()["token"]
    session = {"session": house.alice.session, "bob's cookie, alice's token": house.bob.session}.get(way)
    headers = {} if way == "session" else {"Authorization": ("Token\t" if "tab" in way else "Token ") + key}
    reached = []
    for method, path, body in FORBIDDEN:
        address = house.url + path.format(alice=house.alice, bob=house.bob)
        sent = filled(body, house)
        answer = (session or httpx).request(method, address, json=sent, headers=headers, follow_redirects=False)
        anonymous_page = way.startswith("token") and not path.startswith("/api") and answer.status_code == 302
        if answer.status_code not in REFUSED and not anonymous_page:
            reached.append(f"{method} {path} {body}: {answer.status_code} {answer.text[:80]}")
    assert reached == []
    assert snapshot(house) == before


OPEN_TO_ALL = re.compile(
    r"/($|sw|favicon|label-studio-frontend|dm/|react-app|static|user/(login|signup|account)|logout|projects/$"
    r"|(api/)?version|health|heidi|__lsa|data/avatars|api/(current-user|token|projects/$|users(/|.json)$|ml/$)"
    r"|api/jwt/settings)"
)
"""Pages, files and lists of one's own, tried by other tests."""


METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def addresses_of_label_studio(house):
    """From the list that it ships, each filled in with what is Bob's."""
    import label_studio

    listed = json.loads((Path(label_studio.__file__).parent / "core" / "all_urls.json").read_text())
    kinds = {
        "task": house.bob.tasks[0],
        "annotation": house.bob.annotation,
        "draft": house.bob.draft,
        "user": house.bob.id,
    }
    for entry in listed:
        path = entry["url"].replace("\\.<format>/", ".json").replace("\\.", ".").replace("/^", "/")
        kind = next((name for name in kinds if f"/{name}s/" in path or f"{name}_id" in path), None)
        path = re.sub(r"<[^>]*>", str(kinds.get(kind, house.bob.project)), path)
        if not OPEN_TO_ALL.match(path):
            yield path


def test_every_address_of_label_studio_is_closed_unless_listed(house):
    """Each address with each method, on what is Bob's; the table of it all is kept beside the pictures."""
    before = snapshot(house)
    asked = [(m, path) for path in sorted(set(addresses_of_label_studio(house))) for m in METHODS]

    def answered(method, path):
        body = None if method == "GET" else {"project": house.bob.project}
        answer = house.alice.session.request(method, house.url + path, json=body, follow_redirects=False)
        # Label Studio's rule for its version page has no beginning: it takes /admin/…version/ too
        shown = "its version" if "label-studio-os-package" in answer.text else answer.status_code
        return method, path, shown

    with ThreadPoolExecutor(8) as threads:
        table = list(threads.map(lambda each: answered(*each), asked))
    ARTIFACTS.mkdir(exist_ok=True)
    with (ARTIFACTS / "access.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("method", "address", "answer"), *table])
    assert [row for row in table if row[2] not in (*REFUSED, "its version")] == []
    assert len([row for row in table if row[2] == "its version"]) < 10
    assert len(table) > 1000
    assert snapshot(house) == before


def test_an_answer_sent_as_a_form_is_refused_because_it_could_be_read_in_two_ways(house):
    address = f"{house.url}/api/tasks/{house.alice.tasks[1]}/annotations/"
    form = {"result": "[]", "completed_by": house.bob.id}
    assert house.alice.session.post(address, data=form).status_code == 403
    assert house.alice.session.post(address, files={"completed_by": (None, str(house.bob.id))}).status_code == 403
    wide = json.dumps({**ANSWER, "completed_by": house.bob.id}).encode("utf-16")
    header = {"Content-Type": "application/json; charset=utf-16"}
    assert house.alice.session.post(address, content=wide, headers=header).status_code == 403


def test_lists_hold_only_ones_own(house):
    alice = house.alice.session
    projects = alice.get(f"{house.url}/api/projects/").json()
    assert (projects["count"], [row["id"] for row in projects["results"]]) == (1, [house.alice.project])
    assert [user["email"] for user in alice.get(f"{house.url}/api/users/").json()] == ["alice@example.com"]
    assert alice.get(f"{house.url}/api/ml/?project={house.alice.project}").json() == []


def test_an_annotator_does_their_work(house):
    alice, task = house.alice.session, house.alice.tasks[1]
    queue = alice.post(f"{house.url}/api/dm/actions/?id=next_task&project={house.alice.project}", json={})
    assert (queue.status_code, queue.json()["id"]) == (200, task)
    assert alice.get(f"{house.url}/api/projects/{house.alice.project}/next/").json()["id"] == task
    made = alice.post(f"{house.url}/api/tasks/{task}/annotations/?project={house.alice.project}", json=ANSWER)
    assert made.status_code == 201
    changed = {"result": contract.result_of("right", 2), "lead_time": 9}
    mended = alice.patch(f"{house.url}/api/annotations/{made.json()['id']}/", json=changed)
    assert mended.status_code == 200
    assert contract.answer_of(mended.json()) == contract.ScreenAnswer("right", 2, "", 9.0)
    assert mended.json()["completed_by"] == house.alice.id


def test_an_address_without_its_last_slash_is_as_open_and_as_closed_as_with_it(house):
    """Label Studio's own page leaves it out of two requests about each pair."""
    asked = f"{house.url}/api/dm/project?project="
    own = house.alice.session.get(f"{asked}{house.alice.project}")
    assert own.status_code == 200 and own.json()["task_count"] == len(house.alice.tasks)
    assert house.alice.session.get(f"{asked}{house.bob.project}").status_code in REFUSED


@pytest.mark.parametrize(
    ("asked", "found"), [("/with", "/with/"), ("/with/", "/with/"), ("/without", "/without"), ("/none", "/none")]
)
def test_a_slash_is_added_where_only_the_address_with_one_exists(asked, found):
    from django.urls import path, set_urlconf

    from labeling_config.plugin.slash import SlashMiddleware

    addresses = ModuleType("addresses")
    addresses.urlpatterns = [path("with/", print), path("without", print)]
    set_urlconf(addresses)
    request = SimpleNamespace(path=f"/behind{asked}", path_info=asked)
    assert SlashMiddleware(lambda request: request)(request) is request
    assert (request.path, request.path_info) == (f"/behind{found}", found)
    set_urlconf(None)


def test_what_the_model_thinks_is_hidden_from_annotators(house):
    task = house.alice.tasks[0]
    prediction = {"task": task, "result": contract.result_of("left", 5), "score": 0.123, "model_version": "v1"}
    assert house.manager.post(f"{house.url}/api/predictions/", json=prediction).status_code == 201
    path = f"/api/tasks/{task}/"
    assert "0.123" in house.manager.get(house.url + path).text
    seen = house.alice.session.get(house.url + path)
    assert seen.status_code == 200
    assert "0.123" not in seen.text


def test_a_project_is_handed_over_by_its_description(house):
    """Through the API alone, by a manager; at once."""
    address = f"{house.url}/api/projects/{house.bob.project}/"
    both = f"For a test\n{contract.owner_line(house.bob.email, house.alice.email)}"
    assert house.alice.session.get(address).status_code == 403
    house.manager.patch(address, json={"description": both})
    assert house.alice.session.get(address).status_code == 200
    assert house.alice.session.get(f"{house.url}/api/annotations/{house.bob.annotation}/").status_code == 403
    house.manager.patch(address, json={"description": f"For a test\n{contract.owner_line(house.bob.email)}"})
    assert house.alice.session.get(address).status_code == 403


def test_sign_up_needs_the_invite_link(house):
    with httpx.Client(follow_redirects=True) as stranger:
        page = f"{house.url}/user/signup/"
        stranger.get(page)
        form = {"email": "eve@example.com", "password": PASSWORD, "csrfmiddlewaretoken": stranger.cookies["csrftoken"]}
        assert stranger.post(page, data=form, follow_redirects=False).status_code == 403


def test_creating_an_annotator_twice_gives_the_same_one(house, personal_token):
    assert create_annotator(house.url, house.server.token, "ALICE@example.com", "another-password") == house.alice.id
    assert create_annotator(house.url, personal_token, house.bob.email, PASSWORD) == house.bob.id


def test_strangers_get_no_session_so_nothing_that_arrives_late_ends_the_one_of_a_login(house):
    """The login page still loads files when somebody with a password manager has signed in already."""
    server, paths = house.server, ("/", "/user/login/", "/heidi-tips", "/robopref/plugin.css")
    strangers = [httpx.get(f"{server.url}{path}") for path in paths]
    assert [reply.cookies.get("sessionid") for reply in strangers] == [None] * len(strangers)
    with annotator_session(server.url, house.alice.email, PASSWORD) as session:
        assert session.get("/user/login/").url.path != "/user/login/", "signed in, it leads on"
        session.get("/logout/")
        assert "sessionid" not in session.cookies
        assert session.get("/user/login/").url.path == "/user/login/"


def test_the_guard_against_private_addresses_stays_but_for_loopback(house):
    private = {"project": house.alice.project, "url": "http://10.0.0.5:9090"}
    refused = house.manager.post(f"{house.url}/api/ml/", json=private)
    assert refused.status_code in (400, 403)
    assert "reserved" in refused.text or "not allowed" in refused.text.lower()
    nobody = house.manager.post(f"{house.url}/api/ml/", json={**private, "url": "http://127.0.0.1:9"})
    assert "reserved" not in nobody.text


def test_the_database_is_in_write_ahead_mode(house):
    header = (house.server.data_dir / "label_studio.sqlite3").read_bytes()[:20]
    assert header[18:20] == b"\x02\x02"  # the file format's read and write version: 2 is WAL


def test_the_server_has_loaded_no_scipy(house):
    process = studio.LabelStudioServer(house.server.data_dir, house.server.document_root).found()
    loaded = {name for name in ("pandas", "scipy") for m in process.memory_maps() if f"/{name}/" in m.path}
    assert loaded == {"pandas"}


def test_pages_carry_the_script_and_who_is_looking(house):
    assert 'data-role="annotator"' in house.alice.session.get(f"{house.url}/projects/{house.alice.project}/data").text
    manager = annotator_session(house.url, house.server.username, house.server.password)
    page = manager.get(f"{house.url}/projects/").text
    assert page.count("robopref/plugin.js") == page.count("robopref/plugin.css") == 1
    assert 'data-role="manager"' in page


def test_the_plugins_own_pages_show_a_visitor_their_own_and_a_stranger_nothing(house):
    alice, url = house.alice.session, house.url
    landing = alice.get(f"{url}/projects/", follow_redirects=False)
    assert (landing.status_code, landing.headers["Location"]) == (302, "/robopref/next")
    assert alice.get(f"{url}/robopref/state?project={house.alice.project}").json()["stage"]["left"] in (0, 1)
    assert alice.get(f"{url}/robopref/state?project={house.bob.project}").status_code == 403
    assert alice.get(f"{url}/robopref/health").status_code == 403
    for address in ("state", "health"):
        assert httpx.get(f"{url}/robopref/{address}").status_code == 401
    assert httpx.post(f"{url}/robopref/trouble", json={"part": "submit"}).status_code in (401, 403)
    stranger = httpx.get(f"{url}/robopref/next", follow_redirects=False)
    assert stranger.headers["Location"] == "/user/login/?next=/robopref/next"
    assert httpx.get(f"{url}/robopref/..%2Fsettings.js").status_code == 404


def test_a_report_of_a_missing_part_is_one_of_few_and_cannot_be_written_or_repeated_for_ever(house):
    email, url = "reporter@example.com", f"{house.url}/robopref/trouble"
    person(house.server, house.manager, "reporter")
    mine = house.manager.get(f"{house.url}/api/projects/?page_size=1000").json()["results"]
    project = next(one["id"] for one in mine if one["title"] == "Access · reporter")
    with annotator_session(house.url, email, PASSWORD) as session:

        def send(part):
            return session.post(url, json={"part": part, "project": project}).status_code

        assert [send(part) for part in ("\x1b[2J owned", "submit" * 50_000, ["submit"], None, "confidence ")] == [
            400, 413, 400, 400, 400,
        ]  # fmt: skip
        assert send("confidence") == 204
        assert {send("confidence") for _ in range(40)} == {204, 429}
    told = house.manager.get(f"{house.url}/robopref/health").json()["screen"]
    assert sum("the steps of the confidence" in sentence for sentence in told) == 1
    assert len(told) <= len(PARTS) and all(sentence.startswith("The page lacks ") for sentence in told)


def test_the_page_names_the_parts_that_the_server_knows():
    script = (Path(contract.__file__).parent / "plugin" / "static" / "studio.js").read_text()
    named = re.findall(r"(\w+):", script.partition("const parts = {")[2].partition("};")[0])
    assert named == list(PARTS)


def test_the_guidelines_are_open_to_all_with_their_pictures(house):
    page = httpx.get(f"{house.url}/robopref/guidelines").text
    assert "Roughly equal" in page
    pictures = re.findall(r'src="(guidelines/[^"]+)"', page)
    assert len(pictures) == 4
    for picture in pictures:
        answer = httpx.get(f"{house.url}/robopref/{picture}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")


CHANGED = """
import django
from types import ModuleType, SimpleNamespace
from labeling_config.plugin import apps

def gone():
    raise ImportError("cannot import name 'UserAPI'")

apps._narrow_people = gone
django.setup()
from labeling_config.plugin import access, checks, routes

print(checks.FOUND_AT_START)
print([name in routes.ROUTES for name in ("user-list", "projects:api:project-list")])
roles = ("is_superuser", "is_staff", "has_organization")
people = [dict.fromkeys(roles, False) | {role: True} for role in (*roles, "is_anybody")]
print([access.is_manager(SimpleNamespace(is_authenticated=True, **who)) for who in people])
print(access.is_manager(SimpleNamespace(is_authenticated=False, **people[0])))
"""


def test_a_list_that_a_changed_label_studio_cannot_narrow_stays_closed_and_is_told(tmp_path):
    account = {"USERNAME": "a@example.com", "PASSWORD": PASSWORD, "USER_TOKEN": "0" * 40}
    environment = studio.environment(tmp_path, tmp_path, account, plugin=True)
    run = subprocess.run(
        [sys.executable, "-c", CHANGED], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120,
        check=True,
    )  # fmt: skip
    told, lists, managers, stranger = run.stdout.splitlines()[-4:]
    assert "The list of people could not be narrowed: ImportError: cannot import name 'UserAPI'." in told
    assert lists == "[False, True]"
    assert (managers, stranger) == ("[True, True, True, False]", "False")


def test_without_a_certificate_there_is_no_production_project(house):
    """A project whose description names somebody else, or nobody, is not there for them."""
    body = {"title": "Production", "label_config": contract.load_template("pair_compare"), "description": "production"}
    made = house.manager.post(f"{house.url}/api/projects/", json=body).json()["id"]
    assert house.alice.session.get(f"{house.url}/api/projects/{made}/").status_code == 403
    queue = house.alice.session.post(f"{house.url}/api/dm/actions/?id=next_task&project={made}", json={})
    assert queue.status_code == 403

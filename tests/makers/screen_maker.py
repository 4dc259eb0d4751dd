"""Projects as the importer makes them, and a signed-in person before them, for tests of the screen."""

from importer.studio.users import admin_session, annotator_session, create_annotator
from labeling_config import contract, guidelines
from labeling_config.questions import for_adjudication, with_questions

PASSWORD = "quiet-otters-12"
FRAME_S = 1 / 15
QUESTION = "Which robot did the better job of pushing the puck to the goal?"
REASONING = "One calm push; the other hits the puck twice and overshoots the goal."
OTHERS_SAID = "1: left is better, sure 3 of 5"
ANSWERED = "/annotations"

CLOCKS = """() => ['left', 'right'].map((name) => {
  const player = window.Htx?.annotationStore?.selected?.names.get(name)?.ref.current;
  return player ? [player.playing, player.currentTime, player.duration] : [false, 0, 0]; })"""
CHOSEN = "[...document.querySelectorAll('.rp .ant-radio-input:checked')].map((input) => input.name)"
BOTH_BEGAN = f"() => ({CLOCKS})().every(([, at]) => at > 0.2)"
"""They play, or have ended already: a short clip may do so between two looks of a busy machine."""
BOTH_PLAY = f"() => {{ const c = ({CLOCKS})(); return c.every(([playing, at]) => playing && at > 0.2); }}"
BOTH_ENDED = (
    f"() => {{ const c = ({CLOCKS})(); return c.every(([, at, length]) => length > 0 && at >= length - 0.05); }}"
)
SEEN = f"() => ({BOTH_ENDED})() && !document.body.classList.contains('rp-not-yet')"


def make_project(server, email, title, *, clips=("a", "b"), tasks=3, template="pair_compare", lines=(), prefix="t",
                 about=(), questions=None):  # fmt: skip
    """A project of `email`'s, served in the order of its tasks; left and right change places from task to task. The
    training pairs are `about` these dimensions; of each, the expert says that left is better. `questions`: name →
    whether it is asked."""
    create_annotator(server.url, server.token, email, PASSWORD)
    load = contract.load_template
    if template == "expert":
        xml = contract.explained(load("pair_compare"))
    elif template == "adjudication":
        xml = for_adjudication(load("calibration"))
    else:
        xml = load(template)
    xml = with_questions(xml, **questions) if questions else xml
    extra = [contract.expert_data("left", REASONING, what) for what in about or [""] * tasks]
    if template == "adjudication":
        extra = [{"expert_answer": contract.OTHERS, "expert_reasoning": OTHERS_SAID}] * tasks
    elif template != "calibration":
        extra = [{}] * tasks
    addresses = [f"/data/local-files/?d=clips/{name}.mp4" for name in clips]
    data = [
        contract.task_data(f"{prefix}{n}", addresses[n % 2], addresses[1 - n % 2], fps=15, question=QUESTION) | extra[n]
        for n in range(tasks)
    ]
    body = {
        "title": title,
        "label_config": xml,
        "description": "\n".join([title, contract.owner_line(email), *lines]),
        "expert_instruction": guidelines.instructions(),
        "sampling": "Uncertainty sampling",
        "maximum_annotations": 1,
        "skip_queue": "REQUEUE_FOR_ME",
    }
    with admin_session(server.url, server.token) as manager:
        made = manager.post(f"{server.url}/api/projects/", json=body)
        assert made.status_code == 201, made.text
        project = made.json()["id"]
        folder = {"project": project, "path": str(server.document_root / "clips"), "use_blob_urls": False}
        manager.post(f"{server.url}/api/storages/localfiles/", json=folder).raise_for_status()
        ranked = [
            {"data": one, "predictions": [{"result": [], "score": (n + 1) * 1e-6, "model_version": "planned"}]}
            for n, one in enumerate(data)
        ]
        manager.post(f"{server.url}/api/projects/{project}/import", json=ranked).raise_for_status()
        manager.patch(f"{server.url}/api/projects/{project}/", json={"model_version": "planned"}).raise_for_status()
    return project


def mark(phase, who="carol"):
    """The line of a description that says which part of the course the project is."""
    return contract.mark_line("0123456789ab", phase, who)


def sign_in(page, server, email, password=PASSWORD):
    """By cookie: `log_in` loads the login page and then the person's next pair, which costs seconds."""
    with annotator_session(server.url, email, password) as session:
        cookies = [{"name": one.name, "value": one.value, "url": server.url} for one in session.cookies.jar]
        page.context.add_cookies(cookies)


def log_in(page, server, email):
    """On the login page, which leads to their next pair. If it leads elsewhere, the failure shows every answer on the
    way."""
    replies = []
    page.on("response", lambda reply: replies.append((reply.status, reply.url, reply.headers.get("location"))))
    page.goto(f"{server.url}/user/login/")
    page.fill("[name=email]", email)
    page.fill("[name=password]", PASSWORD)
    with page.expect_navigation(wait_until="commit"):
        page.locator("[name=password]").press("Enter")
    assert "/user/login" not in page.url, replies


def open_stream(page, server, project):
    page.goto(f"{server.url}/projects/{project}/data?labeling=1")
    page.wait_for_selector(".rp-right")


def annotations(server, project):
    """assignment id → its annotations."""
    with admin_session(server.url, server.token) as manager:
        address = f"{server.url}/api/projects/{project}/export?exportType=JSON&download_all_tasks=true"
        tasks = manager.get(address).json()
    return {task["data"]["assignment_id"]: task["annotations"] for task in tasks}


def submit(page, key="Enter"):
    """Press Enter and wait for the server's word; returns the response."""
    with page.expect_response(lambda reply: ANSWERED in reply.url and reply.request.method == "POST") as sent:
        page.keyboard.press(key)
    return sent.value


def task_ids(server, project):
    """In the order in which they are asked."""
    with admin_session(server.url, server.token) as manager:
        found = manager.get(f"{server.url}/api/projects/{project}/tasks/?page_size=200").json()
    return sorted(task["id"] for task in found)


def answer_by_api(server, email, tasks):
    """The person answers these tasks, past the screen."""
    answer = {"result": contract.result_of("left", 4), "lead_time": 5}
    with annotator_session(server.url, email, PASSWORD) as session:
        for task in tasks:
            session.post(f"{server.url}/api/tasks/{task}/annotations/", json=answer).raise_for_status()

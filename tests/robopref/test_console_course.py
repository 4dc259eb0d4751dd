"""A campaign from an empty project to a downloaded release in a browser: a manager who never opens a terminal.

Label Studio, the pages and everything behind them are real. Annotators are simulated, and the test is the worker: it
looks once after each press.
"""

import threading

import pytest
from lerobot_maker import Made, make_dataset
from studio_maker import copy_studio
from werkzeug.serving import make_server

from importer.simulate.answering import simulate
from labeling_config.contract import CONSOLE
from ml_backend.loop.worker import Worker
from preference.embedded import Servers, write_servers
from preference.workspace import Workspace
from release import verify_release
from robopref.child import claim_port
from robopref.console import handle
from robopref.service import create_app
from robopref.studio import LabelStudioServer

CONFIG = """
name = "tiny"
workers = 1
[annotators]
expert = "expert"
simulated = [
  { id = "expert", teacher = "expert" }, { id = "ann", teacher = "expert" }, { id = "bo", teacher = "expert" },
]
[[pool.dataset]]
path = "data"
[clips]
size = 96
[calibration]
pairs = 12
more_pairs = 0
training_pairs = 3
[pairs]
batch = 20
duplicate_distance = 3
[quality]
min_alpha = -1.0
bootstrap = 20
[active]
bootstrap = 20
[reward]
inputs = ["actions", "state"]
parts = ["network"]
epochs = 3
hidden = 8
members = 2
min_preferences = 8
"""


class Course:
    """A manager's browser and a worker over one project."""

    def __init__(self, ws, page, url):
        self.ws, self.page, self.url = ws, page, url
        self.worker = Worker(ws, handle=handle, pull_every_s=0.0)

    def open(self, name=""):
        self.page.goto(f"{self.url}{CONSOLE}{'/' if name else ''}{name}")

    def done(self):
        """What became of the action that was just pressed, once the worker has looked."""
        asked = self.ws.store.requests(newest=1)[0].request_id
        self.worker.look()
        request = next(r for r in self.ws.store.requests(newest=5) if r.request_id == asked)
        assert request.state == "done", request
        self.page.reload()
        return self.page.locator(".told").inner_text()

    def step(self):
        self.open()
        return self.page.locator("#step p").first.inner_text()

    def press_next(self, words):
        assert self.page.locator("#step button").inner_text() == words
        self.page.click("#step button")
        return self.done()


@pytest.fixture
def course(tmp_path, empty_studio, chromium):
    make_dataset(tmp_path / "data", [Made(rows=30 + 2 * i, still=5, jerk=0.02 * i) for i in range(24)])
    (tmp_path / "robopref.toml").write_text(CONFIG)
    work = tmp_path / "work"
    work.mkdir()
    with LabelStudioServer(copy_studio(empty_studio, tmp_path / "studio"), work, work=work) as studio:
        port = claim_port(None, "The service")
        write_servers(
            work,
            Servers(
                studio_url=studio.url,
                token=studio.token,
                service_port=port,
                password="pw",
                webhook_secret="quiet",
                console_secret="quieter",
            ),
        )
        ws = Workspace.open(tmp_path / "robopref.toml")
        service = make_server("127.0.0.1", port, create_app(ws), threaded=True)
        threading.Thread(target=service.serve_forever, daemon=True).start()
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{studio.url}{CONSOLE}")
        assert "/user/login" in page.url, "Label Studio's login is the console's"
        page.fill("#email", studio.username)
        page.fill("#password", studio.password)
        page.click("[type=submit]")
        page.wait_for_url(f"**{CONSOLE}")
        yield Course(ws, page, studio.url)
        page.close()
        service.shutdown()
        ws.store.close()


def test_from_an_empty_project_to_a_downloaded_release_without_a_terminal(course, tmp_path):
    page, ws = course.page, course.ws
    course.step()
    assert "24 trajectories" in course.press_next("Read the datasets")
    course.step()
    assert "24 clips rendered" in course.press_next("Render the clips")
    course.step()
    assert "3 training pairs" in course.press_next("Build the calibration sets")
    simulate(ws)
    course.worker.look()
    course.step()
    course.press_next("Build the calibration sets")
    simulate(ws)
    course.worker.look()
    assert "finished calibration-1" in course.step()
    page.click("#step button")
    assert page.locator(".told").inner_text().count(": certified") == 2

    course.open("models")
    page.click("summary:has-text('Stop the rounds')")
    page.fill("input[name=why]:visible", "one batch will do")
    page.click("button:has-text('Stop'):visible")
    assert "no more rounds" in page.locator(".told").inner_text()

    assert "Enough annotators" in course.step()
    page.click("#step a")
    page.click("text=Show the plan")
    assert "20 pairs" in page.locator("#plan").inner_text()
    page.click("#plan summary")
    page.click("#plan form button")
    assert "production-001 is open" in course.done()
    simulate(ws)
    course.worker.look()
    course.open("batches")
    assert "accepted" in page.locator("article").first.inner_text(), "QC is the worker's"

    assert "pairs have a label" in course.step()
    course.press_next("Train the model")
    course.open("models")
    page.click("button:has-text('Validate')")
    assert "rm-0001" in course.done()
    course.open("releases")
    page.click("summary:has-text('Build')")
    page.click("text=Build it")
    assert "1.0.0 was built" in course.done()
    with page.expect_download() as download:
        page.click("a:has-text('Download')")
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.name == "robopref-tiny-1.0.0.tar.gz" and verify_release(file).ok
    names = {request.by for request in ws.store.requests(newest=50) if request.kind != "push"}
    assert len(names) == 1 and "@" in names.pop(), "everything was done by the manager who was signed in"

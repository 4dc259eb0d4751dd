"""In Label Studio, the console is for managers who are signed in; it goes on to the ML backend and nowhere else."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from studio_maker import copy_studio

from importer.studio.users import annotator_session, create_annotator
from labeling_config.contract import CONSOLE, CONSOLE_HEADER, MANAGER_HEADER, SESSION_HEADER
from preference.embedded import Servers, write_servers
from robopref.studio import LabelStudioServer

PASSWORD = "quiet-otters-12"


class Heard(BaseHTTPRequestHandler):
    """A backend that keeps what it is asked."""

    asked: list = []  # noqa: RUF012

    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.asked.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
        self.send_response(303 if self.command == "POST" else 200)
        for name, value in (("Content-Type", "text/html"), ("Location", f"{CONSOLE}?said=1"), ("Content-Length", "14"),
                            ("Set-Cookie", "mine=1")):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"<p>A page.</p>")

    do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def backend():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Heard)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def studio(tmp_path_factory, empty_studio, backend):
    folder = tmp_path_factory.mktemp("console")
    work = folder / "work"
    work.mkdir()
    with LabelStudioServer(copy_studio(empty_studio, folder / "data"), folder / "documents", work=work) as server:
        noted = Servers(studio_url=server.url, token=server.token, service_port=backend.server_port, password="pw",
                        webhook_secret="w", console_secret="quiet")  # fmt: skip
        write_servers(work, noted)
        server.work_folder = work
        yield server


@pytest.fixture(scope="module")
def manager(studio):
    return annotator_session(studio.url, studio.username, studio.password)


def test_a_managers_request_goes_on_with_the_name_and_the_secret_and_the_same_session_each_time(studio, manager):
    Heard.asked.clear()
    reply = manager.get(f"{studio.url}{CONSOLE}/batches?pairs=3")
    assert (reply.status_code, reply.text) == (200, "<p>A page.</p>"), "no script of the plugin is added"
    assert "mine" not in reply.cookies
    manager.get(f"{studio.url}/api/projects/")
    sent = manager.post(f"{studio.url}{CONSOLE}/do", data={"what": "pool"}, follow_redirects=False)
    assert (sent.status_code, sent.headers["Location"]) == (303, f"{CONSOLE}?said=1")
    (get, path, first, _), (post, _, second, body) = Heard.asked
    assert (get, path, post, body) == ("GET", f"{CONSOLE}/batches?pairs=3", "POST", b"what=pool")
    assert first[CONSOLE_HEADER] == "quiet" and first[MANAGER_HEADER] == studio.username.replace("@", "%40")
    assert first[SESSION_HEADER] == second[SESSION_HEADER], "a form's token must still fit"
    assert "Cookie" not in first
    other = annotator_session(studio.url, studio.username, studio.password)
    other.get(f"{studio.url}{CONSOLE}")
    assert Heard.asked[-1][2][SESSION_HEADER] != first[SESSION_HEADER]


def test_annotators_and_strangers_get_nothing_of_it(studio):
    Heard.asked.clear()
    create_annotator(studio.url, studio.token, "alice@example.com", PASSWORD)
    alice = annotator_session(studio.url, "alice@example.com", PASSWORD)
    assert alice.get(f"{studio.url}{CONSOLE}").status_code == 403
    assert alice.post(f"{studio.url}{CONSOLE}/do", data={}).status_code == 403
    sign_in = httpx.get(f"{studio.url}{CONSOLE}/people", trust_env=False)
    assert sign_in.status_code == 302 and sign_in.headers["Location"] == f"/user/login/?next={CONSOLE}/people"
    ended = httpx.post(f"{studio.url}{CONSOLE}/do", data={"what": "pool"}, trust_env=False)
    assert ended.status_code == 401 and "nothing was done" in ended.text
    assert Heard.asked == []


@pytest.mark.parametrize("rest", ["..%2Fmetrics", "people/..%2F..%2Fmetrics", "%2E%2E/metrics", "people//x"])
def test_no_address_leads_out_of_the_console(studio, manager, rest):
    Heard.asked.clear()
    manager.get(f"{studio.url}{CONSOLE}/{rest}")
    assert all(path.startswith(CONSOLE) and ".." not in path for _, path, _, _ in Heard.asked)


def test_a_backend_that_is_away_or_unknown_is_said_in_a_sentence(studio, manager):
    noted = studio.work_folder / "servers.json"
    kept = noted.read_text()
    noted.unlink()
    nowhere = manager.get(f"{studio.url}{CONSOLE}")
    assert nowhere.status_code == 503 and "ROBOPREF_SERVICE_URL" in nowhere.text
    away = Servers.model_validate_json(kept).model_copy(update={"service_port": 9})
    write_servers(studio.work_folder, away)
    reply = manager.get(f"{studio.url}{CONSOLE}")
    assert reply.status_code == 502 and "Nothing was done" in reply.text
    noted.write_text(kept)

"""Programs inside sign in without TLS on a server whose people come through a proxy with it."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from importer.studio.users import annotator_session


class Studio(BaseHTTPRequestHandler):
    """As Label Studio behind a proxy: its cookies are for https only, and it knows whom it let in by them alone."""

    def _answer(self, status: int, *cookies: str) -> None:
        self.send_response(status)
        for cookie in cookies:
            self.send_header("Set-Cookie", f"{cookie}; Path=/; Secure; HttpOnly")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        signed_in = "sessionid=s" in self.headers.get("Cookie", "")
        self._answer(200 if self.path == "/user/login/" or signed_in else 401, "csrftoken=t")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        fits = "csrfmiddlewaretoken=t" in body and "csrftoken=t" in self.headers.get("Cookie", "")
        self._answer(302 if fits else 403, "sessionid=s")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_cookies_for_https_only_are_kept_inside():
    server = HTTPServer(("127.0.0.1", 0), Studio)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        with annotator_session(f"http://127.0.0.1:{server.server_port}", "a@b.example", "x") as session:
            assert session.get("/api/projects/").status_code == 200
            assert session.headers["X-CSRFToken"] == "t"
    finally:
        server.shutdown()

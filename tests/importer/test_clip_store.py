"""Clips from a bucket: uploaded once, shown under the tasks' own names, and trouble is one message."""

import base64
import http.server
import threading
import urllib.parse
from dataclasses import replace

import httpx
import pytest
from studio_maker import make_workspace, plan

from importer.clips.s3 import check_bucket, upload_clips
from importer.studio.push import credentials, push
from importer.studio.users import admin_session, annotator_session
from preference.config import Config, LabelStudio
from preference.errors import StudioError

pytest.importorskip("boto3", reason="pip install 'robopref[s3]'")
LIST = (
    """<?xml version="1.0"?><ListBucketResult><Name>lab</Name><KeyCount>{count}</KeyCount>{keys}</ListBucketResult>"""
)


class Bucket(http.server.BaseHTTPRequestHandler):
    """As much of S3 as boto3 and Label Studio use, for the bucket `lab`; what is signed is looked at, not verified."""

    objects: dict[str, tuple[bytes, dict[str, str]]]
    calls: list[str]

    def _key(self):
        address = urllib.parse.urlsplit(self.path)
        return urllib.parse.unquote(address.path).removeprefix("/lab").lstrip("/"), urllib.parse.parse_qs(address.query)

    def _say(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_PUT(self):
        key, _ = self._key()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        meta = {name: value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta")}
        self.objects[key] = (body, meta)
        self.calls.append(f"PUT {key}")
        self._say(200, ETag='"x"')

    def do_GET(self):
        key, query = self._key()
        if not key:
            found = sorted(self.objects)
            keys = "".join(
                f"<Contents><Key>{name}</Key><Size>{len(self.objects[name][0])}</Size></Contents>" for name in found
            )
            return self._say(200, LIST.format(count=min(1, len(found)), keys=keys).encode(), Content_Type="text/xml")
        signed = "X-Amz-Signature" in query or "Signature=" in self.headers.get("Authorization", "")
        if key not in self.objects or not signed:
            return self._say(404 if signed else 403)
        body, meta = self.objects[key]
        return self._say(200, body, Content_Type="video/mp4", **meta)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def bucket():
    handler = type("Handler", (Bucket,), {"objects": {}, "calls": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.endpoint = f"http://127.0.0.1:{server.server_port}"
    yield handler
    server.shutdown()


@pytest.fixture
def ws(label_studio, request, bucket):
    workspace = make_workspace(label_studio, f"s{abs(hash(request.node.name)) % 10**8}")
    s3 = {"bucket": "lab", "endpoint": bucket.endpoint, "access_key": "AKIA", "secret_key": "quiet-otters"}
    studio = {**workspace.config.label_studio.model_dump(), "clips": "s3", "s3": s3}
    workspace.config.label_studio = LabelStudio.model_validate(studio)
    workspace.store.put_trajectories(replace(t, clip_sha256=t.trajectory_id) for t in workspace.store.trajectories())
    yield workspace
    workspace.store.close()


def test_an_annotator_gets_the_clip_by_a_name_of_the_tasks_and_no_link_into_the_bucket(ws, bucket):
    plan(ws, "production-001", "ann", 2)
    assert push(ws).tasks == 2
    url, first = ws.config.label_studio.url, ws.store.assignments()[0].assignment
    session = annotator_session(url, *next(iter(credentials(ws).items())))
    served = session.post(f"{url}/api/dm/actions/?id=next_task&project={first.project_id}", json={}).json()
    assert served["data"]["video_left"] == f"/robopref/clips/{served['id']}/left"
    bucket.objects["clips/longest.mp4"] = (bytes(300_000), {})
    left, right = (session.get(url + served["data"][f"video_{side}"]) for side in ("left", "right"))
    assert left.content.startswith(bucket.objects["clips/d-000000.mp4"][0])
    assert right.content.startswith(bucket.objects["clips/d-000001.mp4"][0])
    assert len(left.content) == len(right.content) == 300_008
    assert left.headers["ETag"] != right.headers["ETag"] and "Last-Modified" not in left.headers
    for way in ("resolve", "presign"):
        secret = base64.urlsafe_b64encode(b"s3://lab/clips/index.jsonl").decode()
        assert session.get(f"{url}/tasks/{served['id']}/{way}/?fileuri={secret}").status_code == 403
    bucket.objects.clear()
    assert session.get(url + served["data"]["video_left"]).status_code == 404


def test_a_manager_gets_the_clip_by_a_presigned_link(ws, bucket, label_studio):
    plan(ws, "production-001", "ann", 2)
    push(ws)
    url, task = label_studio.url, ws.store.assignments()[0].assignment.task_id
    with admin_session(url, label_studio.token) as manager:
        data = manager.get(f"{url}/api/tasks/{task}/?resolve_uri=true").json()["data"]
        link = manager.get(url + data["video_left"], follow_redirects=False)
    assert link.status_code in (302, 303), link.text
    address = link.headers["Location"]
    assert address.startswith(f"{bucket.endpoint}/lab/clips/d-00000") and "X-Amz-Signature=" in address
    assert "quiet-otters" not in address + str(data)
    clip = httpx.get(address)
    assert clip.headers["Content-Type"] == "video/mp4" and clip.content[4:8] == b"ftyp"
    stranger = httpx.get(url + data["video_left"], follow_redirects=False)
    assert stranger.status_code in (302, 401, 403) and "X-Amz" not in stranger.headers.get("Location", "")


def test_a_clip_is_uploaded_once_and_again_when_it_changed(ws, bucket):
    trajectories = ws.store.trajectories()
    assert upload_clips(ws, trajectories) == 4
    assert sorted(bucket.objects) == [f"clips/d-{i:06d}.mp4" for i in range(4)]
    assert upload_clips(ws, trajectories) == 0
    assert upload_clips(ws, [replace(trajectories[0], clip_sha256="new"), *trajectories[1:]]) == 1
    assert bucket.calls[-1] == "PUT clips/d-000000.mp4"


def test_a_store_that_is_away_is_one_message_and_no_task_is_made(ws):
    ws.config.label_studio.s3.endpoint = "http://127.0.0.1:9"
    plan(ws, "production-001", "ann", 2)
    with pytest.raises(StudioError, match=r"bucket 'lab' at http://127\.0\.0\.1:9 cannot be used") as caught:
        push(ws)
    assert "quiet-otters" not in str(caught.value)
    assert {view.assignment.task_id for view in ws.store.assignments()} == {None}


def test_the_doctor_looks_at_the_bucket(ws, bucket):
    check_bucket(ws.config.label_studio.s3)
    ws.config.label_studio.s3.endpoint = "http://127.0.0.1:9"
    with pytest.raises(StudioError, match="cannot be used"):
        check_bucket(ws.config.label_studio.s3)


def test_clips_on_a_web_server_are_named_by_its_address(label_studio):
    ws = make_workspace(label_studio, "web")
    ws.config.label_studio.clips, ws.config.label_studio.clips_url = "url", "https://example.org/clips/"
    plan(ws, "production-001", "ann", 2)
    push(ws)
    session = annotator_session(ws.config.label_studio.url, *next(iter(credentials(ws).items())))
    first = ws.store.assignments()[0].assignment
    served = f"{ws.config.label_studio.url}/api/dm/actions/?id=next_task&project={first.project_id}"
    task = session.post(served, json={}).json()["id"]
    data = session.get(f"{ws.config.label_studio.url}/api/tasks/{task}/").json()["data"]
    assert data["video_left"].startswith("https://example.org/clips/d-00000")
    ws.store.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"clips": "url"}, "needs clips_url"),
        ({"clips": "url", "clips_url": "example.org"}, "needs clips_url"),
        ({"clips": "s3"}, "needs s3.bucket"),
    ],
)
def test_half_a_setting_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Config.model_validate({"label_studio": settings})

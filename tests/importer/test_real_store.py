"""Clips in a store that somebody else wrote: sent by boto3, linked by Label Studio, fetched in parts as players do."""

import hashlib
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cluster_maker import s3_server
from studio_maker import make_workspace, plan

from importer.clips.s3 import check_bucket, upload_clips
from importer.studio.push import credentials, push
from importer.studio.users import admin_session, annotator_session
from preference.artifacts import sha256_of
from preference.config import LabelStudio

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
KEYS = {"access_key": "AKIAROBOPREF", "secret_key": "quiet-otters"}


@pytest.fixture
def ws(label_studio, tmp_path):
    boto3 = pytest.importorskip("boto3", reason="pip install 'robopref[s3]'")
    pytest.importorskip("moto.server", reason="pip install 'moto[s3]' flask-cors")
    with s3_server(tmp_path) as endpoint:
        store = boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id=KEYS["access_key"],
            aws_secret_access_key=KEYS["secret_key"], region_name="us-east-1",
        )  # fmt: skip
        store.create_bucket(Bucket="lab")
        workspace = make_workspace(label_studio, "realstore")
        s3 = {"bucket": "lab", "endpoint": endpoint, "link_minutes": 7, **KEYS}
        studio = {**workspace.config.label_studio.model_dump(), "clips": "s3", "s3": s3}
        workspace.config.label_studio = LabelStudio.model_validate(studio)
        workspace.store.put_trajectories(
            replace(t, clip_sha256=sha256_of(workspace.root / t.clip)) for t in workspace.store.trajectories()
        )
        yield workspace
        workspace.store.close()


def test_clips_reach_people_through_presigned_links(ws, label_studio):
    check_bucket(ws.config.label_studio.s3)
    plan(ws, "production-001", "ann", 2)
    assert push(ws).tasks == 2
    assert upload_clips(ws, ws.store.trajectories()) == 1, "the clip that no pair shows"
    assert upload_clips(ws, ws.store.trajectories()) == 0, "the store kept our checksums"
    clips = {hashlib.sha256((ws.root / t.clip).read_bytes()).hexdigest() for t in ws.store.trajectories()}
    url, task = label_studio.url, ws.store.assignments()[0].assignment.task_id
    with admin_session(url, label_studio.token) as manager:
        data = manager.get(f"{url}/api/tasks/{task}/?resolve_uri=true").json()["data"]
        link = manager.get(url + data["video_left"], follow_redirects=False).headers["Location"]
    signed = parse_qs(urlsplit(link).query)
    assert signed["X-Amz-Expires"] == ["420"] and signed["X-Amz-Credential"][0].startswith(KEYS["access_key"])
    whole = httpx.get(link)
    assert whole.status_code == 200 and hashlib.sha256(whole.content).hexdigest() in clips
    part = httpx.get(link, headers={"Range": "bytes=100-199"})
    assert part.status_code == 206 and part.content == whole.content[100:200]
    session = annotator_session(url, *next(iter(credentials(ws).items())))
    shown = session.post(f"{url}/api/dm/actions/?id=next_task&project={_project(ws)}", json={}).json()
    seen = session.get(url + shown["data"]["video_left"])
    assert seen.status_code == 200 and seen.content.startswith(whole.content[:1000]), "and no link for annotators"
    assert "X-Amz" not in str(shown)


def _project(ws):
    return ws.store.assignments()[0].assignment.project_id

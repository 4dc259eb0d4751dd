"""A clip has a name, a size and a tag of its own in each task, and is shown to whom the task was served."""

import subprocess

import httpx
import pytest
from screen_maker import PASSWORD, make_project, mark, task_ids

from importer.studio.users import admin_session, annotator_session

CLIPS = ("a", "b", "long", "a", "b")


class Viewer:
    """Somebody with a project of three tasks, the first two of which show the same two clips, sides changed."""

    def __init__(self, server, name, clips=("a", "long")):
        self.url, email = server.url, f"{name}@example.com"
        self.project = make_project(server, email, name, clips=clips, lines=[mark("production")])
        self.tasks = task_ids(server, self.project)
        self.session = annotator_session(server.url, email, PASSWORD)

    def serve(self):
        return self.session.post(f"{self.url}/api/dm/actions/?id=next_task&project={self.project}", json={})

    def address(self, task, side="left"):
        return f"{self.url}/robopref/clips/{task}/{side}"

    def clip(self, task, side="left", **headers):
        return self.session.get(self.address(task, side), headers=headers)


@pytest.fixture(scope="module")
def viewer(label_studio):
    person = Viewer(label_studio, "viewer")
    person.data = person.serve().json()["data"]
    return person


@pytest.fixture(scope="module")
def originals(label_studio):
    return {name: (label_studio.document_root / "clips" / f"{name}.mp4").read_bytes() for name in CLIPS}


def test_the_tasks_data_name_no_clip(viewer):
    assert viewer.data["video_left"] == f"/robopref/clips/{viewer.tasks[0]}/left"
    assert viewer.data["video_right"] == f"/robopref/clips/{viewer.tasks[0]}/right"
    read = viewer.session.get(f"{viewer.url}/api/tasks/{viewer.tasks[0]}/")
    assert "local-files" not in read.text and read.json()["data"] == viewer.data


def test_a_clip_is_what_was_rendered_and_all_are_served_equally_long(viewer, originals):
    left, right = (viewer.clip(viewer.tasks[0], side) for side in ("left", "right"))
    assert left.content.startswith(originals["a"]) and right.content.startswith(originals["long"])
    assert len(left.content) == len(right.content) == max(map(len, originals.values())) + 8
    assert int(left.headers["Content-Length"]) == len(left.content)


def test_what_fills_a_clip_up_is_no_picture(viewer, tmp_path, originals):
    import imageio_ffmpeg

    def frames(name, body):
        (tmp_path / name).write_bytes(body)
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-xerror", "-v", "error", "-i", tmp_path / name, "-f", "framemd5"]
        done = subprocess.run([*command, "-"], capture_output=True, check=True, timeout=60)
        assert done.stderr == b""
        return done.stdout

    assert frames("served.mp4", viewer.clip(viewer.tasks[0]).content) == frames("rendered.mp4", originals["a"])


def test_the_same_clip_has_another_tag_in_another_task_and_no_time(viewer):
    here = viewer.clip(viewer.tasks[0], "left")
    there = viewer.clip(viewer.tasks[1], "right")  # the next pair, loaded ahead
    assert here.content == there.content
    assert here.headers["ETag"] != there.headers["ETag"]
    assert "Last-Modified" not in here.headers and "Content-Disposition" not in here.headers
    again = viewer.clip(viewer.tasks[0], **{"If-None-Match": here.headers["ETag"]})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", here.headers["ETag"])


def test_ranges_add_up_to_the_clip(viewer):
    whole = viewer.clip(viewer.tasks[0]).content
    first, rest = viewer.clip(viewer.tasks[0], Range="bytes=0-99"), viewer.clip(viewer.tasks[0], Range="bytes=100-")
    assert (first.status_code, first.headers["Content-Range"]) == (206, f"bytes 0-99/{len(whole)}")
    assert first.content + rest.content == whole
    beyond = viewer.clip(viewer.tasks[0], Range=f"bytes={len(whole)}-")
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(whole)}")


def test_clips_are_shown_of_the_present_pair_and_the_next_and_to_nobody_else(viewer, label_studio):
    stranger, other = httpx.get(viewer.address(viewer.tasks[0])), Viewer(label_studio, "other")
    assert [viewer.clip(task).status_code for task in viewer.tasks] == [200, 200, 403]
    assert stranger.status_code in (401, 403)
    assert other.session.get(viewer.address(viewer.tasks[0])).status_code == 403
    with admin_session(label_studio.url, label_studio.token) as manager:
        assert [manager.get(viewer.address(task)).status_code for task in viewer.tasks] == [200, 200, 200]


@pytest.mark.parametrize("file", ["a.mp4", "index.jsonl", "b.mp4"])
def test_the_folder_of_the_clips_is_closed(viewer, label_studio, file):
    (label_studio.document_root / "clips" / "index.jsonl").write_text("{}")
    address = f"{viewer.url}/data/local-files/?d=clips/{file}"
    assert viewer.session.get(address).status_code == 403
    with admin_session(label_studio.url, label_studio.token) as manager:
        assert manager.get(address).status_code == 200


@pytest.mark.parametrize("clips", [("../credentials.json", "a"), ("index.jsonl#", "a"), ("absent", "a")])
def test_what_is_no_clip_is_not_found(label_studio, clips):
    person = Viewer(label_studio, f"lost{abs(hash(clips))}", clips)
    person.serve()
    assert person.clip(person.tasks[0]).status_code == 404
    assert person.clip(person.tasks[0], "above").status_code == 404

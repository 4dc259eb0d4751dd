"""The disk is full: what cannot be stored is said to be so, nothing half is left, and with space it goes on."""

import shutil

import httpx
import pytest
from disk_maker import full, small_disk
from loop_maker import Process, until
from service_maker import BASIC, HEADER, annotation, event, planned
from told_maker import Told

from ml_backend.loop import train as stages
from ml_backend.loop.features import encode_pool
from preference.errors import UserError
from robopref.child import claim_port

SIZE = 8 << 20


@pytest.fixture
def told():
    server = Told()
    yield server
    server.end()


@pytest.fixture
def judged(tmp_path, told):
    ws = planned(tmp_path, url=told.url)
    yield ws
    ws.store.close()


def test_an_answer_that_a_full_disk_does_not_take_is_stored_once_there_is_space(judged, told, tmp_path):
    """The webhook only names a task: the service goes on, and asks Label Studio again."""
    port, toml = claim_port(None, "The service"), tmp_path / "robopref.toml"
    with small_disk(tmp_path / "disk", SIZE) as mounted:
        shutil.copytree(judged.root, tmp_path / "disk" / "work", dirs_exist_ok=True)
        text = toml.read_text().replace("[service]", f"[service]\nport = {port}")
        toml.write_text(f'work = "{tmp_path / "disk" / "work"}"\n{text}')
        service = Process(tmp_path / "service.log", "serve", "--config", toml).start()
        try:
            url = f"http://127.0.0.1:{port}"
            assert until(lambda: up(url)), (tmp_path / "service.log").read_text()
            told.say(annotation() | {"note": "x" * 480_000})
            made = event("ANNOTATION_CREATED", annotation=annotation())
            with full(tmp_path / "disk", mounted, service.pids()[0]):
                assert httpx.post(f"{url}/webhook", json=made, headers=HEADER, timeout=60).status_code == 201
                assert until(lambda: told.asked)
                assert up(url)
                assert "robopref_judgments 0.0" in metrics(url)
            httpx.post(f"{url}/webhook", json=made, headers=HEADER, timeout=60)
            assert until(lambda: "robopref_judgments 1.0" in metrics(url)), (tmp_path / "service.log").read_text()
            assert "Traceback" not in (tmp_path / "service.log").read_text()
        finally:
            service.end()


def test_a_training_on_a_full_disk_leaves_no_model_and_with_space_it_is_made(labelled_pool):
    encode_pool(labelled_pool, labelled_pool.store.trajectories())
    with small_disk(labelled_pool.models, 1 << 20) as mounted:
        with full(labelled_pool.models, mounted), pytest.raises(UserError):
            stages.train(labelled_pool)
        assert labelled_pool.store.model_versions() == []
        assert list(labelled_pool.models.iterdir()) == []
        assert stages.train(labelled_pool).active


def metrics(url):
    return httpx.get(f"{url}/metrics", headers=BASIC, timeout=60).text


def up(url):
    try:
        return httpx.get(f"{url}/health", timeout=10).is_success
    except httpx.HTTPError:
        return False

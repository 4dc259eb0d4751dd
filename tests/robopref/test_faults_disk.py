"""The disk is full: what cannot be stored is said to be so, nothing half is left, and with space it goes on."""

import shutil

import httpx
import pytest
from disk_maker import full, small_disk
from loop_maker import Process, until
from service_maker import BASIC, HEADER, annotation, event, planned

from ml_backend.loop import train as stages
from ml_backend.loop.features import encode_pool
from preference.errors import UserError
from robopref.child import claim_port

SIZE = 8 << 20


@pytest.fixture
def judged(tmp_path):
    ws = planned(tmp_path)
    yield ws
    ws.store.close()


def test_a_webhook_on_a_full_disk_is_refused_and_the_next_one_is_stored(judged, tmp_path):
    port, toml = claim_port(None, "The service"), tmp_path / "robopref.toml"
    with small_disk(tmp_path / "disk", SIZE) as mounted:
        shutil.copytree(judged.root, tmp_path / "disk" / "work", dirs_exist_ok=True)
        text = toml.read_text().replace("[service]", f"[service]\nport = {port}")
        toml.write_text(f'work = "{tmp_path / "disk" / "work"}"\n{text}')
        service = Process(tmp_path / "service.log", "serve", "--config", toml).start()
        try:
            url = f"http://127.0.0.1:{port}"
            assert until(lambda: up(url)), (tmp_path / "service.log").read_text()
            long = annotation() | {"note": "x" * 480_000}
            made = event("ANNOTATION_CREATED", annotation=long)
            with full(tmp_path / "disk", mounted, service.pids()[0]):
                refused = httpx.post(f"{url}/webhook", json=made, headers=HEADER, timeout=60)
                assert (refused.status_code, "Traceback" in refused.text) == (503, False)
                assert up(url)
            stored = httpx.post(f"{url}/webhook", json=made, headers=HEADER, timeout=60)
            assert stored.status_code == 201, stored.text
            assert "robopref_judgments 1.0" in httpx.get(f"{url}/metrics", headers=BASIC, timeout=60).text
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


def up(url):
    try:
        return httpx.get(f"{url}/health", timeout=10).is_success
    except httpx.HTTPError:
        return False

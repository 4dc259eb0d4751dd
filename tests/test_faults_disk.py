"""The disk is full: what cannot be stored is said to be so, nothing half is left, and with space it goes on."""

import contextlib
import resource
import shutil
import subprocess

import pytest
import requests
from loop_maker import Process, until
from test_ml_backend_service import BASIC, HEADER, annotation, event
from test_ml_backend_service import ws as judged  # noqa: F401
from test_ml_backend_stages import ws as trained  # noqa: F401

from ml_backend.loop import train as stages
from ml_backend.reward.features import encode_pool
from preference.errors import UserError
from robopref.child import claim_port

SIZE = 8 << 20


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of its own at `folder`, where we may mount one; yields whether it is."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False, timeout=30).returncode == 0
    except OSError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True, timeout=30)


@contextlib.contextmanager
def full(folder, mounted, pid=0):
    """No byte more fits: the disk is filled, or where it is not ours the process (0 = this one) may write no more."""
    filler = folder / "filler"
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    if mounted:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
    else:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        yield
    finally:
        filler.unlink(missing_ok=True)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def test_a_webhook_on_a_full_disk_is_refused_and_the_next_one_is_stored(judged, tmp_path):  # noqa: F811
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
                refused = requests.post(f"{url}/webhook", json=made, headers=HEADER, timeout=60)
                assert (refused.status_code, "Traceback" in refused.text) == (503, False)
                assert up(url)
            stored = requests.post(f"{url}/webhook", json=made, headers=HEADER, timeout=60)
            assert stored.status_code == 201, stored.text
            assert "robopref_judgments 1.0" in requests.get(f"{url}/metrics", headers=BASIC, timeout=60).text
        finally:
            service.end()


def test_a_training_on_a_full_disk_leaves_no_model_and_with_space_it_is_made(trained):  # noqa: F811
    encode_pool(trained, trained.store.trajectories())
    with small_disk(trained.models, 1 << 20) as mounted:
        with full(trained.models, mounted), pytest.raises(UserError):
            stages.train(trained)
        assert trained.store.model_versions() == []
        assert list(trained.models.iterdir()) == []
        assert stages.train(trained).active


def up(url):
    try:
        return requests.get(f"{url}/health", timeout=10).ok
    except requests.RequestException:
        return False

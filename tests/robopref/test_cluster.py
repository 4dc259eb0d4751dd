"""A Ray cluster whose machines share no folder renders, encodes and scores by way of a bucket. One machine is killed in
the middle, and all is done, and nothing twice."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest
from cluster_maker import RAY, kill, ray_cluster, s3_server
from lerobot_maker import Made, make_dataset

from preference.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
EPISODES = 12
CONFIG = """
seed = 3
salt = 3
executor = "ray"
[[pool.dataset]]
path = "data"
name = "made"
[clips]
size = 96
[reward]
weights = "none"
encoder = "resnet10t"
sample_fps = 2.0
epochs = 3
hidden = 8
members = 2
parts = ["network"]
[cluster]
bucket = "lab"
endpoint = "{endpoint}"
"""
RUN = """
import json, os, sys
from pathlib import Path
import numpy as np
from preference.workspace import Workspace
ws = Workspace.open(Path(sys.argv[1]))
if sys.argv[2] == "clips":
    from importer.clips.build import build_clips
    from importer.pool.build import build_pool
    build_pool(ws)
    done = build_clips(ws)
    print(json.dumps({"rendered": done.rendered, "kept": done.kept, "failures": len(done.failures)}))
else:
    from ml_backend.loop.features import encode_pool
    from ml_backend.loop.spec import describe
    from ml_backend.reward.dataset import Pairs, Split
    from ml_backend.validation import accuracy
    accuracy.IN_PROCESS = 0
    trajectories = ws.store.trajectories()
    found = encode_pool(ws, trajectories)
    rng, count = np.random.default_rng(0), len(trajectories)
    a = np.repeat(np.arange(count), 3)
    b = (a + rng.integers(1, count, len(a))) % count
    names = tuple(str(i) for i in range(len(a)))
    pairs = Pairs(names, a, b, rng.choice([0.0, 1.0], len(a)), np.ones(len(a)))
    rows = rng.permutation(len(a))
    split = Split(rows[:24], rows[24:30], rows[30:])
    features = found.sequence([t.trajectory_id for t in trajectories])
    spec = describe(ws, found, trajectories)
    scored = [
        accuracy.fit_folds(features, pairs, spec, ws.config.reward, [split] * 2, [0, 1], workers=workers)
        for workers in (ws.workers, accuracy.HERE)
    ]
    same = all(np.allclose(x, y, atol=1e-3) for x, y in zip(*scored))
    print(json.dumps({"encoded": found.encoded, "features": len(found), "scored": len(scored[0]), "same": same}))
"""


@pytest.fixture
def lab(tmp_path):
    pytest.importorskip("ray", reason="pip install 'robopref[scale]'")
    pytest.importorskip("moto.server", reason="pip install 'moto[s3]' flask-cors")
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("only root on Linux can give a process a view of its own of the disk")
    project = tmp_path / "project"
    make_dataset(project / "data", [Made(rows=60, still=10, jerk=0.01 * i) for i in range(EPISODES)])
    with s3_server(tmp_path) as endpoint:
        keys = {"ROBOPREF_S3_ACCESS_KEY": "AKIA", "ROBOPREF_S3_SECRET_KEY": "quiet-otters"}
        (project / "robopref.toml").write_text(CONFIG.format(endpoint=endpoint))
        with ray_cluster(tmp_path, project) as (address, workers):
            yield project, _store(endpoint), workers, {**os.environ, **keys, **RAY, "RAY_ADDRESS": address}


def _store(endpoint):
    import boto3

    store = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="AKIA", aws_secret_access_key="quiet-otters",
        region_name="us-east-1",
    )  # fmt: skip
    store.create_bucket(Bucket="lab")
    store.put_bucket_versioning(Bucket="lab", VersioningConfiguration={"Status": "Enabled"})
    return store


def run(lab, what):
    project, _, _, environment = lab
    command = [sys.executable, "-c", RUN, str(project / "robopref.toml"), what]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def versions(store, part):
    """Key → how often it was written."""
    found = {}
    for page in store.get_paginator("list_object_versions").paginate(Bucket="lab", Prefix=f"cluster/{part}/"):
        for one in page.get("Versions", []):
            found[one["Key"]] = found.get(one["Key"], 0) + 1
    return found


def test_a_machine_dies_in_the_middle_and_all_is_done_and_nothing_twice(lab):
    project, store, workers, _ = lab
    killed = []

    def kill_one():
        while len(list((project / "work" / "clips").glob("*.mp4"))) < 3:
            time.sleep(0.05)
        kill(workers[1])
        killed.append(len(list((project / "work" / "clips").glob("*.mp4"))))

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    assert run(lab, "clips") == {"rendered": EPISODES, "kept": 0, "failures": 0}
    killer.join(5)
    assert killed and killed[0] < EPISODES, "it was killed after the end"
    written = versions(store, "results")
    clips = {key: count for key, count in written.items() if key.endswith(".mp4")}
    assert len(clips) == EPISODES
    assert sum(clips.values()) <= EPISODES + 4, "only what was in flight on the dead machine is done again"
    assert store.list_objects_v2(Bucket="lab", Prefix="cluster/results/")["KeyCount"] == 0, "results are taken away"
    assert set(versions(store, "files").values()) == {1}, "the data is sent once"
    assert run(lab, "clips") == {"rendered": 0, "kept": EPISODES, "failures": 0}
    assert sorted(p.name for p in (project / "work" / "clips").glob("*.mp4")) == [
        f"made-{i:06d}.mp4" for i in range(EPISODES)
    ]
    features = run(lab, "features")  # by the machine that is left
    assert features == {"encoded": EPISODES, "features": EPISODES, "scored": 2, "same": True}
    ws = Workspace.open(project / "robopref.toml")
    assert sum(len(t.clip_sha256) == 64 for t in ws.store.trajectories()) == EPISODES
    ws.store.close()

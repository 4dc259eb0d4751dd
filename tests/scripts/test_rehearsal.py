"""The rehearsal reads compose.yaml as Docker does, and its early version's tables hold what they held."""

import importlib.util
import os
import sys

import psycopg
import pytest
from paths import ROOT

from preference.records import Annotator, Assignment, Batch, Judgment, Pair, Trajectory
from preference.store.store import Store


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / "rehearsal" / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def compose_file():
    return load("compose_file")


def test_services_come_after_those_that_they_wait_for(compose_file):
    services, _ = compose_file.load(ROOT / "compose.yaml", {"LABEL_STUDIO_USERNAME": "a@b.example"})
    order = list(services)
    for name, service in services.items():
        assert all(order.index(other) < order.index(name) for other in service.waits_for), name


def test_variables_have_their_value_or_their_default_or_their_message(compose_file):
    told = {"LABEL_STUDIO_USERNAME": "a@b.example", "ROBOPREF_PUBLIC_URL": "https://x.example"}
    services, _ = compose_file.load(ROOT / "compose.yaml", told)
    environment = services["label-studio"].environment
    assert environment["ROBOPREF_PUBLIC_URL"] == "https://x.example"
    assert environment["ROBOPREF_BACKEND_SUBNETS"] == "127.0.0.0/8,172.31.250.0/24"
    with pytest.raises(SystemExit, match=r"LABEL_STUDIO_USERNAME: set it in \.env"):
        compose_file.load(ROOT / "compose.yaml", {})


def test_mounts_and_checks_are_what_compose_says(compose_file):
    services, _ = compose_file.load(ROOT / "compose.yaml", {"LABEL_STUDIO_USERNAME": "a@b.example"})
    (clips,) = (mount for mount in services["label-studio"].mounts if mount.below)
    assert (clips.source, clips.target, clips.read_only, clips.below) == ("work", "/data/work/clips", True, "clips")
    project = services["worker"].mounts[0]
    assert (project.source, project.is_volume, project.read_only) == ("./project", False, True)
    assert services["backend"].check == ["robopref", "health", "service"] and services["migrate"].ends
    assert services["backend"].aliases == ["backend.internal"] and services["worker"].stop_signal == "SIGINT"


DOCKER = """#!/bin/sh
case "$*" in
  "image inspect --format {{.Size}} robopref") echo 1234000000 ;;
  "container inspect --format {{.State.ExitCode}} c-worker") echo 137 ;;
  "container inspect --format {{.State.ExitCode}} c-db") echo 0 ;;
  *"ps --quiet worker") echo c-worker ;;
  *"ps --quiet db") echo c-db ;;
  *"stop "*) ;;
  *) echo "asked for $*" >&2; exit 9 ;;
esac
"""


def test_with_docker_sizes_are_measured_and_what_had_to_be_killed_is_noticed(compose_file, tmp_path, monkeypatch):
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    engine = load("engine").Engine("docker", {}, tmp_path, {})
    assert engine.size("robopref") == 1_234_000_000
    assert engine.stop("worker") == -1.0 and engine.stop("db") >= 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_campaign_in_an_early_versions_tables_is_whole_after_the_upgrade(database_url):
    """The rehearsal's upgrade begins with what that version would have had; nothing of it may be lost on the way."""
    old_tables = load("old_tables")
    store = Store.open(database_url)
    store.put_trajectories([Trajectory(f"t{i}", "d", i, "expert", "push", robot="sawyer") for i in range(3)])
    store.put_annotators([Annotator("ann", "ann@example.org")])
    pairs = [Pair(f"p{i}", f"t{i}", f"t{i + 1}", "push", "same", "production", "production-001") for i in range(2)]
    views = [Assignment("z", "p0", "ann", "production-001", 0, "A")]
    views += [Assignment("a", "p0", "ann", "production-001", 1, "B", duplicate_of="z")]
    store.put_pairs(Batch("production-001", "production", notes=["new"]), pairs, views)
    store.put_judgments([Judgment("a", "ann", "p0", "A", 4, 900), Judgment("z", "ann", "p0", "equal", 2, 800)])
    before = store.judgments()
    store.close()
    old_tables.put_into_old_tables(database_url)
    with psycopg.connect(database_url) as connection:
        columns = connection.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'batches'")
        assert "decisions" not in {name for (name,) in columns}
    again = Store.open(database_url)
    assert again.judgments() == before and len(again.pairs()) == 2
    assert {one.robot for one in again.trajectories()} == {""}, "those tables had no place for it"
    again.close()

"""`robopref up`: from the robopref.toml that `init` writes to a judgment; killed and started again, it is the same."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections import namedtuple
from dataclasses import asdict

import pytest
from process_maker import processes_of, until
from studio_maker import answer, copy_studio, plan, serve, sign_in, tables

from importer.studio.push import push
from preference.config_file import load_config
from preference.embedded import FILE, read_servers
from preference.errors import ConfigError, DiskFull, MissingExtra, UserError
from preference.records import Annotator, Trajectory
from preference.workspace import Workspace
from robopref import supervisor, up
from robopref.init import write_config

NO_NETWORK = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"), "http://127.0.0.1:9")
"""Whoever asks for something outside meets a port where nobody listens."""


def run(config, *arguments, timeout=300, **environment):
    command = [sys.executable, "-m", "robopref", "up", "-c", str(config), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False,
                          env={**os.environ, "OMP_NUM_THREADS": "1", **environment})  # fmt: skip


def told(config, *arguments):
    said = run(config, *arguments, "--json")
    assert said.stdout, said.stderr
    return json.loads(said.stdout)


def pids(status):
    return {part["name"]: part["pid"] for part in status["parts"]}


def status(config):
    """As `--status --json` says it, without a process for each look."""
    return asdict(up.status(config))


def until_up(config):
    """Its status, once everything runs."""
    assert until(lambda: status(config)["up"]), status(config)
    return status(config)


@pytest.fixture(scope="module")
def project(tmp_path_factory, empty_studio, label_studio):
    """As `init` makes it, with a few clips and ten pairs for ann; it is up, and `first` is what that said."""
    folder = tmp_path_factory.mktemp("own project")  # with a space
    config = write_config(folder / "robopref.toml")
    copy_studio(empty_studio, folder / "label_studio")
    ws = Workspace.open(config)
    (ws.clips).mkdir(parents=True)
    for i in range(4):
        shutil.copy(label_studio.document_root / "clips" / "c.mp4", ws.clips / f"d-{i:06d}.mp4")
    ws.store.put_trajectories(
        Trajectory(f"d-{i:06d}", "d", i, "expert", "push", quartile=i + 1, clip=f"clips/d-{i:06d}.mp4")
        for i in range(4)
    )
    ws.store.put_annotators([Annotator("ann", "ann@example.org")])
    plan(ws, "production-001", "ann", 6)
    ws.store.close()
    first = run(config, **NO_NETWORK)
    yield config, first
    run(config, "--stop")
    assert processes_of(folder) == []


def test_the_first_start_says_where_and_who_once(project):
    config, first = project
    assert first.returncode == 0, first.stderr
    login = json.loads((config.parent / "label_studio" / "credentials.json").read_text())
    url = load_config(config).label_studio.url
    assert url in first.stdout and login["username"] in first.stdout and login["password"] in first.stdout
    assert "Next: `robopref " in first.stdout
    again = run(config)
    assert again.returncode == 0, again.stderr
    assert url in again.stdout and "credentials.json" in again.stdout
    assert login["password"] not in again.stdout


def test_what_is_secret_is_private_and_in_no_log(project):
    config, _ = project
    work = config.parent / "work"
    servers = read_servers(work)
    assert stat.S_IMODE((work / FILE).stat().st_mode) == 0o600
    login = json.loads((config.parent / "label_studio" / "credentials.json").read_text())
    secrets = [servers.token, servers.password, servers.webhook_secret, login["password"]]
    logs = [*work.glob("*.log"), config.parent / "label_studio" / "label_studio.log"]
    assert {log.name for log in logs} >= {"up.log", "service.log", "worker.log"}
    said = "".join(log.read_text() for log in logs) + told(config, "--status").__repr__()
    assert not [secret for secret in secrets if secret in said]
    assert not [secret for secret in secrets if secret in " ".join(processes_of(config.parent))]


def test_a_judgment_gets_from_the_browser_to_the_database_without_any_setting(project, monkeypatch):
    config, _ = project
    for name, value in NO_NETWORK.items():
        monkeypatch.setenv(name, value)
    ws = Workspace.open(config)
    push(ws)  # or the worker did it already
    assert len([v for v in ws.store.assignments() if v.assignment.task_id]) == 7
    with sign_in(ws, "ann") as ann:
        project_id = ws.store.assignments()[0].assignment.project_id
        task = serve(ws, ann, project_id)
        for side in ("left", "right"):
            clip = ann.get(f"{ws.config.label_studio.url}{task['data'][f'video_{side}']}")
            assert clip.status_code == 200 and clip.headers["content-type"] == "video/mp4"
            assert b"ftyp" in clip.content[:16]
        answer(ws, ann, task["id"])
    assert until(ws.store.count_judgments) == 1, "the webhook brings it, no pull"
    ws.store.close()


def test_what_runs_is_found_and_left_alone(project):
    config, _ = project
    before = until_up(config)
    assert pids(told(config)) == pids(before)
    other = run(config, "--port", "8"), run(config, "--foreground")
    assert [said.returncode for said in other] == [1, 3]
    assert "up already, at http://127.0.0.1:" in other[0].stderr
    assert "runs already" in other[1].stderr
    assert pids(told(config, "--status")) == pids(before)


def test_what_is_killed_comes_back_by_itself(project):
    config, _ = project
    before = until_up(config)
    for pid in pids(before).values():
        os.kill(pid, signal.SIGKILL)
    until(lambda: pids(status(config)) != pids(before))
    after = until_up(config)
    assert not set(pids(after).values()) & set(pids(before).values())
    assert [part["url"] for part in after["parts"]] == [part["url"] for part in before["parts"]]


def test_after_a_kill_of_everything_it_comes_back_with_the_same_ports_and_data(project):
    config, _ = project
    before = until_up(config)
    holder = supervisor.Project(config).running().pid
    os.kill(holder, signal.SIGKILL)
    again = run(config)  # at once: the old ones may still be ending
    assert again.returncode == 0, again.stderr
    after = status(config)
    assert after["up"] and [part["url"] for part in after["parts"]] == [part["url"] for part in before["parts"]]
    assert not set(pids(after).values()) & set(pids(before).values())
    ws = Workspace.open(config)
    assert ws.store.count_judgments() == 1
    assert push(ws).projects == push(ws).tasks == 0  # all there
    ws.store.close()


def test_stop_leaves_nothing_and_says_what_it_did(project):
    """The last one in this file."""
    config, _ = project
    assert told(config, "--stop") == {"stopped": True}
    assert processes_of(config.parent) == []
    assert told(config, "--stop") == {"stopped": False}
    status = run(config, "--status")
    assert status.returncode == 1
    assert "does not run" in status.stdout and "robopref up" in status.stderr


# without any server


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path / "robopref.toml")


def test_a_taken_port_is_one_line_and_leaves_nothing(config):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        said = run(config, "--port", str(port))
    assert said.returncode == 1
    assert f"Label Studio cannot listen on 127.0.0.1:{port}: Address already in use." in said.stderr
    assert "another port with `robopref up --port`" in said.stderr
    assert "Traceback" not in said.stderr
    assert processes_of(config.parent) == []
    assert not (config.parent / "work" / FILE).exists()


def test_stop_does_not_wait_for_ever_for_a_lock_that_no_supervisor_has(config, monkeypatch):
    monkeypatch.setattr(up, "LONGEST_STOP_S", 0.5)
    holder = supervisor.Project(config)
    assert holder.lock.take()
    with pytest.raises(UserError, match=r"up\.lock has been locked for 0\.5 s"):
        up.stop(config)
    holder.lock.release()
    assert up.stop(config) is False


def test_without_label_studio_it_names_the_extra(config, monkeypatch):
    monkeypatch.setattr("preference.errors.installed", lambda module: module != "label_studio")
    with pytest.raises(MissingExtra, match=r"robopref\[studio\]"):
        up.start(config)


def test_a_full_disk_is_said_before_anything_starts(config, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12, 10**6))
    with pytest.raises(DiskFull, match="1 MB are free"):
        up.start(config)
    assert processes_of(config.parent) == []


def test_another_version_of_label_studio_is_named_with_what_to_do(monkeypatch):
    assert supervisor.other_version() == []
    monkeypatch.setattr(supervisor, "version", lambda _: "1.24.0")
    (said,) = supervisor.other_version()
    assert "1.24.0" in said and "1.23.2" in said and "pip install" in said


def test_a_label_studio_of_ones_own_without_a_token_is_asked_for_it(config):
    config.write_text('[label_studio]\nurl = "https://studio.example.org"\n')
    with pytest.raises(ConfigError, match="there is no token for it"):
        up.start(config)


def test_where_a_label_studio_is_named_nothing_of_ours_is_taken(config):
    (config.parent / "work").mkdir()
    servers = {"studio_url": "http://127.0.0.1:20001", "token": "t", "service_port": 20002, "password": "p",
               "webhook_secret": "s"}  # fmt: skip
    (config.parent / "work" / FILE).write_text(json.dumps(servers))
    found = load_config(config)
    assert found.embedded and found.label_studio.url == "http://127.0.0.1:20001"
    assert (found.service.port, found.service.url, found.service.login) == (20002, "http://127.0.0.1:20002", "p")
    config.write_text('[label_studio]\ntoken = "own"\n')
    found = load_config(config)
    assert not found.embedded and found.label_studio.url == "http://127.0.0.1:8080"
    assert (found.service.port, found.service.url, found.service.login) == (9090, "", "")


@pytest.mark.parametrize("content", ["{", '{"studio_url": 1}', "[]", '{"port": 1}'])
def test_damaged_notes_are_named_with_what_to_do(config, content):
    (config.parent / "work").mkdir()
    (config.parent / "work" / FILE).write_text(content)
    with pytest.raises(ConfigError, match=FILE) as said:
        load_config(config)
    assert "robopref up" in said.value.fix


def test_the_settings_name_a_port_of_the_service_and_the_service_gets_it(config):
    config.write_text("[service]\nport = 29555\n")
    project = supervisor.Project(config)
    assert supervisor.service_port(project, None) == 29555


@pytest.mark.slow
def test_killed_in_the_middle_of_its_first_start_it_starts_when_run_again(config, empty_studio):
    """And has the tables that the other tests' Label Studio was made with."""
    command = [sys.executable, "-m", "robopref", "up", "-c", str(config)]
    database = config.parent / "label_studio" / "label_studio.sqlite3"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as first:
        until(lambda: database.exists() and database.stat().st_size > 100_000)
        assert first.poll() is None
        first.kill()
    assert until(lambda: not processes_of(config.parent)), processes_of(config.parent)
    try:
        again = run(config)
        assert again.returncode == 0, again.stderr
        assert "password" in again.stdout
        assert tables(database.parent) == tables(empty_studio)
    finally:
        run(config, "--stop")


@pytest.mark.slow
def test_two_at_the_same_time_are_one(config, empty_studio):
    copy_studio(empty_studio, config.parent / "label_studio")
    command = [sys.executable, "-m", "robopref", "up", "-c", str(config), "--json"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        said = [json.loads(process.communicate(timeout=300)[0]) for process in both]
        assert pids(said[0]) == pids(said[1])
        assert said[0]["up"]
    finally:
        run(config, "--stop")

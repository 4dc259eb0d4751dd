"""Label Studio in trouble, or tampered with: one clear message each, nothing lost, nothing doubled."""

import http.server
import os
import threading
from dataclasses import replace

import pytest
from process_maker import foreign_server
from proxy_maker import Proxy
from studio_maker import answer, exactly_one_task_each, make_workspace, plan, sign_in, tasks_in

from importer.studio.client import client, connect
from importer.studio.pull import pull
from importer.studio.push import push
from importer.studio.users import admin_session
from labeling_config.contract import load_template, missing_in
from preference.embedded import Servers, write_servers
from preference.errors import StudioError
from preference.workspace import Workspace


@pytest.fixture
def proxy(label_studio):
    handler = type("Handler", (Proxy,), {"target": label_studio.url})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_port}"
    yield handler
    server.shutdown()


@pytest.fixture
def ws(label_studio, request, proxy):
    workspace = make_workspace(label_studio, f"t{abs(hash(request.node.name)) % 10**8}", simulated=("ann", "bob"))
    workspace.config.label_studio.url = proxy.url
    yield workspace
    workspace.store.close()


@pytest.fixture
def manager(label_studio):
    return admin_session(label_studio.url, label_studio.token)


def test_an_answer_of_500_to_something_that_was_saved_doubles_nothing(ws, proxy):
    """Each request of a push that makes something is lost once, one run after the other."""
    plan(ws, "calibration-1", "ann", 3, "calibration")
    plan(ws, "production-001", "bob", 4)
    lost = set()

    def lose_once(method, path, number):
        what = f"{method} {path.partition('?')[0]}"
        if method == "POST" and "login" not in path and what not in lost and len(lost) < 12:
            lost.add(what)
            return "lost"
        return None

    proxy.rule = staticmethod(lose_once)
    messages = []
    for _ in range(20):
        try:
            push(ws)
            break
        except StudioError as error:
            messages.append(str(error))
    assert len(lost) >= 4 and 3 <= len(messages) < 19, (lost, messages)
    assert all("\n" not in message for message in messages)
    assert exactly_one_task_each(ws)
    ours = [p for p in connect(ws).projects() if f".{ws.root.name}@" in p.description]
    assert len(ours) == 2 and len({p.description for p in ours}) == 2


def test_a_server_that_is_slow_is_one_message_and_the_next_run_goes_on(ws, proxy):
    plan(ws, "production-001", "ann", 3)
    ws.config.label_studio.request_timeout_s = 1.0
    proxy.rule = staticmethod(lambda method, path, number: "slow" if path.startswith("/api/projects") else None)
    with pytest.raises(StudioError, match=r"does not answer \(ReadTimeout"):
        push(ws)
    proxy.rule = staticmethod(lambda *_: None)
    ws.config.label_studio.request_timeout_s = 30.0
    push(ws)
    assert exactly_one_task_each(ws)


@pytest.mark.parametrize("after", [3, 6, 9, 12, 15])
def test_a_token_that_is_revoked_half_way_is_one_message_and_a_new_one_goes_on(ws, proxy, after):
    plan(ws, "production-001", "ann", 3)
    plan(ws, "production-001", "bob", 3)
    proxy.rule = staticmethod(lambda method, path, number: 401 if number > after and "/api/" in path else None)
    with pytest.raises(StudioError) as caught:
        push(ws)
    assert "token" in str(caught.value) and ws.config.label_studio.token.get_secret_value() not in str(caught.value)
    proxy.rule = staticmethod(lambda *_: None)
    push(ws)
    assert exactly_one_task_each(ws)


def test_reading_is_tried_again_where_the_server_hiccups(ws, proxy):
    plan(ws, "production-001", "ann", 3)
    push(ws)
    answer(ws, sign_in(ws, "ann"), ws.store.assignments()[0].assignment.task_id)
    hiccups = iter([503, 503])
    proxy.rule = staticmethod(
        lambda method, path, number: next(hiccups, None) if path.startswith("/api/tasks") else None
    )
    assert pull(ws).new == 1


def test_a_project_that_cannot_be_read_holds_up_no_other_and_nothing_of_it_is_skipped(ws, proxy):
    plan(ws, "production-001", "ann", 3)
    plan(ws, "production-001", "bob", 3)
    push(ws)
    first = {v.assignment.annotator_id: v.assignment for v in reversed(ws.store.assignments())}
    for name in ("ann", "bob"):
        answer(ws, sign_in(ws, name), first[name].task_id)
    broken = f"project={min(own.project_id for own in first.values())}&"
    proxy.rule = staticmethod(
        lambda method, path, number: 500 if path.startswith("/api/tasks") and broken in path else None
    )
    for _ in range(2):
        with pytest.raises(StudioError):
            pull(ws)
        assert ws.store.count_judgments() == 1
    proxy.rule = staticmethod(lambda *_: None)
    assert pull(ws).new == 1


def test_a_template_edited_by_hand_is_said_and_its_answers_are_rejected_with_the_reason(ws, manager, label_studio):
    plan(ws, "production-001", "ann", 2)
    push(ws)
    first = ws.store.assignments()[0].assignment
    config = load_template("pair_compare").replace('value="equal"', 'value="same"')
    edited = manager.patch(f"{label_studio.url}/api/projects/{first.project_id}/", json={"label_config": config})
    assert edited.status_code == 200, edited.text
    body = {"result": [{"id": "p", "from_name": "preference", "to_name": "left", "type": "choices",
                        "value": {"choices": ["same"]}}]}  # fmt: skip
    answer(ws, sign_in(ws, "ann"), first.task_id, **body)
    pulled = pull(ws)
    assert (pulled.new, pulled.rejected) == (0, 1)
    assert len(pulled.notes) == 1 and "lacks preference 'equal'" in pulled.notes[0]
    assert "unknown choice 'same'" in ws.store.rejections()[0].reason


def test_tasks_deleted_by_hand_are_said_and_made_again_where_they_are_not_answered(ws, manager, label_studio):
    plan(ws, "production-001", "ann", 3)
    push(ws)
    views = [view.assignment for view in ws.store.assignments()]
    answer(ws, sign_in(ws, "ann"), views[0].task_id)
    pull(ws)
    for assignment in views[:2]:
        assert manager.delete(f"{label_studio.url}/api/tasks/{assignment.task_id}/").status_code == 204
    (note,) = pull(ws).notes
    assert note.startswith("2 tasks of 'Production · ann'") and "--repair" in note
    assert push(ws).tasks == 0, "without being asked push makes nothing again"
    assert push(ws, repair=True).tasks == 1
    assert set(tasks_in(ws)) == {a.assignment_id for a in views[1:]}
    assert [j.assignment_id for j in ws.store.judgments()] == [views[0].assignment_id], "the answer was lost"
    assert push(ws, repair=True).tasks == 0


def test_a_deleted_project_is_made_again_for_what_is_not_answered(ws, manager, label_studio):
    plan(ws, "production-001", "ann", 3)
    push(ws)
    views = [view.assignment for view in ws.store.assignments()]
    answer(ws, sign_in(ws, "ann"), views[0].task_id)
    pull(ws)
    assert manager.delete(f"{label_studio.url}/api/projects/{views[0].project_id}/").status_code == 204
    with pytest.raises(StudioError, match="push --repair"):
        pull(ws)
    made = push(ws, repair=True)
    assert (made.users, made.projects, made.tasks) == (0, 1, 3)
    assert set(tasks_in(ws)) == {a.assignment_id for a in views[1:]}
    again = {v.assignment.assignment_id: v.assignment for v in ws.store.assignments()}
    answer(ws, sign_in(ws, "ann"), again[views[1].assignment_id].task_id)
    assert pull(ws).new == 1
    assert {j.assignment_id for j in ws.store.judgments()} == {views[0].assignment_id, views[1].assignment_id}
    assert pull(ws).notes == []


def test_what_a_template_lacks_is_named():
    assert missing_in(load_template("pair_compare")) == missing_in(load_template("calibration")) == []
    assert missing_in("<View/>") == ["preference", "confidence"]
    assert missing_in("no xml") == ["everything: it is not XML"]


def test_an_older_database_is_brought_up_to_date_with_all_its_rows(empty_database_url):
    """Made by the first migration alone, with the rows of a small project."""
    import sqlalchemy as sa
    from alembic import command
    from alembic.config import Config as AlembicConfig

    from preference.records import Trajectory
    from preference.store import Store
    from preference.store.migrate import MIGRATIONS

    engine = sa.create_engine(empty_database_url.replace("postgresql://", "postgresql+psycopg://"))
    config = AlembicConfig()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for key, index in (("a", 0), ("b", 1)):
            connection.execute(sa.text(
                "INSERT INTO trajectories (trajectory_id, dataset, episode_index, source, task_type, environment_id, "
                "tier, quartile, num_frames, fps, clip, clip_sha256) "
                f"VALUES ('{key}', 'd', {index}, 'expert', 'push', '', 'expert', {index + 1}, 10, 20.0, '', '')"
            ))  # fmt: skip
        connection.execute(sa.text(
            "INSERT INTO batches (batch_id, kind, status, created_at, reasons) "
            "VALUES ('production-001', 'production', 'open', '2026-01-01', '[]')"
        ))  # fmt: skip
        connection.execute(sa.text(
            "INSERT INTO pairs (pair_id, trajectory_a_id, trajectory_b_id, task_type, stratum, kind, batch_id, "
            "reasoning, dimension, strategy) "
            "VALUES ('p', 'a', 'b', 'push', 'adjacent', 'production', 'production-001', '', '', '')"
        ))  # fmt: skip
    engine.dispose()
    store = Store.open(empty_database_url)
    assert [t.trajectory_id for t in store.trajectories()] == ["a", "b"]
    assert [p.pair_id for p in store.pairs()] == ["p"] and store.batches()[0].notes == []
    store.put_trajectories([replace(store.trajectories()[0], episode_index=1), Trajectory("c", "d", 1, "x", "push")])
    assert [t.episode_index for t in store.trajectories()] == [1, 1, 1]
    with pytest.raises(Exception, match="breaks its rules"):
        store.put_pairs(store.batches()[0], [replace(store.pairs()[0], pair_id="q", trajectory_a_id="nobody")], [])
    store.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program of another user")
def test_who_takes_the_ports_of_our_own_servers_is_sent_no_secret(tmp_path):
    with foreign_server(tmp_path / "log") as port:
        url = f"http://127.0.0.1:{port}"
        secrets = {"token": "t0ken" * 8, "password": "passw0rd", "webhook_secret": "s3cret"}
        write_servers(tmp_path / "work", Servers(studio_url=url, service_port=port, **secrets))
        (tmp_path / "robopref.toml").write_text("")
        ws = Workspace.open(tmp_path / "robopref.toml")
        assert ws.config.embedded
        kept = client(ws)  # as a service that has run for long keeps it
        for ask in (connect, lambda _: kept.users(), lambda _: kept.plugin_health(), push):
            with pytest.raises(StudioError, match=r"a program of the user nobody has the port\. Nothing was sent"):
                ask(ws)
        ws.store.close()
    assert not (tmp_path / "log").read_text()

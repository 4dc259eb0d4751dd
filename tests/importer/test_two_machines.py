"""Two machines with work folders of their own, one PostgreSQL and one Label Studio."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from studio_maker import exactly_one_task_each, make_workspace, plan

from importer.studio.client import LabelStudio
from importer.studio.push import push
from preference.errors import StoreError
from preference.locks import PUSH, Lock


@pytest.fixture
def machines(label_studio, postgres, database_url):
    made = [make_workspace(label_studio, f"machine{i}{time.time_ns()}", database=database_url) for i in range(2)]
    yield made
    for ws in made:
        ws.store.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_pushes_at_once_create_each_task_once(machines, monkeypatch):
    plan(machines[0], "production-001", "ann", 6)
    looking_up = LabelStudio.users

    def slow(studio):
        time.sleep(2)  # long enough for the other one to find the same tasks missing
        return looking_up(studio)

    monkeypatch.setattr(LabelStudio, "users", slow)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(push, machines))
    assert sorted((made.users, made.projects, made.tasks) for made in results) == [(0, 0, 0), (1, 1, 7)]
    assert exactly_one_task_each(machines[1])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_push_that_has_lost_its_lock_creates_nothing(machines, monkeypatch):
    plan(machines[0], "production-001", "ann", 6)
    monkeypatch.setattr(Lock, "held", lambda _: False)
    with pytest.raises(StoreError, match="database restarted during this push"):
        push(machines[0])
    assert {view.assignment.task_id for view in machines[0].store.assignments()} == {None}
    assert Lock.of(machines[1], PUSH).take()

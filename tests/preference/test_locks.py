"""One process holds a lock at a time: on one machine, on two that share a database, and after a kill -9."""

import subprocess
import sys

import pytest
from process_maker import until

from preference.config import Config
from preference.errors import NotReady
from preference.locks import LEARNING, WORKER, Lock, exclusively, taken
from preference.workspace import Workspace

HOLD = """
import sys, time
from pathlib import Path
from preference.config import Config
from preference.locks import Lock
from preference.workspace import Workspace
lock = Lock.of(Workspace(Config.model_validate({"work": sys.argv[1], "database": sys.argv[2]})), "worker")
Path(sys.argv[3]).write_text("mine" if lock.take() else "refused")
time.sleep(600)
"""


@pytest.fixture
def machine(tmp_path, database_url):
    """Makes workspaces with work folders of their own on one database: two machines, as far as locks can tell."""
    made = []

    def make(name):
        (tmp_path / name).mkdir(exist_ok=True)
        made.append(Workspace(Config.model_validate({"work": tmp_path / name, "database": database_url})))
        return made[-1]

    yield make
    for ws in made:
        ws.store.close()


@pytest.fixture
def elsewhere(tmp_path, database_url):
    """Starts a process that takes the worker's lock of a work folder; says what it got, and ends with the test."""
    running = []

    def start(ws):
        said = tmp_path / f"said{len(running)}"
        command = [sys.executable, "-c", HOLD, str(ws.root), database_url, str(said)]
        with (tmp_path / f"log{len(running)}").open("w") as log:
            running.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
        until(lambda: said.exists() and said.read_text())
        return running[-1], said.read_text()

    yield start
    for process in running:
        process.kill()
        process.wait(30)


def test_who_holds_it_keeps_others_out_until_it_is_killed(machine, elsewhere):
    ws = machine("one")
    assert not taken(ws, WORKER)
    holder, said = elsewhere(ws)
    assert said == "mine"
    assert taken(ws, WORKER)
    assert not taken(ws, LEARNING)
    lock = Lock.of(ws, WORKER)
    assert not lock.take()
    with pytest.raises(NotReady, match="Another process holds the worker lock"), exclusively(ws, WORKER):
        pass
    holder.kill()
    holder.wait(30)
    assert until(lock.take)
    assert lock.held()
    lock.release()
    assert not taken(ws, WORKER)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_machines_on_one_database_keep_each_other_out(machine, elsewhere):
    ours, theirs = machine("one"), machine("two")
    holder, said = elsewhere(theirs)
    assert said == "mine"
    lock = Lock.of(ours, WORKER)
    assert not lock.take()
    assert taken(ours, WORKER)
    holder.kill()
    holder.wait(30)
    assert until(lock.take)
    _, said = elsewhere(theirs)
    assert said == "refused"
    lock.release()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_holder_notices_that_the_server_has_forgotten_it(machine, database_url):
    import psycopg

    ws = machine("one")
    with exclusively(ws, WORKER) as lock:
        assert lock.held()
        with psycopg.connect(database_url, autocommit=True) as other:
            # of this database alone: other tests have theirs on the same server
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON oid = database "
                "WHERE locktype = 'advisory' AND datname = current_database()"
            )
        assert until(lambda: not lock.held())


def test_a_holder_that_gives_signs_of_life_is_waited_for(machine):
    ws = machine("one")
    signs = iter([*"abcdef", *["f"] * 10_000])
    heard = []

    def sign():
        heard.append(next(signs))
        return heard[-1]

    second = exclusively(ws, LEARNING, patience_s=0.8, sign_of_life=sign)
    with exclusively(ws, LEARNING), pytest.raises(NotReady, match="learning lock"), second:
        pass
    assert "f" in heard, "it gave up while the holder was at work"

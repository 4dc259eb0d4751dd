"""Whatever is killed, cut off or filled up: the loop goes on by itself, and no judgment or task is lost or doubled.

One real Label Studio, service and worker for all of it, as processes, while people answer without a pause: two to each
pair, a third where they differ, repeats, a flag in every batch, and one who sends malformed answers throughout. Once
with SQLite and once with PostgreSQL; `make test` has the loop undisturbed on SQLite, `make test-slow` all else.
`--faults 20` kills each of the three twenty times.
"""

import contextlib
import http.server
import json
import os
import random
import shutil
import signal
import sqlite3
import threading
import time

import psycopg
import pytest
from loop_maker import QUICK, Loop
from process_maker import until
from proxy_maker import Proxy
from studio_maker import copy_studio

from importer.studio.pull import pull
from labeling_config.contract import result_of
from robopref.studio import LabelStudioServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def studio(label_studio, empty_studio, tmp_path_factory):
    """A Label Studio to be killed."""
    folder = tmp_path_factory.mktemp("faults")
    shutil.copytree(label_studio.document_root / "clips", folder / "documents" / "clips")
    with LabelStudioServer(copy_studio(empty_studio, folder / "data"), folder / "documents") as server:
        yield server


@pytest.fixture(scope="module")
def proxy(studio):
    """Between the worker and Label Studio; people and webhooks go past it."""
    handler = type("Handler", (Proxy,), {"target": studio.url})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_port}"
    yield handler
    server.shutdown()
    server.server_close()


ON_SQLITE = pytest.param("sqlite", marks=pytest.mark.xdist_group("faults on SQLite"))
ON_POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.xdist_group("faults on PostgreSQL"))


@pytest.fixture(scope="module", params=[ON_SQLITE, ON_POSTGRESQL])
def running(request, studio, proxy, tmp_path_factory):
    name, address = f"{request.param[0]}{os.getpid()}", ""
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        with psycopg.connect(f"postgresql://{server}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        address = f"postgresql://{server}/{name}"
    loop = Loop(studio, tmp_path_factory.mktemp("loop"), name, url=proxy.url, database=address)
    try:
        yield loop.start()
    finally:
        loop.end()


@pytest.fixture
def loop(running):
    """With people who answer; afterwards everything is as it must be."""
    running.people_answer()
    yield running
    running.people.stop()


@pytest.fixture
def kills(request):
    return request.config.getoption("--faults")


def test_the_loop_runs_by_itself(loop):
    assert loop.goes_on(), loop.logs()
    assert loop.check() >= 16
    views = loop.ws.store.assignments()
    assert any(view.assignment.third for view in views), "no two differed"
    assert any(view.assignment.duplicate_of for view in views)
    assert loop.people.refused > 0
    assert {one.annotator_id for one in loop.ws.store.reviews()} >= {QUICK}


def test_the_worker_is_killed_at_random_moments(loop, kills):
    """In turn its working process, which the supervisor restarts, and both, which systemd restarts."""
    rng = random.Random(11)
    for number in range(kills):
        assert until(loop.working), loop.logs()
        time.sleep(rng.uniform(0.0, 4.0))
        if number % 2:
            loop.worker.kill()
            loop.worker.start()
        else:
            for pid in loop.worker.pids()[1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert loop.worker.alive()
    assert loop.goes_on(), loop.logs()
    loop.check()


def test_the_service_is_killed_at_random_moments(loop, kills):
    rng = random.Random(12)
    for _ in range(kills):
        assert until(loop.answers), loop.logs()
        time.sleep(rng.uniform(0.0, 1.5))
        loop.service.kill()
        loop.service.start()
    assert until(loop.answers), loop.logs()
    assert loop.goes_on(), loop.logs()
    loop.check()


def test_label_studio_is_killed_at_random_moments(loop, studio, kills):
    rng = random.Random(13)
    for _ in range(kills):
        time.sleep(rng.uniform(0.0, 3.0))
        os.killpg(studio._child._process.pid, signal.SIGKILL)
        studio.stop()
        studio.start()
    assert loop.goes_on(), loop.logs()
    loop.check()


@pytest.mark.parametrize("trouble", [500, 503, "lost", "slow"])
def test_label_studio_answers_wrongly_or_late_for_a_while(loop, proxy, trouble):
    """500, nothing at all, a 500 after the deed was done, two seconds late: what the worker wants of it."""
    before = proxy.counter
    proxy.rule = staticmethod(lambda method, path, number: trouble)
    try:
        assert until(lambda: proxy.counter >= before + 3), loop.logs()
    finally:
        proxy.rule = staticmethod(lambda *_: None)
    assert loop.goes_on(), loop.logs()
    loop.check()


def test_the_database_is_locked_for_longer_than_the_service_waits(loop):
    url = loop.ws.store.engine.url
    if url.get_backend_name() == "sqlite":
        holder = sqlite3.connect(url.database, isolation_level=None)
        statements = ["PRAGMA busy_timeout=20000", "BEGIN IMMEDIATE"]
    else:
        holder = psycopg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
        statements = ["LOCK TABLE judgments, rejected, assignments IN EXCLUSIVE MODE"]
    try:
        for statement in statements:
            holder.execute(statement)
        time.sleep(7)
        assert loop.answers(), "reading waits for nobody"
    finally:
        holder.close()
    assert loop.goes_on(), loop.logs()
    loop.check()


def test_a_model_file_is_cut_short(loop):
    assert loop.goes_on(), loop.logs()
    assert until(loop.ws.store.active_model)
    broken = loop.ws.store.active_model()
    file = loop.ws.root / broken.path / "model.pt"
    os.truncate(file, file.stat().st_size // 2)
    assert loop.goes_on(), loop.logs()
    loop.check()
    from ml_backend.loop.models import damage

    active = loop.ws.store.active_model()
    assert (active.version != broken.version, damage(loop.ws, active)) == (True, "")


def test_two_workers_share_nothing_and_the_second_takes_over(loop):
    second = loop.new_worker("second").start()
    try:
        assert until(lambda: "stands by" in (loop.config.parent / "second.log").read_text()), loop.logs()
        assert loop.goes_on(), loop.logs()
        loop.worker.end()
        assert loop.goes_on(), loop.logs()
        loop.check()
    finally:
        second.end()
        loop.worker.start()


SET_BACK = """
import datetime, time
import importer.pairs.batches, preference.formats
real = time.time
time.time = lambda: real() - 86400 * 400
class Earlier(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(time.time(), tz)
for module in (importer.pairs.batches, preference.formats):
    module.datetime = Earlier  # not datetime.datetime itself: libraries in C die of another class there
"""


def test_the_clock_is_set_back(loop, studio, tmp_path):
    """By four hundred days, for the worker and the service; and Label Studio's answers of then carry such stamps."""
    assert loop.goes_on(), loop.logs()
    before = [batch.batch_id for batch in loop.ws.store.batches()]
    models = [model.version for model in loop.ws.store.model_versions()]
    (tmp_path / "sitecustomize.py").write_text(SET_BACK)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    earlier = [loop.new_worker("earlier", environment={"PYTHONPATH": path})]
    loop.worker.end()
    try:
        earlier[0].start()
        assert loop.goes_on(2), loop.logs()
    finally:
        earlier[0].end()
        loop.worker.start()
    batches = loop.ws.store.batches()
    assert [batch.batch_id for batch in batches[: len(before)]] == before
    made = loop.ws.store.model_versions()
    assert [model.version for model in made[: len(models)]] == models
    assert any(model.created_at < made[0].created_at for model in made[1:]), "the clock was not set back"
    loop.check()
    changed = _changed_yesterday(loop, studio)
    pull(loop.ws)
    assert _preference(loop, changed) != "equal", "a stamp of yesterday is older than what is known"
    pull(loop.ws, whole=True)
    assert _preference(loop, changed) == "equal"


def _changed_yesterday(loop, studio):
    """Somebody corrected an answer while Label Studio's clock was a day behind; no webhook told us."""
    judgment = loop.ws.store.judgments()[0]
    with sqlite3.connect(studio.data_dir / "label_studio.sqlite3", timeout=30) as database:
        said = json.dumps(result_of("equal", 3))
        stamp = "2020-01-01 00:00:00.000000"
        database.execute(
            "UPDATE task_completion SET result = ?, updated_at = ? WHERE id = ?", (said, stamp, judgment.annotation_id)
        )
        database.execute("UPDATE task SET updated_at = ? WHERE id = ?", (stamp, judgment.task_id))
    return judgment.assignment_id


def _preference(loop, assignment_id):
    return next(j.preference for j in loop.ws.store.judgments() if j.assignment_id == assignment_id)

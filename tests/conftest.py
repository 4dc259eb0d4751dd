"""Fixtures that several test files share: real servers, started once."""

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import shared_maker
from hypothesis import HealthCheck, settings
from process_maker import PATIENCE_S
from shared_maker import serve_once
from studio_maker import copy_studio, kept_studio
from tables_maker import quick_upgrade

from importer.studio.users import annotator_session
from preference import garbage
from preference.records import Annotator, Assignment, Batch, Pair, Trajectory
from preference.store import Store
from preference.store.tables import metadata
from preference.workspace import Workspace
from robopref.child import claim_port

garbage.look_seldom()
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
"""Tests share their machine with servers and browsers: how long an example takes there says nothing."""
FAULTS = 4
FUZZ = 12
"""Kills of each process in `make test-slow`."""
BODIES = 300
"""Random annotations that the service is sent."""
LONGEST = (
    "test_demo", "test_release", "test_clips", "test_console_screen", "test_screen", "test_screen_trouble",
    "test_console_course", "test_up", "test_label_studio", "test_blind", "test_finetune", "test_faults",
    "test_extras", "test_encoding", "test_trouble", "test_batches", "test_adopt", "test_simulate", "test_pool_formats",
    "test_cli", "test_plugin", "test_answers", "test_validate", "test_stages",
)  # fmt: skip
"""The second and the third need no Label Studio: the first one's data folder is made meanwhile."""
MAKERS = Path(__file__).parent / "makers"
POSTGRES_BIN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def pytest_addoption(parser):
    parser.addoption("--fuzz", type=int, default=FUZZ, help=f"Damaged files for each reader; default: {FUZZ}.")
    parser.addoption("--faults", type=int, default=FAULTS, help=f"Kills of each process; default: {FAULTS}.")
    parser.addoption("--bodies", type=int, default=BODIES, help=f"Random annotations; default: {BODIES}.")


def pytest_collection_modifyitems(items):
    """The longest files first, so that no process is left with one of them at the end."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def pytest_ignore_collect(collection_path, config):
    """For `-m slow` and `-m clock`, files without such tests are not imported: all of them take 15 s of CPU."""
    mark = config.option.markexpr
    if mark in ("slow", "clock") and collection_path.suffix == ".py":
        return f"pytest.mark.{mark}" not in collection_path.read_text(encoding="utf-8") or None
    return None


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A temporary folder that all processes of this run see."""
    return shared_maker.run_folder(tmp_path_factory)


@pytest.fixture(scope="session")
def postgres(run_folder):
    """Address of a PostgreSQL server of our own, on a free port; Debian's package brings its programs."""
    if not POSTGRES_BIN and not shutil.which("initdb"):
        pytest.skip("PostgreSQL is not installed; get it with `apt-get install postgresql`")
    with serve_once(run_folder, "postgres", _start_postgres) as address:
        yield address


@contextlib.contextmanager
def _start_postgres(*, fsync=False):
    found = POSTGRES_BIN[-1] if POSTGRES_BIN else Path(shutil.which("initdb")).resolve().parent
    # not under pytest's own folder, which only we may enter and PostgreSQL, not being root, must
    folder = Path(tempfile.mkdtemp(prefix="robopref-postgres-"))
    as_user = []
    if os.geteuid() == 0:  # its programs refuse to run as root
        as_user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres", "postgres")
    port, data = claim_port(None, "PostgreSQL"), folder / "data"
    options = (
        f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync={'on' if fsync else 'off'}"
    )

    def run(program, *arguments):
        command = [*as_user, str(found / program), "-D", str(data), *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=120)

    run("initdb", "-U", "robopref", "--auth=trust", "-E", "UTF8", "--no-sync")
    run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
    yield f"robopref@127.0.0.1:{port}"
    run("pg_ctl", "-m", "immediate", "stop")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """A database of each kind with nothing but our tables in it; SQLite's come when it is opened."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'robopref.db'}"
        return
    url = request.getfixturevalue("_postgres_tables")
    yield url
    _empty(url)


@pytest.fixture(scope="session")
def _postgres_tables(postgres):
    """Of this process, emptied after each test: to make a database and its tables takes 0.4 s of CPU."""
    with _postgres_database(postgres) as url:
        Store.open(url).close()
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request, tmp_path):
    """A database of each kind without tables, for one test."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'robopref.db'}"
        return
    with _postgres_database(request.getfixturevalue("postgres")) as url:
        yield url


@contextlib.contextmanager
def _postgres_database(server):
    import psycopg

    name = f"test_{os.urandom(6).hex()}"
    with psycopg.connect(f"postgresql://{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"postgresql://{server}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _empty(url):
    """End all connections, with the locks they hold, and delete all rows; TRUNCATE takes ten times as long."""
    import psycopg

    others = "datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE {others}")
        for table in reversed(metadata.sorted_tables):
            connection.execute(f"DELETE FROM {table.name}")


@pytest.fixture
def labelled_pool(run_folder, tmp_path):
    """Eight short trajectories and twenty labelled pairs: enough to train on."""
    from pool_maker import pool_of_eight

    ws = pool_of_eight(run_folder, tmp_path)
    yield ws
    ws.store.close()


@pytest.fixture
def planned_batch(tmp_path):
    """Six trajectories and a batch of five pairs, to be answered by ann."""
    (tmp_path / "robopref.toml").write_text("")
    ws = Workspace.open(tmp_path / "robopref.toml")
    ws.store.put_trajectories([Trajectory(f"t{i}", "d", i, "expert", "push") for i in range(6)])
    ws.store.put_annotators([Annotator("ann", "ann@example.org")])
    pairs = [Pair(f"p{i}", f"t{i}", f"t{i + 1}", "push", "same", "production", "production-001") for i in range(5)]
    views = [Assignment(f"x{i}", f"p{i}", "ann", "production-001", 4 - i, "A") for i in range(5)]
    ws.store.put_pairs(Batch("production-001", "production"), pairs, views)
    yield ws
    ws.store.close()


@pytest.fixture(scope="session")
def label_studio(run_folder, empty_studio):
    """One real Label Studio with the plugin, for all tests of a run; its document root holds the clips of `_clips`."""
    start = functools.partial(_start_label_studio, run_folder, empty_studio)
    with serve_once(run_folder, "label_studio", start) as told:
        yield SimpleNamespace(**{**told, **{name: Path(told[name]) for name in ("data_dir", "document_root", "log")}})


@pytest.fixture(scope="session", autouse=True)
def _quick_passwords():
    """For servers that tests start themselves; those of `robopref up` and of the demo hash as they always do."""
    import robopref.studio

    def quick(*arguments, plugin, **more):
        given = environment(*arguments, plugin=plugin, **more)
        if plugin:
            given["DJANGO_SETTINGS_MODULE"] = "quick_settings"
            given["PYTHONPATH"] += os.pathsep + str(MAKERS)
        return given

    environment = robopref.studio.environment
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(robopref.studio, "environment", quick)
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_tables(tmp_path_factory):
    from preference.store import migrate

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrate, "upgrade", quick_upgrade(tmp_path_factory.mktemp("tables")))
        yield


@contextlib.contextmanager
def _start_label_studio(folder, empty):
    from robopref.studio import LabelStudioServer

    data, documents = folder / "studio-data", folder / "studio-documents"
    if not documents.exists():
        _clips(documents / "clips")
    if not data.exists():
        copy_studio(empty, data)
    with LabelStudioServer(data, documents) as server:
        session = annotator_session(server.url, server.username, server.password)
        personal = session.post(f"{server.url}/api/token/").json()["token"]
        names = ("url", "username", "password", "token", "data_dir", "document_root", "log")
        yield {name: str(getattr(server, name)) for name in names} | {"personal_token": personal}


@pytest.fixture(scope="session")
def empty_studio(request):
    """The data folder of a Label Studio that was started once: `copy_studio` it, as making one takes half a minute.

    Kept in pytest's cache for the next run; `pytest --cache-clear` makes it anew.
    """
    pytest.importorskip("label_studio", reason="pip install 'robopref[studio]'")
    return kept_studio(request.config.cache.mkdir("label-studio"))


@pytest.fixture(scope="session")
def personal_token(label_studio):
    """The administrator's personal access token; Label Studio gives one at a time, so all tests share it."""
    return label_studio.personal_token


@pytest.fixture(scope="session")
def chromium():
    """A browser to drive: Playwright's own Chromium, or the system's."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        found = [driver.chromium.executable_path, *map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))]
        program = next((path for path in found if path and Path(path).exists()), None)
        if program is None:
            pytest.skip("No Chromium; get it with `playwright install chromium` or `apt-get install chromium`")
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        browser.new_context, browser.new_page = _patient(browser.new_context), _patient(browser.new_page)
        yield browser
        browser.close()


def _patient(make):
    """What is waited for comes within seconds on an idle machine; on a busy one nothing says when."""

    def made(**settings):
        one = make(**settings)
        one.set_default_timeout(1000 * PATIENCE_S)
        return one

    return made


def _clips(folder):
    """Real H.264 clips of 480x480 at 15 fps: a and b of 3 s, long of 5 s, c and d of 1 s."""
    import imageio_ffmpeg

    folder.mkdir(parents=True)
    clips = [
        ("a", "testsrc", 3),
        ("b", "testsrc2", 3),
        ("long", "testsrc", 5),
        ("c", "testsrc", 1),
        ("d", "testsrc2", 1),
    ]
    for name, source, seconds in clips:
        picture = f"{source}=size=480x480:rate=15:duration={seconds}"
        command = [
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            picture,
            "-pix_fmt",
            "yuv420p",
            str(folder / f"{name}.mp4"),
        ]
        subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *command], check=True, timeout=60)

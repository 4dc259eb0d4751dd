"""What Label Studio's server cannot work with is one line that names the setting."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from disk_maker import as_nobody

from labeling_config import STUDIO_VERSION, server
from preference.errors import UserError

ROOT = Path(server.__file__).parents[1]


@pytest.fixture
def told(tmp_path):
    """A complete environment, as compose.yaml gives it."""
    return {
        "LABEL_STUDIO_BASE_DATA_DIR": str(tmp_path),
        "POSTGRE_PASSWORD": "p@ss:w/%#rd",
        "LABEL_STUDIO_PASSWORD": "x",
        "LABEL_STUDIO_USER_TOKEN": "0123456789" * 4,
        "ROBOPREF_CONSOLE_SECRET": "y",
        "ROBOPREF_PUBLIC_URL": "https://label.example.org",
    }


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    monkeypatch.setattr(server.importlib.metadata, "version", lambda _: STUDIO_VERSION)


def refused(environment) -> str:
    with pytest.raises(UserError) as caught:
        server.check_settings(environment)
    assert "\n" not in str(caught.value) and caught.value.fix
    return str(caught.value)


def test_a_complete_environment_is_fine_and_secrets_may_be_files(told, tmp_path):
    server.check_settings(told)
    (tmp_path / "secret").write_text(f"{told.pop('POSTGRE_PASSWORD')}\n")
    server.check_settings(told | {"POSTGRE_PASSWORD_FILE": str(tmp_path / "secret")})


@pytest.mark.parametrize("name", server.NEEDED)
def test_a_missing_secret_is_named_with_the_file_that_could_hold_it(told, name):
    del told[name]
    assert f"{name} is not set. Set it, or {name}_FILE" in refused(told)


def test_a_token_that_label_studio_would_cut_or_ignore_is_refused_and_not_shown(told):
    said = refused(told | {"LABEL_STUDIO_USER_TOKEN": "secret-token"})
    assert "found 12 characters" in said and "secret-token" not in said


@pytest.mark.parametrize("url", ["label.example.org", "https://label.example.org/", "https://a.example/b", "https://"])
def test_an_address_that_the_proxy_would_not_answer_for_is_refused(told, url):
    assert "ROBOPREF_PUBLIC_URL: expected http" in refused(told | {"ROBOPREF_PUBLIC_URL": url})
    server.check_settings(told | {"ROBOPREF_PUBLIC_URL": "http://127.0.0.1:8080"})


def test_another_label_studio_is_refused_unless_somebody_says_to_try_it(told, monkeypatch):
    monkeypatch.setattr(server.importlib.metadata, "version", lambda _: "1.99.0")
    assert "ROBOPREF_TRY_LABEL_STUDIO=1.99.0" in refused(told)
    server.check_settings(told | {"ROBOPREF_TRY_LABEL_STUDIO": "1.99.0"})


def test_a_data_folder_that_is_missing_or_full_is_named(told, tmp_path, monkeypatch):
    assert "is not a folder" in refused(told | {"LABEL_STUDIO_BASE_DATA_DIR": str(tmp_path / "none")})
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 12_000_000))
    assert f"LABEL_STUDIO_BASE_DATA_DIR: 12 MB are free for {tmp_path}" in refused(told)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_volume_of_another_user_is_said_with_both_users(told, tmp_path):
    with as_nobody(tmp_path):
        assert "belongs to user 0, and this runs as user 65534" in refused(told)


def test_a_port_that_is_taken_is_said_before_gunicorn_tries(told):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"cannot listen on port {port}: Address already in use"):
            server.serve(told | {"LABEL_STUDIO_PORT": str(port)})


@pytest.mark.parametrize("text", ["0", "-1", "three", "1.5"])
def test_numbers_are_checked(told, text):
    with pytest.raises(UserError, match="LABEL_STUDIO_WORKERS: expected a whole number above 0"):
        server.serve(told | {"LABEL_STUDIO_WORKERS": text, "LABEL_STUDIO_PORT": "29998"})


def test_the_check_fails_where_nothing_answers():
    with pytest.raises(UserError, match="does not answer"):
        server.check(9)


def test_a_mistake_is_one_line_and_exit_code_2():
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-m", "labeling_config.server", "serve"],
        env=environment, cwd="/", capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr.startswith("label-studio: POSTGRE_PASSWORD is not set.") and run.stderr.count("\n") == 1


def _with_database(code: str, url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` with Label Studio's variables for a PostgreSQL database."""
    from sqlalchemy import make_url

    found = make_url(url)
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {
        "PYTHONPATH": str(ROOT), "DJANGO_DB": "default", "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "POSTGRE_NAME": found.database or "", "POSTGRE_USER": found.username or "", "LOG_LEVEL": "ERROR",
        "LATEST_VERSION_CHECK": "false",
        "POSTGRE_PASSWORD": found.password or "", "POSTGRE_HOST": found.host or "", "POSTGRE_PORT": str(found.port),
    }  # fmt: skip
    seldom = "from preference import garbage\ngarbage.look_seldom()"
    run = [sys.executable, "-c", f"import sys\n{seldom}\nfrom labeling_config import server\n{code}"]
    return subprocess.run(run, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
def test_a_newer_label_studios_tables_and_a_wrong_password_are_one_line(empty_database_url, tmp_path):
    pytest.importorskip("label_studio", reason="needs `pip install robopref[studio]`")
    check = "try: server.check_database()\nexcept server.UserError as e: sys.stdout.write(str(e))\n"
    upgrade = f"""
import psycopg
with psycopg.connect({empty_database_url!r}, autocommit=True) as connection:
    connection.execute("CREATE TABLE django_migrations (id bigserial, app text, name text, applied timestamptz)")
    connection.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('tasks', '9999_new', now())")
sys.stdout.write("upgraded: ")
"""
    newer = _with_database(check + upgrade + check, empty_database_url, tmp_path)
    assert newer.stdout.startswith("upgraded: ") and newer.returncode == 0, newer.stderr
    assert "A newer Label Studio" in newer.stdout and "tasks.9999_new" in newer.stdout, newer.stderr
    assert newer.stdout.count("\n") == 0
    nobody = _with_database(
        check,
        empty_database_url.replace("//", "//nobody:x@", 1)
        if "@" not in empty_database_url
        else empty_database_url.replace(empty_database_url.split("//")[1].split("@")[0], "nobody:x"),
        tmp_path,
    )
    assert "POSTGRE_PASSWORD_FILE" in nobody.stdout and nobody.stdout.count("\n") == 0, nobody.stderr
